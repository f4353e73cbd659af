"""The one door through which visus writes: a file is there whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from visus.core.errors import ResourceError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MARK = ".visus-part-"
_LIFE = os.urandom(4).hex()  # tells this process from an earlier one of the same number, as containers have
_UMASK = os.umask(0o077)  # a process can only ask for it by setting it, so it is asked once, before there are threads
os.umask(_UMASK)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ASK, _DENIED, _RUNNING = 0x1000, 5, 259  # of Windows: PROCESS_QUERY_LIMITED_INFORMATION, ERROR_..., STILL_ACTIVE
_FLUSHES_ALL = hasattr(os, "sync")  # Windows flushes file by file


@contextmanager
def replacing(path: Path, needed: int = 0) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path`` that takes its place when the block ends well.

    Temp file in the same folder, write, fsync, rename, fsync the folder: a process killed at any instant leaves the old
    file or the new one.  The temporary file's name carries the process number, so ``sweep`` can remove what a dead
    process left.  What is written into a folder that ``new_folder`` is making is flushed with it, not one by one.

    Args:
        path: the file to be replaced or made.
        needed: bytes to be written, where they are known beforehand; a full disk's message says them.

    Raises:
        ResourceError: the disk is full; the old file is intact.
        UsageError: the folder cannot be written to.
    """
    temp: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f"{_MARK}{os.getpid()}-{_LIFE}-", dir=path.parent)
        temp = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if not _is_flushed_later(path):
                os.fsync(file.fileno())
        temp.chmod(0o666 & ~_UMASK)
        temp.replace(path)
        if not _is_flushed_later(path):
            _sync_folder(path.parent)
    except BaseException as error:
        if temp is not None:
            temp.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise write_failed(error, path, needed) from error
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make a temporary folder beside ``path`` that becomes it when the block ends well: whole, or not at all.

    All that was written into it, by whatever means, is flushed to the disk at once before it takes its place.

    Args:
        path: a folder that does not exist yet, or is empty; folders above it are made.

    Raises:
        ResourceError: the disk is full; nothing is left behind.
        UsageError: the place cannot be written to.
    """
    temp: Path | None = None
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        sweep(path.absolute().parent)
        temp = Path(tempfile.mkdtemp(prefix=f"{_MARK}{os.getpid()}-{_LIFE}-", dir=path.absolute().parent))
        yield temp
        if _FLUSHES_ALL:
            os.sync()
        temp.chmod(0o777 & ~_UMASK)
        if path.is_dir():
            path.rmdir()  # an empty one is in the way on some systems
        temp.replace(path)
        _sync_folder(path.absolute().parent)
    except OSError as error:
        raise write_failed(error, path) from error
    finally:
        if temp is not None:
            shutil.rmtree(temp, ignore_errors=True)  # it is gone where all went well


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture, (H, W) or (H, W, 3) uint8, as a PNG file, whole or not at all.

    Raises:
        ResourceError: the disk is full; the old file is intact.
        UsageError: the folder cannot be written to.
    """
    from PIL import Image

    with replacing(path) as file:
        Image.fromarray(pixels).save(file, "PNG", optimize=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file through ``replacing``."""
    with replacing(path, len(data)) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file through ``replacing``; the broken bytes of a name are spelt out."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write one JSON document through ``replacing``."""
    write_text(path, json_text(document) + "\n")


def json_text(document: Mapping[str, Any]) -> str:
    """Return a JSON document in ASCII; a number that JSON has not, such as NaN, becomes null."""
    return json.dumps(finite(document), indent=1, allow_nan=False)


def finite(value: Any) -> Any:
    """Return plain values of which JSON can be made: text as keys, null for a number that JSON has not, such as NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(part) for key, part in value.items()}
    return [finite(part) for part in value] if isinstance(value, list | tuple) else value


def sweep(folder: Path) -> int:
    """Remove temporary files and folders whose process is dead; return how many.

    Raises:
        UsageError: the folder cannot be written to.
    """
    gone = 0
    for part in folder.glob(f"{_MARK}*"):
        named = re.match(r"([0-9]{1,9})-([0-9a-f]{8})-", part.name.removeprefix(_MARK))
        if named is None:
            continue  # not ours, whatever it is
        process, life = int(named[1]), named[2]
        if alive(process) and (process != os.getpid() or life == _LIFE):
            continue
        try:
            shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
        except OSError as error:
            raise write_failed(error, part) from error
        gone += 1
    return gone


def alive(process: int) -> bool:
    """Tell whether a process of this machine is running."""
    if sys.platform == "win32":
        return _alive_on_windows(process)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is there, but belongs to somebody else
    return True


def write_failed(error: OSError, path: Path, needed: int = 0) -> UsageError | ResourceError:
    """Return the error that a failed write deserves: a full disk is exit 4, a folder one may not write to exit 2."""
    if error.errno in _FULL:
        try:
            free = f"{shutil.disk_usage(path.parent).free:,} bytes free"
        except OSError:
            free = "no room"
        free = f"{needed:,} bytes needed, {free}" if needed else free
        return ResourceError(
            "RUN-004", f"{path}: the disk is full", where=f"{free} ({os.strerror(error.errno or 0)})",
            done="the file that was there is intact", fix="make room, then: visus resume RUN",
        )  # fmt: skip
    return UsageError(
        "RUN-002", f"{path}: cannot be written", where=os.strerror(error.errno or 0) + f" ({path.parent})",
        fix="choose a folder of your own: --out DIR",
    )  # fmt: skip


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    hasher = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    return hasher.hexdigest()


class Hashing:
    """A file that is hashed while it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write_to: Callable[[bytes], int] = file.write
        self.hasher = sha256()

    def write(self, data: bytes) -> int:
        """Write and count."""
        self.hasher.update(data)
        return self.write_to(data)


def _alive_on_windows(process: int) -> bool:
    """Tell whether a process is running, where a signal of 0 is no question but CTRL+C."""
    import ctypes

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined, unused-ignore]
    kernel.OpenProcess.restype = ctypes.c_void_p  # a handle is as wide as a pointer
    handle = kernel.OpenProcess(_ASK, False, process)
    if not handle:  # no such process, or one of somebody else
        return bool(ctypes.get_last_error() == _DENIED)  # type: ignore[attr-defined, unused-ignore]
    code = ctypes.c_ulong()
    known = kernel.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(code))
    kernel.CloseHandle(ctypes.c_void_p(handle))
    return not known or code.value == _RUNNING


def _is_flushed_later(path: Path) -> bool:
    """Tell whether a file lies in a folder that ``new_folder`` is making, which is flushed whole."""
    return _FLUSHES_ALL and any(part.startswith(_MARK) for part in path.parts[:-1])


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows has no handle of a folder to flush
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
