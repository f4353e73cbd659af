"""IDX, the files of MNIST and its family: train-images-idx3-ubyte beside train-labels-idx1-ubyte, plain or as .gz."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError
from visus.data.dataset import ArrayImages, Dataset, Strings
from visus.data.formats import Edit, Evidence, Format
from visus.data.listing import files_of
from visus.data.paths import open_regular, shown
from visus.data.splitting import SPLIT_WORDS, TEST, TRAIN

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings

_IMAGES = re.compile(r"(?P<part>.*?)[-_.]?images[-_.]idx[34][-_.]ubyte(\.gz)?", re.IGNORECASE)
_LABELS = "labels"
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PACKED = b"\x1f\x8b"
_MOST_PACKED = 1040  # bytes that one byte of a gzip stream can hold at most, rounded up (deflate packs 258 into 2 bits)
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def sniff(path: Path) -> Evidence | None:
    """Recognise pairs of image and label files by their names, in the folder or in its ``raw``."""
    pairs = _pairs(path)
    if not pairs:
        return None
    named = ", ".join(images.name for images, _, _ in pairs)
    return Evidence(0.97, f"{len(pairs)} pair{'s' * (len(pairs) > 1)} of IDX files ({named})", len(pairs))


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return the pictures of all pairs; classes are the labels that occur, Fashion-MNIST's by their names.

    The set is taken for Fashion-MNIST where the folder's name or its README says "fashion".

    Raises:
        DataError: DATA-150 no header of an IDX file, DATA-151 length and header disagree, DATA-152 files that do not
            belong together, DATA-153 a test label that training does not have.
    """
    arrays: list[NDArray[np.generic]] = []
    labels: list[NDArray[np.int64]] = []
    splits: list[NDArray[np.uint8]] = []
    ids: list[str] = []
    pairs = _pairs(path)
    if not pairs:
        raise DataError("DATA-150", f"{shown(path)}: there is no pair of IDX files",
                        looked="NAME-images-idx3-ubyte[.gz] with NAME-labels-idx1-ubyte[.gz]")  # fmt: skip
    for images, beside, split in pairs:
        array, numbers = read_idx(images), read_idx(beside)
        _check_pair(images, array, beside, numbers)
        if arrays and array.shape[1:] != arrays[0].shape[1:]:
            raise DataError(
                "DATA-152", f"{shown(images)}: pictures of {array.shape[1:]}, others have {arrays[0].shape[1:]}",
                where=shown(pairs[0][0]), fix="keep one data set in a folder",
            )  # fmt: skip
        arrays.append(array)
        labels.append(numbers.astype(np.int64))
        splits.append(np.full(len(array), split, np.uint8))
        part = _part(images)
        ids += [f"{part}/{i}" for i in range(len(array))]
    values = _values(labels, [split for *_, split in pairs])
    label = np.concatenate(labels)
    known = np.isin(label, values)
    if not known.all():
        at = int(np.flatnonzero(~known)[0])
        raise DataError("DATA-153", f"{shown(path)}: the label {label[at]} of {ids[at]} does not occur in training")
    evidence = sniff(path)
    return Dataset(
        name=shown(path.resolve().name),
        root=path,
        format="idx",
        evidence=evidence.phrase if evidence else "",
        ids=Strings(ids),
        images=ArrayImages(arrays[0] if len(arrays) == 1 else np.concatenate(arrays)),
        columns={"label": np.searchsorted(values, label)},
        split=np.concatenate(splits),
        classes=_names(path, values),
    )


def amend(path: Path, dataset: Dataset, changes: Mapping[int, int]) -> Iterator[Edit]:
    """Yield the label files with other values; where records are taken out, the files of their pictures without them.

    What was packed is packed again.
    """
    pairs = _pairs(path)
    labels = [read_idx(beside) for _, beside, _ in pairs]
    values = _values(labels, [split for *_, split in pairs])
    first = 0
    for (images, beside, _), numbers in zip(pairs, labels, strict=True):
        mine = {i - first: to for i, to in changes.items() if first <= i < first + len(numbers)}
        first += len(numbers)
        gone = [i for i, to in mine.items() if to < 0]
        for i, to in mine.items():
            numbers[i] = values[to]
        if mine:
            yield Edit(beside.relative_to(path).as_posix(), _idx_bytes(np.delete(numbers, gone, 0), beside))
        if gone:
            yield Edit(images.relative_to(path).as_posix(), _idx_bytes(np.delete(read_idx(images), gone, 0), images))


def _values(labels: Sequence[NDArray[np.generic]], splits: Sequence[int]) -> NDArray[np.int64]:
    """Return the labels that occur in training, or at all where there is no training part: one a class."""
    trained = [numbers for numbers, split in zip(labels, splits, strict=True) if split == TRAIN]
    return np.unique(np.concatenate(trained or labels).astype(np.int64))


def _idx_bytes(array: NDArray[np.generic], like: Path) -> bytes:
    """Return an IDX file of an array, packed if the file it takes the place of is."""
    kind = next(code for code, name in _TYPES.items() if np.dtype(name).newbyteorder("=") == array.dtype)
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    data = bytes([0, 0, kind, array.ndim]) + sizes + array.astype(_TYPES[kind]).tobytes()
    with open_regular(like) as file:
        packed = file.read(2) == _PACKED
    return gzip.compress(data, 6, mtime=0) if packed else data


