"""MOTChallenge text: sequences of frames with a line for each object in each frame.

    SEQ/img1/000001.jpg    SEQ/gt/gt.txt    SEQ/det/det.txt    SEQ/seqinfo.ini    alone, side by side, or below train/

A line of gt.txt tells, between commas: frame, id, left, top, width, height, confidence, class, visibility.  Frames, and
the pixels of left and top, are counted from 1: the box is [left - 1, left - 1 + width) by [top - 1, top - 1 + height).
It goes on where an object reaches beyond the picture, and is kept so, because trackers are judged by whole boxes.
Confidence 0 marks what is not to be counted, and is read as a crowd.  Ten columns, as in MOT15, end in a place in the
world instead of class and visibility; without a class an object is a pedestrian.

A record is a frame, a group a sequence; MOT17 has each sequence three times, once for each detector, in one group.
The id of the track stands in ``Mark.id`` and, as ``track``, in ``Mark.more``.  Detections are no labels: ``read_rows``
reads det.txt for whoever tracks.

Source:
    Leal-Taixé et al., MOTChallenge 2015, arXiv 1504.01942, section 2.2; Milan et al., MOT16, arXiv 1603.00831, table 3.
"""

from __future__ import annotations

import configparser
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError
from visus.data.dataset import SPLITS, Dataset, FileImages, Strings
from visus.data.formats import Evidence, Format
from visus.data.listed import check_missing
from visus.data.listing import files_of, folders_of, is_named_picture
from visus.data.objects import Mark, Objects, Original, Remark
from visus.data.paths import inside, read_regular, shown
from visus.data.splitting import SPLIT_WORDS, TRAIN

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings

CLASSES = {
    1: "pedestrian", 2: "person on vehicle", 3: "car", 4: "bicycle", 5: "motorbike", 6: "non motorized vehicle",
    7: "static person", 8: "distractor", 9: "occluder", 10: "occluder on the ground", 11: "occluder full",
    12: "reflection", 13: "crowd",
}  # fmt: skip
"""Names of the numbers in the class column."""


@dataclass(frozen=True)
class Rows:
    """The M lines of a gt.txt or det.txt.

    Attributes:
        line: (M,) int64 number of each, from 1.
        frame: (M,) int64, from 1; id: (M,) int64 of the track, -1 for none.
        box: (M, 4) float64 x0, y0, x1, y1 in pixels from 0, to a millionth.
        confidence: (M,) float64, 1 where none is stated.
        label: (M,) int64, a key of ``CLASSES``; -1 where none is stated.
        visibility: (M,) float64 share of the object that is seen; NaN where it is not stated.
        world: (M, 3) float64 place in the world; NaN where it is not stated.
    """

    line: NDArray[np.int64]
    frame: NDArray[np.int64]
    id: NDArray[np.int64]
    box: NDArray[np.float64]
    confidence: NDArray[np.float64]
    label: NDArray[np.int64]
    visibility: NDArray[np.float64]
    world: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.line)


