"""``visus check``: what is wrong with a data set, before a training step is spent on it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import BAD_DATA, MISSED, OK, DataError, UsageError
from visus.core.figures import Table
from visus.core.recipe import Choice, Recipe
from visus.data.paths import check_outside, shown
from visus.verbs.runs import silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from visus.checks import Finding, Item, Status, Subject
    from visus.data.dataset import Dataset
    from visus.report.check_page import Picture
    from visus.tasks._drawing import Colour
    from visus.verbs.assembly import Tell

SHOWN = 24
"""Items of a finding that the page shows as pictures."""

LISTED = 8
"""Findings that a terminal shows; all are in the page and in ``--json``."""

DOUBTED = ("CHECK-050", "CHECK-060", "CHECK-061", "CHECK-062", "CHECK-063")
"""The findings whose items are wrong labels, which ``visus fix`` can mend."""

GRAVITY: Mapping[Status, int] = {"ok": 0, "warned": 1, "clipped": 2, "skipped": 3, "refused": 4}
"""Of what becomes of a file: the gravest of all findings on it counts."""


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        data: as it was named; ``name``, ``format``, ``evidence``: of the data set.
        findings: the worst first.
        files: how many pictures there are of each status: ``ok``, ``warned``, ``clipped``, ``skipped``, ``refused``.
        splits: pictures of each part.
        notes: what was carved, guessed or left out while reading, a sentence each.
        exit: 0 clean or warnings only, 1 errors found, 3 more unreadable pictures than training leaves out.
        seconds: it took.
        page: the gallery, where one was asked for.
        fixes: the list of wrong labels for ``visus fix``, where there are some and a folder was named.
    """

    data: str
    name: str
    format: str
    evidence: str
    findings: tuple[Finding, ...]
    files: Mapping[str, int]
    splits: Mapping[str, int]
    notes: tuple[str, ...]
    exit: int
    seconds: float
    page: Path | None = None
    fixes: Path | None = None

    def json(self) -> dict[str, Any]:
        """Return ``{"findings": [{code, level, title, why, fix, count, items}], "files": {status: n}, "exit"}``."""
        return {
            "data": self.data, "name": self.name, "format": self.format, "evidence": self.evidence,
            "notes": list(self.notes), "findings": [finding.json() for finding in self.findings],
            "files": dict(self.files), "splits": dict(self.splits), "page": str(self.page) if self.page else None,
            "fixes": str(self.fixes) if self.fixes else None,
            "exit": self.exit, "seconds": round(self.seconds, 3),
        }  # fmt: skip

    def table(self) -> Table:
        """Return the findings for a terminal, the worst first: what was found, an example, and what to do."""
        rows = []
        for finding in self.findings[:LISTED]:
            first = next(iter(finding.items), None)
            place = _place(first) if first else ""
            told = first.why if first and first.why not in finding.title else ""
            example = ": ".join(filter(None, ["" if place in finding.title else place, told]))
            fix = f"-> {finding.fix}" if finding.fix else ""
            rows.append((finding.level, "\n".join(filter(None, [finding.title, example, fix]))))
        more = len(self.findings) - LISTED
        note = f"and {more:,} more: --out DIR shows all of them, --json lists them" if more > 0 else ""
        return Table("", ("level", "finding"), rows, note)

    def summary(self) -> str:
        """Return one line: how many pictures there are, and what becomes of them."""
        total = sum(self.files.values())
        told = {"ok": "fine", "warned": "with a warning", "clipped": "with labels cut at the edge",
                "skipped": "left out", "refused": "refused"}  # fmt: skip
        parts = [f"{self.files[status]:,} {words}" for status, words in told.items() if self.files.get(status)]
        return f"{self.name}: {total:,} {'picture' if total == 1 else 'pictures'}, {', '.join(parts)}"


