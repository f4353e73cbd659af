"""The feed turns a step number into a batch, and holds no state.

Which samples, how they are augmented, and with whom they are mixed is derived from (seed, step): any step can be asked
for at any time, by any rank, from any number of workers, and has the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core.errors import DataError, UsageError
from visus.core.sample import Samples
from visus.core.seeds import Draws, derive, permutation
from visus.core.task import Batch, Condemned, Transform
from visus.data.cache import Cache
from visus.data.dataset import Dataset, Strings
from visus.data.fitting import mask_sizes
from visus.data.mapped import columns as mapped
from visus.data.mapped import with_maps
from visus.data.marked import OutlinedPictures, columns, light
from visus.data.objects import Objects
from visus.data.pixels import Beat, Pictures, Taken, frames, pictures
from visus.data.workers import Lethal, Loss, Pool, Processes, Threads, cores

Indices: TypeAlias = NDArray[np.int64]

THREADS = 4
"""Threads that prepare batches where there are no worker processes; fewer on machines with fewer cores."""


class Feed:
    """Batches of some records of a data set.

    Step ``s`` of batch size B shows the positions ``s * B`` to ``s * B + B - 1`` of an endless sequence: epoch after
    epoch of the N records, each epoch in its own order.  Every batch is full: one at the end of an epoch reaches into
    the next.  Each rank reads its contiguous share of the rows; a share may be smaller than another, or empty.

    The transform gets the data set's columns and, where objects are marked on its pictures, the columns ``boxes`` (in
    present pixels) and ``stated`` (in original ones); where a class is stated for each pixel, ``class_map`` and, for
    judging, ``stated_map``.

    A picture that cannot be read, whose map of classes cannot be, or whose masks do not fit it, takes no row: it is
    listed in ``Batch.bad``, and the other rows keep their bits.  The steps after the one that was
    asked for are prepared meanwhile; asking for another costs only time.

    Args:
        dataset: the records.
        indices: (N,) those that this feed shows.
        transform: prepares samples; where it wants partners, each row gets other rows of the whole step's batch, drawn
            from (seed, step, row).
        collate: the task's; makes a batch of samples.
        batch: B, samples a step over all ranks.
        seed: of the run.
        train: shuffle, and augment each epoch differently; else records come in order with the draws of epoch 0.
        channels: of the pictures the transform gets: 1 grey, 3 RGB, or what the data has.
        workers: processes that prepare batches; 0 for threads of this process.
        cache: decoded pictures, made for the same ``stored`` and ``channels``.
        rank, world: which process of how many this one is.
        stored: largest shorter side of the pictures the transform gets; 0 for the size they have.
        masks: the pixels of each object are looked at, not only its box.

    Attributes:
        waiting: seconds that ``batch`` kept its caller waiting, altogether.
        cache: where it reads, if not from the data set's own pictures.
        condemned: by index, pictures that end every process which reads them: from which step on they are left out.
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: Indices,
        transform: Transform,
        collate: Callable[[Samples], Batch],
        *,
        batch: int,
        seed: int,
        train: bool,
        channels: int,
        workers: int = 0,
        cache: Cache | None = None,
        rank: int = 0,
        world: int = 1,
        stored: int = 0,
        masks: bool = False,
    ) -> None:
        if batch < 1:
            raise UsageError("USE-030", f"a batch of {batch:,} pictures: the smallest is one", fix="--batch 1, or more")
        if cache is not None and (cache.channels, cache.stored) != (channels, stored):
            raise UsageError("USE-031", f"the cache holds {cache.channels} channels at size {cache.stored}, "
                             f"the feed shows {channels} at {stored}")  # fmt: skip
        source = cache if cache is not None else pictures(dataset.images, channels, stored)
        self.cache = cache
        self._ids = dataset.ids
        self._plan = _Plan(np.asarray(indices, dtype=np.int64), batch, seed, train, rank, world)
        if masks and dataset.objects is not None:
            source = OutlinedPictures(source, mask_sizes(dataset.objects, dataset.original))
        source = with_maps(source, dataset.of_pixels)
        work = _Work(
            self._plan, source, dataset.ids, dataset.columns, light(dataset.objects, masks), transform, collate
        )
        self._pool: Pool[_Job, Batch] = Processes(work, workers) if workers else Threads(work, min(THREADS, cores()))
        self.condemned: dict[int, Condemned] = {}
        self.waiting = 0.0

    @property
    def size(self) -> int:
        """Samples in an epoch."""
        return len(self._plan.indices)

    @property
    def batch_size(self) -> int:
        """Samples in a step, over all ranks."""
        return self._plan.batch

    @property
    def events(self) -> list[str]:
        """What went wrong and was healed, a sentence each."""
        return [self._sentence(loss) for loss in self._pool.losses]

    def batch(self, step: int, without: frozenset[int] = frozenset()) -> Batch:
        """Return this rank's rows of a step.

        Args:
            step: from 0.
            without: indices of samples that are left out; no other row is mixed with them either.

        Returns:
            A batch that knows where it stands: ``start`` is its first row in the whole step's batch, ``whole`` is B,
            ``seed`` derives from the step.  Without rows it still has every tensor in its shape.

        Raises:
            DataError: no picture at all can be read.
            ResourceError: worker processes cannot be kept alive.
        """
        if not self.size:
            raise UsageError("USE-032", "there are no samples to train on")
        began = time.perf_counter()
        window = [self._plan.step(s, without) for s in range(step, step + 1 + self._pool.ahead)]
        self._pool.drop(lambda job: job.kind == "step" and not any(job.same(other) for other in window))
        batch = self._next(window)
        self.waiting += time.perf_counter() - began
        return batch

    def sweep(self) -> Iterator[Batch]:
        """Yield this rank's contiguous share of every record once, in order, unpadded, with the draws of epoch 0."""
        jobs = self._plan.sweep()
        try:
            for at in range(len(jobs)):
                yield self._next(jobs[at : at + 1 + self._pool.ahead])
        finally:
            self._pool.drop(lambda job: job.kind == "sweep")

    def close(self) -> None:
        """Stop workers."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self, jobs: list[_Job]) -> Batch:
        """Return the first job's batch while the others are prepared."""
        while True:
            known = [replace(job, condemned=self._condemned_at(job)) for job in jobs]
            for job in known:
                self._pool.submit(job)
            try:
                return self._pool.result(known[0])
            except Lethal as error:
                since, why = jobs[0].number if jobs[0].kind == "step" else 0, f"every process that read it {error.how}"
                self.condemned[error.picture] = Condemned(since, self._ids[error.picture], why)

    def _condemned_at(self, job: _Job) -> tuple[tuple[int, str], ...]:
        """Return the pictures that a job does without: a step before their time read them, and its bits stand."""
        step = job.number if job.kind == "step" else math.inf
        return tuple((index, said.why) for index, said in sorted(self.condemned.items()) if said.since <= step)

    def _sentence(self, loss: Loss) -> str:
        doing = f" while reading {self._ids[loss.picture]}" if loss.picture >= 0 else ""
        over = f"; {loss.job.kind} {loss.job.number} is computed again" if loss.job is not None else ""
        return f"worker process {loss.process} {loss.how}{doing}: replaced{over}"