def sniff(path: Path) -> Evidence | None:
    """Recognise folders that hold gt/gt.txt, by names alone."""
    if not path.is_dir():
        return None
    names = [name for name, _ in _sequences(path)]
    if not names:
        return None
    known = [name for name in names if (path / name / "gt/gt.txt").is_file()]
    told = ", ".join(shown(name or path.resolve().name) for name in known[:3]) + ", ..." * (len(known) > 3)
    if not known:
        return Evidence(0.0, f"{len(names):,} MOT sequences, none with gt/gt.txt")
    return Evidence(0.97, f"{len(known):,} MOT sequence{'s' * (len(known) != 1)} with gt/gt.txt ({told})", len(known))


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return the frames of every sequence that has gt/gt.txt, in order; those without an object too.

    Where a sequence comes without its pictures, as for judging trackers, there is a record for each frame all the same.

    Raises:
        DataError: DATA-285 a seqinfo.ini that cannot be read, DATA-286 a line that cannot be what it should, DATA-288
            two pictures of one frame, DATA-290 no sequence with gt/gt.txt; DATA-110 and 111 on the frames' folder.
        BadDataLimit: DATA-112, more frames are missing than may be.
    """
    found = _sequences(path)
    sequences = [_sequence(path, name, split) for name, split in found if (path / name / "gt/gt.txt").is_file()]
    if not sequences:
        raise DataError(
            "DATA-290", f"{shown(path)}: there is no sequence with gt/gt.txt", looked=f"{len(found):,} sequences",
            fix="detections alone (det/det.txt) are no labels",
        )  # fmt: skip
    bad = tuple(entry for sequence in sequences for entry in sequence.gone)
    frames = sum(len(sequence.frames) for sequence in sequences)
    check_missing(bad, frames + len(bad), path, settings, "the sequence's folder")
    numbers = sorted({number for sequence in sequences for number in _labels(sequence.rows)})
    dense = {number: k for k, number in enumerate(numbers)}
    paths = Strings([file for sequence in sequences for file in sequence.frames.values()])
    left = [name for name, _ in found if not (path / name / "gt/gt.txt").is_file()]
    groups: dict[str, int] = {}
    of_sequence = [groups.setdefault(_DETECTOR.sub("", sequence.name), len(groups)) for sequence in sequences]
    counts = [len(sequence.frames) for sequence in sequences]
    evidence = sniff(path)
    return Dataset(
        name=shown(path.resolve().name),
        root=path,
        format="mot",
        evidence=evidence.phrase if evidence else "",
        ids=paths,
        images=FileImages(path, paths, settings.max_pixels),
        columns={},
        split=np.repeat(np.array([sequence.split for sequence in sequences], np.uint8), counts),
        classes=tuple(CLASSES.get(number, str(number)) for number in numbers),
        objects=Objects.of([marks for sequence in sequences for marks in _marks(sequence, dense)]),
        groups=np.repeat(np.array(of_sequence, np.int64), counts),
        notes=(f"left out sequences without gt/gt.txt: {', '.join(map(shown, left[:5]))}",) if left else (),
        bad=bad,
        remarks=tuple(remark for sequence in sequences for remark in sequence.remarks),
        original=_original(sequences, numbers),
    )


def read_rows(path: Path) -> Rows:
    """Return the lines of a gt.txt or det.txt, in their order.

    Raises:
        DataError: DATA-286, with file, line and column; DATA-010, no regular file.
    """
    lines: list[int] = []
    table: list[list[float]] = []
    width = 0
    for number, text in enumerate(_lines(path), 1):
        if not text.strip():
            continue
        fields = _BETWEEN.split(text.strip().rstrip(","))
        width = width or len(fields)
        if not 6 <= len(fields) <= 10 or len(fields) != width:
            told = f"the first has {width}" if 6 <= width <= 10 else "6 to 10 are expected: frame, id, left, top, ..."
            raise _fault(path, number, f"it has {len(fields)} columns, {told}")
        table.append([_value(path, number, column, field) for column, field in enumerate(fields)])
        lines.append(number)
    values = np.full((len(table), 10), np.nan)
    values[:, :width] = np.array(table, np.float64).reshape(len(table), width)
    stated = values[:, 7] if width < 10 else np.full(len(values), np.nan)
    if len(broken := np.flatnonzero(stated % 1 > 0)):
        at = int(broken[0])
        raise _fault(path, lines[at], f"class: {stated[at]:g} is no whole number")
    in_world = values[:, 7:] if width == 10 else np.full((len(values), 3), np.nan)
    corner = values[:, 2:4] - 1
    return Rows(
        np.array(lines, np.int64),
        values[:, 0].astype(np.int64),
        values[:, 1].astype(np.int64),
        np.round(np.concatenate([corner, corner + values[:, 4:6]], 1), 6),
        np.where(np.isnan(values[:, 6]), 1.0, values[:, 6]),
        np.where(stated >= 0, stated, -1).astype(np.int64),
        np.where(values[:, 8] >= 0, values[:, 8], np.nan) if width == 9 else np.full(len(values), np.nan),
        np.where((in_world == -1).all(1, keepdims=True), np.nan, in_world),
    )


_COLUMNS = ("frame", "id", "left", "top", "width", "height", "confidence", "class", "visibility", "z")
_WHOLE = {0, 1}  # columns of whole numbers; the class is one too, but stands where MOT15 has a place in the world
_BETWEEN = re.compile(r"\s*,\s*|\s+")
_DETECTOR = re.compile(r"-(DPM|FRCNN|SDP)$")
_DIGITS = re.compile(r"(\d{1,9})\D*$", re.ASCII)
_LARGEST = 1e9
_MOST_BYTES = 1 << 30
_MOST_FRAMES = 250_000  # without pictures: more than two hours


@dataclass(frozen=True)
class _Info:
    """What seqinfo.ini says, as far as it does."""

    folder: str = "img1"
    ending: str = ".jpg"
    length: int = 0
    size: tuple[int, int] = (0, 0)
    said: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Sequence:
    """A sequence as it was read: ``frames`` says which file each frame is, ``gone`` which are listed but not there."""

    name: str
    split: int
    info: _Info
    rows: Rows
    frames: dict[int, str]
    gone: list[tuple[str, str]]
    remarks: list[Remark]


def _sequences(path: Path) -> list[tuple[str, int]]:
    """Return the folders of sequences below the data, each with its split."""
    if _is_sequence(path):
        return [("", TRAIN)]
    found = []
    for name in folders_of(path):
        if _is_sequence(path / name):
            found.append((name, TRAIN))
        elif name.lower() in SPLIT_WORDS:
            below = [sub for sub in folders_of(path / name) if _is_sequence(path / name / sub)]
            found += [(f"{name}/{sub}", SPLIT_WORDS[name.lower()]) for sub in below]
    return sorted(found, key=lambda item: item[1])


def _is_sequence(folder: Path) -> bool:
    return (folder / "gt/gt.txt").is_file() or (folder / "det/det.txt").is_file()


def _sequence(root: Path, name: str, split: int) -> _Sequence:
    folder = root / name
    info = _info(folder / "seqinfo.ini")
    inside(folder, info.folder, where=f"{shown(folder / 'seqinfo.ini')}, imDir")  # raises
    rows, remarks = _kept(folder / "gt/gt.txt", f"{name}/gt/gt.txt".lstrip("/"), read_rows(folder / "gt/gt.txt"))
    below = f"{name}/{info.folder}".lstrip("/")
    frames = _frames(folder / info.folder, below)
    gone = []
    if frames:
        stated, first = np.unique(rows.frame, return_index=True)
        for frame, line in zip(stated.tolist(), rows.line[first].tolist(), strict=True):
            if frame not in frames:
                file = f"{below}/{frame:06}{info.ending}"
                gone.append((file, f"{shown(f'{name}/gt/gt.txt'.lstrip('/'))}, line {line:,}: there is no such frame"))
    else:
        last = max(info.length, int(rows.frame.max(initial=0)))
        if last > _MOST_FRAMES:
            raise DataError("DATA-286", f"{shown(folder)}: {last:,} frames, of which none is there",
                            fix=f"add the pictures: {shown(info.folder)}/000001{info.ending}")  # fmt: skip
        frames = {frame: f"{below}/{frame:06}{info.ending}" for frame in range(1, last + 1)}
        why = f"its {last:,} frames are not there ({shown(info.folder)}/): it can judge a tracker, and teach nothing"
        remarks.append(Remark(name or ".", "warned", "DATA-289", why))
    return _Sequence(name, split, info, rows, frames, gone, remarks)


def _kept(path: Path, file: str, rows: Rows) -> tuple[Rows, list[Remark]]:
    """Return the rows whose boxes have an area, and remarks on the others; one object twice in a frame is refused."""
    tracked = np.flatnonzero(rows.id >= 0)
    order = tracked[np.lexsort((rows.line[tracked], rows.id[tracked], rows.frame[tracked]))]
    again = (np.diff(rows.frame[order]) == 0) & (np.diff(rows.id[order]) == 0)
    if again.any():
        first, second = order[again.argmax()], order[again.argmax() + 1]
        raise _fault(
            path, int(rows.line[second]),
            f"the object {rows.id[first]} is in frame {rows.frame[first]} already (line {rows.line[first]:,})",
        )  # fmt: skip
    flat = (rows.box[:, 2] <= rows.box[:, 0]) | (rows.box[:, 3] <= rows.box[:, 1])
    why = "its box has no area"
    remarks = [Remark(file, "skipped", "DATA-287", why, f"line {line:,}") for line in rows.line[flat].tolist()]
    columns = (getattr(rows, name)[~flat] for name in Rows.__dataclass_fields__)
    return Rows(*columns), remarks


def _frames(folder: Path, below: str) -> dict[int, str]:
    """Return frame number -> file, in order, of the pictures in a folder that have a number in their name."""
    found: dict[int, str] = {}
    for name in files_of(folder) if folder.is_dir() else ():
        number = _DIGITS.search(name.rpartition(".")[0]) if is_named_picture(name) else None
        if number is None:
            continue
        other = found.setdefault(int(number[1]), f"{below}/{name}")
        if other != f"{below}/{name}":
            raise DataError("DATA-288", f"{shown(folder / name)}: there is another picture of frame {int(number[1])}",
                            where=shown(other), fix="keep one of them")  # fmt: skip
    return dict(sorted(found.items()))


def _marks(sequence: _Sequence, dense: dict[int, int]) -> Iterator[list[Mark]]:
    """Yield the objects of each frame, in the order of the lines."""
    rows = sequence.rows
    at: dict[int, list[int]] = defaultdict(list)
    for m, frame in enumerate(rows.frame.tolist()):
        at[frame].append(m)
    labels = _labels(rows)
    for frame in sequence.frames:
        yield [_mark(rows, m, dense[labels[m]]) for m in at[frame]]


def _mark(rows: Rows, m: int, label: int) -> Mark:
    x0, y0, x1, y1 = rows.box[m].tolist()
    more: dict[str, object] = {"track": int(rows.id[m])}
    if rows.confidence[m] != 1:
        more["confidence"] = float(rows.confidence[m])
    if not np.isnan(rows.visibility[m]):
        more["visibility"] = float(rows.visibility[m])
    if not np.isnan(rows.world[m]).any():
        more["world"] = rows.world[m].tolist()
    return Mark((x0, y0, x1, y1), label, int(rows.id[m]), rows.confidence[m] == 0, more=json.dumps(more))


def _labels(rows: Rows) -> list[int]:
    """Return the class number of each row: a pedestrian's where none is stated."""
    numbers: list[int] = np.where(rows.label < 0, 1, rows.label).tolist()
    return numbers


