"""Finds judged pictures that other parts of the data give away: the same, nearly the same, or of one group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from visus.data.cache import Cache
from visus.data.dataset import Dataset
from visus.data.groups import guess
from visus.data.looking import SIDE, grey
from visus.data.near import near_pairs
from visus.data.pixels import Beat, Pictures, pictures
from visus.data.workers import Numbered, in_order

KINDS = ("same", "near", "stated_group", "guessed_group")
"""In which ways a picture leaks: the same pixels as they are read, nearly the same, or of one group with another."""

LEARNING, A_PICTURE, A_PAIR = 2.0, 3e-4, 2e-8
"""Seconds that one core takes to learn what is near, and for each picture and each pair of a judged and another one."""

Indices: TypeAlias = NDArray[np.int64]
_Seen: TypeAlias = tuple[list[int], list[NDArray[np.uint8]], list[bytes]]  # records, small pictures, hashes of pixels

_CHUNK = 32  # pictures of a job


@dataclass(frozen=True)
class Leaks:
    """What leaks of the judged pictures.

    Attributes:
        found: by kind, the records that leak in this way; one that is the same is not nearly the same as well.
        guess: how groups were guessed, in a phrase; empty where none were.
    """

    found: Mapping[str, Indices]
    guess: str = ""

    def records(self) -> Indices:
        """Return every record that leaks, once."""
        return np.unique(np.concatenate([np.zeros(0, np.int64), *self.found.values()]))


@dataclass(frozen=True)
class Reading:
    """How pictures are read for a comparison: at the size and with the channels that the network's feed reads.

    Attributes:
        dataset: whose pictures they are.
        channels, stored: as in ``pixels.pictures``.
        cache: of some of them, where there is one.
        workers: processes that decode the others; 0 for threads of this one.
    """

    dataset: Dataset
    channels: int
    stored: int = 0
    cache: Cache | None = None
    workers: int = 0

    def parts(self, records: Indices) -> list[tuple[Pictures, Indices, int]]:
        """Return where records are read, which ones there, and by how many processes."""
        plain = pictures(self.dataset.images, self.channels, self.stored)
        if self.cache is None:
            return [(plain, records, self.workers)]
        kept = np.isin(records, self.cache.table[:, 0])
        unread = np.isin(records, list(self.cache.bad))
        return [(self.cache, records[kept], 0), (plain, records[~kept & ~unread], self.workers)]


def leaks(reading: Reading, judged: Indices, others: Indices, late: Callable[[], bool] = lambda: False) -> Leaks | None:
    """Return which judged records leak from others, or None where it got late.

    Groups are those that the data states, or else what is guessed from names; see ``groups.guess``.  What cannot be
    read neither leaks nor gives away.

    Args:
        reading: of the data set.
        judged: records whose scores are asked for.
        others: those that were learned from, or by which weights were chosen.
        late: asked while pictures are read; true abandons the search.
    """
    seen = _seen(reading, np.concatenate([judged, others]), late)
    if seen is None:
        return None
    records, small, digests = seen
    count = int(np.isin(records, judged).sum())
    known = set(digests[count:])
    same = np.array([digest in known for digest in digests[:count]], np.bool_)
    near = np.zeros(count, np.bool_)
    near[near_pairs(small, asked=np.arange(count)).first] = True
    found = {"same": records[:count][same], "near": records[:count][near & ~same]}
    dataset = reading.dataset
    if dataset.groups is not None:
        found["stated_group"] = _shared(records, dataset.groups[records], count)
        return Leaks(found)
    label = dataset.columns["label"][records].astype(np.int64) if "label" in dataset.columns else None
    guessed = guess(dataset.ids.take(records), label, dataset.classes, small)
    if guessed is None:
        return Leaks(found)
    return Leaks({**found, "guessed_group": _shared(records, guessed.groups, count)}, guessed.evidence)


def seconds(judged: int, others: int, each: float) -> float:
    """Return about how long ``leaks`` takes, by the number of pictures and the seconds of reading one of them."""
    return LEARNING + (A_PICTURE + each) * (judged + others) + A_PAIR * judged * others


def _shared(records: Indices, groups: Indices, count: int) -> Indices:
    """Return those of the first ``count`` records whose group one of the others belongs to as well."""
    return records[:count][np.isin(groups[:count], groups[count:])]


def _seen(
    reading: Reading, records: Indices, late: Callable[[], bool]
) -> tuple[Indices, NDArray[np.uint8], Sequence[bytes]] | None:
    """Return the records that can be read, in their order, their small grey pictures, and hashes of their pixels."""
    place = {int(record): at for at, record in enumerate(records)}
    small, digests = np.zeros((len(records), SIDE, SIDE), np.uint8), [b""] * len(records)
    for part in _looks(reading, records):
        if late():
            return None
        for record, picture, digest in zip(*part, strict=True):
            at = place[record]
            small[at], digests[at] = picture, digest
    read = np.array([len(digest) > 0 for digest in digests], np.bool_)
    return records[read], small[read], [digest for digest in digests if digest]


def _looks(reading: Reading, records: Indices) -> Iterator[_Seen]:
    for source, here, workers in reading.parts(records):
        yield from in_order(_Look(source, here), -(-len(here) // _CHUNK), workers)


@dataclass(frozen=True)
class _Look:
    """Looks at one chunk of records: a pure function of its number, as a pool wants it."""

    source: Pictures
    records: Indices

    def __call__(self, job: Numbered, beat: Beat) -> _Seen:
        """Return which records could be read, their small grey pictures and hashes of their pixels."""
        chunk, condemned = job
        here = self.records[chunk * _CHUNK : (chunk + 1) * _CHUNK]
        here = here[~np.isin(here, [record for record, _ in condemned])]
        taken = self.source.take(here, beat)
        rows = [image.permute(1, 2, 0).contiguous().numpy() for image in taken.images]
        together = isinstance(taken.images, Tensor) and len(rows) > 0  # small, and all of one size
        small = list(grey(np.stack(rows))) if together else [grey(row[None])[0] for row in rows]
        return [record for record in here.tolist() if record not in taken.bad], small, [_hash(row) for row in rows]


def _hash(pixels: NDArray[np.generic]) -> bytes:
    return blake2b(f"{pixels.dtype} {pixels.shape} ".encode() + pixels.tobytes(), digest_size=16).digest()
