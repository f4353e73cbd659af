"""Pictures that a table or an annotation file lists: how many may be missing, and how large the others are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import BadDataLimit, DataError
from visus.data.decode import peek
from visus.data.paths import read_regular, shown

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings

_MOST_BYTES = 1 << 28


def check_missing(
    bad: Sequence[tuple[str, str]], listed: int, root: Path, settings: DataSettings, relative_to: str
) -> None:
    """Stop where more of the listed pictures are missing than may be.

    Args:
        bad: path and reason, which begins with the place that lists it, of each missing picture.
        listed: how many pictures are listed in all.
        root: the folder of the data.
        settings: ``max_bad`` is the share that may be missing.
        relative_to: what listed paths are relative to, for the message: "the table's folder".

    Raises:
        DataError: DATA-111, none of them is there.
        BadDataLimit: DATA-112, more are missing than may be.
    """
    if not bad or (len(bad) < listed and len(bad) <= settings.most_bad(listed)):
        return
    named = "; ".join(f"{reason.partition(':')[0]} {shown(path)}" for path, reason in bad[:3]) + " ..." * (len(bad) > 3)
    if len(bad) == listed:
        fix = "write / between folders, not \\" if "\\" in bad[0][0] else "mind capitals and extensions"
        raise DataError("DATA-111", f"{shown(root)}: none of the {listed:,} listed files is there", where=named,
                        fix=f"paths are relative to {relative_to}; {fix}")  # fmt: skip
    raise BadDataLimit(
        "DATA-112", f"{shown(root)}: {len(bad):,} of {listed:,} listed files are missing", where=named,
        done=f"stopped: at most {settings.most_bad(listed):,} may be bad ({settings.max_bad:.1%})",
        fix=f"add them, remove their rows, or --set data.max_bad={math.ceil(100 * len(bad) / listed) / 100}",
    )  # fmt: skip


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a list that hold something, with their numbers.

    Blanks, and bytes that are no UTF-8, are kept as they are, since a path may be made of them.

    Raises:
        DataError: DATA-010 it cannot be opened, DATA-238 it is longer than lists are.
    """
    data = read_regular(path, _MOST_BYTES)
    if len(data) > _MOST_BYTES:
        raise DataError("DATA-238", f"{shown(path)}: the list has more than {_MOST_BYTES:,} bytes")
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            yield number, line.removesuffix(b"\r").decode("utf-8", "surrogateescape")


def own_sizes(root: Path, paths: Iterable[str], max_pixels: int) -> NDArray[np.int64]:
    """Return (N, 2) upright height and width of pictures by their headers; 0 where a header cannot be read."""
    return np.array([_own_size(root / path, max_pixels) for path in paths], np.int64).reshape(-1, 2)


def _own_size(path: Path, max_pixels: int) -> tuple[int, int]:
    try:
        seen = peek(path, max_pixels=max_pixels)
    except DataError:
        return 0, 0  # whoever decodes it says why
    return seen.height, seen.width


def refuse_shared_stems(ids: Sequence[str], stems: Sequence[str], place: str) -> None:
    """Refuse to write two annotations into one file, as pictures that differ in their endings alone would have it.

    Args:
        ids: of the pictures; ``stems``: under what each annotation is written.
        place: of such a file, for the message: ``"Annotations/{}.xml"``.

    Raises:
        DataError: DATA-236.
    """
    first: dict[str, str] = {}
    for id, stem in zip(ids, stems, strict=True):
        if stem in first:
            raise DataError(
                "DATA-236", f"{shown(first[stem])} and {shown(id)} would both be described by one file",
                where=shown(place.format(stem)), fix="rename one of the pictures",
            )  # fmt: skip
        first[stem] = id
