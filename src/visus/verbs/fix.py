"""``visus fix``: applies fixes of labels to a copy of a data set, and takes them back byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from visus.checks import Finding
    from visus.data.dataset import Dataset
    from visus.data.fixes import Fixes


@dataclass(frozen=True)
class Fixed:
    """A copy of a data set after fixes, or after they were taken back.

    Attributes:
        folder: the copy; ``data``: what to train on: the folder, or the table in it.
        applied: what was done, or taken back, as the list of fixes says it.
        listed: how many fixes there were in the list, whether meant or not.
        undone: they were taken back.
        left: names of what is no file and was not copied.
        lost: what of the original the copy does not say, a phrase each, where it had to be written anew.
        undoable: the copy can be made the original again.
    """

    folder: Path
    data: Path
    applied: tuple[Mapping[str, Any], ...]
    listed: int
    undone: bool = False
    left: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    undoable: bool = True

    @property
    def summary(self) -> str:
        """What happened, in a line."""
        many = f"{len(self.applied):,} {'fix' if len(self.applied) == 1 else 'fixes'}"
        if self.undone:
            return f"{self.folder}: {many} taken back; every byte is that of the original"
        return f"{self.folder}: a copy with {many} of {self.listed:,} applied"

    def json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "folder": str(self.folder), "data": str(self.data), "undone": self.undone, "listed": self.listed,
            "applied": [dict(fix) for fix in self.applied], "not_copied": list(self.left), "lost": list(self.lost),
        }  # fmt: skip


def fix(
    data: str | Path | None = None,
    fixes: str | Path | None = None,
    *,
    out: str | Path | None = None,
    undo: str | Path | None = None,
) -> Fixed:
    """Apply fixes of labels to a copy of a data set, or make such a copy the original again.

    Nothing is ever written into ``data``.  Files of class folders move to another class, a table changes one cell a
    fix, files of arrays are written anew; everything else is copied byte for byte, and the copy is read back before it
    appears.  Of boxes the pictures are copied, and all labels are written anew, in the same format; that cannot be
    taken back, since it leaves the original as it was.

    Args:
        data: the folder or table that the fixes are for.
        fixes: their list, as ``visus check --labels`` writes it; of its items those with ``"apply": true`` are meant.
        out: a folder for the copy that does not exist yet, or is empty.
        undo: instead of all these, a copy whose fixes are to be taken back.

    Raises:
        UsageError: arguments that make no sense together, a place that is not free, or nothing to undo.
        DataError: data or a list that cannot be read, or that do not belong together.
        IntegrityError: a copy that was changed since.
        ResourceError: the disk is full; nothing is left behind.
    """
    from visus.data import amending

    if undo is not None and data is None and fixes is None and out is None:
        told = amending.restored(Path(undo))
        return Fixed(Path(undo), Path(undo), tuple(told["items"]), len(told["items"]), undone=True, undoable=False)
    if data is None or fixes is None or out is None or undo is not None:
        raise UsageError(
            "USE-049", "fixing needs the data, a list of fixes and a place for the copy",
            where="or, to take fixes back, the copy alone", done="nothing was written",
            fix="visus fix DATA FIXES --out DIR, or visus fix --undo DIR",
        )  # fmt: skip
    from visus.core.recipe import DataSettings
    from visus.data import fixes as lists
    from visus.data.reading import open_data

    listed = lists.read(Path(fixes))
    dataset = open_data(data, DataSettings(format=_format(listed.data["format"]), max_bad=1.0), carve=False)
    if dataset.column() == "objects":
        return _fixed_boxes(Path(data), dataset, Path(fixes), listed, Path(out))
    amending.check_amendable(Path(data), dataset)
    changes = lists.changes(Path(fixes), listed, dataset)
    meant = [item.json() for item in listed.items if item.apply]
    left = amending.amended(Path(data), dataset, changes, Path(out), {"data": dict(listed.data), "items": meant})
    copy = Path(out) if Path(data).is_dir() else Path(out) / Path(data).name
    return Fixed(Path(out), copy, tuple(meant), len(listed.items), left=tuple(left))


def free_list(folder: Path) -> Path:
    """Return where a list of fixes may be written in a folder: fixes.json, unless a person has worked on that one.

    They have where a fix is meant, or where it cannot be read, as in the middle of an edit.
    """
    from visus.data import fixes as lists

    path, number = folder / "fixes.json", 1
    while path.exists():
        try:
            if not any(item.apply for item in lists.read(path).items):
                break
        except DataError:
            pass  # whoever wrote it mends it
        number += 1
        path = folder / f"fixes-{number}.json"
    return path


def write_fixes(dataset: Dataset, findings: Iterable[Finding], path: Path) -> None:
    """Write the list of fixes that findings of wrong labels suggest, for a person to go through.

    None is meant from the start: of those of which the models are surest, too many are right (see the documentation of
    wrong labels for how many).
    """
    from visus.data import fixes as lists

    items = []
    for item in (item for finding in findings for item in finding.items):
        more = item.more
        if item.index < 0 or not {"suggested", "stated"} & more.keys():
            continue
        named = lists.Fix(dataset.ids[item.index], more.get("label", ""), more.get("suggested"), item.why, apply=False)
        if "kind" in more:
            at = tuple(more["suspected"]) if more["kind"] in ("missing", "place") else None
            named = replace(named, box=more.get("box", lists.NEW), at=at)
        items.append(named)
    lists.write(path, dataset, items)


def _fixed_boxes(path: Path, dataset: Dataset, list_: Path, listed: Fixes, out: Path) -> Fixed:
    """Write a copy of data with boxes in which some of them are otherwise."""
    from visus.data import fixes as lists
    from visus.data.converting import convert
    from visus.data.formats import FORMATS
    from visus.data.paths import check_outside

    check_outside(out, path)
    if FORMATS[dataset.format].write is None:
        raise DataError(
            "DATA-336", f"{dataset.name}: this cannot be changed in a copy yet",
            where=f"{dataset.format} data with boxes, which visus reads but does not write", done="nothing was written",
            fix="visus convert DATA --to coco COPY, and visus check COPY --labels",
        )  # fmt: skip
    changed = dataset.with_(objects=lists.changed_objects(list_, listed, dataset))
    lost = convert(changed, dataset.format, out, lossy=True)
    meant = tuple(item.json() for item in listed.items if item.apply)
    return Fixed(out, out, meant, len(listed.items), lost=tuple(lost), undoable=False)


def _format(named: str) -> str:
    """Return the format that a list says its data has; one that is not known is looked for."""
    from visus.data.formats import FORMATS

    return named if named in FORMATS else "auto"
