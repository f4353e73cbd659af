"""``visus info``: what a model file, a run folder, a folder of runs, a bundle, a data set or a picture is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import IntegrityError, UsageError, quoted
from visus.core.figures import Table

if TYPE_CHECKING:
    from torch import nn

    from visus.data.dataset import Dataset
    from visus.engine.healing import Cause

Rows = tuple[tuple[str, str], ...]
Section = tuple[str, Rows]

DECODED = 50_000_000
"""Bytes of picture files that are decoded to see whether they can be: a few seconds."""

MASKS = 200
"""Masks that are read to see what they show, evenly spread."""

SIZES = 4
"""Sizes of masks that are told, the most frequent first."""

WARNINGS = 8
"""Kinds of odd pictures that are told, the most frequent first."""


@dataclass(frozen=True)
class Info:
    """Sections of named facts about one file or folder.

    Attributes:
        kind: ``model``, ``run``, ``runs``, ``bundle``, ``data`` or ``picture``.
        path: as it was named.
        sections: each a title and its (name, fact) rows.
    """

    kind: str
    path: str
    sections: tuple[Section, ...]

    def json(self) -> dict[str, Any]:
        """Return plain values: facts by name within sections by title."""
        return {"kind": self.kind, "path": self.path, **{title: _by_name(rows) for title, rows in self.sections}}

    def tables(self) -> list[Table]:
        """Return a table a section."""
        return [Table(title, ("", ""), rows) for title, rows in self.sections]


def info(path: str | Path, *, replay: bool = False, network: str | nn.Module | None = None) -> Info:
    """Look at a model file, a run folder or a folder of runs, a bundle of a run, a data set or a picture.

    Args:
        path: the file or folder; a bundle is ``RUN/bundles/step-N``, which a step that was not finite leaves behind.
        replay: repeat a bundle's step on this machine, and tell whether it fails in the same way.
        network: ``FILE.py:Class`` or a module, for a replay with a network of the user's own.

    Raises:
        DataError: there is nothing there, or nothing visus knows.
        IntegrityError: a run or a bundle that is damaged.
        UsageError: a replay of what is no bundle.
    """
    place = Path(path)
    if (place / "cause.json").is_file():
        return _bundle(place, replay, network)
    if replay:
        raise UsageError("USE-025", f"{place}: only a bundle can be replayed", fix="visus info RUN lists its bundles")
    if (place / "recipe.yaml").is_file():
        return _run(place)
    if place.suffix == ".safetensors":
        return _model(place)
    if place.is_file() and place.suffix.lower() not in (".csv", ".tsv"):
        return _picture(place)
    if runs := [below.parent for below in place.glob("*/recipe.yaml")]:
        return _runs(place, runs)
    return _data(path)


def _model(path: Path) -> Info:
    from visus.core.modelfile import read_card
    from visus.report.cards import model_card

    return Info("model", str(path), tuple((title, tuple(rows)) for title, rows in model_card(read_card(path))))


def _run(folder: Path) -> Info:
    from visus.engine.folder import RunFolder
    from visus.verbs.runs import ROUTINE, ended, read_recipe, sentence

    recipe, held = read_recipe(folder), RunFolder(folder, leader=False)
    steps = [row for row in held.rows() if "validation" not in row]
    judged = [row for row in held.rows() if "validation" in row]
    done = ended(folder)
    rows = [("state", "ended" if done else f"not ended; go on with: visus resume {quoted(folder)}")]
    if steps:
        rows += [("steps logged", f"{steps[-1]['step']:,}"), ("last loss", _last_losses(steps))]
    if judged:
        said = judged[-1]["validation"].items()
        rows.append(("last validation", ", ".join(f"{name} {value:.4f}" for name, value in said if value is not None)))
    sections: list[Section] = [("run", tuple(rows))]
    if done is not None:
        scores = tuple((name, str(score)) for name, score in done.scores.items())
        sections.append((f"scores on the {done.split} part", scores))
    healed = [row for row in held.decisions() if row["kind"] not in ROUTINE]
    if healed:
        sections.append(
            ("what happened", tuple((f"step {row['step']:,}", f"{row['kind']}: {sentence(row)}") for row in healed))
        )
    bundles = sorted(path.parent for path in (folder / "bundles").glob("*/cause.json"))
    if bundles:
        sections.append(
            ("steps that can be replayed", tuple((b.name, f"visus info {quoted(b)} --replay") for b in bundles))
        )
    settings = ((key, f"{value}  ({recipe.origins.get(key, '')})") for key, value in recipe.flat().items())
    sections.append(("settings", tuple(settings)))
    return Info("run", str(folder), tuple(sections))


def _last_losses(steps: Sequence[Mapping[str, Any]]) -> str:
    """Return the loss of the last step; of several players each one's of the last step in which it did not rest."""
    from visus.report.words import number

    norms = [key for key in steps[-1] if key.startswith("gradient_norm/")]
    if not norms:
        return number(steps[-1].get("loss"))
    told = []
    for norm in norms:
        player = norm.removeprefix("gradient_norm/")
        moved = next((row for row in reversed(steps) if row.get(norm)), steps[-1])
        told.append(f"{player} {number(moved.get(f'loss/{player}'))}")
    return ", ".join(told)


