"""``visus.load``: a model file becomes something that can be asked."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import DataError, IntegrityError, UsageError, quoted
from visus.core.modelfile import Card, read_model
from visus.core.recipe import Choice as Setting
from visus.core.recipe import Draft, Recipe

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from visus.core.deployment import Contract
    from visus.core.task import Prediction, Task
    from visus.engine.device import Device
    from visus.verbs.explain import Explanation


ASKED = ("flips", "input.tiles", "input.seam", "segment.scales", "generate.extractor", "stylize.style")
"""Settings of how a trained network is asked."""
TILED = frozenset({"objects", "class_map", "class_sets"})
"""What is learned by tasks that can ask it tile by tile."""
_PROCESSOR = {"device": "cpu", "memory_format": "contiguous"}


class Model:
    """A trained model, ready to be asked.

    Attributes:
        path: the file it came from.
        card: what the file says of itself.
        recipe: the settings that trained it.
        task: how its answers are read.
        network: the module, in eval mode, with its weights as they were learned: images (B, C, H, W) -> tensors; of an
            exported file, what runs it.
        contract: of an exported file, what it reads and says; else None.
    """

    def __init__(
        self, path: Path, card: Card, recipe: Recipe, task: Task, network: nn.Module, contract: Contract | None = None
    ) -> None:
        self.path, self.card, self.recipe, self.task, self.network = path, card, recipe, task, network
        self.contract = contract

    @property
    def at_once(self) -> int:
        """Pictures asked at once: of an exported file as many as it runs at the same time; 0 for whole batches."""
        return int(getattr(self.network, "threads", 1)) if self.contract is not None else 0

    @property
    def classes(self) -> tuple[str, ...]:
        """The user's names, in the order of the outputs."""
        return self.card.classes

    @cached_property
    def asked(self) -> nn.Module:
        """The network as it predicts: in float32 with batch normalisation folded, the same answers but for rounding.

        Judging asks ``network`` itself, so that it repeats what a run measured to the last bit.
        """
        import torch

        from visus.models.folding import folded

        device, given = self.device(), self.card.input
        if self.contract is not None or device.precision != "float32":
            return self.network  # a folded weight is rounded to another number there
        images = torch.zeros(1, given.channels, *given.size, device=device.device)
        return folded(self.network, images.contiguous(memory_format=device.memory_format))

    def device(self) -> Device:
        """Return where and how the network runs: as it was trained, or in float32 where this machine cannot."""
        from visus.engine.device import place

        return place(self.recipe)

    def on_processor(self) -> Model:
        """Return the same model in float32 on the processor, its network a copy."""
        import torch

        recipe = self.recipe.model_copy(update={**_PROCESSOR, "precision": "float32"})
        network = copy.deepcopy(self.network).float().cpu().to(memory_format=torch.contiguous_format).eval()
        return Model(self.path, self.card, recipe, self.task, network, self.contract)

    def answering(self, verb: str) -> Model:
        """Return itself, where it says something of pictures.

        Raises:
            UsageError: USE-080, it makes pictures.
        """
        from visus.core.task import Showing

        if isinstance(self.task, Showing):
            raise UsageError(
                "USE-080", f"visus {verb} asks a model about pictures, and {self.path} makes pictures",
                done="nothing was asked", fix=f"{self.task.command.format(model=quoted(self.path))}, or visus evaluate",
            )  # fmt: skip
        return self

    def asking(self, settings: Mapping[str, Any]) -> Model:
        """Return the same network, asked in other ways than it was trained for.

        Args:
            settings: by dotted key, one of ``ASKED``.

        Raises:
            UsageError: a setting that training has settled, or that the task does not have.
        """
        from visus.tasks import TASKS
        from visus.verbs.styles import studied

        for key in settings:
            section = key.partition(".")[0]
            foreign = section in TASKS and section != self.task.name
            if key not in ASKED or foreign or (section == "input" and TILED.isdisjoint(self.task.reads)):
                why = "training has settled it" if key not in ASKED else f"{self.task.name} has no use for it"
                raise UsageError("USE-066", f"--set {key}: {why}", done="nothing was asked",
                                 fix=f"the ways to ask {self.path} are {', '.join(ASKED)}")  # fmt: skip
        if not settings:
            return self
        if self.contract is not None:
            raise UsageError("USE-066", f"{self.path}: an exported file is asked as it was written",
                             done="nothing was asked", fix="ask the model file it was made of")  # fmt: skip
        known = {key: value for key, value in self.recipe.flat().items() if value is not None}
        recipe = Draft(Setting(key, value, "asked so") for key, value in {**known, **settings}.items()).finish()
        task = TASKS[self.task.name](recipe, self.classes)
        task.calibrate(self.card.calibration)
        if "stylize.style" in settings:
            studied(task, recipe)
        return Model(self.path, self.card, recipe, task, self.network)

    def predict(self, pictures: Iterable[np.ndarray], *, order: str = "rgb") -> list[Prediction]:
        """Return one prediction a picture.

        Args:
            pictures: (H, W) or (H, W, C) arrays, or one (N, H, W, C) array; uint8, uint16, or float32 in [0, 1].
            order: of the channels: ``rgb`` or ``bgr``.

        Raises:
            UsageError: an unknown order, or one picture that is not in a list.
            DataError: a picture of another depth or with other channels.
        """
        from visus.verbs.predict import answer

        arrays = _arrays(pictures, order)
        return [found for _, found in answer(self, _Held(arrays), [str(i) for i in range(len(arrays))])]

    def explain(
        self,
        pictures: Iterable[np.ndarray],
        *,
        order: str = "rgb",
        method: str | None = None,
        label: str | None = None,
        layer: str | None = None,
        most: int = 4,
        check: bool = False,
    ) -> list[Explanation]:
        """Return what speaks for what the model says of pictures; the file of each is its number, as text.

        Args:
            pictures, order: as for ``predict``.
            method, label, layer, most, check: as for ``visus.explain``; maps are not measured by default.

        Raises:
            UsageError: an unknown order, method, class or layer.
            DataError: a picture of another depth or with other channels.
        """
        from visus.verbs.explaining import Asked

        arrays = _arrays(pictures, order)
        asked = Asked.settle(self, method, label or "", layer or "", None, most=most, check=check, batch=16)
        bad: dict[str, str] = {}
        found = list(asked.explain(_Held(arrays), [str(i) for i in range(len(arrays))], bad))
        if not found and bad:
            raise DataError("EXPLAIN-010", f"picture {next(iter(bad))}: {next(iter(bad.values()))}",
                            done="nothing was explained")  # fmt: skip
        return found


