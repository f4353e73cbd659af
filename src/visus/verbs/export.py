"""``visus export``: a model for another runtime, compared with its weights on the user's pictures before it is kept."""

from __future__ import annotations

import math
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import DataError, IntegrityError, MissedError, UsageError, quoted
from visus.core.figures import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from visus.core.deployment import Contract, Deployed
    from visus.core.task import Batch, Metric, Prediction, Raw
    from visus.data.dataset import Dataset
    from visus.exporters._parity import Parity
    from visus.verbs.load import Model


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how it compares with the weights.

    Attributes:
        path: the file; ``files``: it and what lies beside it.
        contract: what it reads and says.
        parity: what was measured.
        notes: on the pictures it was measured on, a sentence each.
    """

    path: Path
    files: tuple[Path, ...]
    contract: Contract
    parity: Parity
    notes: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return plain values."""
        about = self.contract.model_dump(mode="json", exclude={"card", "parity"})
        files = [{"file": str(file), "bytes": file.stat().st_size} for file in self.files]
        return {"files": files, **about, "parity": self.parity.json(), "notes": list(self.notes)}

    def table(self) -> Table:
        """Return what was measured, a line each."""
        parity = self.parity
        rows: list[tuple[object, ...]] = [
            (f"{name}: largest difference", f"{value:.1e} of its largest number", "1e-4")
            for name, value in parity.outputs.items()
        ]
        if parity.of:
            rows.append((f"{parity.unit} that changed", f"{parity.changed:,} of {parity.of:,}", f"{parity.allowed:,}"))
        if parity.weights is not None and parity.file is not None:
            rows += [(f"{parity.score} of the weights", str(parity.weights), ""),
                     (f"{parity.score} of the file", str(parity.file), "")]  # fmt: skip
        return Table(f"{parity.pictures:,} pictures through the file and through the weights",
                     ("measured", "value", "allowed"), rows)  # fmt: skip


def export(
    model: str | Path | Model,
    *,
    to: str,
    data: str | Path | None = None,
    out: str | Path | None = None,
    size: int | str | tuple[int, int] | None = None,
    network: str | nn.Module | None = None,
    pictures: int = 64,
) -> Exported:
    """Write a model for another runtime: from decoded pictures to what is said, in one file.

    The file is kept only if it says of the user's pictures what the float32 weights say: no number differs by more than
    1e-4 of the largest, no label and no box is another one.

    Args:
        model: a model file, a run folder, or a loaded model.
        to: ``onnx``, ``torch``, ``openvino`` or ``executorch``.
        data: pictures to compare on, as for ``train``: its validation part.  By default the data the model was trained
            on, where the run still knows its place and it has not changed.
        out: the file; by default the model's own name with the target's ending.  Only one that was exported before is
            written over.
        size: (height, width) of all pictures that the file will read, or one side, or "224x320"; by default any, but of
            ``executorch`` the one size that all pictures of the data have.  Only such pictures are compared then.
        network: ``FILE.py:Class`` or a module, when the network is the user's own.
        pictures: how many are compared, 32 at least where there are as many.

    Raises:
        MissedError: EXP-010, the file says something else; it is not kept.
        UsageError: no such target, a missing library, or a network that cannot be written; EXP-011, no data; EXP-014,
            the target takes one size, and the pictures have several; EXP-015, there is no place to write to; EXP-016,
            the model is an exported file.
        DataError: the data cannot be read.
    """
    from visus import __version__
    from visus.core.deployment import Contract
    from visus.core.files import replacing
    from visus.exporters import EXPORTERS
    from visus.exporters._parity import first_layer
    from visus.verbs.load import Model, load, opened

    exporter = EXPORTERS[to]
    loaded = model if isinstance(model, Model) else load(model, model=network, precision="float32")
    loaded.answering("export")
    if loaded.contract is not None:
        raise UsageError("EXP-016", f"{loaded.path}: is an exported file, and can be no other",
                         done="nothing was written", fix="name the model file it was made of")  # fmt: skip
    path = Path(out) if out is not None else loaded.path.with_suffix(exporter.suffix)
    before = _written_before(path)
    dataset, indices, notes = _pictures(loaded, data, max(pictures, 1))
    indices, shown, depth, sizes = readable(loaded, dataset, indices, notes)
    sides = _sides(size) if size is not None else _only_size(to, dataset, sizes) if exporter.one_picture else None
    if sides is not None and set(sizes) != {sides}:
        indices = _of_size(sides, dataset, indices, sizes, notes)
        indices, shown, depth, _ = readable(loaded, dataset, indices, notes)
    loaded = loaded.on_processor()
    module = loaded.task.deployed(loaded.network, deep=depth == "uint16", size=sides).eval()
    contract = Contract(
        visus=__version__, target=to, format="", dtype=depth, channels=loaded.card.input.channels, size=sides,
        batch=1 if exporter.one_picture else None, outputs=dict(module.outputs), card=loaded.card,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="visus-export-") as folder:
        draft = Path(folder, path.name)
        contract = exporter.export(module, example_of(contract), contract, draft)
        parity = _compared(loaded, opened(draft), module, dataset, indices)
        if not parity.holds:
            layer = first_layer(exporter, draft, module, shown, contract)
            raise _missed(path, replace(parity, layer=layer))
        contract = contract.model_copy(update={"parity": parity.json()})
        exporter.stamp(draft, contract)
        parts = sorted(Path(folder).iterdir())
        files = [path.with_name(part.name) for part in parts]
        for place in files:
            ours = bool(before) if place == path else before == to  # what lies beside a file depends on its kind
            if not ours and os.path.lexists(place):
                raise _taken(place)
        for part, place in zip(parts, files, strict=True):
            with replacing(place, part.stat().st_size) as file:
                file.write(part.read_bytes())
    return Exported(path, tuple(files), contract, parity, tuple(notes))


