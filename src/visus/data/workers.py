"""Computing a pure function ahead of time, in threads of this process or in processes that may die at any moment.

The function is pure, so whatever was lost with a worker is simply computed again.  Each thread and process computes
with one PyTorch thread: the bits depend neither on their number nor on the threads of the caller's kernels.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import torch
import torch.multiprocessing  # teaches pickle to send the function's tensors as shared memory

from visus.core.errors import ResourceError
from visus.core.memory import keep_freed_memory
from visus.data.parcels import Receiver, Sender
from visus.data.pixels import Beat

Job = TypeVar("Job", bound=Hashable)
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)

DEADLINE = 120.0
"""Seconds without a sign of life after which a worker process counts as hung."""

_CONDEMNED, _GIVE_UP = 3, 5  # deaths in a row over the same picture; deaths over the same job


@dataclass(frozen=True)
class Loss:
    """A worker process that was lost: over which job, while reading which picture (-1: none), and how."""

    job: Any
    picture: int
    process: int
    how: str


class Lethal(Exception):
    """A picture that ended every process that read it."""

    def __init__(self, picture: int, how: str) -> None:
        super().__init__(picture, how)
        self.picture, self.how = picture, how


class Pool(Protocol[Job, Result_co]):
    """Computes ``work(job, beat)`` ahead of time.

    Attributes:
        ahead: jobs worth submitting beyond the one that is needed next.
        losses: workers that died and were replaced.
    """

    ahead: int
    losses: list[Loss]

    def submit(self, job: Job) -> None:
        """Start computing a job, unless it is under way or done."""
        ...

    def result(self, job: Job) -> Result_co:
        """Return what a job gives, and forget it; whatever the function raised is raised here.

        Raises:
            Lethal: three processes in a row ended over the same picture.
            ResourceError: five processes in a row ended over this job.
        """
        ...

    def drop(self, unwanted: Callable[[Job], bool]) -> None:
        """Forget the submitted jobs that nobody will ask for."""
        ...

    def close(self) -> None:
        """Stop everything; twice is harmless."""
        ...


def cores() -> int:
    """Return the processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Numbered: TypeAlias = tuple[int, tuple[tuple[int, str], ...]]
"""The number of a job, and (index, how) of pictures that ended every process which read them."""


def in_order(work: Callable[[Numbered, Beat], Result], jobs: int, workers: int) -> Iterator[Result]:
    """Yield what a function gives for each of so many jobs, computed ahead; it is told which pictures to leave alone.

    Args:
        work: pure, and able to travel to another process.
        jobs: how many.
        workers: processes; 0 for as many threads of this one as there are cores.
    """
    pool: Pool[Numbered, Result] = Processes(work, workers) if workers else Threads(work, cores())
    condemned: dict[int, str] = {}
    at = 0
    try:
        while at < jobs:
            ahead = [(job, tuple(condemned.items())) for job in range(at, min(at + 1 + pool.ahead, jobs))]
            for job in ahead:
                pool.submit(job)
            try:
                yield pool.result(ahead[0])
            except Lethal as error:
                condemned[error.picture] = error.how
                continue
            at += 1
    finally:
        pool.close()


class Threads(Generic[Job, Result]):
    """A pool of threads of this process."""

    def __init__(self, work: Callable[[Job, Beat], Result], count: int) -> None:
        self._work, self.ahead = work, count
        self.losses: list[Loss] = []
        self._futures: dict[Job, Future[Result]] = {}
        keep_freed_memory()  # before the threads begin, or each would hold memory of its own
        self._executor = ThreadPoolExecutor(count, "visus-feed", initializer=_compute_alone)
        # PyTorch's thread count is each thread's own, but the last one set is what new threads begin with: start ours
        # now, then say the caller's again.
        here, started = torch.get_num_threads(), threading.Barrier(count + 1)
        try:
            for _ in range(count):
                self._executor.submit(started.wait)
            started.wait()
        except BaseException:  # a signal: the others would wait for ever, and the interpreter's end for them
            started.abort()
            raise
        torch.set_num_threads(here)

    def submit(self, job: Job) -> None:
        """Queue a job."""
        if job not in self._futures:
            self._futures[job] = self._executor.submit(self._work, job, _silent)

    def result(self, job: Job) -> Result:
        """Wait for a job."""
        self.submit(job)
        return self._futures.pop(job).result()

    def drop(self, unwanted: Callable[[Job], bool]) -> None:
        """Cancel what has not begun, and forget the rest."""
        for job in [job for job in self._futures if unwanted(job)]:
            self._futures.pop(job).cancel()

    def close(self) -> None:
        """Wait for what has begun."""
        self._executor.shutdown(wait=True, cancel_futures=True)


