"""What a server counts, for Prometheus."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visus.server.limits import Room

TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of what ``text`` returns."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters, gauges and histograms of one server, in a registry of its own."""

    def __init__(self, room: Room) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = registry = CollectorRegistry()
        self._requests = Counter("visus_requests", "Answers by page and status.", ("page", "status"), registry=registry)
        self._request_seconds = Histogram(
            "visus_request_seconds", "Seconds from the head of a request to its answer.", ("page",), buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self._pictures = Counter("visus_pictures", "Pictures, by model and result.", ("model", "result"),
                                 registry=registry)  # fmt: skip
        self._batches = Histogram("visus_batch_pictures", "Pictures a network looked at at once.", ("model",),
                                  buckets=_BATCHES, registry=registry)  # fmt: skip
        self._batch_seconds = Histogram("visus_batch_seconds", "Seconds a batch took.", ("model",), buckets=_SECONDS,
                                        registry=registry)  # fmt: skip
        self._reloads = Counter("visus_reloads", "Model files loaded anew.", ("model", "result"), registry=registry)
        self._lost = Counter("visus_readers_lost", "Processes reading pictures that were lost.", registry=registry)
        waiting = Gauge("visus_pictures_waiting", "Pictures accepted and not yet answered.", registry=registry)
        waiting.set_function(lambda: room.taken)
        self._recent: deque[tuple[float, int]] = deque(maxlen=64)

    def request(self, page: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(page, str(status)).inc()
        self._request_seconds.labels(page).observe(seconds)

    def pictures(self, model: str, answered: int, refused: int) -> None:
        """Count the pictures of a request."""
        self._pictures.labels(model, "answered").inc(answered)
        self._pictures.labels(model, "refused").inc(refused)

    def batch(self, model: str, count: int, seconds: float) -> None:
        """Count what a network looked at at once."""
        self._batches.labels(model).observe(count)
        self._batch_seconds.labels(model).observe(seconds)
        self._recent.append((time.monotonic(), count))

    def reloaded(self, model: str, well: bool) -> None:
        """Count a file that took the place of another, or that could not."""
        self._reloads.labels(model, "replaced" if well else "refused").inc()

    def lost(self) -> None:
        """Count a process that was lost."""
        self._lost.inc()

    def seconds_for(self, pictures: int) -> float:
        """Return the seconds that so many pictures take, by the last batches; 1 where there were none."""
        if len(self._recent) < 2:
            return 1.0
        (first, _), *rest = self._recent
        done = sum(count for _, count in rest)
        return pictures * (rest[-1][0] - first) / done

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)