def check(
    data: str | Path,
    *,
    labels: bool = False,
    augment: bool = False,
    out: str | Path | None = None,
    set: Mapping[str, Any] | Sequence[Choice] | None = None,
    download: bool = False,
    watch: Tell | None = None,
) -> Checked:
    """Look at every picture and label of a data set, and tell what would mislead or stop training; nothing is changed.

    Args:
        data: a folder, a file or a name, as for ``train``.
        labels: also train small models, and point at classes that they think are wrong; of boxes and regions also at
            those that are missing, on nothing, or badly placed.
        augment: also show, on the page, what training does to pictures, with proof that labels follow.
        out: folder for ``check.html``, a page with the pictures, ``check.json``, and ``fixes.json`` for ``fix``;
            one in which fixes are meant already stays, and the new one is ``fixes-2.json``.
        set: settings by dotted key, as for ``train``: ``{"data.format": "csv"}``.
        download: allow a data set named by ``torchvision:NAME`` to be fetched.
        watch: told what happens: notes.

    Raises:
        UsageError: bad settings, a folder that cannot be written to, or nowhere to show pictures.
        DataError: the data cannot be read as a data set.
        BadDataLimit: too many listed files are missing.
    """
    from visus.checks.broken import beyond_limit
    from visus.core.files import write_json
    from visus.verbs.fix import free_list, write_fixes

    started, tell = time.perf_counter(), watch or silent
    choices = [Choice(key, value, "set") for key, value in set.items()] if isinstance(set, Mapping) else list(set or ())
    folder = Path(out) if out is not None else None
    if augment and folder is None:
        raise UsageError("USE-042", "augmented pictures are shown on the page", fix="--augment --out DIR")
    if folder is not None:
        check_outside(folder, Path(data))
    with _made(folder):
        subject, carved = examine(data, choices, labels=labels, download=download, tell=tell)
    findings = sorted([*carved, *_findings(subject)], key=_order)
    dataset = subject.dataset
    doubted = [finding for finding in findings if finding.code in DOUBTED]
    result = Checked(
        data=str(data), name=dataset.name, format=dataset.format, evidence=dataset.evidence, findings=tuple(findings),
        files=_files(dataset, findings),
        splits={split: n for split in ("train", "val", "test") if (n := len(dataset.indices(split)))},
        notes=dataset.notes,
        exit=BAD_DATA if beyond_limit(subject) else MISSED if findings and findings[0].level == "error" else OK,
        seconds=time.perf_counter() - started, page=folder / "check.html" if folder is not None else None,
        fixes=free_list(folder) if folder is not None and doubted else None,
    )  # fmt: skip
    if result.fixes is not None:
        write_fixes(dataset, doubted, result.fixes)
    if folder is not None:
        _write_page(result, subject, augment)
        write_json(folder / "check.json", result.json())
    return result


def examine(
    data: str | Path, wanted: Sequence[Choice], *, labels: bool, download: bool, tell: Tell
) -> tuple[Subject, list[Finding]]:
    """Return what checks look at, after one look at every picture, and why training would not begin, if it would not.

    Raises:
        UsageError: bad settings.
        DataError: the data cannot be read.
    """
    from visus.checks import Subject
    from visus.data.looking import look
    from visus.data.reading import open_data
    from visus.verbs.choosing import check_wishes

    said = check_wishes(wanted)

    def note(sentence: str) -> None:
        tell({"note": sentence})

    dataset = open_data(data, said.data, seed=said.seed, download=download, carve=False, faulty=True)
    dataset, stopped = _carved(dataset, said)
    note(f"{dataset.name}: {dataset.format}, {dataset.evidence}")
    for sentence in dataset.notes:
        note(sentence)
    recipe = _recipe(dataset, wanted) if not stopped else None
    note(f"looking at {len(dataset):,} pictures")
    seen = look(dataset, workers=said.data.workers, tell=note)

    @cache
    def features() -> Any:
        import numpy as np

        from visus.verbs.features import features as computed

        readable = np.flatnonzero(seen.size[:, 0] > 0)
        shorter = float(np.median(seen.size[readable].min(1))) if len(readable) else 0.0
        return computed(dataset, readable, shorter, note)

    @cache
    def doubted() -> Any:
        from visus.verbs.out_of_fold import out_of_fold

        return out_of_fold(dataset, recipe, note, features)

    @cache
    def found() -> Any:
        import numpy as np

        from visus.verbs.choosing import LENGTHS
        from visus.verbs.out_of_fold import detections_out_of_fold, masks_out_of_fold

        assert recipe is not None, "checks ask networks only about what training would begin on"
        timed = any(key in LENGTHS for choice in wanted for key in choice.sets())
        known = np.flatnonzero(seen.size[:, 0] > 0)
        if dataset.maps is None:
            return detections_out_of_fold(dataset, recipe, known, tell, timed=timed)
        labelled = [i for i in known.tolist() if dataset.maps.paths[i]]
        return masks_out_of_fold(dataset, recipe, np.array(labelled), tell, timed=timed)

    boxes = found if labels and dataset.column() == "objects" else None
    masks = found if labels and dataset.maps is not None and dataset.column() == "class_map" else None
    return Subject(dataset, seen, recipe, features, doubted if labels else None, note, said.data, boxes, masks), stopped


