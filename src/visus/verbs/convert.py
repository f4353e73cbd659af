"""``visus convert``: a data set in another format, or the list of what that format cannot hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visus.core.recipe import DataSettings


@dataclass(frozen=True)
class Converted:
    """A data set that was written in another format.

    Attributes:
        out: its folder.
        format: what it was read as; ``to``: what it was written as.
        pictures, objects: how many of them there are.
        lost: what the new format could not hold, a phrase each; empty unless that was allowed.
        notes: what was guessed or left out while reading, and so is not in the new folder, a sentence each.
    """

    out: Path
    format: str
    to: str
    pictures: int
    objects: int
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"out": str(self.out), "format": self.format, "to": self.to, "pictures": self.pictures,
                "objects": self.objects, "lost": list(self.lost), "notes": list(self.notes)}  # fmt: skip


def convert(
    data: str | Path, *, to: str, out: str | Path, format: str = "auto", lossy: bool = False, download: bool = False
) -> Converted:
    """Write a data set in another format; its pictures are copied, and nothing of the original is touched.

    What was written is read back and compared with what was there.  Splits, names and numbers survive.

    Args:
        data: as for ``train``.
        to: ``coco``, ``yolo``, ``voc``, ``masks`` or ``csv``.
        out: a folder that does not exist yet, or is empty.
        format: of ``data``; recognised by default.
        lossy: write even what the new format cannot hold entirely.
        download: allow a data set named by ``torchvision:NAME`` to be fetched.

    Raises:
        UsageError: no format of that name writes, or the folder is not free or lies in the data.
        DataError: data that cannot be read, or DATA-350: something would be lost.
        ResourceError: the disk is full; nothing is left behind.
    """
    from visus.data.converting import convert as written
    from visus.data.paths import check_outside
    from visus.data.reading import open_data

    check_outside(Path(out), Path(data))
    dataset = open_data(data, DataSettings(format=format), download=download, carve=False)
    lost = written(dataset, to, Path(out), lossy=lossy)
    objects = len(dataset.objects.labels) if dataset.objects is not None else 0
    return Converted(Path(out), dataset.format, to, len(dataset), objects, tuple(lost), dataset.notes)
