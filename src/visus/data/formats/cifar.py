"""CIFAR-10 and CIFAR-100 as published: the batches of the Python version and of the binary version.

The Python batches are pickles, which could run anything.  They are not unpickled: their opcodes are read as data, and
only those that build dicts, lists, strings, numbers and arrays of bytes have a meaning here.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError
from visus.data.dataset import ArrayImages, Dataset, Strings
from visus.data.formats import Edit, Evidence, Format
from visus.data.paths import open_regular, read_regular, shown
from visus.data.splitting import TEST, TRAIN

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PIXELS = 3 * 32 * 32
_MOST_BYTES = 1 << 30
_FOLDERS = ("", "cifar-10-batches-py", "cifar-100-python", "cifar-10-batches-bin", "cifar-100-binary")


@dataclass(frozen=True)
class _Version:
    """One of the four ways in which the sets were published."""

    name: str
    train: re.Pattern[str]
    test: str
    names: str
    binary: bool
    fine: bool


_VERSIONS = (
    _Version("CIFAR-10 batches", re.compile(r"data_batch_[1-9]"), "test_batch", "batches.meta", False, False),
    _Version(
        "CIFAR-10 binary batches",
        re.compile(r"data_batch_[1-9]\.bin"),
        "test_batch.bin",
        "batches.meta.txt",
        True,
        False,
    ),
    _Version("CIFAR-100", re.compile("train"), "test", "meta", False, True),
    _Version("CIFAR-100 binary", re.compile(r"train\.bin"), "test.bin", "fine_label_names.txt", True, True),
)


def sniff(path: Path) -> Evidence | None:
    """Recognise the batches by their names, in the folder or in the one the published archive makes."""
    found = _find(path)
    if found is None:
        return None
    version, train, test = found
    return Evidence(
        0.97, f"{version.name} ({', '.join(file.name for file in (*train, *test))})", len(train) + len(test)
    )


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return the pictures of every batch; CIFAR-100 by its hundred fine classes.

    Raises:
        DataError: DATA-160 a batch that is damaged, ends early or holds something else, DATA-002 there is none.
    """
    found = _find(path)
    if found is None:
        raise DataError(
            "DATA-002", f"{shown(path)}: there are no CIFAR batches", looked="data_batch_1, test_batch, train.bin ..."
        )
    version, train, test = found
    arrays, labels, splits, ids = [], [], [], []
    for split, files in ((TRAIN, train), (TEST, test)):
        for file in files:
            array, numbers = (_binary if version.binary else _pickled)(file, version.fine)
            if len(wrong := np.flatnonzero((numbers < 0) | (numbers >= (100 if version.fine else 10)))):
                raise _damaged(file, f"the label of picture {wrong[0]:,} is {numbers[wrong[0]]}, which is no class")
            arrays.append(array)
            labels.append(numbers)
            splits.append(np.full(len(array), split, np.uint8))
            ids += [f"{file.name}/{i}" for i in range(len(array))]
    classes, notes = _names(train[0].parent / version.names, version)
    label = np.concatenate(labels)
    planes = np.concatenate(arrays).reshape(-1, 3, 32, 32)
    evidence = sniff(path)
    return Dataset(
        name=shown(path.resolve().name),
        root=path,
        format="cifar",
        evidence=evidence.phrase if evidence else "",
        ids=Strings(ids),
        images=ArrayImages(np.ascontiguousarray(planes.transpose(0, 2, 3, 1))),
        columns={"label": label},
        split=np.concatenate(splits),
        classes=classes,
        notes=notes,
    )


def amend(path: Path, dataset: Dataset, changes: Mapping[int, int]) -> Iterator[Edit]:
    """Yield the batches with other labels: one byte a record; CIFAR-100's coarse class follows the fine one.

    Raises:
        DataError: DATA-337, a record is to be taken out of a pickle, or its labels do not stand in it byte by byte.
    """
    found = _find(path)
    assert found is not None  # the data set was read from it
    version, train, test = found
    first, coarse = 0, dict[int, int]()
    for file in (*train, *test):
        _, labels = (_binary if version.binary else _pickled)(file, version.fine)
        data = bytearray(_bytes(file))
        places = _label_places(file, version, data, labels)
        if version.fine:
            coarse |= dict(zip(labels.tolist(), (data[at] for at in places[1]), strict=False))
        mine = {i - first: to for i, to in changes.items() if first <= i < first + len(labels)}
        first += len(labels)
        gone = [i for i, to in mine.items() if to < 0]
        for i, to in mine.items():
            for one, value in zip(places, (to, coarse.get(to)), strict=False):
                if to >= 0 and value is not None:
                    data[one[i]] = value
        if gone and not version.binary:
            raise DataError(
                "DATA-337", f"{shown(file)}: no picture can be taken out of a batch of the Python version",
                where=f"{file.name}/{gone[0]}", fix="convert the data to class folders, or keep the picture",
            )  # fmt: skip
        if gone:
            rows = np.frombuffer(bytes(data), np.uint8).reshape(len(labels), -1)
            data = bytearray(np.delete(rows, gone, 0).tobytes())
        if mine:
            yield Edit(file.relative_to(path).as_posix(), bytes(data))


