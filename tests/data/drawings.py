"""Data sets of small pictures with given boxes, and damage done to the files that describe them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from tests.data.examples import write_picture
from tests.data.soundness import REFUSALS, check_refusal, check_sound

from visus.core.errors import BadDataLimit, DataError
from visus.core.recipe import DataSettings
from visus.data.dataset import SPLITS, Dataset, FileImages, Strings
from visus.data.formats import FORMATS
from visus.data.objects import Mark, Objects

SIZE = (48, 64)
"""Height and width, as most of the odd annotations state it."""

ODD = (b"", b"-", b"nan", b"1e999", b"9" * 20, b"\n", b"\0", b"../", b"\xff", b" ", b"<", b"&x;", b",", b"'")
"""What a file is damaged with."""


def drawing(
    root: Path, to: str, records: Sequence[Sequence[Mark]], *, classes: Sequence[str] = ("cat", "dog"),
    splits: Sequence[int] = (), ids: Sequence[str] = (), **rest: object,
) -> Dataset:  # fmt: skip
    """Return a data set whose pictures lie where a format has them, ready for its ``write``."""
    splits = splits or [0] * len(records)
    ids = ids or [f"{i}.png" for i in range(len(records))]
    paths = [FORMATS[to].place(SPLITS[split], id) for split, id in zip(splits, ids, strict=True)]
    for i, path in enumerate(paths):
        if not (root / path).exists():
            write_picture(root / path, i, SIZE)
    return Dataset(
        name="drawing", root=root, format="coco", evidence="", ids=Strings(ids),
        images=FileImages(root, Strings(paths)), columns={}, split=np.array(splits, np.uint8), classes=tuple(classes),
        objects=Objects.of(records), **rest,
    )  # fmt: skip


def answer(name: str, path: Path, told: str, **chosen: object) -> str:
    """Return what a format does with a file: ``ok``, ``warn``, ``clip``, ``skip``, or ``refuse``, naming it."""
    try:
        dataset = FORMATS[name].read(path, DataSettings(**chosen))
    except DataError as error:
        assert told in str(error), error
        return "refuse"
    assert all(remark.code and remark.why and remark.file for remark in dataset.remarks)
    words = {"skipped": "skip", "clipped": "clip", "warned": "warn"}
    given = {words[remark.status] for remark in dataset.remarks}
    return next((word for word in ("skip", "clip", "warn") if word in given), "ok")


def edited(whole: bytes, data: st.DataObject) -> bytes:
    """Return bytes with a few random edits: pieces cut out, written over, repeated, or put in."""
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(damaged) - 1)))
        till = at + data.draw(st.integers(0, 8))
        piece = st.one_of(st.sampled_from(ODD), st.binary(max_size=3), st.just(bytes(damaged[at:till]) * 2))
        damaged[at:till] = data.draw(piece)
    return bytes(damaged)


def read_or_refuse(name: str, root: Path) -> None:
    """Read what may be damaged: the data holds together, or an error names the file that does not."""
    try:
        dataset = FORMATS[name].read(root, DataSettings(max_bad=1.0))
    except REFUSALS as error:
        check_refusal(error, str(root), *(file.name for file in root.rglob("*") if file.is_file()))
        return
    check_sound(dataset)
    assert dataset.objects is not None and (dataset.objects.labels >= 0).all()
    assert dataset.original is None or (dataset.original.sizes == SIZE).all()


def refused(read: Callable[[], object]) -> DataError:
    """Return the error that reading ends with."""
    with pytest.raises((DataError, BadDataLimit)) as caught:
        read()
    return caught.value


sides = st.integers(0, 2_000).map(lambda n: n / 32) | st.floats(0, 48).map(lambda x: round(x, 6))


@st.composite
def boxes(draw: st.DrawFn, width: int = SIZE[1], height: int = SIZE[0]) -> tuple[float, float, float, float]:
    """Draw a box within a picture, to a millionth of a pixel, of more than a pixel."""
    x0, x1 = sorted((min(draw(sides), width), min(draw(sides), width)))
    y0, y1 = sorted((min(draw(sides), height), min(draw(sides), height)))
    if x1 - x0 < 2:
        x0, x1 = 0.0, float(width)
    if y1 - y0 < 2:
        y0, y1 = 0.0, float(height)
    return x0, y0, x1, y1
