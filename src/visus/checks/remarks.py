"""What the reader of the format stops at, mended, cut or left out, and what is listed but not there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import PurePosixPath

from visus.checks import Check, Consequence, Finding, Item, Level, Status, Subject, are
from visus.data.dataset import Dataset, Fault
from visus.data.objects import Remark
from visus.data.paths import shown

_STATUSES: dict[str, Status] = {"skipped": "skipped", "clipped": "clipped"}
_WORDS: dict[Status, tuple[Level, str, str, Consequence]] = {
    "skipped": ("warning", "left out", "what is left out is not learned from; an object counts as background", "loss"),
    "clipped": ("warning", "cut at the picture's edge", "a label that reaches outside was drawn badly, or elsewhere",
                "loss"),
    "warned": ("warning", "read, though odd", "the file may not say what was meant", "weak"),
}  # fmt: skip

_UNSEEN = "training never sees it"


def look(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each kind of fault and of remark, and one for pictures that are listed but missing."""
    dataset = subject.dataset
    yield from _stopping(dataset)
    record = records_of(dataset)
    kinds: dict[tuple[Status, str], list[Remark]] = defaultdict(list)
    for remark in dataset.remarks:
        kinds[_STATUSES.get(remark.status, "warned"), remark.code].append(remark)
    for (status, code), remarks in sorted(kinds.items(), key=lambda pair: -len(pair[1])):
        level, done, why, consequence = _WORDS[status]
        count, first = len(remarks), remarks[0]
        if any(remark.where for remark in remarks):
            places = are(count, "place in the files is", "places in the files are")
        else:
            places, why = are(count, "file is", "files are"), _UNSEEN if status == "skipped" else why
        title = f"{count:,} {places} {done}: {first.why}"
        title += " ..." * any(remark.why != first.why for remark in remarks)
        items = tuple(
            Item(remark.file, status, remark.why, index=record(remark.picture or remark.file), where=remark.where)
            for remark in remarks
        )
        fix = first.fix or "mend what is listed, in the tool that wrote it"
        yield Finding(code, level, title, why, fix, items, consequence=consequence)
    if dataset.bad:
        yield Finding(
            "CHECK-020", "warning",
            f"{len(dataset.bad):,} {are(len(dataset.bad), 'picture is', 'pictures are')} listed but cannot be used",
            "they are left out of training; too many stop it", "add the files, or remove their lines",
            tuple(Item(name, "skipped", why) for name, why in dataset.bad), consequence="loss",
        )  # fmt: skip


def _stopping(dataset: Dataset) -> Iterator[Finding]:
    """Yield a finding for each kind of fault that training stops at."""
    kinds: dict[str, list[Fault]] = defaultdict(list)
    for fault in dataset.faults:
        kinds[fault.error.code].append(fault)
    for code, faults in kinds.items():
        error, more = faults[0].error, len(faults) - 1
        told = _fault(dataset, faults[0])
        title = told if told == error.what else f"{told}: {shown(faults[0].file)}"
        title += f", and {more:,} more" * bool(more)
        why = f"training stops at it: {error.where}" if error.where else "training stops at it"
        items = tuple(item for fault in faults for item in _concerned(dataset, fault))
        yield Finding(code, "error", title, why, error.fix, items, consequence="stop")


def _concerned(dataset: Dataset, fault: Fault) -> Iterator[Item]:
    """Yield each picture that a fault concerns, or what is at fault, where it is none."""
    why = _fault(dataset, fault)
    for i in fault.records:
        yield Item(dataset.ids[i], "refused", why, index=i)
    if not fault.records:
        yield Item(fault.file, "refused", why)


def _fault(dataset: Dataset, fault: Fault) -> str:
    """Return what is wrong, without the file that it is about."""
    return fault.error.what.removeprefix(f"{shown(dataset.root / fault.file)}: ")


def records_of(dataset: Dataset) -> Callable[[str], int]:
    """Return what finds the record that a file speaks of: the picture, or the only one that is called alike; or -1."""

    @cache
    def index() -> dict[str, int]:
        stems = [PurePosixPath(name).stem for name in dataset.ids]
        shared = {stem for stem, count in Counter(stems).items() if count > 1}
        alone = {stem: i for i, stem in enumerate(stems) if stem not in shared}
        return alone | {name: i for i, name in enumerate(dataset.ids)}

    return lambda file: index().get(file, index().get(PurePosixPath(file).stem, -1))


CHECK = Check("what the reader mended, cut or left out", look)
