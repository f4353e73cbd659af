"""``visus explain``: why a model says what it says of pictures, and whether the explanation can be believed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError, UsageError
from visus.core.figures import Table
from visus.core.scores import Score

if TYPE_CHECKING:
    from torch import nn

    from visus.data.dataset import Images
    from visus.explainers._faithfulness import Faithfulness
    from visus.verbs.explaining import Asked
    from visus.verbs.load import Model
    from visus.verbs.nearest import Nearest, Neighbour

CONVENTION = (
    "1 is what speaks for it the most (the strongest 0.5 % of the pixels, and what is as strong), "
    "0 is what says nothing or speaks against it"
)
"""What the values of every map mean."""

COVERING = "occlusion"
"""The method that looks at answers alone, and so at nothing that an untrained network has too."""


@dataclass(frozen=True)
class Explanation:
    """Why one thing is said of one picture.

    Attributes:
        file: of the picture.
        label: what is said: a class, or the name of a number.
        score: how surely, in [0, 1]; of a number, the number.
        map: (H, W) float32 in original pixels; see ``CONVENTION``.
        layer: the map that was looked at and its places; empty for methods that look at none.
        box: x0, y0, x1, y1 in original pixels, of an object.
        region: (H, W) bool, where a class is said of some pixels.
        faithfulness: what was measured of the map; None where that was not asked for.
    """

    file: str
    label: str
    score: float
    map: NDArray[np.float32]
    layer: str = ""
    box: tuple[float, float, float, float] | None = None
    region: NDArray[np.bool] | None = None
    faithfulness: Faithfulness | None = None

    @property
    def title(self) -> str:
        """What is said, and how surely: "cat 0.93"."""
        return f"{self.label} {self.score:.3g}"

    def json(self) -> dict[str, Any]:
        """Return plain values; the map as the box of its upper half and the place of its largest value."""
        y, x = np.unravel_index(int(self.map.argmax()), self.map.shape)
        told: dict[str, Any] = {"file": self.file, "label": self.label, "score": self.score}
        if self.box is not None:
            told["box"] = [round(side, 2) for side in self.box]
        if self.region is not None:
            told["area"] = round(float(self.region.mean()), 6)
        told |= {"layer": self.layer, "peak": [int(x), int(y)], "empty": not self.map.any()}
        if (measured := self.faithfulness) is not None:
            told["faithfulness"] = {
                "gain": measured.gain, "random_maps_beaten": measured.beaten,
                "random_maps": len(measured.random_deletion), "shares": measured.shares.tolist(),
                "deletion": measured.deletion.tolist(), "insertion": measured.insertion.tolist(),
                "correlation_untrained": measured.correlation, "similarity_untrained": measured.similarity,
            }  # fmt: skip
        return told


@dataclass(frozen=True)
class Explanations:
    """What was explained, picture by picture, and how far it can be believed.

    Attributes:
        model: that was asked; ``method``: by which it was, and ``why``: the reason for it.
        explanations: in the order of the files, of each the surest first.
        nearest: of each file, the training pictures most like it, the nearest first.
        gain: mean of ``Faithfulness.gain`` over pictures, with its interval; None where nothing was measured.
        correlation: mean rank correlation with maps of untrained networks.
        warnings: what speaks against believing the maps, a sentence each.
        problems: (what was named, reason): what could not be read or explained.
        readable: there are no more problems than the model's recipe allows of so many files.
        notes: what was passed over or chosen, a sentence each.
        drawn: where overlays were written; ``page``: the page with all of it.
    """

    model: str
    method: str
    why: str
    explanations: tuple[Explanation, ...]
    nearest: Mapping[str, Sequence[Neighbour]] = field(default_factory=dict)
    gain: Score | None = None
    correlation: Score | None = None
    warnings: tuple[str, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    readable: bool = True
    notes: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    page: str = ""

    def __len__(self) -> int:
        return len(self.explanations)

    def __iter__(self) -> Iterator[Explanation]:
        return iter(self.explanations)

    def json(self) -> dict[str, Any]:
        """Return plain values with the fields' names; maps are arrays, and stay behind."""
        return {
            "model": self.model, "method": self.method, "convention": CONVENTION,
            "explanations": [one.json() for one in self],
            "nearest": {file: [one.json() for one in near] for file, near in self.nearest.items()},
            "gain": self.gain.json() if self.gain is not None else None,
            "correlation_untrained": self.correlation.json() if self.correlation is not None else None,
            "warnings": list(self.warnings),
            "problems": [{"file": file, "why": why} for file, why in self.problems],
            "notes": list(self.notes), "drawn": list(self.drawn), "page": self.page,
        }  # fmt: skip

    def summary(self) -> str:
        """Return the lines that matter: the method, what was measured, what speaks against believing it, the page."""
        lines = [f"method    {self.method}: {self.why}"]
        if self.gain is not None and self.correlation is not None:
            ends = f" [{self.gain.low:+.3f}, {self.gain.high:+.3f}]" if math.isfinite(self.gain.low) else ""
            lines.append(f"gain      {self.gain.value:+.3f}{ends} over random maps as smooth (n = {self.gain.n:,})")
            lines.append(f"untrained {self.correlation.value:.2f} rank correlation with maps of untrained networks")
        lines += [f"warning   {sentence}" for sentence in self.warnings]
        return "\n".join(lines + ([f"page      {self.page}"] if self.page else []))

    def table(self) -> Table:
        """Return a line an explanation."""
        measured = any(one.faithfulness is not None for one in self)
        columns = ("file", "label", "score", *(("gain", "beats random", "like untrained") if measured else ()), "layer")
        rows = []
        for one in self:
            found = one.faithfulness
            told = (
                ()
                if found is None
                else (found.gain, f"{found.beaten} of {len(found.random_deletion)}", found.correlation)
            )
            rows.append((one.file, one.label, one.score, *told, one.layer))
        return Table("", columns, rows)