def _arrays(pictures: Iterable[np.ndarray], order: str) -> list[np.ndarray]:
    """Return pictures with their channels in the order red, green, blue.

    Raises:
        UsageError: an unknown order, or one picture that is not in a list.
    """
    if order not in ("rgb", "bgr"):
        raise UsageError("USE-013", f"order = {order!r}: channels come as rgb or bgr")
    if getattr(pictures, "ndim", 4) != 4:
        raise UsageError("USE-024", "one array is taken for several pictures only if it is (N, H, W, C)",
                         fix="model.predict([picture])")  # fmt: skip
    return [a[..., ::-1] if order == "bgr" and a.ndim == 3 else a for a in pictures]


class _Held:
    """Pictures in memory, of any sizes."""

    def __init__(self, arrays: Sequence[Any]) -> None:
        self.arrays = arrays

    def read(self, i: int) -> Any:
        return self.arrays[i]


def load(path: str | Path, *, model: str | nn.Module | None = None, precision: str | None = None) -> Model:
    """Return the model of a file that visus wrote.

    Args:
        path: a ``.safetensors`` file, a run folder for its best weights, or an exported file.
        model: ``FILE.py:Class`` or a module, when the network is the user's own: source named in a file is never run.
        precision: ``float32`` or ``bfloat16``; as trained by default.

    Raises:
        DataError: no such file, or not a model file.
        IntegrityError: a damaged file.
        UsageError: the network is the user's own and was not given, or is not the one the weights were trained in.
    """
    from visus.engine.device import place, placed
    from visus.models.fitting import fit
    from visus.tasks import TASKS

    path = Path(path)
    path = path / "best.safetensors" if path.is_dir() else path
    if _is_exported(path):
        return opened(path)
    tensors, card = read_model(path)
    recipe = _recipe(path, card, precision)
    task = TASKS[card.task](recipe, card.classes)
    network = network_of(card, model)
    fit(network, tensors, str(path), whole=True)
    task.calibrate(card.calibration)
    return Model(path, card, recipe, task, placed(network.eval(), place(recipe)))