def _carved(dataset: Dataset, said: Recipe) -> tuple[Dataset, list[Finding]]:
    """Return the data with the parts that training would carve, or as it is with what training would stop at."""
    from visus.checks import Finding
    from visus.data.splitting import carve_missing
    from visus.verbs.choosing import check_marked

    try:
        if dataset.column() in ("objects", "class_map", "class_sets"):
            check_marked(dataset)
        return carve_missing(dataset, validation=said.data.validation, test=said.data.test, seed=said.seed), []
    except DataError as error:
        why = "training would stop at it" + (f": {error.where}" if error.where else "")
        return dataset, [Finding("CHECK-029", "error", error.what, why, error.fix, consequence="stop")]


def _recipe(dataset: Dataset, wanted: Sequence[Choice]) -> Recipe | None:
    """Return the recipe that training would use, or None where no task learns from such data."""
    from visus.verbs.choosing import resolve, task_for

    try:
        task_for(dataset, "")
    except UsageError:
        return None
    return resolve(dataset, wanted)


def _findings(subject: Subject) -> list[Finding]:
    from visus.checks import CHECKS

    return [finding for name in CHECKS for finding in CHECKS[name].look(subject)]


def _order(finding: Finding) -> tuple[int, int, int, str]:
    """Return a sort key: errors, warnings, notes; in each what stops training, then what leaks, ...; then by count."""
    from visus.checks import CONSEQUENCES, LEVELS

    count = len(finding.items) or sys.maxsize  # without items, it is about all
    return LEVELS.index(finding.level), CONSEQUENCES.index(finding.consequence), -count, finding.code


def _place(item: Item) -> str:
    """Return the file of an item and the place in it, as one line."""
    return ", ".join(filter(None, [shown(item.file), item.where]))


def _files(dataset: Dataset, findings: Sequence[Finding]) -> dict[str, int]:
    """Return how many pictures there are of each status: the gravest of any finding on them.

    A picture of which a place is left out, such as a box, is read all the same.
    """
    worst: dict[int, Status] = dict.fromkeys(range(len(dataset)), "ok")
    for finding in findings:
        for item in finding.items:
            status: Status = "warned" if item.where and item.status == "skipped" else item.status
            if item.index >= 0 and GRAVITY[status] > GRAVITY[worst[item.index]]:
                worst[item.index] = status
    counts = Counter(worst.values())
    counts["skipped"] += len(dataset.bad)
    return {status: counts[status] for status in GRAVITY}


@contextmanager
def _made(folder: Path | None) -> Iterator[None]:
    """Make a folder, if need be and if one is wanted; where what follows fails, leave no trace of it.

    Raises:
        UsageError: it cannot be.
    """
    from visus.core.files import write_failed

    if folder is None:
        yield
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError("USE-041", f"{folder}: a file is in the way of this folder", done="nothing was checked",
                         fix="--out takes a folder: --out checked") from error  # fmt: skip
    except OSError as error:
        raise write_failed(error, folder) from error
    try:
        yield
    except BaseException:
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        raise


