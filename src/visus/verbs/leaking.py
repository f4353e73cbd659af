"""Scores without the judged pictures that other parts of the data give away, where finding these costs little."""

from __future__ import annotations

import time
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import ResourceError
from visus.core.scores import WithoutLeaks
from visus.core.task import Metric
from visus.data.dataset import SPLITS, Dataset
from visus.data.leaks import Reading, leaks, seconds
from visus.engine.device import memory_failure
from visus.report.words import duration

SHARE = 0.05
"""Of a budget in minutes that the search may take."""

LEAST, MOST, PART = 60.0, 300.0, 0.1
"""Seconds that it may take at the end of another run: this share of the run's time, but at least, and at most."""

CHEAP = 10.0
"""Seconds that it may take after an evaluation, if not as long as that took."""


def records(
    dataset: Dataset, split: str, unread: Collection[tuple[str, str]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the records of a part, and those of the parts that training learns or chooses from before it.

    Args:
        dataset: with its parts.
        split: that is judged: ``val`` or ``test``.
        unread: part and name of those that cannot be read, which are in neither.
    """
    parts = {part: dataset.indices(part) for part in (split, *SPLITS[: SPLITS.index(split)])}
    if unread:
        parts = {part: at[[(part, name) not in unread for name in dataset.ids.take(at)]] for part, at in parts.items()}
    judged, *before = parts.values()
    return judged, np.concatenate([*before, np.zeros(0, np.int64)])


def seconds_for(dataset: Dataset, split: str, each: float) -> float:
    """Return about how long the search will take for a part, where reading a picture takes ``each`` seconds."""
    judged, others = records(dataset, split, ())
    return seconds(len(judged), len(others), each)


def without_leaks(
    score: str,
    metric: Metric,
    reading: Reading,
    judged: NDArray[np.int64],
    others: NDArray[np.int64],
    expected: float,
    limit: float,
) -> WithoutLeaks:
    """Return the scores without what leaks, from answers that were given already; or why that was not looked at.

    Args:
        score: name of the headline score.
        metric: of the judged records.
        reading: of their data set.
        judged, others: as ``records`` returns them.
        expected: seconds that the search will take, as ``seconds_for`` returns them.
        limit: seconds that it may take, by what is expected, and until all pictures are read.
    """
    began = time.perf_counter()
    room = f"the {duration(max(0.0, limit))} there are for it"
    if expected > limit:
        pictures = len(judged) + len(others)
        why = f"{pictures:,} pictures would take about {duration(expected)}, more than {room}"
        return WithoutLeaks(score, len(judged), unknown=why)
    try:
        found = leaks(reading, judged, others, lambda: time.perf_counter() - began > limit)
    except ResourceError as error:  # here and below: what was judged before is worth more than this
        return WithoutLeaks(score, len(judged), unknown=error.what)
    except (RuntimeError, MemoryError) as error:
        if not memory_failure(error):
            raise
        return WithoutLeaks(score, len(judged), unknown="memory ran out")
    if found is None:
        return WithoutLeaks(score, len(judged), unknown=f"reading took longer than {room}")
    leaking = found.records().tolist()
    scores = metric.without(leaking).compute() if leaking else {}
    kinds = {kind: len(records) for kind, records in found.found.items() if len(records)}
    guess = found.guess if "guessed_group" in kinds else ""
    return WithoutLeaks(score, len(judged), len(leaking), kinds, scores, guess)
