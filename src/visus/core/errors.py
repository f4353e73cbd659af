"""Errors that say what happened, where, what was done and what to do, and the exit code each ends the command with."""

from __future__ import annotations

import re
import shlex
import sysconfig
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

OK, MISSED, USAGE, BAD_DATA, RESOURCE, LOCKED, INTEGRITY, DIVERGED, BUG = 0, 1, 2, 3, 4, 5, 6, 7, 70
SIGINT, SIGTERM = 130, 143

_OURS = str(Path(__file__).parents[1])
_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_COLOURED = re.compile(r"\x1b\[[0-9;]*m")
_INSTALLED = tuple({sysconfig.get_path(place) for place in ("stdlib", "platstdlib", "purelib", "platlib")})


class VisusError(Exception):
    """An error the user can act on, shown in at most five lines.

    Args:
        code: room and number, stable across releases: ``"DATA-014"``.
        what: the subject and the fault in one line.
        where: place in the user's files or in the run.
        looked: what was searched, where nothing was found.
        done: what visus did about it; nothing is ever skipped without saying so.
        fix: the command or edit that helps.
    """

    exit = USAGE

    def __init__(
        self, code: str, what: str, *, where: str = "", looked: str = "", done: str = "", fix: str = ""
    ) -> None:
        super().__init__(what)
        self.code, self.what = code, what
        self.where, self.looked, self.done, self.fix = where, looked, done, fix

    def __str__(self) -> str:
        lines = [f"error[{self.code}]: {_one_line(self.what)}"]
        for title, text in (("where", self.where), ("looked for", self.looked), ("done", self.done), ("fix", self.fix)):
            if text:
                lines.append(f"  {title + ':':6} {_one_line(text)}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way home from a worker process with every field."""
        return _rebuild, (type(self), self.code, self.what, self.where, self.looked, self.done, self.fix)


class UsageError(VisusError):
    """Bad usage or settings, or a fault in the user's own code; what a run had saved is kept."""


class DataError(VisusError):
    """A file or folder of the user's that cannot be read as what it should be."""


class MissedError(VisusError):
    """What was asked for was done, and does not keep what was promised of it."""

    exit = MISSED


class BadDataLimit(VisusError):
    """More bad files than the run may skip."""

    exit = BAD_DATA


class ResourceError(VisusError):
    """Memory or disk ran out; the state of the run is kept."""

    exit = RESOURCE


class LockedError(VisusError):
    """Another process holds the run folder."""

    exit = LOCKED


class IntegrityError(VisusError):
    """A checksum, a version or a file's own description does not hold."""

    exit = INTEGRITY


class DivergedError(VisusError):
    """Training could not be healed; the last good weights are kept."""

    exit = DIVERGED


class Interrupted(VisusError):
    """The run was stopped by a signal after saving its state."""

    def __init__(self, signal: int, what: str, **lines: str) -> None:
        super().__init__("RUN-130" if signal == 2 else "RUN-143", what, **lines)
        self.exit = 128 + signal


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name most like ``name``, or an empty string when none is close."""
    by_lower = {k.lower(): k for k in known}
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.65)
    return by_lower[found[0]] if found else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a fix line for a misspelt name: the nearest one, or the whole (short) list."""
    names = sorted(known)
    guess = nearest(name, names)
    if guess:
        return f"did you mean {guess!r}?"
    listed = ", ".join(names[:12]) + (" ..." if len(names) > 12 else "")
    return f"one of: {listed}" if names else ""


def plain(text: str) -> str:
    """Return text that any screen can show: bytes that were no UTF-8, control and direction characters as escapes.

    Python keeps undecodable bytes of file names as lone surrogates, which no encoder accepts; a direction override
    could make a name read as another one.
    """
    return _UNSEEN.sub(_escape, text)


def _one_line(text: str) -> str:
    """Return text as one plain line."""
    return plain(" ".join(part.strip() for part in text.splitlines()))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, without colours of a terminal, or its kind where it says nothing.

    Python's own ``MemoryError`` does not.
    """
    lines = (line.strip() for line in _COLOURED.sub("", str(error)).splitlines())
    return next(filter(None, lines), type(error).__name__)


def needs(library: str, extra: str) -> UsageError:
    """Return what to say where an optional library is missing."""
    return UsageError("USE-070", f"{library} is not installed", done="nothing was written",
                      fix=f"pip install 'visus[{extra}]'")  # fmt: skip


def users_line(error: BaseException) -> str:
    """Return ``FILE:LINE in FUNCTION`` of the user's own code that was running when an error rose, or nothing.

    That is the last place of the traceback that belongs neither to visus nor to an installed package, where an
    installed one, which is PyTorch's ``nn.Module``, was called by us and called it.
    """
    frames = traceback.extract_tb(error.__traceback__)
    ours = max((i for i, frame in enumerate(frames) if frame.filename.startswith(_OURS)), default=len(frames))
    below = frames[ours + 1 :]
    own = [frame for frame in below if not frame.filename.startswith(("<", *_INSTALLED))]
    if not own or own[0] is below[0]:
        return ""
    return f"{own[-1].filename}:{own[-1].lineno} in {own[-1].name}"


def quoted(path: object) -> str:
    """Return a path as it is typed in a shell, so that the commands we print can be pasted."""
    return shlex.quote(str(path))


def _rebuild(cls: type[VisusError], code: str, what: str, where: str, looked: str, done: str, fix: str) -> VisusError:
    error = cls.__new__(cls)
    VisusError.__init__(error, code, what, where=where, looked=looked, done=done, fix=fix)
    if isinstance(error, Interrupted):
        error.exit = 130 if code == "RUN-130" else 143
    return error