def _written_before(path: Path) -> str:
    """Return as what an exported file lies where one is to be written, which with its parts may be written over.

    Raises:
        UsageError: EXP-015, something else does, or there is no such folder; the library is missing that opens it.
    """
    from visus.verbs.load import opened

    if not path.absolute().parent.is_dir():
        raise UsageError("EXP-015", f"{path.parent}: there is no such folder to write to", done="nothing was written",
                         fix=f"mkdir {quoted(path.parent)}")  # fmt: skip
    if not os.path.lexists(path):
        return ""
    try:
        contract = opened(path).contract
    except (DataError, IntegrityError) as error:
        raise _taken(path) from error
    return contract.target if contract is not None else ""


def _taken(place: Path) -> UsageError:
    return UsageError("EXP-015", f"{place}: is there already, and nothing says that visus exported it",
                      done="nothing was written", fix="remove it, or --out FILE")  # fmt: skip


def _sides(size: object) -> tuple[int, int]:
    """Return (height, width) as any setting of a size is read.

    Raises:
        UsageError: EXP-013, it is none.
    """
    from pydantic import TypeAdapter, ValidationError

    from visus.core.recipe import Size

    try:
        read: tuple[int, int] = TypeAdapter(Size).validate_python(size)
    except ValidationError as error:
        raise UsageError("EXP-013", f"--size {size}: should be one side, or HEIGHTxWIDTH, in pixels",
                         fix="--size 224, or --size 224x320") from error  # fmt: skip
    return read


def _pictures(model: Model, data: str | Path | None, count: int) -> tuple[Dataset, NDArray[np.int64], list[str]]:
    """Return a data set and which of its pictures are compared: of the validation part, and of others if it is small.

    Raises:
        UsageError: EXP-011, no data is given and that of the training is not at hand.
    """
    import numpy as np

    from visus.data.dataset import SPLITS
    from visus.exporters._parity import LEAST

    if data is None:
        dataset, notes = trained_on(model, "visus export MODEL --to ... --data DATA"), list[str]()
    else:
        dataset, notes = _given(model, data)
    chosen = dataset.indices("val")
    spare = np.concatenate([dataset.indices(split) for split in (SPLITS[2], SPLITS[0])])
    if len(chosen) > count:
        chosen = chosen[np.linspace(0, len(chosen) - 1, count).round().astype(np.int64)]
    elif len(chosen) < LEAST and len(spare):
        more = spare[: LEAST - len(chosen)]
        notes.append(f"{dataset.name} has {len(chosen):,} validation pictures; {len(more):,} others are compared too")
        chosen = np.concatenate([chosen, more])
    return dataset, chosen, notes