def _write_page(result: Checked, subject: Subject, augment: bool) -> None:
    """Write the gallery of what was found."""
    import numpy as np

    from visus.core.files import write_text
    from visus.report import check_page

    groups = [
        check_page.Group(
            finding.level, finding.code, finding.title, finding.why, finding.fix,
            [_shown(subject, item) for item in finding.items[:SHOWN]],
            [(_place(item), item.status, item.why) for item in finding.items],
            legend=_legend(finding),
        )
        for finding in result.findings
    ]  # fmt: skip
    assert result.page is not None
    write_text(result.page, check_page.render(check_page.Page(
        result.name, f"{result.format}, {result.evidence}", result.splits, result.files, groups, result.notes,
        result.seconds, *(_augmented(subject, np.flatnonzero(subject.seen.size[:, 0] > 0)) if augment else ([], "")),
        subject.dataset.column() in ("objects", "class_map", "class_sets"),
    )))  # fmt: skip


def _augmented(subject: Subject, readable: NDArray[np.int64]) -> tuple[list[Picture], str]:
    """Return pictures under the training transforms, each a row of them, and what was proved of their labels."""
    import numpy as np

    from visus.report.check_page import Picture
    from visus.verbs.augmenting import sheet, usual

    recipe = subject.recipe or usual(subject.dataset)
    if recipe is None or not len(np.intersect1d(subject.dataset.indices("train"), readable)):
        return [], "Nothing here can be trained on, so nothing is augmented."
    made = sheet(subject.dataset, recipe, readable)
    chosen = "" if subject.recipe else " The settings are usual ones: as it is, this data cannot be trained on."
    return [Picture(row.file, "", row.label, row.images) for row in made.rows], made.proof + chosen


def _shown(subject: Subject, item: Item) -> Picture:
    """Return an item as the page shows it: its picture, and the one it is compared with, as far as they can be read."""
    from visus.report.check_page import Picture

    if {"mask", "move"} & item.more.keys():
        return Picture(shown(item.file), "", item.why, _beside_label(subject, item))
    if {"stated", "suspected"} & item.more.keys():
        pixels = _marked(subject, item)
        return Picture(shown(item.file), "", item.why, [pixels] if pixels is not None else [])
    drawn = [_drawn(subject, i) for i in (item.index, item.beside) if i >= 0 and i not in subject.seen.reasons]
    return Picture(shown(item.file), shown(item.other), item.why, [pixels for pixels in drawn if pixels is not None])


def _legend(finding: Finding) -> Mapping[str, str]:
    """Return what the colours of boxes on a finding's pictures mean."""
    known = {name for item in finding.items for name in item.more}
    words = {"stated": "the box as the data has it", "suspected": "where a detector sees the object"}
    if "mask" in known:
        return {"suspected": "looks otherwise than it is labelled: on the picture, and on its label"}
    return {name: said for name, said in words.items() if name in known}


def _marked(subject: Subject, item: Item) -> NDArray[np.uint8] | None:
    """Return the surroundings of a doubtful box, with it and what was found there drawn; None where it is gone now."""
    import numpy as np

    from visus.data.pixels import pictures
    from visus.report.check_page import SIDE, STATED, SUSPECTED
    from visus.tasks._captions import rgb
    from visus.tasks._drawing import Drawn, drawn

    known = int(subject.seen.channels[item.index])
    source = pictures(subject.dataset.images, 3 if known in (1, 3) else known)
    taken = source.take(np.array([item.index]), lambda index: None)
    if taken.bad:
        return None
    pixels = rgb(taken.images[0])
    boxes = {name: np.array(item.more[name]) for name in ("suspected", "stated") if name in item.more}
    every = np.stack(list(boxes.values()))
    low, high = every[:, :2].min(0), every[:, 2:].max(0)
    around = max(float((high - low).max()), SIDE / 4)  # as much again on each side, and never a few pixels blown up
    x0, y0 = np.maximum(low - around, 0).astype(int).tolist()
    x1, y1 = np.ceil(high + around).astype(int).tolist()
    part = np.ascontiguousarray(pixels[y0:y1, x0:x1])
    colours = {"stated": STATED, "suspected": SUSPECTED}
    here = [
        Drawn((box - np.tile((x0, y0), 2)).tolist(), "", colours[name], dashed=name == "stated")
        for name, box in boxes.items()
    ]
    return drawn(part, here, SIDE)


