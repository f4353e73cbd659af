"""SIGINT and SIGTERM: while steps are taken a run stops between two of them, elsewhere at once; both can be resumed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from visus.core.errors import Interrupted, quoted


@contextmanager
def stopping_at_once(folder: Path) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into ``Interrupted``."""

    def stop(number: int) -> None:
        begun = any((folder / "state").glob("*.json"))
        done = "the last state is saved, nothing is lost" if begun else "no step was taken yet"
        raise stopped(number, folder, done)

    with _handled(stop):
        yield


@contextmanager
def stopping_in_time(folder: Path) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM for the caller to act on; the same one twice is not waited for.

    Raises:
        Interrupted: the second time.
    """
    received: list[int] = []

    def note(number: int) -> None:
        if number in received:
            raise stopped(number, folder, "the last saved state is kept", " at once")
        received.append(number)

    with _handled(note):
        yield received


@contextmanager
def breaking_off(what: str) -> Iterator[Waiting]:
    """End at once where SIGINT or SIGTERM comes; within the block it is a ``KeyboardInterrupt``, taken for no fault.

    Yields:
        By which the block tells that signals have to wait from then on: it is about to write what it came to.

    Raises:
        Interrupted: one came, of ``what``; nothing was written.
    """
    waiting = Waiting()

    def stop(number: int) -> None:
        if not waiting.begun:
            raise KeyboardInterrupt(number)
        waiting.came.append(number)

    try:
        with _handled(stop):
            yield waiting
    except KeyboardInterrupt as error:
        number = error.args[0] if error.args else signal.SIGINT
        raise broken_off(number, what) from None


@dataclass
class Waiting:
    """Whether signals wait for the end of a block, and which came meanwhile."""

    begun: bool = False
    came: list[int] = field(default_factory=list)


def broken_off(number: int, what: str, done: str = "nothing was written") -> Interrupted:
    """Return the error by which a signal ends what cannot be resumed."""
    return Interrupted(number, f"interrupted while {what}", done=done)


def stopped(number: int, folder: Path, done: str, when: str = "") -> Interrupted:
    """Return the error by which a signal ends a run: exit code 128 and its number."""
    what = f"stopped by {signal.Signals(number).name}{when}"
    return Interrupted(number, what, done=done, fix=f"visus resume {quoted(folder)}")


@contextmanager
def _handled(act: Callable[[int], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals; its owner decides what they do
        return
    before = {n: signal.signal(n, lambda number, frame: act(number)) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