def _original(sequences: Sequence[_Sequence], numbers: Sequence[int]) -> Original:
    records = [
        json.dumps({"sequence": sequence.name, "frame": frame}) for sequence in sequences for frame in sequence.frames
    ]
    sizes = [sequence.info.size for sequence in sequences for _ in sequence.frames]
    said: dict[str, dict[str, Mapping[str, str]]] = defaultdict(dict)
    for sequence in sequences:
        if sequence.info.said:
            said[SPLITS[sequence.split]][sequence.name] = sequence.info.said
    return Original(
        np.array(sizes, np.int64).reshape(-1, 2),
        class_ids=np.array(numbers, np.int64),
        records=Strings(records),
        whole={split: json.dumps({"sequences": of}) for split, of in said.items()},
    )


def _info(path: Path) -> _Info:
    if not path.is_file():
        return _Info()
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their capitals
    try:
        parser.read_string(_bytes(path).decode("utf-8", "surrogateescape"))
    except configparser.Error as error:
        raise DataError("DATA-285", f"{shown(path)}: {str(error).splitlines()[0]}") from error
    held = dict(parser["Sequence"]) if "Sequence" in parser else {}

    def number(key: str) -> int:
        text = held.get(key, "0").strip()
        if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
            raise DataError("DATA-285", f"{shown(path)}: {key}: {shown(text[:40])!r} is no whole number")
        return int(text)

    ending = held.get("imExt", ".jpg").strip()
    if not re.fullmatch(r"\.\w{1,8}", ending, re.ASCII):
        raise DataError("DATA-285", f"{shown(path)}: imExt: {shown(ending[:40])!r} is no ending of a picture")
    return _Info(
        held.get("imDir", "img1").strip(), ending, number("seqLength"), (number("imHeight"), number("imWidth")), held
    )