def trained_on(model: Model, fix: str) -> Dataset:
    """Return the data a model was trained on, if its run knows where it lies and it is the same still.

    Args:
        model: whose data is wanted.
        fix: the command that names other data.

    Raises:
        UsageError: EXP-011, it is not at hand.
    """
    from visus.data.painting import painted
    from visus.data.reading import open_data
    from visus.verbs.runs import read_document

    place = model.path.parent / "data.json"
    if not place.is_file():
        raise UsageError("EXP-011", f"{model.path}: where its training data lies is not known",
                         where=f"no {place.name} lies beside it", done="nothing was written", fix=fix)  # fmt: skip
    source = read_document(place)
    try:
        dataset = open_data(source["data"], model.recipe.data, seed=model.recipe.seed, download=source["download"])
    except DataError as error:
        raise UsageError("EXP-011", f"the training data cannot be read: {error.what}", where=str(source["data"]),
                         done="nothing was written", fix=fix) from error  # fmt: skip
    dataset = painted(dataset, model.task.reads)
    if dataset.fingerprint() != model.card.data.get("fingerprint"):
        raise UsageError("EXP-011", f"{source['data']}: the training data has changed since",
                         where="its fingerprint is not the one in the model file", done="nothing was written",
                         fix=f"--data {quoted(source['data'])} takes it as it is now")  # fmt: skip
    return dataset


def _given(model: Model, data: str | Path) -> tuple[Dataset, list[str]]:
    """Return the data the user names, its validation part its own or carved."""
    from visus.verbs.parts import part_for

    try:
        part = part_for(model, data, "val")
    except DataError:
        part = part_for(model, data, "all")  # too small to be carved
    return part.dataset, list(part.notes)


def readable(
    model: Model, dataset: Dataset, indices: NDArray[np.int64], notes: list[str]
) -> tuple[NDArray[np.int64], Tensor, Any, list[tuple[int, int]]]:
    """Return which pictures can be compared, the first one as a batch, their depth, and the size of each.

    Raises:
        DataError: EXP-012, there is none.
    """
    import numpy as np
    import torch

    from visus.data.pixels import pictures

    source = pictures(dataset.images, model.card.input.channels)
    kinds: dict[int, tuple[torch.dtype, tuple[int, int]]] = {}
    for i in indices:
        for image in source.take(np.array([i]), lambda index: None).images:
            kinds[int(i)] = image.dtype, (int(image.shape[-2]), int(image.shape[-1]))
    depths = Counter(str(dtype).removeprefix("torch.") for dtype, _ in kinds.values())
    depth = max((name for name in depths if name in ("uint8", "uint16")), key=lambda name: depths[name], default="")
    if not depth:
        raise DataError("EXP-012", f"{dataset.name}: not one picture of 8 or 16 bits can be read, to compare on",
                        done="nothing was written", fix="--data DATA with such pictures")  # fmt: skip
    kept = [i for i, (dtype, _) in kinds.items() if dtype == getattr(torch, depth)]
    if len(kept) < len(indices):
        notes.append(f"{len(indices) - len(kept):,} pictures were passed over: not readable, or not {depth}")
    (first,) = source.take(np.array(kept[:1]), lambda index: None).images
    return np.array(kept, np.int64), first.movedim(0, -1)[None], depth, [kinds[i][1] for i in kept]


