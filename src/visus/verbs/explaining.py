"""Asking a model why: what is settled before the first picture, and the explanations of pictures one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from visus.core.boxes import moved
from visus.core.errors import UsageError, did_you_mean
from visus.core.files import write_bytes
from visus.core.home import at_home
from visus.core.seeds import derive
from visus.core.task import Batch, Layered, Mapped, Prediction, Target, Task
from visus.data.dataset import Dataset, Images, Strings
from visus.engine.device import float32_as_stated, short_of_memory
from visus.explainers import EXPLAINERS, Explainer, Question
from visus.explainers import _faithfulness as faithfulness
from visus.explainers import _layers as drawable
from visus.explainers._asking import Asking, shuffled
from visus.explainers._faithfulness import Faithfulness
from visus.explainers._maps import choose, spread
from visus.report.overlays import filter_sheet, map_sheet
from visus.report.pictures import png
from visus.tasks import TASKS
from visus.tasks._tiling import tiling_of
from visus.verbs.assembly import feed
from visus.verbs.explain import Explanation
from visus.verbs.predict import readable_batches, reasons

if TYPE_CHECKING:
    from visus.verbs.load import Model

STRONGEST = 0.995
"""Quantile of a map that becomes 1, lest a single pixel make all others dark."""

UNTRAINED = 3
"""Untrained networks whose maps a map is compared with."""

SHEET = 32
"""Maps of a layer that are drawn on a sheet."""


@dataclass(frozen=True)
class Asked:
    """Everything that is settled before the first picture is looked at.

    Attributes:
        model: that is asked.
        task: as it was trained, but at one scale, without mirrored views, and for less sure objects too.
        close: of what says a class of every pixel tile by tile, the same for one tile alone; else None.
        method: name of the explainer; ``why``: it was chosen.
        label, layer: what is explained and where is looked; empty for what the model says and for the rule.
        most: things explained of one picture.
        check: measure each map.
        batch: versions of a picture looked at at once.
        passed: files of which not everything was explained, and of how many things.
    """

    model: Model
    task: Task
    close: Task | None
    explainer: Explainer
    method: str
    why: str
    label: str
    layer: str
    most: int
    check: bool
    batch: int
    passed: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def settle(
        model: Model,
        method: str | None,
        label: str,
        layer: str,
        least: float | None,
        *,
        most: int,
        check: bool,
        batch: int,
    ) -> Asked:
        """Return what was asked for, after everything that can be seen to be wrong with it was.

        Raises:
            UsageError: no such method, class or layer, or a layer for a method that looks at none; EXPLAIN-015, an
                exported file.
        """
        if model.contract is not None:
            raise UsageError("EXPLAIN-015", f"{model.path}: nothing can be seen inside an exported file",
                             done="nothing was explained", fix="explain the model file it was made of")  # fmt: skip
        places = "objects" in model.task.reads
        chosen = method or ("layer_cam" if places else "grad_cam")
        usual = "it tells objects of a class apart" if places else "the usual one: quick, and any network has maps"
        why = "as asked" if method else usual
        explainer = EXPLAINERS[chosen]
        if label and label not in model.classes:
            raise UsageError("EXPLAIN-002", f"the model knows no {label!r}", fix=did_you_mean(label, model.classes))
        if layer and explainer.reads != "layer":
            raise UsageError(
                "EXPLAIN-011", f"{chosen} looks at no layer", fix="leave --layer out, or --method grad_cam"
            )
        modules = [name for name, _ in model.network.named_modules() if name]
        if layer and layer not in modules:
            raise UsageError("EXPLAIN-003", f"the network has no layer {layer!r}", fix=did_you_mean(layer, modules))
        recipe = model.recipe
        unsure = recipe.detect.model_copy(update={"least": 1e-6})  # the score of an object that is covered is asked for
        once = recipe.segment.model_copy(update={"scales": (1.0,)})
        plain = recipe.model_copy(update={"flips": False, "detect": unsure, "segment": once})
        task, close = TASKS[recipe.task](plain, model.classes), None
        if recipe.input.tiles and not places:
            alone = plain.model_copy(update={"input": recipe.input.model_copy(update={"tiles": 0})})
            close = TASKS[recipe.task](alone, model.classes)
        shown = {"threshold": recipe.detect.least, **model.card.calibration}
        task.calibrate(shown if least is None else {"threshold": least})
        return Asked(model, task, close, explainer, chosen, why, label, layer, most, check, batch)

    def explain(self, images: Images, names: Sequence[str], bad: dict[str, str]) -> Iterator[Explanation]:
        """Yield the explanations of pictures; those that cannot be read, or show nothing, go into ``bad``."""
        with short_of_memory("nothing was written", "less else running, --batch 1, or --no-check"):
            for name, batch in self._batches(images, names, bad):
                found = list(self._of(batch, name))
                if not found:
                    bad[name] = f"the model finds no {self.label or 'object'} here that could be explained"
                yield from found

    def _batches(self, images: Images, names: Sequence[str], bad: dict[str, str]) -> Iterator[tuple[str, Batch]]:
        """Yield each picture as the network reads it, on its device; those that cannot be read go into ``bad``."""
        device = replace(self.model.device(), precision="float32")
        data = Dataset("files", Path(), "files", "named", Strings(names), images, {}, np.zeros(len(names), np.uint8))
        recipe = self.model.recipe.model_copy(update={"batch": 1})
        channels = recipe.input.channels
        with (
            float32_as_stated(device),
            feed(data, np.arange(len(names)), self.task, recipe, device, train=False) as shown,
        ):
            for batch in readable_batches(shown, bad, lambda: reasons(images, names, channels)):
                if len(batch):
                    yield batch.ids[0], batch.to(device.device, device.memory_format)

    def notes(self) -> list[str]:
        """Return what was passed over, and of what large pictures were explained."""
        tiled = ["what is read in tiles is explained by the one that shows most of it"] * (self.close is not None)
        if not self.passed:
            return tiled
        name, n = max(self.passed.items(), key=lambda item: item[1])
        others = len(self.passed) - 1
        more = f", and only some in {others:,} other picture{'s' * (others > 1)}" if others else ""
        told = f"{Path(name).name}: {self.most} of {n:,} things that are said were explained{more}"
        return [*tiled, f"{told}; --most {n} explains all"]

    def layers_of(self, images: Images, names: Sequence[str], out: Path) -> list[str]:
        """Draw the first filters, and a few maps of each size of every picture; return where."""
        place = out / "layers"
        place.mkdir(exist_ok=True)
        drawn = []
        name, weights = drawable.filters(self.model.network)
        if name:
            drawn.append(str(place / f"filters-{name}.png"))
            write_bytes(Path(drawn[-1]), png(filter_sheet(weights.numpy())))
        for i, (file, batch) in enumerate(self._batches(images, names, {})):
            for view, target in self._found(batch)[:1]:
                for layer, maps in drawable.stages(self._question(view.asking, target, "", 0), SHEET):
                    drawn.append(str(place / f"{i:05d}-{Path(file).stem[:60]}-{layer}.png"))
                    write_bytes(Path(drawn[-1]), png(map_sheet(maps.numpy())))
        return drawn

    def _of(self, batch: Batch, name: str) -> Iterator[Explanation]:
        found = self._found(batch)
        if len(found) > self.most:
            self.passed[name] = len(found)
        for i, (view, target) in enumerate(found[: self.most]):
            yield self._why(view, target, name, i)

    @torch.no_grad()
    def _found(self, batch: Batch) -> list[tuple[View, Target]]:
        """Return what is said of a picture, the surest or largest first, each with what the network is asked about."""
        whole = View(Asking(self.task, self.model.network.eval(), batch, self.batch), batch)
        raw = whole.asking.raw(whole.asking.image)
        if self.close is None:
            return [(whole, target) for target in self.task.targets(raw, self.label)]
        (said,) = self.task.decode(raw)
        regions = _regions(said, self.model.classes)
        found = list[tuple[View, Target]]()
        for label in sorted(regions, key=lambda name: -int(regions[name].sum())):
            if self.label in ("", label):
                views = self._tiles(batch, regions[label])
                asked = ((view, self.close.targets(view.asking.raw(view.asking.image), label)) for view in views)
                found += islice(((view, targets[0]) for view, targets in asked if targets), 1)
        return found

    def _tiles(self, batch: Batch, region: Tensor) -> Iterator[View]:
        """Yield the tiles of a picture that show some of a region (H, W) of the original, the most first."""
        tiling, image, frame = tiling_of(self.model.recipe.input), batch.inputs[0], batch.frames[0].double().cpu()
        assert tiling is not None and self.close is not None
        (high, wide), found = tiling.size, []
        for tile in tiling.cover((image.shape[2], image.shape[3])):
            corners = torch.tensor([[tile.x, tile.y, tile.x + wide, tile.y + high]], dtype=torch.float64)
            x0, y0, x1, y1 = moved(corners, frame)[0].round().clamp(min=0).long().tolist()
            found.append((int(region[y0:y1, x0:x1].sum()), tile.y, tile.x))
        for shown, y, x in sorted(found, key=lambda each: -each[0]):
            if shown:
                part = replace(batch, inputs=(image[:, :, y : y + high, x : x + wide],))
                yield View(Asking(self.close, self.model.network, part, self.batch), batch, y, x)

    def _why(self, view: View, target: Target, name: str, i: int) -> Explanation:
        """Return the explanation of one thing that is said of a picture."""
        asking, seed = view.asking, derive(self.model.recipe.seed, "explain", i)
        layer, told = self.layer, self.layer
        if self.explainer.reads == "layer" and not layer:
            chosen = choose(self._question(asking, target, "", seed), target.box)
            layer, told = chosen.layer, str(chosen)
        evidence = self._evidence(asking, target, layer, seed)
        box = None
        if target.box is not None:
            height, width = _size(view.whole)
            x0, y0, x1, y1 = moved(target.box[None].double().cpu(), view.whole.frames[0].double().cpu())[0].tolist()
            box = (max(0.0, x0), max(0.0, y0), min(float(width), x1), min(float(height), y1))
        region = None if target.region is None else view.home(target.region.float()) >= 0.5
        measured = self._measured(asking, target, layer, seed, evidence) if self.check else None
        shown = unit(view.home(evidence)) if self.close is None else view.home(torch_unit(evidence))
        return Explanation(name, target.label, target.score, shown, told, box, region, measured)

    def _question(self, asking: Asking, target: Target, layer: str, seed: int) -> Question:
        return Question(
            asking.network, asking.image, lambda images: asking.value(target, images), layer, seed, self.batch
        )

    def _evidence(self, asking: Asking, target: Target, layer: str, seed: int) -> Tensor:
        """Return (H, W) signed evidence at present pixels."""
        found = self.explainer.explain(self._question(asking, target, layer, seed)).detach().cpu()
        height, width = asking.image.shape[2:]
        return spread(found, (height, width))

    def _measured(self, asking: Asking, target: Target, layer: str, seed: int, evidence: Tensor) -> Faithfulness:
        like, alike = [], []
        own = torch_unit(evidence)
        for i in range(UNTRAINED):
            other = asking.of(shuffled(asking.network, derive(seed, "untrained", i)))
            theirs = torch_unit(self._evidence(other, target, layer, seed))
            like.append(faithfulness.rank_correlation(own, theirs))
            alike.append(faithfulness.structural_similarity(own, theirs))
        found = faithfulness.curves(asking, target, evidence, seed)
        return faithfulness.Faithfulness(*found, float(np.mean(like)), float(np.mean(alike)))


@dataclass(frozen=True)
class View:
    """What of a picture the network is asked about: all of it, or one tile.

    Attributes:
        asking: about that part.
        whole: the picture, as it would be read.
        y, x: of the part's corner in it.
    """

    asking: Asking
    whole: Batch
    y: int = 0
    x: int = 0

    def home(self, scores: Tensor) -> NDArray[np.float32]:
        """Return scores (h, w) of the part at original pixels (H, W); 0 outside of it."""
        height, width = self.whole.inputs[0].shape[2:]
        below, right = height - self.y - scores.shape[0], width - self.x - scores.shape[1]
        placed = F.pad(scores.cpu().float(), (self.x, right, self.y, below))[None]
        found: NDArray[np.float32] = at_home(placed, self.whole.frames[0], _size(self.whole))[0].numpy()
        return found


def unit(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a map in [0, 1]: see ``CONVENTION``."""
    positive = np.maximum(evidence, 0)
    top = float(np.quantile(positive, STRONGEST)) or float(positive.max())
    scaled: NDArray[np.float32] = np.minimum(positive / top, 1) if top > 0 else positive
    return scaled.astype(np.float32)


def torch_unit(evidence: Tensor) -> Tensor:
    """Return ``unit`` of a tensor."""
    return torch.from_numpy(unit(evidence.numpy()))


def _regions(said: Prediction, classes: Sequence[str]) -> Mapping[str, Tensor]:
    """Return (H, W) bool, where each class is that is said of any pixel of a picture."""
    if isinstance(said, Layered):
        return said.layers
    assert isinstance(said, Mapped)
    shown = torch.bincount(said.class_map.flatten(), minlength=256)[: len(classes)].nonzero()[:, 0].tolist()
    return {classes[k]: said.class_map == k for k in shown}


def _size(batch: Batch) -> tuple[int, int]:
    """Return the size of the original picture; the present one where that is not known."""
    height, width = (int(side) for side in batch.originals[0])
    return (height, width) if height and width else (batch.inputs[0].shape[2], batch.inputs[0].shape[3])