def _runs(folder: Path, runs: Iterable[Path]) -> Info:
    from visus.data.listing import natural
    from visus.verbs.runs import ended

    rows = []
    for run in sorted(runs, key=lambda run: natural(run.name)):
        done = ended(run)
        if done is None:
            rows.append((run.name, f"not ended; go on with: visus resume {quoted(run)}"))
        else:
            name, score = next(iter(done.scores.items()), ("no score", ""))
            rows.append((run.name, f"ended; {name} {score} on the {done.split} part, {done.recipe.model.name}"))
    return Info("runs", str(folder), (("runs", tuple(rows)), ("next", (("one of them", "visus info RUN"),))))


def _bundle(place: Path, replay: bool, network: str | nn.Module | None) -> Info:
    from visus.engine.healing import Cause
    from visus.verbs.runs import read_document

    about = read_document(place / "cause.json")
    try:
        told = about["cause"]
        cause = Cause(told["kind"], told["module"], told["term"], tuple(told["ids"]), tuple(told["indices"]))
        rows = (("step", f"{about['step']:,}"), *_told(cause), ("samples of the step", ", ".join(about["ids"])))
    except (LookupError, TypeError, AttributeError) as error:
        raise IntegrityError("RUN-009", f"{place / 'cause.json'}: damaged", where=str(error)) from error
    sections: list[Section] = [("a step that was not finite", rows)]
    if replay:
        again = _replayed(place, network)
        same = again == cause
        sections.append(("replayed here", (("result", "the same" if same else "another"), *_told(again))))
    return Info("bundle", str(place), tuple(sections))


def _replayed(place: Path, network: str | nn.Module | None) -> Cause:
    """Return why a bundle's step is not finite on this machine."""
    from visus.core.modelfile import read_card
    from visus.engine.device import opened, placed
    from visus.engine.healing import replay
    from visus.tasks import TASKS
    from visus.verbs.load import network_of
    from visus.verbs.runs import read_recipe

    run = place.resolve().parent.parent
    recipe, card = read_recipe(run), read_card(run / "last.safetensors")
    with opened(recipe) as device:
        task = TASKS[recipe.task](recipe, card.classes)
        return replay(place, task, placed(network_of(card, network), device), device)


def _told(cause: Cause) -> Rows:
    ids = ", ".join(cause.ids) or "none is to blame alone"
    said = {"first not finite": cause.kind, "module": cause.module, "loss term": cause.term, "samples": ids}
    return tuple((name, fact) for name, fact in said.items() if fact)


def _picture(path: Path) -> Info:
    from visus.data.decode import decode

    found = decode(path)
    rows = (
        ("format", found.format),
        ("pixels", " x ".join(map(str, found.pixels.shape))),
        ("depth", str(found.pixels.dtype)),
        ("EXIF orientation", str(found.orientation)),
        ("warnings", "; ".join(found.warnings) or "none"),
    )
    return Info("picture", str(path), (("picture", rows),))


def _data(path: str | Path) -> Info:
    import numpy as np

    from visus.checks.classes import shown_in
    from visus.core.recipe import DataSettings
    from visus.data.dataset import SPLITS
    from visus.data.reading import open_data
    from visus.report.words import plural

    data = open_data(path, DataSettings())
    rows = [("format", f"{data.format}: {data.evidence}"), ("pictures", f"{len(data):,}")]
    rows += [(split, f"{len(data.indices(split)):,}") for split in SPLITS]
    rows += [("note", note) for note in data.notes]
    rows += [("unusable", f"{name}: {why}") for name, why in data.bad]
    rows += _decoded(data)
    sections: list[Section] = [("data", tuple(rows))]
    if "label" in data.columns:
        labels = data.columns["label"].astype(np.int64)
        counts = np.bincount(labels[labels >= 0], minlength=len(data.classes)).tolist()
        sections.append(("classes", tuple((n, f"{c:,}") for n, c in zip(data.classes, counts, strict=True))))
    elif "labels" in data.columns:
        counts = (data.columns["labels"] == 1).sum(0).tolist()
        sections.append(("classes", tuple((n, f"{c:,}") for n, c in zip(data.classes, counts, strict=True))))
    elif data.objects is not None:
        labels, pictures = data.objects.labels, shown_in(data, np.arange(len(data)))
        marked = np.bincount(labels[labels >= 0], minlength=len(data.classes)).tolist()
        drawn = zip(data.classes, marked, pictures.tolist(), strict=True)
        sections.append(("objects", tuple((n, f"{c:,} on {plural(shown, 'picture')}") for n, c, shown in drawn)))
    elif data.of_pixels is not None:
        sections += _of_pixels(data)
    elif "numbers" in data.columns:
        values = np.ma.masked_invalid(data.columns["numbers"].astype(np.float64))
        told = zip(data.numbers, values.min(0), values.mean(0), values.max(0), strict=True)
        sections.append(("numbers", tuple((n, f"{low:g} to {high:g}, mean {mean:g}") for n, low, mean, high in told)))
    return Info("data", str(path), tuple(sections))


