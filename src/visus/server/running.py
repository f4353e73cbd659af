"""The server's process: its socket, its signals, and the models' files that it keeps an eye on."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from visus.core.errors import UsageError
from visus.server.guard import Application
from visus.server.limits import Limits
from visus.server.models import Served

_ON_ITS_WAY = 0.5  # seconds that a request may take from a client that does not know yet that the server stops


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        UsageError: SERVE-020, the address cannot be had.
    """
    try:
        if not 0 <= port <= 65_535:  # getaddrinfo would take the remainder
            raise OverflowError("a port is a number from 0 to 65535")
        try:
            family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        except ValueError:  # a name
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            family, host = found[0], str(found[4][0])
        held = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(
            "SERVE-020", f"{host}:{port}: {why.lower()}", done="nothing was served",
            fix="choose another address: --host NAME --port NUMBER, 0 for a free one",
        ) from error  # fmt: skip
    return held


def run(
    application: Application,
    held: socket.socket,
    served: Mapping[str, Served],
    limits: Limits,
    watch: float,
    tell: Callable[[str], None],
    ready: Sequence[str],
) -> None:
    """Serve until SIGTERM or SIGINT; what was accepted by then is answered.

    SIGHUP, or a changed file, loads models anew.

    Args:
        watch: seconds between looks at the models' files; 0 for none.
        tell: told what happens.
        ready: what is told first, once every signal is understood.
    """
    import uvicorn

    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        application, http=_patient_protocol(limits), ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, timeout_keep_alive=30, timeout_graceful_shutdown=round(limits.stop_seconds),
        h11_max_incomplete_event_size=32 << 10,
    )  # fmt: skip

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Leave the signals to us: stopping when asked to is no failure."""
            yield

    server = Server(config)

    async def all_the_while() -> None:
        loop = asyncio.get_running_loop()
        wanted = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.handle_exit)
        if sys.platform != "win32":
            loop.add_signal_handler(signal.SIGHUP, wanted.set)
        for line in ready:
            tell(line)
        watching = asyncio.create_task(_watch(served, wanted, watch, tell))
        try:
            await server.serve([held])
        finally:
            watching.cancel()

    asyncio.run(all_the_while())


async def _watch(
    served: Mapping[str, Served], wanted: asyncio.Event, seconds: float, tell: Callable[[str], None]
) -> None:
    """Load models anew: all when asked to, else those whose files have changed."""
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wanted.wait(), seconds or None)
        every = wanted.is_set()
        wanted.clear()
        for one in served.values():
            if every or one.changed():
                well = await one.reload()
                tell(
                    f"{one.name}: {f'loaded anew from {one.path}' if well else f'{one.problem}; the old one serves on'}"
                )


def _patient_protocol(limits: Limits) -> Any:
    """Return uvicorn's protocol with a limit for the time that the head of a request may take.

    When the server stops, connections without a request are closed a moment later: one may be on its way.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Patient(H11Protocol):
        _late: asyncio.TimerHandle | None = None
        _stopping = False

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._late = self.loop.call_later(limits.header_seconds, self._give_up)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            busy = self._busy()
            if busy and self._stopping:
                self.cycle.keep_alive = False
            if busy and self._late is not None:
                self._late.cancel()
                self._late = None
            elif not busy and self._late is None and not self.transport.is_closing():
                self._late = self.loop.call_later(limits.header_seconds, self._give_up)

        def shutdown(self) -> None:
            self._stopping = True
            if self._busy():
                super().shutdown()
            else:
                self.loop.call_later(_ON_ITS_WAY, self._give_up)

        def connection_lost(self, error: Exception | None) -> None:
            if self._late is not None:
                self._late.cancel()
            super().connection_lost(error)

        def _give_up(self) -> None:
            self._late = None
            if not self.transport.is_closing() and not self._busy():
                self.transport.close()

        def _busy(self) -> bool:
            cycle: Any = self.cycle  # None before the first request, whatever its annotation says
            return cycle is not None and not cycle.response_complete

    return Patient
