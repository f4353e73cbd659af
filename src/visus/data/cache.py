"""Decoded pictures, kept so that each is decoded once: in memory, or in one file outside the user's data.

A cache holds what ``pixels.pictures`` would have given, so a run with it has the bits of a run without.  The file is
written whole or not at all, and is found again by all that its pixels depend on: names, sizes and times of the files
they come from, stored size and channels, and the code and libraries that decode.

    VISUS_CACHE         folder of the caches; else $XDG_CACHE_HOME/visus, ~/.cache/visus, or where there is no home,
                        the system's folder for temporary files
    VISUS_CACHE_LIMIT   gigabytes that all of them together may take, 20; the ones used longest ago go first
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core.errors import DataError, ResourceError, UsageError, VisusError
from visus.core.files import digest, replacing, sweep
from visus.data.dataset import ArrayImages, Dataset, FileImages
from visus.data.pixels import LARGE, Beat, Pictures, Taken, pictures, shrunk, tensor_of, together
from visus.data.stamps import stamp
from visus.data.workers import Numbered, in_order

Mode: TypeAlias = Literal["off", "memory", "disk"]

LIMIT = 20.0
"""Gigabytes of caches kept, unless VISUS_CACHE_LIMIT says otherwise."""

LOOKED_AT = 64
"""Pictures whose headers tell how large a cache will be."""

_SUFFIX, _MAGIC = ".pixels", b"VISUSPX1"
_COLUMNS = 8  # of the table: index, offset, height, width, channels, depth, original height, original width
_DEPTHS = (torch.uint8, torch.uint16, torch.float32)
_CHUNK = 32  # pictures a job of building
_ROOM = 1_000_000_000  # bytes of a disk that are left free

_Chunk: TypeAlias = tuple[Tensor, NDArray[np.int64], dict[int, str]]  # bytes, rows of the table, reasons by bad index


@dataclass(frozen=True)
class Plan:
    """Whether decoded pictures are kept, and where.

    Attributes:
        mode: ``off``, ``memory`` or ``disk``.
        bytes: that it will take, estimated from the headers of some pictures.
        why: the reason, in one phrase.
        stored, channels: of the pictures kept, as in ``pixels.fit``.
    """

    mode: Mode
    bytes: int
    why: str
    stored: int
    channels: int


def plan(
    dataset: Dataset,
    indices: NDArray[np.int64],
    *,
    mode: Literal["auto", "off", "memory", "disk"] = "auto",
    stored: int,
    channels: int,
    size: tuple[int, int],
    passes: float,
) -> Plan:
    """Decide whether to keep decoded pictures, by sizes and counts alone, so that two equal runs decide alike.

    ``auto`` keeps them where they would be decoded more than once and fit: on disk when the file leaves room there and
    its pages fit in three quarters of the free memory, from which they are then served; in memory when they fit in a
    quarter of it.  Pictures that are one array already are only kept when they would be shrunk at every pass.

    Args:
        dataset: the records.
        indices: those that will be read.
        mode: ``auto``, or what the user wants.
        stored: shorter side at which pictures are kept; 0 for the size they have.
        channels: of the pictures kept.
        size: (height, width) the network reads, for the advice that a plan of ``off`` gives.
        passes: times that each picture will be read.
    """
    each, larger = _estimate(dataset, indices, stored, channels)
    total = each * len(indices)

    def decided(mode: Mode, why: str) -> Plan:
        return Plan(mode, total if mode != "off" else 0, why, stored, channels)

    if mode != "auto":
        return decided(mode, "as asked for")
    if not len(indices) or passes < 2:
        return decided("off", "each picture is read about once")
    if isinstance(dataset.images, ArrayImages) and not larger:
        return decided("off", "the pictures are decoded already")
    memory, disk, limit = free_memory(), free_disk(root()), _limit()
    if total <= 0.75 * memory and total + _ROOM <= disk and total <= limit:
        return decided("disk", f"{_gigabytes(total)} for pictures that are each read about {passes:,.0f} times")
    if total <= 0.25 * memory:
        return decided("memory", f"{_gigabytes(total)} fit there, but not on the disk of {root()}")
    advice = max(size) * 8 // 7
    smaller = f"; --set data.stored={advice} would need less" if not stored or stored > advice else ""
    room = f"{_gigabytes(memory)} of memory and {_gigabytes(disk)} of disk are free, {_gigabytes(limit)} is the limit"
    return decided("off", f"{_gigabytes(total)} do not fit: {room}{smaller}")


def build(
    plan: Plan,
    dataset: Dataset,
    indices: NDArray[np.int64],
    *,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Cache | None, tuple[str, ...]]:
    """Return the cache a plan asks for, made now or found from an earlier run, and notes for the user.

    A full or read-only disk is no reason to stop: the pictures go to memory where they fit, else nothing is kept, and a
    note says so.

    Args:
        plan: from ``plan``.
        dataset: the records.
        indices: those that are kept.
        workers: processes that decode; 0 for as many threads as there are cores.
        progress: told how many of how many pictures are decoded.
    """
    if plan.mode == "off":
        return None, ()
    indices = np.unique(indices)
    notes: list[str] = []
    if plan.mode == "disk":
        try:
            return _on_disk(plan, dataset, indices, workers, progress, notes), tuple(notes)
        except (UsageError, ResourceError, OSError) as error:
            what = error.what if isinstance(error, VisusError) else str(error)
            fits = plan.bytes <= 0.25 * free_memory()
            rest = "they are kept in memory instead" if fits else "nothing is kept, every pass decodes again"
            notes.append(f"decoded pictures could not be kept on disk ({what}): {rest}")
            if not fits:
                return None, tuple(notes)
    return _in_memory(plan, dataset, indices, workers, progress), tuple(notes)


def root() -> Path:
    """Return the folder of the caches, which need not exist."""
    if own := os.environ.get("VISUS_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "visus"
    try:
        return Path.home() / ".cache" / "visus"
    except RuntimeError:  # neither HOME nor an entry for this user, as in a container that runs under any number
        return Path(gettempdir()) / "visus"


def prune(folder: Path, keep: int) -> list[Path]:
    """Remove the caches used longest ago until the rest takes at most ``keep`` bytes; return what went."""
    sweep(folder)
    found = sorted(((p.stat().st_mtime_ns, p.stat().st_size, p) for p in folder.glob(f"*{_SUFFIX}")), reverse=True)
    gone, total = [], 0
    for _, size, path in found:
        total += size
        if total > keep:
            path.unlink(missing_ok=True)
            path.with_suffix(".lock").unlink(missing_ok=True)
            gone.append(path)
    return gone


def free_memory() -> int:
    """Return the bytes of memory this process could still use: of the machine, and of its control group."""
    groups = Path("/sys/fs/cgroup")
    left = [
        _group(groups, "memory.max", "memory.current", "inactive_file"),
        _group(groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ]
    return max(0, min([_available(), *(free for free in left if free is not None)]))


def free_disk(folder: Path) -> int:
    """Return the free bytes of the disk on which ``folder`` is or would be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free if os.access(folder, os.W_OK) else 0