def explain(
    model: str | Path | Model,
    files: str | Path | Sequence[str | Path],
    *,
    method: str | None = None,
    label: str | None = None,
    layer: str | None = None,
    most: int = 4,
    least: float | None = None,
    check: bool = True,
    nearest: int = 5,
    data: str | Path | None = None,
    layers: bool = False,
    out: str | Path | None = None,
    network: str | nn.Module | None = None,
    batch: int = 16,
) -> Explanations:
    """Return which parts of pictures speak for what a model says of them, and how far that can be believed.

    Each map is measured: the answer must fall when the marked places are covered first and rise when they are shown
    first, more than for random maps as smooth as this one; and it must be another map when the network has learned
    nothing.  A method whose maps fail is named in ``warnings``.

    Args:
        model: a model file, a run folder, or a loaded model.
        files: files, folders (looked through for pictures) and globs.
        method: one of ``visus list explainers``; by default ``grad_cam``, and ``layer_cam`` for objects.
        label: class, or number, that is explained; by default what the model says.
        layer: module of the network at whose maps is looked; by default chosen by rule, which is told.
        most: things explained of one picture at most, such as boxes, the surest first.
        least: score from which on an object is found; by default that of the best F1 on the validation part.
        check: measure each map; it takes some hundred answers of the model for each.
        nearest: training pictures that are told of each picture, those most like it in the network's own features.
        data: where the training pictures lie.  By default where the model's run says, if they are there as they were
            then; if not, a note says so.
        layers: also draw the network's first filters, and its maps of each picture; it needs ``out``.
        out: folder for overlays, explanations.json and report.html, in place of those of an earlier explanation.
        network: ``FILE.py:Class`` or a module, when the network is the user's own.
        batch: versions of a picture looked at at once.

    Raises:
        DataError: there is not one picture, or in none of them anything that could be explained.
        UsageError: no such method, class or layer; a method that does not suit the network; ``out`` cannot be written.
        ResourceError: memory ran out.
    """
    from visus.data.dataset import FileImages, Strings
    from visus.verbs.explained import written
    from visus.verbs.explaining import Asked
    from visus.verbs.load import Model, load
    from visus.verbs.predict import check_least, gather, make_folder

    if most < 1 or batch < 1 or nearest < 0:
        raise UsageError("EXPLAIN-009", f"most = {most}, batch = {batch}: 1 or more; nearest = {nearest}: 0 or more",
                         fix="leave them out")  # fmt: skip
    if layers and out is None:
        raise UsageError(
            "EXPLAIN-014", "layers are drawn into a folder", fix="visus.explain(..., layers=True, out=DIR)"
        )
    found, missing, notes = gather(
        [files] if isinstance(files, str | Path) else files, "nothing was explained", "visus explain MODEL FILES..."
    )
    loaded = (model if isinstance(model, Model) else load(model, model=network)).answering("explain")
    check_least(loaded, least)
    asked = Asked.settle(loaded, method, label or "", layer or "", least, most=most, check=check, batch=batch)
    fresh = out is not None and not Path(out).exists()
    if out is not None:
        make_folder(Path(out), "nothing was explained")
    images = FileImages(Path(), Strings(found), loaded.recipe.data.max_pixels)
    bad: dict[str, str] = {}
    explanations = tuple(asked.explain(images, found, bad))
    problems = (*bad.items(), *missing)
    if not explanations:
        if out is not None and fresh and not any(Path(out).iterdir()):
            Path(out).rmdir()
        (name, why), more = problems[0], len(problems) - 1
        raise DataError(
            "EXPLAIN-010", f"{name}: {why}", where=f"and {more:,} more" if more else "",
            done="nothing was explained", fix="other pictures; of a detector also less sure objects: --least 0.05",
        )  # fmt: skip
    readable = len(problems) <= loaded.recipe.data.max_bad * (len(found) + len(missing))
    search, near, told = _near(asked, data, images, found, {one.file for one in explanations}, nearest)
    result = judged(Explanations(
        str(loaded.path), asked.method, asked.why, explanations, nearest=near, problems=problems, readable=readable,
        notes=(*notes, *asked.notes(), *told),
    ))  # fmt: skip
    return result if out is None else written(asked, images, found, result, Path(out), search, layers=layers)