def _of_pixels(data: Dataset) -> list[Section]:
    """Return the classes of pixels, each with its share of them, and what the masks are, by some evenly spread."""
    import numpy as np
    import torch

    from visus.core.annotations import ClassMap
    from visus.core.errors import DataError
    from visus.core.pixels import IGNORE
    from visus.data.mask_door import read_map
    from visus.data.objects import ClassMaps
    from visus.data.pixels import size_of
    from visus.report.words import plural

    maps, k = data.of_pixels, len(data.classes)
    assert maps is not None
    there = [i for i in range(len(data)) if not isinstance(maps, ClassMaps) or maps.paths[i]]
    shown, known, every, sizes, bad = np.zeros(k, np.int64), 0, 0, Counter[tuple[int, int]](), list[tuple[str, str]]()
    pictures = np.zeros(k, np.int64)
    at = np.unique(np.linspace(0, len(there) - 1, min(MASKS, len(there))).astype(np.int64)).tolist()
    for i in (there[place] for place in at):
        try:
            classes = read_map(maps, i) if isinstance(maps, ClassMaps) else maps.read(i, size_of(data.images, i))
        except DataError as error:
            bad.append(("unreadable", error.what))
            continue
        ignored = IGNORE if classes.dtype == np.uint8 else -1
        for c, many in ClassMap(torch.from_numpy(classes), ignored).shown().items():
            shown[c] += many
            pictures[c] += 1
        known, every = known + int((classes != ignored).sum()), every + classes.size
        sizes[classes.shape[0], classes.shape[1]] += 1
    files = maps if isinstance(maps, ClassMaps) else None
    palette = files.palette if files is not None else None
    rows = []
    for c, name in enumerate(data.classes):
        own = f"{shown[c] / max(1, known):.2%} of the pixels, on {plural(int(pictures[c]), 'picture')}"
        own += f", value {files.values[c]}" if files is not None and files.code is None else ""
        own += ", #{:02x}{:02x}{:02x}".format(*palette[c]) if palette is not None else ""
        rows.append((name, own))
    some = "all" if len(at) == len(there) else f"{len(at):,} of {len(there):,}, evenly spread"
    usual = sizes.most_common(SIZES)
    told = [("looked at", some), *bad]
    told += [(f"{width} x {height} pixels", plural(n, "mask")) for (height, width), n in usual]
    if others := sizes.total() - sum(n for _, n in usual):
        told.append(("other sizes", plural(others, "mask")))
    told.append(("without a class", f"{1 - known / max(1, every):.2%} of the pixels"))
    if files is not None:
        told += [("ignored values", ", ".join(map(str, files.ignore)) or "none")]
        told += [("colours", "of the data" if palette is not None else "none are stated: visus chooses them")]
    return [("classes of pixels", tuple(rows)), ("masks", tuple(told))]


def _decoded(data: Dataset) -> list[tuple[str, str]]:
    """Return how many files were decoded, evenly spread, which of them cannot be, and what is odd about the others."""
    import numpy as np

    from visus.core.errors import DataError
    from visus.data.dataset import FileImages
    from visus.data.decode import decode
    from visus.data.paths import shown
    from visus.report.words import plural

    if not isinstance(data.images, FileImages):
        return []
    files = [data.images.root / path for path in data.images.paths]
    size = sum(file.stat().st_size for file in files if file.is_file())
    count = len(files) if size <= DECODED else max(1, len(files) * DECODED // size)
    bad, warned = [], Counter[str]()
    for i in np.linspace(0, len(files) - 1, count).astype(np.int64).tolist():
        try:
            warned.update(decode(files[i], max_pixels=data.images.max_pixels, at_least=64).warnings)
        except DataError as error:
            bad.append(("unreadable", f"{data.ids[i]}: {error.what.removeprefix(f'{shown(files[i])}: ')}"))
    some = "all" if count == len(files) else f"{count:,} of {len(files):,}, evenly spread; training lists what it meets"
    told = [("warning", f"{plural(n, 'picture')}: {what}") for what, n in warned.most_common(WARNINGS)]
    return [("decoded", f"{some}: {len(bad):,} unreadable"), *bad, *told]


def _by_name(rows: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return rows as a mapping; a name that comes more than once has a list."""
    found: dict[str, Any] = {}
    for name, fact in rows:
        if name in found:
            found[name] = [*(found[name] if isinstance(found[name], list) else [found[name]]), fact]
        else:
            found[name] = fact
    return found