class Cache:
    """Decoded pictures, read by index.  What ``take`` gives has the bits of ``pixels.pictures``, the bad ones included.

    The pictures it hands out may be views of its own memory: they are for reading.

    Attributes:
        path: its file; None where it is in memory.
        stored, channels: of its pictures.
        bad: reason by index.
    """

    def __init__(
        self, pixels: Tensor, table: NDArray[np.int64], bad: dict[int, str], plan: Plan, path: Path | None = None
    ) -> None:
        self.pixels, self.table, self.bad, self.path, self._plan = pixels, table, bad, path, plan
        self.stored, self.channels = plan.stored, plan.channels
        self._alike: Tensor | None = None  # (N, H, W, C) where all are alike and small: then a batch is one gather
        if len(table) and (table[:, 2:6] == table[0, 2:6]).all() and len(pixels) < LARGE * len(table):
            self._alike = pixels.view(_DEPTHS[table[0, 5]]).view(len(table), *table[0, 2:5].tolist())

    def __len__(self) -> int:
        return len(self.table)

    @property
    def bytes(self) -> int:
        """Size of its pixels."""
        return len(self.pixels)

    def take(self, indices: NDArray[np.int64], beat: Beat) -> Taken:
        """Return pictures by their index in the data set."""
        bad = {i: self.bad[i] for i in dict.fromkeys(indices.tolist()) if i in self.bad} if self.bad else {}
        if bad:
            indices = indices[~np.isin(indices, list(bad))]
        rows = np.searchsorted(self.table[:, 0], indices)
        if len(indices) and (rows.max() >= len(self) or (self.table[rows, 0] != indices).any()):
            raise UsageError("USE-034", "a picture was asked for that the cache was not made for")
        if self._alike is not None and len(rows):
            images: Tensor | list[Tensor] = self._alike.index_select(0, torch.from_numpy(rows)).permute(0, 3, 1, 2)
        else:
            images = together([self._picture(row) for row in self.table[rows].tolist()])
        return Taken(images, self.table[rows, 6:8], bad)

    def _picture(self, row: list[int]) -> Tensor:
        _, offset, height, width, channels, depth, *_ = row
        size = _DEPTHS[depth].itemsize
        raw = self.pixels[offset : offset + height * width * channels * size]
        return (raw.clone() if offset % size else raw).view(_DEPTHS[depth]).view(height, width, channels)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to a worker as the name of the file, or as shared memory; never as bytes."""
        if self.path is not None:
            return _open, (self.path, self._plan)
        return Cache, (self.pixels, self.table, self.bad, self._plan)


def _on_disk(
    plan: Plan,
    dataset: Dataset,
    indices: NDArray[np.int64],
    workers: int,
    progress: Callable[[int, int], None] | None,
    notes: list[str],
) -> Cache:
    folder = root()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_key(plan, dataset, indices)}{_SUFFIX}"
    with _alone(path.with_suffix(".lock")):
        if path.exists():
            try:
                found = _open(path, plan)
                if not (mended := _readable_now(found, plan, dataset, workers)):
                    return found
                notes.append(f"{mended:,} of the pictures can be read now that could not before: all are decoded again")
            except DataError as error:
                notes.append(f"{error.what}: made again")
        room = _limit() - plan.bytes
        if room < 0:
            raise ResourceError("DATA-041", f"{_gigabytes(plan.bytes)} are over the limit of {_gigabytes(_limit())}",
                                fix="VISUS_CACHE_LIMIT=GIGABYTES allows more")  # fmt: skip
        if gone := prune(folder, room):
            notes.append(f"{len(gone)} decoded data sets used longest ago were removed from {folder}")
        with replacing(path) as file:
            decoded = _Table()
            for flat, rows, bad in _decoded(plan, dataset, indices, workers, progress):
                file.write(flat.numpy().data)
                decoded.add(len(flat), rows, bad)
            table = decoded.whole()
            values = {
                "key": path.stem,
                "pixels": decoded.bytes,
                "rows": len(table),
                "check": zlib.crc32(table.tobytes()),
                "bad": sorted(decoded.bad.items()),
            }
            header = json.dumps(values).encode()
            file.write(bytes(-decoded.bytes % 8) + table.tobytes())
            file.write(header + len(header).to_bytes(8, "little") + _MAGIC)
        return _open(path, plan)


def _readable_now(found: Cache, plan: Plan, dataset: Dataset, workers: int) -> int:
    """Return how many pictures that were bad when a cache was made are not: a disk may have failed for a moment."""
    if not found.bad:
        return 0
    suspects = np.array(sorted(found.bad), dtype=np.int64)
    return sum(len(rows) for _, rows, _ in _decoded(plan, dataset, suspects, workers, None))


def _in_memory(
    plan: Plan,
    dataset: Dataset,
    indices: NDArray[np.int64],
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> Cache:
    decoded, chunks = _Table(), []
    for flat, rows, bad in _decoded(plan, dataset, indices, workers, progress):
        decoded.add(len(flat), rows, bad)
        chunks.append(flat)
    pixels, at = torch.empty(decoded.bytes, dtype=torch.uint8), 0
    for i, flat in enumerate(chunks):
        pixels[at : at + len(flat)] = flat
        at, chunks[i] = at + len(flat), flat[:0]  # each chunk goes as its copy comes: the peak is one data set, not two
    return Cache(pixels, decoded.whole(), decoded.bad, plan)


def _open(path: Path, plan: Plan) -> Cache:
    """Open a cache file; it is read-only to whoever reads, and private to whoever would write.

    Raises:
        DataError: it is not whole.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - 16))
            length, magic = int.from_bytes(file.read(8), "little"), file.read()
            if magic != _MAGIC or length > size:
                raise ValueError("no end mark")
            file.seek(size - 16 - length)
            header = json.loads(file.read(length))
            rows = header["rows"]
            start = header["pixels"] + -header["pixels"] % 8
            if header["key"] != path.stem or start + rows * _COLUMNS * 8 + length + 16 != size:
                raise ValueError("sizes that do not agree")
            file.seek(start)
            stored = file.read(rows * _COLUMNS * 8)
        if zlib.crc32(stored) != header["check"]:
            raise ValueError("a damaged table")
        table = np.frombuffer(stored, dtype=np.int64).reshape(rows, _COLUMNS)
        empty: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)  # nothing cannot be mapped
        mapped = np.memmap(path, np.uint8, "c", shape=(header["pixels"],)) if header["pixels"] else empty
        os.utime(path)  # used now: the last to be pruned
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError("DATA-042", f"{path}: the decoded pictures cannot be used: {error}") from error
    return Cache(tensor_of(mapped), table, {int(i): why for i, why in header["bad"]}, plan, path)