def _near(
    asked: Asked, data: str | Path | None, images: Images, names: Sequence[str], wanted: set[str], k: int
) -> tuple[Nearest | None, dict[str, list[Neighbour]], list[str]]:
    """Return the searched training pictures, the ``k`` nearest of each wanted one, and what is to be said of it.

    Only where the user named the data must it be there, and the network have features.
    """
    from visus.verbs.nearest import MOST, Nearest

    if not k:
        return None, {}, []
    try:
        search = Nearest(asked.model, asked.task, data)
        near = search.of(images, names, wanted, k)
    except UsageError as error:
        if data is not None:
            raise
        return None, {}, [f"no nearest training pictures: {error.what}; {error.fix}"]
    every = MOST + search.left_out
    return search, near, [f"of {every:,} training pictures {MOST:,} were looked through"] * (search.left_out > 0)


def judged(result: Explanations) -> Explanations:
    """Return explanations with what all of their measurements together say."""
    from visus.explainers._faithfulness import LIKE

    measured = [one for one in result if one.faithfulness is not None]
    empty = sum(not one.map.any() for one in result)
    warnings = []
    if empty:
        warnings.append(
            f"{empty:,} of {len(result):,} maps are empty: by {result.method} nothing speaks for what is said"
        )
    if not measured:
        return replace(result, warnings=tuple(warnings))
    gain = _mean([(one.file, one.faithfulness.gain) for one in measured if one.faithfulness])
    like = _mean([(one.file, one.faithfulness.correlation) for one in measured if one.faithfulness])
    if like.value >= LIKE:
        shown = "the picture" if any(one.box is None for one in measured) else "where the box lies"
        warnings.append(
            f"{result.method} draws nearly the same maps for networks that have learned nothing (rank correlation "
            f"{like.value:.2f}): they show {shown}, not what the model makes of it"
            + (f"; --method {COVERING} asks the model itself" if result.method != COVERING else "")
        )
    if not gain.value > 0 or gain.low <= 0:
        warnings.append(
            f"the maps are not shown to mark what the answer depends on: covering and showing it first gains "
            f"{gain.value:+.3f} over random maps"
            + (f" [{gain.low:+.3f}, {gain.high:+.3f}]" if math.isfinite(gain.low) else "")
        )
    return replace(result, gain=gain, correlation=like, warnings=tuple(warnings))


def _mean(values: Sequence[tuple[str, float]]) -> Score:
    """Return the mean over pictures of what was measured of each, with its interval where there are enough."""
    from visus.metrics.bootstrap import FEWEST, measured

    by_file: dict[str, list[float]] = {}
    for file, value in values:
        by_file.setdefault(file, []).append(value)
    means = np.array([np.mean(each) for each in by_file.values()])
    if len(means) < FEWEST:
        return Score(float(means.mean()), math.nan, math.nan, len(means))
    found = measured(lambda weights: {"mean": (weights * means[:, None]).sum(0) / weights.sum(0)}, len(means), 1000)
    value, low, high = (float(end) for end in found["mean"])
    return Score(value, low, high, len(means))
