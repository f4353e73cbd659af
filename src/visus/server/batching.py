"""Pictures of many requests in one batch: as many as came while the network was busy, so batches grow with the load."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Said = TypeVar("Said")

COMPUTING = threading.Lock()
"""Networks take turns: two at once would only slow each other down, and who looks inside one wants to be alone."""


class Batcher(Generic[Asked, Said]):
    """A thread that answers what it is asked, several at once.

    It takes whatever has come, up to ``most``; with fewer, it waits for those that are announced, at most ``linger``
    seconds, and never for others.  Where a batch fails, each of its questions is asked alone, so that only the one at
    fault fails.

    Args:
        answer: one answer for each question, in order.
        most: questions at once.
        linger: seconds.
        told: after each batch, how many questions it had and the seconds it took.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Asked]], Sequence[Said]],
        most: int,
        linger: float,
        told: Callable[[int, float], None] = lambda count, seconds: None,
    ) -> None:
        self._answer, self._most, self._linger, self._told = answer, most, linger, told
        self._waiting: deque[tuple[Asked, asyncio.Future[Said]]] = deque()
        self._changed = threading.Condition()
        self._announced, self._stopped = 0, False
        self._thread = threading.Thread(target=self._run, name="visus-batch", daemon=True)
        self._thread.start()

    def announce(self, count: int) -> None:
        """Say that questions will come; minus as many that they will not."""
        with self._changed:
            self._announced += count
            self._changed.notify()

    def ask(self, question: Asked) -> asyncio.Future[Said]:
        """Ask one of the announced questions; the answer comes to the event loop of the caller."""
        future: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
        with self._changed:
            self._announced -= 1
            self._waiting.append((question, future))
            self._changed.notify()
        return future

    def stop(self) -> None:
        """End the thread when everything that was asked is answered; do not wait for it."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _run(self) -> None:
        while batch := self._next():
            began = time.perf_counter()
            with COMPUTING:
                results = self._answered([question for question, _ in batch])
            self._told(len(batch), time.perf_counter() - began)
            loop = batch[0][1].get_loop()
            loop.call_soon_threadsafe(_settle, [future for _, future in batch], results)

    def _next(self) -> list[tuple[Asked, asyncio.Future[Said]]]:
        """Wait for questions and take them; nothing when it is time to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopped)
            self._changed.wait_for(
                lambda: len(self._waiting) >= self._most or self._announced <= 0 or self._stopped, self._linger
            )
            return [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]

    def _answered(self, questions: Sequence[Asked]) -> Sequence[Said | Exception]:
        try:
            return self._answer(questions)
        except Exception as error:  # whose fault it is, is found out; whoever asked is told
            if len(questions) == 1:
                return [error]
            return [self._answered([question])[0] for question in questions]


def _settle(futures: Sequence[asyncio.Future[Said]], results: Sequence[Said | Exception]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.cancelled():
            continue  # whoever asked is gone
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