def read_pickled(path: Path) -> object:
    """Return what a pickle of plain values holds, executing none of it.

    Raises:
        DataError: DATA-160, where it holds anything but dicts, lists, tuples, strings, numbers and arrays of bytes.
    """
    try:
        return _Reader().read(_bytes(path))
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        raise _damaged(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def _find(path: Path) -> tuple[_Version, list[Path], list[Path]] | None:
    for name in _FOLDERS:
        folder = path / name
        if not folder.is_dir():
            continue
        for version in _VERSIONS:
            names = {
                file.name
                for file in folder.iterdir()
                if file.is_file() and (file.name == version.test or version.train.fullmatch(file.name))
            }
            train = sorted(folder / name for name in names if version.train.fullmatch(name))
            test = [folder / version.test] if version.test in names else []
            if train and (version.binary or all(_is_pickle(file) for file in train)):
                return version, train, test
    return None


def _is_pickle(path: Path) -> bool:
    with open_regular(path) as file:
        return file.read(2) in {b"\x80\x02", b"\x80\x03", b"\x80\x04"}


def _bytes(path: Path) -> bytes:
    data = read_regular(path, _MOST_BYTES)
    if len(data) > _MOST_BYTES:
        raise _damaged(path, f"it has more than {_MOST_BYTES:,} bytes")
    return data


def _binary(path: Path, fine: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read records of one label byte (CIFAR-100: coarse and fine) and 3,072 pixels."""
    data = np.frombuffer(_bytes(path), np.uint8)
    record = _PIXELS + (2 if fine else 1)
    if not len(data) or len(data) % record:
        raise _damaged(path, f"{len(data):,} bytes are not a whole number of records of {record:,}")
    rows = data.reshape(-1, record)
    return rows[:, -_PIXELS:], rows[:, 1 if fine else 0].astype(np.int64)


def _pickled(path: Path, fine: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    batch = read_pickled(path)
    key = "fine_labels" if fine else "labels"
    if not isinstance(batch, dict) or "data" not in batch or key not in batch:
        raise _damaged(path, f"it holds no data and {key}")
    data, labels = batch["data"], batch[key]
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != _PIXELS or not len(data):
        raise _damaged(path, f"its data has the shape {getattr(data, 'shape', None)}, not (n, {_PIXELS:,})")
    if not isinstance(labels, list) or len(labels) != len(data) or not all(map(_is_small, labels)):
        raise _damaged(path, f"its {key} are not {len(data):,} small whole numbers")
    return data, np.array(labels, np.int64)


def _is_small(label: object) -> bool:
    return type(label) is int and abs(label) < 1 << 31


def _label_places(path: Path, version: _Version, data: bytes | bytearray, labels: NDArray[np.int64]) -> list[list[int]]:
    """Return where the byte of each label stands in a batch; of CIFAR-100 also that of each coarse label."""
    if version.binary:
        ends = range(len(data) // len(labels) - _PIXELS, len(data), len(data) // len(labels))
        return [[end - back for end in ends] for back in ((1, 2) if version.fine else (1,))]
    places = [_listed(bytes(data), key) for key in (("fine_labels", "coarse_labels") if version.fine else ("labels",))]
    if [data[at] for at in places[0]] != labels.tolist() or any(len(one) not in {0, len(labels)} for one in places):
        raise DataError(
            "DATA-337", f"{shown(path)}: its labels do not stand in it byte by byte", fix="convert the data"
        )
    return [one for one in places if one]


def _listed(data: bytes, key: str) -> list[int]:
    """Return where the bytes of a list of small numbers stand in a pickle, behind the key of a dict."""
    places, within = list[int](), False
    for opcode, argument, at in pickletools.genops(data):
        if within and opcode.name == "BININT1" and at is not None:
            places.append(at + 1)
        elif argument == key or argument == key.encode():
            places, within = [], True
        elif within and opcode.name not in _LISTS:
            if places:
                break
            within = False
    return places


def _names(path: Path, version: _Version) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the class names, and a note where they are not there."""
    count = 100 if version.fine else 10
    names: list[object] = []
    if path.is_file() and version.binary:
        with open_regular(path) as file:
            names = [line for line in file.read(1 << 16).decode("utf-8", "replace").splitlines() if line.strip()]
    elif path.is_file():
        held = read_pickled(path)
        listed = held.get("fine_label_names" if version.fine else "label_names") if isinstance(held, Mapping) else None
        names = list(listed) if isinstance(listed, list) else []
    texts = tuple(name for name in names if isinstance(name, str))
    if len(texts) == len(set(texts)) == count and all(text and "\0" not in text for text in texts):
        return texts, ()
    if version.fine:
        return tuple(str(i) for i in range(count)), (f"{version.names} does not name the classes: they are numbers",)
    return CIFAR10, (f"{version.names} does not name the classes: they are CIFAR-10's",)


def _damaged(path: Path, why: str) -> DataError:
    return DataError("DATA-160", f"{shown(path)}: the batch cannot be read: {why}", fix="download it again")


@dataclass(frozen=True)
class _Name:
    """A function or class a pickle names; it stands for itself and is never looked up."""

    text: str


class _Array:
    """A numpy array that a pickle is still building."""

    value: NDArray[np.uint8]

    def build(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        raw = data if isinstance(data, bytes) else data.encode("latin-1")
        if dtype != _Name("|u1") or fortran:
            raise ValueError("an array in it does not hold plain bytes")
        self.value = np.frombuffer(raw, np.uint8).reshape(shape)


class _Reader:
    """Reads opcodes as data.

    Source:
        CPython, ``pickletools.opcodes``; numpy's ``ndarray.__reduce__``.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def read(self, data: bytes) -> object:
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name == "STOP":
                break
            if name in _SILENT:
                continue
            if name in _VALUES:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _STEPS:
                _STEPS[name](self, argument)
            else:
                raise ValueError(f"it uses {name}, which no batch needs")
        return _plain(self.stack.pop())

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def last(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise ValueError("it takes more than it has put down")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return items

    def remember(self, at: int | None) -> None:
        self.memo[len(self.memo) if at is None else at] = self.stack[-1]

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise TypeError("it sets a key of what is no dict")
        if not all(isinstance(key, str | bytes | int) for key in items[::2]):
            raise TypeError("a key in it is neither text nor a number")
        target.update(zip(map(_plain, items[::2]), items[1::2], strict=True))

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError("it appends to what is no list")
        self.stack[-1].extend(items)

    def reduce(self, _: Any) -> None:
        function, arguments = self.last(2)
        name = function.text if isinstance(function, _Name) else ""
        if re.fullmatch(r"numpy\.(_?core)\.multiarray _reconstruct", name) and arguments[0] == _Name("numpy ndarray"):
            self.stack.append(_Array())
        elif name == "numpy dtype" and arguments[0] == "u1":
            self.stack.append(_Name("|u1"))
        elif name == "_codecs encode" and arguments[1] == "latin1":
            self.stack.append(arguments[0].encode("latin-1"))
        else:
            raise ValueError(f"it calls {name or 'something'}, which no batch needs")

    def build(self, _: Any) -> None:
        (state,) = self.last(1)
        if isinstance(self.stack[-1], _Array):
            self.stack[-1].build(state)
        elif self.stack[-1] != _Name("|u1"):
            raise ValueError("it builds an object, which no batch needs")

    def name_on_stack(self, _: Any) -> None:
        module, name = self.last(2)
        self.stack.append(_Name(f"{module} {name}"))


_LISTS = {"EMPTY_LIST", "MARK", "APPEND", "APPENDS", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "FRAME"}
_SILENT = {"PROTO", "FRAME"}
_VALUES = {
    "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_STEPS: dict[str, Callable[[_Reader, Any], None]] = {
    "MARK": _Reader.mark,
    "PUT": _Reader.remember, "BINPUT": _Reader.remember, "LONG_BINPUT": _Reader.remember, "MEMOIZE": _Reader.remember,
    "GET": lambda r, at: r.stack.append(r.memo[at]),
    "BINGET": lambda r, at: r.stack.append(r.memo[at]),
    "LONG_BINGET": lambda r, at: r.stack.append(r.memo[at]),
    "EMPTY_DICT": lambda r, _: r.stack.append({}),
    "EMPTY_LIST": lambda r, _: r.stack.append([]),
    "EMPTY_TUPLE": lambda r, _: r.stack.append(()),
    "TUPLE": lambda r, _: r.stack.append(tuple(r.since_mark())),
    "TUPLE1": lambda r, _: r.stack.append(r.last(1)),
    "TUPLE2": lambda r, _: r.stack.append(r.last(2)),
    "TUPLE3": lambda r, _: r.stack.append(r.last(3)),
    "APPEND": lambda r, _: r.append(list(r.last(1))),
    "APPENDS": lambda r, _: r.append(r.since_mark()),
    "SETITEM": lambda r, _: r.set_items(list(r.last(2))),
    "SETITEMS": lambda r, _: r.set_items(r.since_mark()),
    "GLOBAL": lambda r, name: r.stack.append(_Name(name)),
    "STACK_GLOBAL": _Reader.name_on_stack,
    "REDUCE": _Reader.reduce,
    "BUILD": _Reader.build,
}  # fmt: skip


def _plain(value: Any, done: dict[int, Any] | None = None) -> Any:
    """Return a value with text for byte strings and arrays for their builders.

    A list or dict that is there twice is converted once (``done``, by its id), or a few bytes could stand for billions
    of values.
    """
    done = {} if done is None else done
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, dict):
        named = done[id(value)] = dict[Any, Any]()
        named.update((key, _plain(held, done)) for key, held in value.items())
        return named
    if isinstance(value, list):
        listed = done[id(value)] = list[Any]()
        listed.extend(_plain(held, done) for held in value)
        return listed
    if isinstance(value, _Array):
        return value.value
    return value.decode("latin-1") if isinstance(value, bytes) else value


FORMAT = Format("CIFAR batches", sniff, read, amend=amend)