def _beside_label(subject: Subject, item: Item) -> list[NDArray[np.uint8]]:
    """Return the surroundings of what is doubted of a map, outlined on picture and label; none where they are gone."""
    import numpy as np

    from visus.core.run_lengths import decode, decompress
    from visus.data.mask_door import read_map
    from visus.data.pixels import pictures
    from visus.report.check_page import SIDE, ringed
    from visus.tasks._captions import rgb
    from visus.tasks.segment.drawing import fitted, tinted

    maps, i = subject.dataset.maps, item.index
    known = int(subject.seen.channels[i])
    taken = pictures(subject.dataset.images, 3 if known in (1, 3) else known).take(np.array([i]), lambda index: None)
    if taken.bad or maps is None:
        return []
    pixels = rgb(taken.images[0])
    label = tinted(pixels, fitted(read_map(maps, i), pixels.shape), _colours(subject))
    part = np.s_[:, :]
    if item.more["kind"] in ("class", "missing", "extra"):
        x0, y0, x1, y1 = item.more["box"]
        around = max(x1 - x0, y1 - y0, SIDE)
        part = np.s_[max(0, y0 - around) : y1 + around, max(0, x0 - around) : x1 + around]
    if "mask" not in item.more:
        return [pixels, label]
    held = item.more["mask"]
    where = fitted(decode(decompress(held["counts"]), tuple(held["size"])), pixels.shape)
    return [ringed(drawn[part], where[part]) for drawn in (pixels, label)]


def _colours(subject: Subject) -> tuple[Colour, ...]:
    """Return the colour of each class of pixels: that of the data's own masks, where they have one each."""
    from visus.tasks.segment.colours import palette_of

    stated = subject.recipe.segment.palette if subject.recipe is not None else ()
    return palette_of(stated, len(subject.dataset.classes))


def _drawn(subject: Subject, i: int) -> NDArray[np.uint8] | None:
    """Return a picture as (H, W, 3) uint8, small, with its boxes or classes drawn; None where it is gone by now."""
    import numpy as np

    from visus.core.pixels import IGNORE
    from visus.data.mask_door import values_of
    from visus.data.pixels import pictures
    from visus.report.check_page import outlined
    from visus.tasks._captions import rgb
    from visus.tasks.segment.drawing import fitted, tinted

    dataset = subject.dataset
    known = int(subject.seen.channels[i])
    source = pictures(dataset.images, 3 if known in (1, 3) else known, stored=256)
    taken = source.take(np.array([i]), lambda index: None)
    if taken.bad:
        return None
    pixels = rgb(taken.images[0])
    if dataset.maps is not None and dataset.maps.paths[i]:
        try:
            values = fitted(values_of(dataset.maps, i), pixels.shape)
        except DataError:
            return pixels  # what is wrong with its mask is a finding of its own
        classes = np.full(values.shape, IGNORE, np.uint8)  # what stands for no class is left as it is, and seen so
        for k, value in enumerate(dataset.maps.values.tolist()):
            classes[values == value] = k
        pixels = tinted(pixels, classes, _colours(subject))
    if dataset.objects is None:
        return pixels
    boxes = dataset.objects.boxes[dataset.objects.starts[i] : dataset.objects.starts[i + 1]]
    height, width = subject.seen.size[i].tolist()
    return outlined(pixels, boxes * np.tile((pixels.shape[1] / width, pixels.shape[0] / height), 2))
