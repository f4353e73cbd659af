"""What every request must pass before anything else is looked at, and what every answer says to browsers."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from visus.core.files import json_text
from visus.server.limits import RequestError, told
from visus.server.metrics import Metrics

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = {"/", "/page.css", "/page.js", "/icon.svg", "/health"}
"""What needs no token: the page, which says nothing of the models, and whether the server is well."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""Of every answer."""


class Guard:
    """An ASGI application around another: host, origin and token are checked, and answers are counted.

    Args:
        application: what is guarded.
        hosts: names, without ports, by which the server may be called; empty for any.  A web page that makes its own
            name point at this machine (DNS rebinding) calls it by another.
        token: which requests must bear, or nothing.
        pages: of which answers are counted by name; others together.
    """

    def __init__(
        self, application: Application, hosts: frozenset[str], token: str, pages: frozenset[str], metrics: Metrics
    ) -> None:
        self._application, self._hosts, self._token = application, hosts, token.encode()
        self._pages, self._metrics = pages, metrics
        self._headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        began, path = time.perf_counter(), scope["path"]

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers]
                page = path if path in self._pages else "other"
                self._metrics.request(page, message["status"], time.perf_counter() - began)
            await send(message)

        try:
            self._check(dict(scope["headers"]), path)
        except RequestError as error:
            await refuse(error, sending)
            return
        await self._application(scope, receive, sending)

    def _check(self, headers: Mapping[bytes, bytes], path: str) -> None:
        host = headers.get(b"host", b"").decode("latin-1")
        name = name_of(f"//{host}")
        if self._hosts and name not in self._hosts:
            raise RequestError("SERVE-008", f"this server is not called {name!r}", status=421,
                               fix="visus serve MODEL --allow-host NAME")  # fmt: skip
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and place_of(origin) != host:
            raise RequestError("SERVE-009", f"{origin}: pages of other servers may not ask this one", status=403)
        if not self._token or path in OPEN:
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
            raise RequestError(
                "SERVE-010", "the token is missing or wrong", status=401, fix="-H 'Authorization: Bearer TOKEN'",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip


def name_of(address: str) -> str:
    """Return the host's name in an address, in lower case and without its port; nothing where it has none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def place_of(origin: str) -> str:
    """Return host and port of an origin; nothing where it has none, as ``null``."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


async def refuse(error: RequestError, send: Send) -> None:
    """Send the answer to a request that is not answered as it was asked."""
    body = json_text(told(error)).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **error.headers}
    named = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": named})
    await send({"type": "http.response.body", "body": body})