def read_idx(path: Path) -> NDArray[np.generic]:
    """Return the array in one IDX file, packed or not.

    The header is believed only as far as the file's length bears it out, before anything is allocated.

    Source:
        LeCun, Cortes and Burges, The MNIST database, "The IDX file format".

    Raises:
        DataError: DATA-150 no header of an IDX file, DATA-151 length and header disagree, DATA-010 no regular file.
    """
    with open_regular(path) as plain:
        packed = plain.read(2) == _PACKED
        length = plain.seek(0, 2)
        plain.seek(0)
        try:
            if not packed:
                return _array(path, plain, length)
            with gzip.GzipFile(fileobj=plain) as unpacked:
                return _array(path, unpacked, length * _MOST_PACKED)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError("DATA-151", f"{shown(path)}: the packed file is damaged or ends early", where=str(error),
                            fix="download it again") from error  # fmt: skip


def _array(path: Path, file: IO[bytes] | gzip.GzipFile, most: int) -> NDArray[np.generic]:
    start = file.read(4)
    kind = _TYPES.get(start[2]) if len(start) == 4 and start[:2] == b"\0\0" else None
    if kind is None or not 1 <= start[3] <= 4:
        raise DataError("DATA-150", f"{shown(path)}: it does not start as an IDX file does",
                        where=f"first bytes: {start.hex(' ')}", fix="download it again")  # fmt: skip
    sizes = file.read(4 * start[3])
    shape = tuple(int.from_bytes(sizes[at : at + 4], "big") for at in range(0, 4 * start[3], 4))
    dtype = np.dtype(kind)
    announced = dtype.itemsize
    for size in shape:
        announced *= size
    shape_text = " x ".join(f"{size:,}" for size in shape)
    if len(sizes) < 4 * start[3] or announced > most:
        raise DataError(
            "DATA-151", f"{shown(path)}: its header announces {shape_text} values, more than it can hold",
            where=f"{announced:,} bytes", fix="download it again",
        )  # fmt: skip
    array = np.empty(shape, dtype)
    view = array.reshape(-1).view(np.uint8).data
    filled = 0
    while filled < announced and (count := file.readinto(view[filled:])):  # type: ignore[union-attr]
        filled += count
    rest = file.read(1)
    if filled < announced or rest:
        fault = "there is more" if rest else f"there are {filled:,}"
        raise DataError("DATA-151", f"{shown(path)}: its header announces {announced:,} bytes of values, but {fault}",
                        where=f"shape {shape_text}", fix="download it again")  # fmt: skip
    return array.astype(dtype.newbyteorder("="), copy=False)


def _check_pair(images: Path, array: NDArray[np.generic], label: Path, numbers: NDArray[np.generic]) -> None:
    if (
        array.ndim not in {3, 4}
        or array.dtype != np.uint8
        or not array.size
        or (array.ndim == 4 and array.shape[3] not in {1, 3})
    ):
        raise DataError("DATA-152", f"{shown(images)}: {array.dtype} values of shape {array.shape} are no pictures")
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise DataError("DATA-152", f"{shown(label)}: {numbers.dtype} values of shape {numbers.shape} are no labels")
    if len(array) != len(numbers):
        raise DataError(
            "DATA-152", f"{shown(images)}: {len(array):,} pictures, but {len(numbers):,} labels", where=shown(label),
            fix="take both files from one download",
        )  # fmt: skip


def _pairs(path: Path) -> list[tuple[Path, Path, int]]:
    """Return (images, labels, split) of each pair, training first; of a file that is there twice, the plain one."""
    for folder in (path, path / "raw"):
        if not folder.is_dir():
            continue
        names = set(files_of(folder))
        pairs = {}
        for name in sorted(names):  # x sorts before x.gz
            found = _IMAGES.fullmatch(name)
            if found is None or found["part"] in pairs:
                continue
            label = re.sub("idx[34]", "idx1", re.sub("images", _LABELS, name, flags=re.IGNORECASE), flags=re.IGNORECASE)
            stem = label.removesuffix(".gz")
            there = next((n for n in (stem, f"{stem}.gz") if n in names), None)
            if there is not None:
                pairs[found["part"]] = (folder / name, folder / there, _split(found["part"]))
        if pairs:
            return sorted(pairs.values(), key=lambda pair: (pair[2], pair[0].name))
    return []


def _part(images: Path) -> str:
    found = _IMAGES.fullmatch(images.name)
    return found["part"] if found and found["part"] else "images"


def _split(part: str) -> int:
    """Return the split that a file's first word names: t10k is MNIST's test part."""
    words = re.split(r"[-_.]", part.lower())
    if "t10k" in words:
        return TEST
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), TRAIN)


def _names(path: Path, values: NDArray[np.int64]) -> tuple[str, ...]:
    if values[0] >= 0 and values[-1] < len(FASHION) and _says_fashion(path):
        return tuple(FASHION[value] for value in values.tolist())
    return tuple(str(value) for value in values.tolist())


def _says_fashion(path: Path) -> bool:
    resolved = path.resolve()
    name = resolved.parent.name if resolved.name == "raw" else resolved.name
    if "fashion" in name.lower():
        return True
    readme = next((path / name for name in files_of(path) if name.lower().startswith("readme")), None)
    if readme is None:
        return False
    with open_regular(readme) as file:
        return b"fashion" in file.read(4096).lower()


FORMAT = Format("IDX files", sniff, read, amend=amend)
