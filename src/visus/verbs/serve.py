"""``visus serve``: models over HTTP, for programs and for people."""

from __future__ import annotations

import ipaddress
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import DataError, UsageError, first_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from visus.server.answering import How
    from visus.verbs.load import Model

TOKEN = "VISUS_TOKEN"  # the name of a variable
"""Environment variable with the token."""


def serve(
    models: str | Path | Sequence[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    token_file: str | Path | None = None,
    allow_host: Sequence[str] = (),
    queue: int = 128,
    batch: int = 32,
    max_pixels: int = 50_000_000,
    max_bytes: int = 64 << 20,
    header_seconds: float = 10.0,
    body_seconds: float = 30.0,
    picture_seconds: float = 10.0,
    readers: int | None = None,
    watch: float = 1.0,
    network: str | nn.Module | None = None,
    tell: Callable[[str], None] = print,
) -> None:
    """Answer over HTTP until SIGTERM or SIGINT; what was accepted by then is answered.

    Pictures are read in child processes, so a script that calls this does it under ``if __name__ == "__main__"``.

    Args:
        models: model files or run folders; ``NAME=FILE`` gives one another name than its file's.
        host: address or name to listen at.
        port: 0 for a free one.
        token: that requests must bear as ``Authorization: Bearer``; else what ``token_file`` holds, else that of the
            environment's VISUS_TOKEN.  For any other address than loopback there is always one: if need be it is made
            and told.
        allow_host: further names by which the server may be called, such as that of a proxy before it.
        queue: pictures that may wait or be looked at; those beyond are refused with 429.
        batch: pictures that a network looks at at once, at most.
        max_pixels: of a picture, unless the model's own recipe allows fewer.
        max_bytes: of a request's body.
        header_seconds, body_seconds: in which the head of a request, and its body, must have come.
        picture_seconds: in which a picture must have been read.
        readers: processes that read pictures; one a core by default.
        watch: seconds between looks at the models' files, which are loaded anew when they change; 0 for none.
        network: ``FILE.py:Class`` or a module, when the network is the user's own.
        tell: told the address, and later each model that was replaced or could not be.

    Raises:
        DataError: no such file, or not a model file.
        UsageError: SERVE-020 the address cannot be had, SERVE-021 two models of one name, SERVE-022 nothing to serve
            with; those of ``visus.load``.
    """
    import importlib.util

    missing = [name for name in ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
               if importlib.util.find_spec(name) is None]  # fmt: skip
    if missing:
        raise UsageError("SERVE-022", f"serving needs {', '.join(missing)}", fix="uv pip install 'visus[serve]'")

    import asyncio

    from visus import __version__
    from visus.data.workers import cores
    from visus.explainers import EXPLAINERS
    from visus.server.application import COUNTED, application
    from visus.server.guard import Guard
    from visus.server.limits import Limits, Room
    from visus.server.metrics import Metrics
    from visus.server.models import Served
    from visus.server.preparing import Preparers
    from visus.server.running import listening, run
    from visus.verbs.load import load

    limits = Limits(
        queue=queue, batch=batch, max_pixels=max_pixels, max_bytes=max_bytes, header_seconds=header_seconds,
        body_seconds=body_seconds, picture_seconds=picture_seconds,
    )  # fmt: skip
    named = names_of([models] if isinstance(models, str | Path) else models)
    token = token_of(token, token_file)
    made = not token and not is_loopback(host)
    token = secrets.token_urlsafe(24) if made else token
    held = listening(host, port)
    room = Room(limits.queue)
    metrics = Metrics(room)

    def loading(path: Path) -> Callable[[], Model]:
        return lambda: load(path, model=network).answering("serve")

    preparers = Preparers(readers or cores(), limits.picture_seconds, limits.memory, lambda how: metrics.lost())
    try:
        served = {name: Served(name, loading(path), limits, preparers, metrics) for name, path in named.items()}

        async def tried() -> None:
            for one in served.values():
                await one.try_out(one.current)

        asyncio.run(tried())
        pages = application(served, preparers, limits, room, metrics, explain=why, methods=list(EXPLAINERS),
                            version=__version__)  # fmt: skip
        app = Guard(pages, _hosts(host, allow_host), token, COUNTED, metrics)
        place = f"[{host}]" if ":" in host else host
        address = f"http://{place}:{held.getsockname()[1]}/"
        ready = [f"serving   {', '.join(served)}", f"page      {address}{f'#token={token}' if made else ''}"]
        run(app, held, served, limits, watch, tell, ready)
    finally:
        preparers.close()
        held.close()


def why(
    model: Model, name: str, pixels: NDArray[np.generic], how: How
) -> tuple[dict[str, Any], list[NDArray[np.float32]]]:
    """Return why a model says what it says of a picture: what ``visus explain --json`` prints, and the maps.

    Raises:
        Unreadable: nothing in it can be explained.
        UsageError: the method, or the class, is not one of this model.
    """
    from visus.data.dataset import ArrayImages
    from visus.server.preparing import Unreadable
    from visus.verbs.explain import Explanations, judged
    from visus.verbs.explaining import Asked

    asked = Asked.settle(model, how.method or None, how.label, "", None, most=4, check=how.check, batch=16)
    bad: dict[str, str] = {}
    found = tuple(asked.explain(ArrayImages(pixels[None]), [name], bad))
    if not found:
        raise Unreadable(bad.get(name, "there is nothing to explain"))
    result = judged(Explanations(name, asked.method, asked.why, found, notes=tuple(asked.notes())))
    said = result.json()
    return {key: value for key, value in said.items() if key not in _OF_FILES}, [one.map for one in found]


_OF_FILES = {"model", "drawn", "page", "problems", "nearest"}
"""What only an explanation of files has."""


def names_of(models: Sequence[str | Path]) -> dict[str, Path]:
    """Return the model files by the names under which they are served.

    Raises:
        UsageError: SERVE-021, two of one name.
    """
    named: dict[str, Path] = {}
    for given in [os.fspath(model) for model in models]:
        name, equals, file = given.partition("=")
        if not equals or os.path.lexists(given):
            name, file = "", given
        path = Path(file)
        if not name:
            folder = path.resolve() if path.is_dir() else path.resolve().parent
            own = path.is_dir() or path.name == "best.safetensors"
            name = folder.name if own else path.stem
        if name in named:
            raise UsageError("SERVE-021", f"two models are called {name!r}: {named[name]} and {path}",
                             done="nothing was served", fix=f"give one another name: NAME={path}")  # fmt: skip
        named[name] = path
    return named


def _hosts(host: str, more: Sequence[str]) -> frozenset[str]:
    """Return the names by which a server may be called; none stands for any, which the token makes up for."""
    if not is_loopback(host) and not more:
        return frozenset()
    return frozenset(name.lower() for name in ("localhost", "127.0.0.1", "::1", host, *more))


def token_of(given: str | None, file: str | Path | None) -> str:
    """Return the token that is given, or that a file holds, or else the environment; nothing where there is none.

    Raises:
        DataError: SERVE-023, the file holds none.
    """
    if given or file is None:
        return given or os.environ.get(TOKEN, "")
    file = Path(file)
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise DataError("SERVE-023", f"{file}: the token cannot be read", where=first_line(error)) from error
    if not token:
        raise DataError("SERVE-023", f"{file}: the token cannot be read", where="the file is empty")
    return token


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