@dataclass(eq=False)
class _Worker(Generic[Job]):
    """A process, the jobs it was given, and when it last showed a sign of life."""

    process: multiprocessing.process.BaseProcess
    connection: Connection
    parcels: Receiver
    life: Any  # (2,) shared int64: picture being read, count of beats
    jobs: deque[Job] = field(default_factory=deque)
    beats: int = 0
    parent: int = field(default_factory=os.getpid)
    since: float = field(default_factory=time.monotonic)


class Processes(Generic[Job, Result]):
    """A pool of worker processes.  One that is killed, crashes or hangs is replaced, and its jobs are computed again.

    Where no start method is named, it is the interpreter's (``multiprocessing.set_start_method``); fork, forkserver and
    spawn all do.
    """

    def __init__(
        self, work: Callable[[Job, Beat], Result], count: int, deadline: float = DEADLINE, method: str | None = None
    ) -> None:
        self._work, self.ahead, self.deadline = work, 2 * count, deadline
        self.losses: list[Loss] = []
        self._context: Any = multiprocessing.get_context(method)
        self._results: dict[Job, Any] = {}
        self._wanted: set[Job] = set()
        self._deaths: dict[Job, list[int]] = {}
        self._workers: list[_Worker[Job]] = []
        self._stop = weakref.finalize(self, _end, self._workers)
        for _ in range(count):
            self._workers.append(self._start())

    def submit(self, job: Job) -> None:
        """Give a job to the least busy worker."""
        if job in self._wanted or job in self._results:
            return
        self._wanted.add(job)
        if not any(job in worker.jobs for worker in self._workers):
            self._give(min(self._workers, key=lambda worker: len(worker.jobs)), job)

    def result(self, job: Job) -> Result:
        """Wait for a job, replacing workers that are lost meanwhile."""
        self.submit(job)
        while job not in self._results:
            self._listen()
        self._deaths.pop(job, None)
        value = self._results.pop(job)
        if isinstance(value, _Raised):
            value.error.add_note(value.trace)
            raise value.error
        result: Result = value
        return result

    def drop(self, unwanted: Callable[[Job], bool]) -> None:
        """Forget results; what a worker has begun it ends for nothing."""
        self._wanted = {job for job in self._wanted if not unwanted(job)}
        for job in [job for job in self._results if unwanted(job)]:
            del self._results[job]

    def close(self) -> None:
        """Kill the workers, which hold nothing worth saving."""
        self._stop()

    def _start(self) -> _Worker[Job]:
        ours, theirs = self._context.Pipe(duplex=True)
        life = self._context.RawArray("q", [-1, 0])
        with warnings.catch_warnings():
            # Python 3.12 warns that forking beside threads may hang the child; a child that hangs is replaced.
            warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
            process = self._context.Process(target=_serve, args=(self._work, theirs, life), daemon=True)
            process.start()
        theirs.close()
        return _Worker(process, ours, Receiver(ours), life)

    def _give(self, worker: _Worker[Job], job: Job) -> None:
        if not worker.jobs:
            worker.since = time.monotonic()
        worker.jobs.append(job)
        try:
            worker.connection.send((job, worker.parcels.freed()))
        except OSError:
            return  # it has just died; _listen finds it and gives its jobs to the next

    def _listen(self) -> None:
        """Take what has arrived, and replace workers that died or hung."""
        handles: list[Any] = [w.connection for w in self._workers] + [w.process.sentinel for w in self._workers]
        wait(handles, timeout=min(1.0, self.deadline / 4))
        for at, worker in enumerate(self._workers):
            how = self._receive(worker)
            if not how and not worker.process.is_alive():
                how = self._receive(worker) or _cause(worker.process.exitcode)  # what it sent first still counts
            if not how and self._hung(worker):
                how = f"gave no sign of life for {self.deadline:g} s"
            if how:
                self._workers[at] = self._replace(worker, how)

    def _receive(self, worker: _Worker[Job]) -> str:
        """Take every result that has arrived; return how the worker was lost, if it was."""
        try:
            while worker.connection.poll():
                value = worker.parcels.receive()
                job = worker.jobs.popleft()
                worker.since = time.monotonic()
                if job in self._wanted:
                    self._wanted.discard(job)
                    self._results[job] = value
        except (EOFError, OSError):
            worker.process.join(1.0)
            return _cause(worker.process.exitcode)
        return ""

    def _hung(self, worker: _Worker[Job]) -> bool:
        if worker.jobs and worker.life[1] == worker.beats:
            return time.monotonic() - worker.since > self.deadline
        worker.beats, worker.since = worker.life[1], time.monotonic()
        return False

    def _replace(self, worker: _Worker[Job], how: str) -> _Worker[Job]:
        """Return a new worker with the jobs of a lost one; a job that keeps ending workers gets an error as result."""
        _end([worker])
        fresh, jobs = self._start(), deque(job for job in worker.jobs if job in self._wanted)
        if not worker.jobs:
            self.losses.append(Loss(None, -1, worker.process.pid or 0, how))
            return fresh
        first, picture = worker.jobs[0], int(worker.life[0])
        self.losses.append(Loss(first, picture, worker.process.pid or 0, how))
        deaths = self._deaths.setdefault(first, [])
        deaths.append(picture)
        error: Exception | None = None
        if picture >= 0 and deaths[-_CONDEMNED:] == [picture] * _CONDEMNED:
            error = Lethal(picture, how)
        elif len(deaths) >= _GIVE_UP:
            error = ResourceError(
                "DATA-033", f"{_GIVE_UP} worker processes in a row were lost over one batch", where=f"the last {how}",
                fix="--set data.workers=0 shows the cause; a smaller batch needs less memory",
            )  # fmt: skip
        if error and first in self._wanted:
            self._wanted.discard(first)
            self._results[first] = _Raised(error, f"lost {len(deaths)} worker processes")
            jobs.popleft()
        for job in jobs:
            self._give(fresh, job)
        return fresh