def opened(path: Path) -> Model:
    """Return the model in an exported file.

    Raises:
        DataError: EXP-017, it is none; or nothing says what it is.
        IntegrityError: it is damaged.
        UsageError: the library that runs it is missing.
    """
    from visus.exporters import EXPORTERS
    from visus.exporters._running import Asked, Running
    from visus.tasks import TASKS

    name = _is_exported(path)
    if not name:
        raise DataError("EXP-017", f"{path}: is no exported file", fix="visus export MODEL --to onnx writes one")
    runtime = EXPORTERS[name].load(path)
    contract = runtime.contract
    recipe = _recipe(path, contract.card, "float32").model_copy(update=_PROCESSOR)
    task = TASKS[contract.card.task](recipe, contract.card.classes)
    task.calibrate(contract.card.calibration)
    asked: Any = Asked(task, contract)
    return Model(path, contract.card, recipe, asked, Running(runtime, runtime.threads), contract)


def _is_exported(path: Path) -> str:
    """Return the name of the exporter that knows a file by its first bytes, or nothing."""
    from visus.exporters import EXPORTERS

    if not path.is_file():
        return ""
    with path.open("rb") as file:
        start = file.read(64)
    if start[8:9] == b"{":
        return ""  # weights, as nearly always: no exporter need be imported
    return next((name for name in EXPORTERS if EXPORTERS[name].recognises(start)), "")


def network_of(card: Card, model: str | nn.Module | None) -> nn.Module:
    """Return the network a card describes, or the user's own, with weights to be overwritten.

    Raises:
        UsageError: the network is the user's own and was not given.
        IntegrityError: the card describes a smaller form that the network cannot take.
    """
    from visus.models.building import rebuild
    from visus.models.origins.user_code import GIVEN
    from visus.models.slimming import slimmed

    name = card.architecture.name
    if model is not None and not isinstance(model, str):
        return slimmed(model, card.architecture)
    if name.startswith(GIVEN):
        raise UsageError(
            "USE-009", f"the network is a module of your own ({name.removeprefix(GIVEN)})",
            fix="from Python: visus.load(path, model=module)",
        )  # fmt: skip
    return rebuild(card.architecture, card.input.channels, card.input.size, model or "")


def _recipe(path: Path, card: Card, precision: str | None) -> Recipe:
    """Return the recipe of a model file's card for this machine.

    Raises:
        IntegrityError: MODEL-027, it has settings that this visus has not.
    """
    import torch

    from visus.engine import device as hardware

    known = {key: value for key, value in card.recipe.items() if value is not None}
    sections = {f"input.{key}": value for key, value in card.input.model_dump(mode="json").items()}
    of_file = [Setting(key, value, "the model file") for key, value in {"task": card.task, **known, **sections}.items()]
    try:
        Draft(of_file)
    except UsageError as error:
        raise IntegrityError(
            "MODEL-027", f"{path}: it was trained by another visus ({card.visus}): {error.what}", where="in its card",
            fix="open it with the visus that wrote it, or train it again with this one",
        ) from error  # fmt: skip
    here: dict[str, Any] = {"device": hardware.best_device(), "threads": torch.get_num_threads(), "data.workers": 0}
    if precision is not None:
        here["precision"] = precision
    elif not hardware.fast_bfloat16(here["device"]):
        here["precision"] = "float32"
    return Draft([*of_file, *(Setting(key, value, "this machine") for key, value in here.items())]).finish()