def _only_size(to: str, dataset: Dataset, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the (height, width) that all pictures have.

    Raises:
        UsageError: EXP-014, they have several.
    """
    several = Counter(sizes)
    (height, width), most = several.most_common(1)[0]
    if len(several) > 1:
        raise UsageError(
            "EXP-014", f"{to} takes pictures of one size, and those of {dataset.name} have {len(several):,}",
            where=f"{most:,} of the {len(sizes):,} to compare have {height} x {width}", done="nothing was written",
            fix=f"--size {height}x{width}, or --data with pictures of the size that the file will read",
        )  # fmt: skip
    return height, width


def _of_size(
    size: tuple[int, int], dataset: Dataset, indices: NDArray[np.int64], sizes: Sequence[tuple[int, int]],
    notes: list[str],
) -> NDArray[np.int64]:  # fmt: skip
    """Return which pictures have a size.

    Raises:
        DataError: EXP-012, there is none.
    """
    kept = indices[[each == size for each in sizes]]
    words = f"{size[0]} x {size[1]}"
    if not len(kept):
        raise DataError("EXP-012", f"{dataset.name}: not one of {len(sizes):,} pictures has {words} pixels",
                        done="nothing was written", fix="--data DATA with such, or another --size")  # fmt: skip
    notes.append(f"{len(sizes) - len(kept):,} pictures were passed over: not of {words} pixels")
    return kept


def example_of(contract: Contract) -> Tensor:
    """Return pictures to trace with, of two different sides where these are open."""
    import torch

    height, width = contract.size or (contract.card.input.size[0] + 7, contract.card.input.size[1] + 12)
    return torch.zeros(contract.batch or 2, height, width, contract.channels, dtype=getattr(torch, contract.dtype))


def _compared(model: Model, file: Model, module: Deployed, dataset: Dataset, indices: NDArray[np.int64]) -> Parity:
    """Return how a file compares with the weights: with what they say the usual way, and number by number."""
    import torch

    from visus.core.boxes import moved
    from visus.exporters._parity import PIXELS, Candidates, Differences, Parity, changes
    from visus.exporters._running import Running

    measured, known = Differences(), list[Candidates]()

    @torch.no_grad()
    def run(pictures: Tensor) -> dict[str, Tensor]:
        return dict(zip(module.outputs, module(pictures), strict=True))

    eager = Running(run)  # one after the other: each has all threads

    def remember(part: Batch, raw: Raw) -> None:
        for row in range(len(part) if "boxes" in raw else 0):
            real = raw["scores"][row] >= 0
            labels = tuple(model.classes[k] for k in raw["labels"][row][real].tolist())
            boxes = moved(raw["boxes"][row][real].double(), part.frames[row].double())
            known.append(Candidates(boxes, labels, raw["scores"][row][real]))

    def compare(part: Batch, raw: Raw) -> None:
        measured.add(file.task.raw(eager, part), raw)

    one, right = asked(model, dataset, indices, remember)
    other, said = asked(file, dataset, indices, compare)
    changed, of, unit = changes(right, said, known)
    scores, scores_of_file = one.compute(), other.compute()
    name = model.task.score if model.task.score in scores and model.task.score in scores_of_file else ""
    return Parity(
        len(indices), measured.found(), changed, of, unit, name, scores.get(name), scores_of_file.get(name),
        allowed=int(PIXELS * of) if unit == "pixels" else 0,
    )  # fmt: skip


def asked(
    model: Model,
    dataset: Dataset,
    indices: NDArray[np.int64],
    see: Callable[[Batch, Raw], None] = lambda part, raw: None,
) -> tuple[Metric, list[Prediction]]:
    """Return the metric of some pictures, and what is said of them in original pixels."""
    from visus.engine.evaluate import answers
    from visus.verbs.assembly import feed

    said: list[Prediction] = []
    metric, device = model.task.metric(), model.device()
    with feed(dataset, indices, model.task, model.recipe, device, train=False) as shown:
        for part, raw in answers(model.task, model.network, shown.sweep(), device, model.at_once):
            see(part, raw)
            metric.update(raw, part)
            said += [one.home(frame) for one, frame in zip(model.task.decode(raw), part.frames, strict=True)]
    return metric, said


def _missed(path: Path, parity: Parity) -> MissedError:
    worst = max(parity.outputs, key=lambda name: (math.isnan(parity.outputs[name]), parity.outputs[name]))
    changed = f", and {parity.changed:,} of {parity.of:,} {parity.unit} are others" if parity.changed else ""
    return MissedError(
        "EXP-010", f"{path}: the file does not say what the weights say",
        where=f"{worst} differs by {parity.outputs[worst]:.2g} of its largest number{changed}; "
        f"the first module that differs: {parity.layer}",
        done="no file was kept", fix="another --to; --json tells every difference",
    )  # fmt: skip
