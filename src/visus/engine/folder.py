"""The folder of a run: its lock, its log, and the journal of decisions that a resume replays."""

from __future__ import annotations

import io
import json
import math
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from visus.core.errors import LockedError
from visus.core.files import sweep, write_failed, write_text

Row = Mapping[str, Any]


class RunFolder:
    """A run folder held by this process until ``close``.

    Args:
        path: created where it is missing.
        leader: this process writes; the other ranks of a run only read.

    Raises:
        LockedError: another process holds it.
        UsageError: it cannot be written to.
        ResourceError: the disk is full.
    """

    def __init__(self, path: Path, *, leader: bool = True) -> None:
        self.path, self.leader = path, leader
        self._lock: io.TextIOWrapper | None = None
        self._log: io.TextIOWrapper | None = None
        self._flushed = 0.0
        if leader:
            try:
                path.mkdir(parents=True, exist_ok=True)
                self._lock = _hold(path / ".lock")
                sweep(path)
                sweep(path / "state")
                for name in ("log.jsonl", "decisions.jsonl"):
                    _mend(path / name)
            except OSError as error:
                raise write_failed(error, path) from error

    def log(self, row: Row) -> None:
        """Append a line to log.jsonl; it reaches the disk within a second, and before any save."""
        if not self.leader:
            return
        try:
            if self._log is None:
                self._log = (self.path / "log.jsonl").open("a", encoding="utf-8")
            self._log.write(_line(row))
            now = time.monotonic()
            if now - self._flushed > 0.5:
                self._log.flush()
                self._flushed = now
        except OSError as error:
            raise write_failed(error, self.path / "log.jsonl") from error

    def flush(self) -> None:
        """Bring the log to the system."""
        try:
            if self._log is not None:
                self._log.flush()
        except OSError as error:
            raise write_failed(error, self.path / "log.jsonl") from error

    def rows(self) -> list[dict[str, Any]]:
        """Return the lines of log.jsonl."""
        self.flush()
        return _lines(self.path / "log.jsonl")

    def cut(self, step: int, evaluated: int) -> None:
        """Drop the log's lines that a state at ``step`` does not know: later steps, validations after ``evaluated``."""
        if not self.leader:
            return
        if self._log is not None:
            self._log.close()
            self._log = None
        kept = [r for r in _lines(self.path / "log.jsonl") if r["step"] <= (evaluated if "validation" in r else step)]
        write_text(self.path / "log.jsonl", "".join(_line(row) for row in kept))

    def decide(self, kind: str, step: int, values: Row, *, dying: bool = False) -> None:
        """Write a decision down, for good, before it acts; the leader does, and a rank that dies of it."""
        if not (self.leader or (dying and self.path.is_dir())):
            return
        row = {"kind": kind, "step": step, "at": round(time.time(), 3), **values}
        try:
            with (self.path / "decisions.jsonl").open("a", encoding="utf-8") as file:
                file.write(_line(row))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_failed(error, self.path / "decisions.jsonl") from error

    def decisions(self) -> list[dict[str, Any]]:
        """Return what was decided, in order."""
        return _lines(self.path / "decisions.jsonl")

    def close(self) -> None:
        """Let go of the folder.

        Raises:
            ResourceError: the disk is full, and the last lines of the log are lost.
        """
        try:
            if self._log is not None:
                self._log.close()
        except OSError as error:
            raise write_failed(error, self.path / "log.jsonl") from error
        finally:
            self._log = None
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _hold(path: Path) -> io.TextIOWrapper:
    """Return the lock file, held by the system until it is closed or this process dies."""
    file = path.open("a+", encoding="utf-8")
    try:
        _lock_file(file)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise LockedError("RUN-005", f"{path.parent}: another run holds this folder", where=holder,
                          fix="wait for it, stop it, or choose another folder: --out DIR") from error  # fmt: skip
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
    file.flush()
    return file


def _lock_file(file: io.TextIOWrapper) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON lines; a last line cut by a kill is left out."""
    return _whole(path)[0]


def _mend(path: Path) -> None:
    """Cut off what a kill or a full disk left of a line, so that the next one does not continue it."""
    size = _whole(path)[1]
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)


def _whole(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of a file of JSON lines before the first torn one, and how many bytes they take."""
    rows: list[dict[str, Any]] = []
    size = 0
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        try:
            row = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            break  # torn by a power cut: what follows it was written later still
        if not isinstance(row, dict):
            break
        rows.append(row)
        size += len(line)
    return rows, size


_ENCODER = json.JSONEncoder(allow_nan=False)


def _line(row: Row) -> str:
    """Return a row as a line of JSON; nearly none holds a number that JSON has no word for."""
    try:
        return _ENCODER.encode(row) + "\n"
    except ValueError:
        return _ENCODER.encode(_finite(row)) + "\n"


def _finite(value: Any) -> Any:
    """Return a value with null, at any depth, for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
