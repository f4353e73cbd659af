"""What holds for every data set that a reader gives, whatever was in its files, and for every refusal to give one."""

from __future__ import annotations

import pickle
import posixpath
import unicodedata

import numpy as np

from visus.core import run_lengths
from visus.core.errors import BadDataLimit, DataError
from visus.data.dataset import SPLITS, ArrayImages, Dataset, FileImages

REFUSALS = (DataError, BadDataLimit)
"""How reading may end otherwise."""


def check_sound(dataset: Dataset) -> None:
    """Ask that counts agree, names are told apart and can be shown, and everything marked lies where it can."""
    n, classes = len(dataset), dataset.classes
    marked = [held for held in (dataset.objects, dataset.maps, dataset.groups) if held is not None]
    assert {len(held) for held in (dataset.split, *dataset.columns.values(), *marked)} == {n}
    assert len({*zip(dataset.split.tolist(), dataset.ids, strict=True)}) == n and all(dataset.ids)
    assert (dataset.split < len(SPLITS)).all()
    assert len(set(classes)) == len(classes) and all(name and "\0" not in name for name in classes), classes
    said = [*dataset.notes, *(reason for _, reason in dataset.bad), *(r.why + r.where for r in dataset.remarks)]
    assert all(map(_is_text, said)), said
    assert all(remark.file and remark.code and remark.why for remark in dataset.remarks)
    _check_columns(dataset)
    _check_pictures(dataset)
    if dataset.objects is not None:
        _check_objects(dataset)
    if dataset.maps is not None:
        values = dataset.maps.values.tolist()
        assert len(values) == len(classes) == len(set(values)) and not set(values) & set(dataset.maps.ignore)
    assert dataset.fingerprint() and len(pickle.loads(pickle.dumps(dataset))) == n


def check_refusal(error: DataError | BadDataLimit, *names: str) -> None:
    """Ask that an error of ours names what it is about, one of the given, on lines that can be shown."""
    assert error.code.startswith("DATA-") and error.what
    told = f"{error.what} {error.where}"
    assert any(name in told for name in names), told
    lines = str(error).encode().decode().replace("\t", " ").split("\n")
    assert len(lines) <= 5 and all(unicodedata.category(letter) != "Cc" for line in lines for letter in line), lines


def _check_columns(dataset: Dataset) -> None:
    if (label := dataset.columns.get("label")) is not None:
        assert label.dtype == np.int64 and ((label >= -1) & (label < len(dataset.classes))).all()
    if (labels := dataset.columns.get("labels")) is not None:
        assert labels.shape[1] == len(dataset.classes) and np.isin(labels, (0, 1)).all()
    if (numbers := dataset.columns.get("numbers")) is not None:
        assert numbers.shape[1] == len(dataset.numbers) and not np.isinf(numbers).any()


def _check_pictures(dataset: Dataset) -> None:
    images = dataset.images
    if isinstance(images, ArrayImages):
        assert len(images.array) == len(dataset) and images.array.dtype == np.uint8 and images.array[0].size
    elif isinstance(images, FileImages):
        paths = [posixpath.normpath(path) for path in images.paths]
        assert len({*zip(dataset.split.tolist(), paths, strict=True)}) == len(dataset), "one file is two records"
        assert not any(path.startswith(("/", "../")) for path in paths)


def _check_objects(dataset: Dataset) -> None:
    objects = dataset.objects
    assert objects is not None
    assert objects.starts[0] == 0 and objects.starts[-1] == len(objects.boxes) and (np.diff(objects.starts) >= 0).all()
    assert {len(held) for held in (objects.labels, objects.ids, objects.crowd, objects.area)} == {len(objects.boxes)}
    assert np.isfinite(objects.boxes).all() and (objects.boxes[:, 2:] > objects.boxes[:, :2]).all()
    assert ((objects.labels >= -1) & (objects.labels < len(dataset.classes))).all()
    assert not np.isinf(objects.area).any()
    sizes = dataset.original.sizes if dataset.original is not None else np.zeros((len(dataset), 2), np.int64)
    for i, (height, width) in enumerate(sizes.tolist()):
        for mark in objects[i]:
            assert all(np.isfinite(part).all() and len(part) >= 3 for part in mark.polygons)
            if height and width and dataset.format != "mot":  # people leave the picture, and their boxes with them
                x0, y0, x1, y1 = mark.box
                assert min(x0, y0) >= 0 and x1 <= width and y1 <= height
            if mark.mask:
                assert run_lengths.decode(run_lengths.decompress(mark.mask), (height, width)).shape == (height, width)


def _is_text(text: str) -> bool:
    """Tell whether every file and screen takes a text, control characters as escapes."""
    return bool(text) and "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)