class _Table:
    """What was decoded so far: one row a picture, and how many bytes."""

    def __init__(self) -> None:
        self.bytes, self.bad, self._rows = 0, dict[int, str](), list[NDArray[np.int64]]()

    def add(self, size: int, rows: NDArray[np.int64], bad: dict[int, str]) -> None:
        """Count one chunk, whose offsets begin at its own first byte."""
        rows[:, 1] += self.bytes
        self._rows.append(rows)
        self.bad.update(bad)
        self.bytes += size

    def whole(self) -> NDArray[np.int64]:
        """Return the (N, 8) table."""
        return np.concatenate(self._rows) if self._rows else np.zeros((0, _COLUMNS), dtype=np.int64)


@dataclass(frozen=True)
class _Decode:
    """The pure function that building runs in workers: decoded pictures, one after the other in one flat tensor."""

    source: Pictures
    indices: NDArray[np.int64]

    def __call__(self, job: Numbered, beat: Beat) -> _Chunk:
        """Return the pictures of a job."""
        chunk, condemned = job
        bad = dict(condemned)
        here = self.indices[chunk * _CHUNK : (chunk + 1) * _CHUNK]
        taken = self.source.take(here[~np.isin(here, list(bad))], beat)
        bad.update(taken.bad)
        good = here[~np.isin(here, list(bad))]
        rows, flats, at = np.zeros((len(good), _COLUMNS), dtype=np.int64), [torch.zeros(0, dtype=torch.uint8)], 0
        for row, i, image, original in zip(rows, good, taken.images, taken.originals, strict=True):
            picture = image.permute(1, 2, 0).contiguous()
            row[:] = (i, at, *picture.shape, _DEPTHS.index(picture.dtype), *original)
            flats.append(picture.view(-1).view(torch.uint8))
            at += picture.nbytes
        return torch.cat(flats), rows, {int(i): bad[int(i)] for i in here if int(i) in bad}