def _silent(picture: int) -> None:
    """A thread needs to give no sign of life: nobody could replace it."""


def _end(workers: list[_Worker[Any]]) -> None:
    workers = [worker for worker in workers if worker.parent == os.getpid()]  # not from a fork of the user's
    for worker in workers:
        worker.process.kill()
    for worker in workers:
        worker.process.join()
        worker.connection.close()


def _cause(code: int | None) -> str:
    if code is None:
        return "closed its connection"
    if code < 0:
        name = next((known.name for known in signal.Signals if known == -code), "one without a name")
        return f"was ended by signal {-code} ({name})"
    return f"ended with exit code {code}"


def _serve(work: Callable[[Any, Beat], Any], connection: Connection, life: Any) -> None:
    """Be a worker: compute job after job until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _compute_alone()
    keep_freed_memory()
    parent, beats, parcels = os.getppid(), itertools.count(1), Sender(connection)

    def beat(picture: int) -> None:
        life[0], life[1] = picture, next(beats)

    beat(-1)
    while True:
        while not connection.poll(1.0):
            if os.getppid() != parent:
                return  # killed; a sibling forked later may hold its end of our connection open
        try:
            job, freed = connection.recv()
        except (EOFError, OSError):
            return
        parcels.free(freed)
        beat(-1)
        try:
            value = work(job, beat)
        except Exception as error:
            value = _travelling(error)
        beat(-1)
        parcels.send(value)


def _compute_alone() -> None:
    """Give the calling thread one PyTorch thread."""
    torch.get_num_threads()  # a thread takes the process's number when it first needs it, over what was set before
    torch.set_num_threads(1)


@dataclass(frozen=True)
class _Raised:
    """An error on its way home, with the worker's traceback, which pickling an error loses."""

    error: Exception
    trace: str


def _travelling(error: Exception) -> _Raised:
    """Return an error in a form that survives the way home."""
    trace = "in a worker process:\n" + "".join(traceback.format_exception(error))
    try:
        return _Raised(pickle.loads(pickle.dumps(error)), trace)  # noqa: S301  # our own bytes, of a moment ago
    except Exception:  # whatever a foreign exception's own pickling raises
        return _Raised(RuntimeError(f"{type(error).__name__}: {error}"), trace)
