"""What is left of explanations in a folder: overlays, numbers, and the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from visus.core.files import write_bytes, write_json, write_text
from visus.data.dataset import Images
from visus.data.pixels import pictures
from visus.explainers import EXPLAINERS
from visus.explainers._faithfulness import LIKE
from visus.report.explain_page import Curves, Page, Shown, render
from visus.report.overlays import overlay
from visus.report.pictures import png
from visus.tasks._captions import rgb
from visus.verbs.explain import CONVENTION, Explanation, Explanations

if TYPE_CHECKING:
    from visus.verbs.explaining import Asked
    from visus.verbs.load import Model
    from visus.verbs.nearest import Nearest


def written(
    asked: Asked,
    images: Images,
    names: Sequence[str],
    result: Explanations,
    out: Path,
    search: Nearest | None,
    *,
    layers: bool,
) -> Explanations:
    """Write the overlays, the numbers and the page; with ``layers`` filters and maps of the network too.

    Raises:
        UsageError: the folder cannot be written to.
        ResourceError: the disk is full.
    """
    source = pictures(images, asked.model.recipe.input.channels)
    drawn: list[str] = []
    shown: list[Shown] = []
    pixels: dict[str, NDArray[np.uint8]] = {}
    for one in result:
        near: list[tuple[str, NDArray[np.uint8]]] = []
        if one.file not in pixels:  # the first of its picture
            taken = source.take(np.array([names.index(one.file)]), lambda index: None)
            pixels = {one.file: rgb(taken.images[0])}
            if search is not None:
                near = [(each.told, search.picture(each)) for each in result.nearest.get(one.file, ())]
        picture = overlay(pixels[one.file], one.map, one.title, one.box, one.region)
        label = "".join(c if c.isalnum() else "_" for c in one.label)[:30]
        place = out / f"{len(drawn):05d}-{Path(one.file).stem[:60]}-{label}.png"
        write_bytes(place, png(picture))
        drawn.append(str(place))
        shown.append(Shown(one.title, Path(one.file).name, _facts(one), pixels[one.file], picture, near))
    if layers:
        drawn += asked.layers_of(images, names, out)
    done = replace(result, drawn=tuple(drawn), page=str(out / "report.html"))
    before = _drawn_before(out) - {Path(file) for file in drawn}
    write_json(out / "explanations.json", done.json())
    write_text(out / "report.html", render(_page(asked.model, done, shown)))
    for file in before:
        file.unlink(missing_ok=True)
    return done


def _drawn_before(out: Path) -> set[Path]:
    """Return the pictures that an earlier explanation wrote into a folder, where its numbers still say which."""
    try:
        told = json.loads((out / "explanations.json").read_text(encoding="utf-8"))
        names = [Path(name).relative_to(Path(told["page"]).parent) for name in told["drawn"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()  # there was none, or it is not ours: whatever lies there is not ours, either
    places = [Path(), Path("layers")]
    found = {out / name for name in names if name.suffix == ".png" and name.parent in places}
    return {file for file in found if file.is_file() and not file.parent.is_symlink()}


def _facts(one: Explanation) -> list[tuple[str, str]]:
    """Return what is told of an explanation beside its pictures."""
    facts = [("layer", one.layer)] if one.layer else []
    if one.box is not None:
        facts.append(("box", " ".join(f"{side:.0f}" for side in one.box)))
    if one.region is not None:
        facts.append(("region", f"{one.region.mean():.1%} of the picture"))
    if (found := one.faithfulness) is not None:
        facts.append(
            ("gain", f"{found.gain:+.3f}; better than {found.beaten} of {len(found.random_deletion)} random maps")
        )
        facts.append(
            ("untrained", f"rank correlation {found.correlation:.2f}, structural similarity {found.similarity:.2f}")
        )
    return facts


def _page(model: Model, result: Explanations, shown: Sequence[Shown]) -> Page:
    """Return what the page tells."""
    measured = [one.faithfulness for one in result if one.faithfulness is not None]
    names = ("deletion", "insertion", "random_deletion", "random_insertion")
    stacked = [np.stack([getattr(one, name) for one in measured]) for name in names] if measured else []
    explainer = EXPLAINERS[result.method]
    return Page(
        "/".join(Path(result.model).parts[-2:]), result.method, result.why, explainer.summary, explainer.source,
        CONVENTION, shown, result.gain, result.correlation, LIKE, result.warnings, result.notes,
        [(Path(file).name, why) for file, why in result.problems],
        Curves(measured[0].shares, *stacked) if measured else None, unit="numbers" not in model.task.reads,
    )  # fmt: skip