@dataclass(frozen=True)
class _Job:
    """What one batch depends on, beside the feed's own settings.

    Attributes:
        kind, number: which step, or which chunk of a sweep.
        without: indices of this step's samples that are left out.
        condemned: (index, reason) of pictures that end every process that reads them.
    """

    kind: Literal["step", "sweep"]
    number: int
    without: tuple[int, ...] = ()
    condemned: tuple[tuple[int, str], ...] = field(default=())

    def same(self, other: _Job) -> bool:
        """Tell whether another job asks for the same samples."""
        return (self.kind, self.number, self.without) == (other.kind, other.number, other.without)


@dataclass(frozen=True)
class _Rows:
    """The rows of a whole step (or chunk), and which of them are this rank's.

    Attributes:
        samples, epochs: (B,) index in the data set and epoch of each row.
        first, last: this rank's rows.
        start, whole: what the batch is told about its place.
        seed: what random numbers of the batch derive from.
    """

    samples: Indices
    epochs: Indices
    first: int
    last: int
    start: int
    whole: int
    seed: int


@dataclass(frozen=True)
class _Plan:
    """Which samples a job shows: pure arithmetic."""

    indices: Indices
    batch: int
    seed: int
    train: bool
    rank: int
    world: int

    def step(self, number: int, without: frozenset[int] = frozenset()) -> _Job:
        """Return the job of a step; only the left-out samples that it would show are part of it."""
        if not without:
            return _Job("step", number)
        shown = self.rows(_Job("step", number)).samples
        return _Job("step", number, tuple(sorted(without.intersection(shown.tolist()))))

    def sweep(self) -> list[_Job]:
        """Return the jobs of a sweep."""
        first, last = self._share(len(self.indices))
        return [_Job("sweep", chunk) for chunk in range(-(-(last - first) // self.batch))]

    def rows(self, job: _Job) -> _Rows:
        """Return what a job shows."""
        if job.kind == "sweep":
            begin, end = self._share(len(self.indices))
            start = begin + job.number * self.batch
            samples = self.indices[start : min(start + self.batch, end)]
            seed = derive(self.seed, "sweep")
            return _Rows(samples, np.zeros_like(samples), 0, len(samples), start, len(self.indices), seed)
        size = len(self.indices)
        positions = np.arange(job.number * self.batch, (job.number + 1) * self.batch)
        epochs, places = np.divmod(positions, size)
        if self.train:
            for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
                here = slice(*np.searchsorted(epochs, (epoch, epoch + 1)))
                places[here] = _order(self.seed, epoch, size)[places[here]]
        else:
            epochs = np.zeros_like(epochs)
        first, last = self._share(self.batch)
        seed = derive(self.seed, "step", job.number)
        return _Rows(self.indices[places], epochs, first, last, first, self.batch, seed)

    def _share(self, n: int) -> tuple[int, int]:
        return self.rank * n // self.world, (self.rank + 1) * n // self.world


@dataclass(frozen=True)
class _Work:
    """The pure function from a job to its batch: all that a worker holds.

    ``known`` only remembers what reading found out, so that a bad picture is tried once by each worker.
    """

    plan: _Plan
    pictures: Pictures
    ids: Strings
    columns: Mapping[str, NDArray[np.generic]]
    objects: Objects | None
    transform: Transform
    collate: Callable[[Samples], Batch]
    known: dict[int, str] = field(default_factory=dict)

    @torch.no_grad()
    def __call__(self, job: _Job, beat: Beat) -> Batch:
        """Return the batch of a job."""
        rows, bad = self.plan.rows(job), {**self.known, **dict(job.condemned)}
        batch: Batch | None = None
        while batch is None:
            lost = np.isin(rows.samples, [*job.without, *bad])
            mine = rows.first + np.flatnonzero(~lost[rows.first : rows.last])
            if not len(mine):
                batch = self._empty(rows, job, bad, beat)
                continue
            mates = self._partners(rows, mine, lost)
            shown = np.concatenate([mine, *mates])
            beat(-1)
            taken = self.pictures.take(rows.samples[shown], beat)
            bad.update(taken.bad)
            self.known.update(taken.bad)
            read = shown[~np.isin(rows.samples[shown], [*taken.bad])] if taken.bad else shown
            if len(read) and (not mates or len(read) == len(shown)):
                batch = self._batch(rows, read, len(read) // (1 + len(mates)), taken)
            # else once more: some rows need other partners, or no row is left
        own = rows.samples[rows.first : rows.last].tolist()
        missing = [i for i in own if i in bad and i not in job.without] if bad else []
        return replace(
            batch, seed=rows.seed, start=rows.start, whole=rows.whole,
            bad=tuple((self.ids[i], bad[i]) for i in dict.fromkeys(missing)),
        )  # fmt: skip

    def _batch(self, rows: _Rows, shown: Indices, own: int, taken: Taken) -> Batch:
        """Return the batch of the first ``own`` rows shown; the rows that follow are their partners, ``own`` each."""
        samples, epochs = rows.samples[shown], rows.epochs[shown]
        images = taken.images
        alike = [images] if isinstance(images, Tensor) else images
        sizes = [(int(image.shape[-2]), int(image.shape[-1])) for image in alike]
        everything = Samples(
            ids=self.ids.take(samples),
            indices=torch.from_numpy(samples),
            images=images,
            columns={
                **{name: torch.from_numpy(column[samples]) for name, column in self.columns.items()},
                **columns(self.objects, samples, taken.originals, sizes),
                **mapped(taken, sizes, judged=not self.plan.train),
            },
            frames=frames(taken.originals, sizes),
            originals=torch.from_numpy(taken.originals),
        )
        draws = Draws(self.plan.seed, epochs, samples)
        parts = [
            (_slice(everything, start, start + own), draws.rows(np.arange(start, start + own)))
            for start in range(0, len(shown), own)
        ]
        (first, draws), *partners = parts
        return self.collate(self.transform(first, draws, partners))

    def _partners(self, rows: _Rows, mine: Indices, lost: NDArray[np.bool_]) -> list[Indices]:
        """Return for each partner the transform wants, and each row of ``mine``, another row of the whole step.

        A lost row is nobody's partner; where no other is left, a row is its own.
        """
        wanted, others = self.transform.partners, len(rows.samples) - 1
        if not wanted:
            return []
        if not others:
            return [mine] * wanted
        chance = Draws(rows.seed, np.zeros_like(mine), mine).uniform("partner", wanted).T  # (P, R)
        shift = 1 + (chance * others).astype(np.int64)
        for _ in range(others):
            at = (mine + shift) % (others + 1)
            if not lost[at].any():
                return list(at)
            shift = np.where(lost[at], shift % others + 1, shift)
        at = (mine + shift) % (others + 1)
        return list(np.where(lost[at], mine, at))

    def _empty(self, rows: _Rows, job: _Job, bad: dict[int, str], beat: Beat) -> Batch:
        """Return a batch without rows whose tensors have their usual shapes: that of some readable picture, cut off."""
        for i in dict.fromkeys([*rows.samples.tolist(), *self.plan.indices.tolist()]):
            if i in bad or i in job.without:
                continue
            alone = np.array([i])
            taken = self.pictures.take(alone, beat)
            bad.update(taken.bad)
            self.known.update(taken.bad)
            if not taken.bad:
                partners = [0] * (1 + self.transform.partners)
                just = replace(rows, samples=alone, epochs=np.zeros_like(alone))
                taken = self.pictures.take(alone[partners], beat)
                return self._batch(just, np.array(partners), 1, taken).rows(0, 0)
        first = next((f"{self.ids[i]}: {why}" for i, why in bad.items()), "all of them are left out")
        raise DataError(
            "DATA-032", "not one picture can be read", where=first, fix="mend the files, or name other ones"
        )


def _slice(samples: Samples, start: int, stop: int) -> Samples:
    """Return neighbouring rows without copying them."""
    if (start, stop) == (0, len(samples)):
        return samples
    return replace(
        samples,
        ids=samples.ids[start:stop],
        indices=samples.indices[start:stop],
        images=samples.images[start:stop],
        columns={name: column[start:stop] for name, column in samples.columns.items()},
        frames=samples.frames[start:stop],
        originals=samples.originals[start:stop],
    )


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, size: int) -> Indices:
    return permutation(seed, epoch, size)