def _bytes(path: Path) -> bytes:
    data = read_regular(path, _MOST_BYTES)
    if len(data) > _MOST_BYTES:
        raise _fault(path, 1, f"the file has more than {_MOST_BYTES:,} bytes")
    return data.removeprefix(b"\xef\xbb\xbf")


def _lines(path: Path) -> list[str]:
    data = _bytes(path)
    if not data.isascii():
        at = next(i for i, byte in enumerate(data) if byte > 127)
        raise _fault(path, data.count(b"\n", 0, at) + 1, f"byte {at:,} is no ASCII text")
    return data.decode("ascii").replace("\r\n", "\n").split("\n")


def _value(path: Path, number: int, column: int, field: str) -> float:
    try:
        value = float(field) if "_" not in field else float("nan")
    except ValueError:
        value = float("nan")
    name = _COLUMNS[column]
    if not abs(value) <= _LARGEST:
        raise _fault(path, number, f"{name}: {shown(field[:40])!r} is no number, or too large a one")
    if (column in _WHOLE and value != int(value)) or (column == 0 and value < 1):
        raise _fault(path, number, f"{name}: {shown(field[:40])} is no whole number" + " from 1 on" * (column == 0))
    return value


def _fault(path: Path, line: int, what: str) -> DataError:
    return DataError("DATA-286", f"{shown(path)}: line {line:,}: {what}",
                     fix="frame, id, left, top, width, height, confidence, class, visibility")  # fmt: skip


FORMAT = Format("MOT sequences", sniff, read)
