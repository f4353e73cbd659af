"""What a server takes on at most, and what it says to a request that it does not take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visus.core.errors import VisusError


@dataclass(frozen=True)
class Limits:
    """Bounds of a server; none of them grows with what comes in.

    Attributes:
        queue: pictures that may wait or be looked at, over all models; those beyond are refused with 429.
        batch: pictures that a network looks at at once, at most.
        linger: seconds that a network waits for pictures that are being read, at most; it never waits for others.
        max_bytes: of a request's body.
        pictures: in one request.
        max_pixels: of a picture, unless the model's own recipe allows fewer.
        header_seconds: in which the head of a request must have come.
        body_seconds: in which its body must have come.
        picture_seconds: in which a picture must have been read.
        memory: bytes that reading a picture may take.
        stop_seconds: in which, after a stop, what was accepted is answered.
    """

    queue: int = 128
    batch: int = 32
    linger: float = 0.005
    max_bytes: int = 64 << 20
    pictures: int = 64
    max_pixels: int = 50_000_000
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    picture_seconds: float = 10.0
    memory: int = 2 << 30
    stop_seconds: float = 30.0


class RequestError(VisusError):
    """A request that is not answered as it was asked.

    Args:
        status: of the HTTP answer.
        headers: that go with it.
    """

    def __init__(
        self, code: str, what: str, *, status: int, fix: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(code, what, fix=fix)
        self.status, self.headers = status, dict(headers or {})


def told(error: VisusError) -> dict[str, Any]:
    """Return the document that says what is wrong: the same fields as ``visus VERB --json`` prints."""
    said = {"code": error.code, "what": error.what, "where": error.where, "done": error.done, "fix": error.fix}
    return {"error": said}


class Room:
    """The places of a bounded queue: a request takes one for each of its pictures, or none.

    Not for several threads: it belongs to the event loop.
    """

    def __init__(self, places: int) -> None:
        self.places, self.taken = places, 0

    def take(self, count: int, wait: float) -> None:
        """Take places, all or none.

        Args:
            count: of pictures.
            wait: seconds after which there will probably be room.

        Raises:
            RequestError: SERVE-002, there are not so many.
        """
        if self.taken + count > self.places:
            raise RequestError(
                "SERVE-002", f"{self.taken} pictures are waiting, of at most {self.places}", status=429,
                fix="send it again after the seconds that Retry-After names",
                headers={"Retry-After": str(max(1, round(wait)))},
            )  # fmt: skip
        self.taken += count

    def leave(self, count: int) -> None:
        """Give places back."""
        self.taken -= count
