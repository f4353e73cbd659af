"""What the reader of the format mended, cut or left out, and what is listed but not there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import PurePosixPath

from visus.checks import Check, Finding, Item, Level, Status, Subject, are
from visus.data.dataset import Dataset

_STATUSES: dict[str, Status] = {"skipped": "skipped", "clipped": "clipped"}
_WORDS: dict[Status, tuple[Level, str, str]] = {
    "skipped": ("warning", "left out", "what is left out is not learned from, and counts as background"),
    "clipped": ("warning", "cut at the picture's edge", "a label that reaches outside was drawn badly, or elsewhere"),
    "warned": ("warning", "read, though odd", "the file may not say what was meant"),
}  # fmt: skip


def look(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each kind of remark, and one for pictures that are listed but missing."""
    dataset = subject.dataset
    record = records_of(dataset)
    kinds: dict[tuple[Status, str], list[Item]] = defaultdict(list)
    for remark in dataset.remarks:
        status = _STATUSES.get(remark.status, "warned")
        of = record(remark.picture or remark.file)
        item = Item(remark.file, status, remark.why, index=of, where=remark.where)
        kinds[status, remark.code].append(item)
    for (status, code), items in sorted(kinds.items(), key=lambda pair: -len(pair[1])):
        level, done, why = _WORDS[status]
        count = len(items)
        title = f"{count:,} {are(count, 'place', 'places')} in the files {are(count)} {done}: {items[0].why}"
        title += " ..." * any(item.why != items[0].why for item in items)
        yield Finding(code, level, title, why, "mend what is listed, in the tool that wrote it", tuple(items))
    if dataset.bad:
        yield Finding(
            "CHECK-020", "warning",
            f"{len(dataset.bad):,} {are(len(dataset.bad), 'picture is', 'pictures are')} listed but cannot be used",
            "they are left out of training; too many stop it", "add the files, or remove their lines",
            tuple(Item(name, "skipped", why) for name, why in dataset.bad),
        )  # fmt: skip


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