def _decoded(
    plan: Plan,
    dataset: Dataset,
    indices: NDArray[np.int64],
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[_Chunk]:
    """Yield every chunk in order, decoded ahead by all workers."""
    work = _Decode(pictures(dataset.images, plan.channels, plan.stored), indices)
    for done, chunk in enumerate(in_order(work, -(-len(indices) // _CHUNK), workers), 1):
        yield chunk
        if progress:
            progress(min(done * _CHUNK, len(indices)), len(indices))


def _estimate(dataset: Dataset, indices: NDArray[np.int64], stored: int, channels: int) -> tuple[int, bool]:
    """Return the bytes of an average picture as it would be kept, and whether keeping it would shrink it."""
    if not len(indices):
        return 0, False
    sizes: list[tuple[int, int]] = []
    depth = 0
    some = indices[np.unique(np.linspace(0, len(indices) - 1, LOOKED_AT).astype(np.int64))]
    for i in some[:1] if isinstance(dataset.images, ArrayImages) else some:
        try:
            if isinstance(dataset.images, FileImages):
                from visus.data.decode import peek

                path = dataset.images.root / dataset.images.paths[int(i)]
                header = peek(path, max_pixels=dataset.images.max_pixels)
                sizes.append((header.height, header.width))
                depth = depth or dataset.images.read(int(i)).dtype.itemsize  # of one: headers do not tell it
            else:
                picture = dataset.images.read(int(i))
                sizes.append((picture.shape[0], picture.shape[1]))
                depth = picture.dtype.itemsize
        except DataError:
            continue  # whoever reads it for its pixels reports it
    kept = [shrunk(height, width, stored) for height, width in sizes]
    each = sum(height * width for height, width in kept) * channels * depth // max(1, len(kept))
    return each, kept != sizes


def _key(plan: Plan, dataset: Dataset, indices: NDArray[np.int64]) -> str:
    """Return a name that changes with anything the pixels depend on."""
    from visus.data import decode, pixels

    hasher = sha256()
    libraries = [version(name) for name in ("torch", "torchvision", "pillow", "numpy")]
    code = [digest(Path(str(module.__file__))) for module in (decode, pixels)]
    processor = torch.backends.cpu.get_cpu_capability()  # picks the kernels that shrink
    hasher.update(json.dumps([plan.stored, plan.channels, libraries, code, processor]).encode() + indices.tobytes())
    if isinstance(dataset.images, FileImages):
        hasher.update(os.fsencode(dataset.images.root.resolve()) + b"%d" % dataset.images.max_pixels)
        for name in dataset.images.paths.take(indices):
            hasher.update(os.fsencode(name) + stamp(dataset.images.root / name))
    else:
        hasher.update(dataset.fingerprint().encode())
    return hasher.hexdigest()[:32]


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until no other process makes the same cache: the ranks of one run find what the first one made.

    Where there are no locks (Windows, some network disks) each makes its own, and the last one stays: they are equal.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with lock.open("w") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _limit() -> int:
    text = os.environ.get("VISUS_CACHE_LIMIT") or LIMIT
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError) as error:
        raise UsageError("USE-033", f"VISUS_CACHE_LIMIT={text}: no number of gigabytes") from error


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"


def _available() -> int:
    """Return the machine's free memory, pages of files that can be dropped included."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # macOS does not tell; half is likely free
    return 4_000_000_000


def _group(folder: Path, limit: str, used: str, droppable: str) -> int | None:
    """Return what a control group leaves, or None where there is none or it has no limit."""
    try:
        at_most, now = int((folder / limit).read_text()), int((folder / used).read_text())
        told = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return at_most - now + int(told.get(droppable, 0))
    except (OSError, ValueError):
        return None
