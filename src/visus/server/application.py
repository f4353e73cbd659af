"""The pages of the server, as FastAPI has them.  No page changes anything: models are replaced by their files alone."""

# FastAPI reads annotations while the functions are made, so they are no strings here.

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Literal

from visus.core.errors import DataError, UsageError, VisusError, did_you_mean, first_line
from visus.server import description
from visus.server.answering import Explain, How, ask, class_map, document, drawn, explained, json_bytes
from visus.server.limits import Limits, RequestError, Room, told
from visus.server.metrics import TYPE, Metrics
from visus.server.models import Served
from visus.server.preparing import Preparers, Unreadable
from visus.server.uploads import pictures_of, read_body

if TYPE_CHECKING:
    from fastapi import FastAPI

PAGES = {"/": ("index.html", "text/html"), "/page.css": ("page.css", "text/css"),
         "/page.js": ("page.js", "text/javascript"), "/icon.svg": ("icon.svg", "image/svg+xml")}  # fmt: skip
"""Address of each file of the page, its name and its type."""

COUNTED = frozenset({*PAGES, "/predict", "/explain", "/models", "/health", "/metrics", "/openapi.json", "/docs"})


def application(
    served: Mapping[str, Served],
    preparers: Preparers,
    limits: Limits,
    room: Room,
    metrics: Metrics,
    *,
    explain: Explain,
    methods: Sequence[str],
    version: str,
) -> "FastAPI":
    """Return the application that answers for some models, the first of which is asked where none is named.

    Args:
        served: the models by name.
        preparers: that read pictures.
        limits: of what is taken on.
        room: for pictures.
        metrics: what is counted.
        explain: says why a model says something.
        methods: names that it knows.
        version: of visus.
    """
    from fastapi import Depends, FastAPI, Query, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import Response

    app = FastAPI(title="visus", version=version, description=description.TEXT, docs_url=None, redoc_url=None)
    names, started = list(served), time.monotonic()

    def said(body: dict[str, Any] | bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        content = body if isinstance(body, bytes) else json_bytes(body)
        return Response(content, status, headers, "application/json")

    def model_named(name: str) -> Served:
        if name not in served:
            raise RequestError("SERVE-001", f"there is no model {name!r}", status=404, fix=did_you_mean(name, names))
        return served[name]

    async def known_only(request: Request) -> None:
        """Refuse a parameter that would change nothing, such as one that is misspelt."""
        known = [one.alias for one in request.scope["route"].dependant.query_params]
        for name in request.query_params:
            if name not in known:
                raise RequestError("SERVE-013", f"{name}: there is no such parameter", status=422,
                                   fix=did_you_mean(name, known))  # fmt: skip

    @asynccontextmanager
    async def sent(request: Request, name: str) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        """Read the pictures of a request, which take places until they are answered."""
        wait = metrics.seconds_for(room.taken)
        room.take(1, wait)  # before anything is read: a full queue refuses at once
        taken = 1
        try:
            pictures = pictures_of(
                await read_body(request.receive, request.headers, limits), request.headers, limits, name
            )
            room.take(len(pictures) - taken, wait)
            taken = len(pictures)
            yield pictures
        finally:
            room.leave(taken)

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> Response:
        return said(told(error), error.status, error.headers)

    @app.exception_handler(RequestValidationError)
    async def misused(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        what = f"{first['loc'][-1]}: {first['msg'].lower()}"
        return said(told(RequestError("SERVE-013", what, status=422, fix="/docs")), 422)

    @app.exception_handler(404)
    async def nowhere(request: Request, error: Exception) -> Response:
        return said(told(RequestError("SERVE-014", "there is no such page", status=404, fix="/docs")), 404)

    @app.exception_handler(405)
    async def wrong_method(request: Request, error: Any) -> Response:
        what = f"{request.url.path} is not asked by {request.method}"
        return said(told(RequestError("SERVE-015", what, status=405, fix="/docs")), 405, error.headers)

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        what = error.what if isinstance(error, VisusError) else f"{type(error).__name__}: {first_line(error)}"
        return said(told(VisusError(error.code if isinstance(error, VisusError) else "BUG", what)), 500)

    asking = [Depends(known_only)]

    @app.post("/predict", tags=["models"], dependencies=asking,
              responses=description.PREDICTED, openapi_extra=description.PICTURES)  # fmt: skip
    async def predict(
        request: Request,
        model: Annotated[str, Query(description=description.MODEL, json_schema_extra={"enum": names})] = names[0],
        form: Annotated[Literal["json", "png", "map"], Query(alias="as", description=description.FORM)] = "json",
        name: Annotated[str, Query(description=description.NAME, max_length=255)] = "picture",
    ) -> Response:
        """Say what is on pictures."""
        asked = model_named(model)
        async with sent(request, name) as pictures:
            generation = asked.current
            answers = await ask(generation, preparers, pictures)
            read = sum(one.said is not None for one in answers)
            metrics.pictures(model, read, len(answers) - read)
            if not read:
                return said(document(answers), 422)
            if form == "png":
                return Response(await drawn(generation, preparers, pictures, answers), media_type="image/png")
            if form == "map":
                return Response(await class_map(pictures, answers), media_type="image/png")
            return said(document(answers))

    @app.post("/explain", tags=["models"], dependencies=asking,
              responses=description.EXPLAINED, openapi_extra=description.PICTURE)  # fmt: skip
    async def explain_(
        request: Request,
        model: Annotated[str, Query(description=description.MODEL, json_schema_extra={"enum": names})] = names[0],
        method: Annotated[str, Query(description=description.METHOD, json_schema_extra={"enum": ["", *methods]})] = "",
        label: Annotated[str, Query(description=description.LABEL, max_length=255)] = "",
        check: Annotated[bool, Query(description=description.CHECK)] = False,
        name: Annotated[str, Query(description=description.NAME, max_length=255)] = "picture",
    ) -> Response:
        """Say where on a picture stands what speaks for the answer."""
        asked = model_named(model)
        async with sent(request, name) as pictures:
            try:
                how = How(method, label, check)
                return said(await explained(asked.current, preparers, pictures, explain, how))
            except Unreadable as error:
                return said({"explanations": [], "problems": [{"file": pictures[0][0], "why": str(error)}]}, 422)
            except (UsageError, DataError) as error:
                return said(told(error), 422)

    @app.get("/models", tags=["models"], responses=description.MODELS)
    async def models() -> Response:
        """Say which models there are, and what each reads and says."""
        return said({"models": [one.described() for one in served.values()], "methods": list(methods)})

    @app.get("/health", tags=["server"], responses=description.HEALTH)
    async def health() -> Response:
        """Say whether the server is well: a model whose newest file cannot be used serves on with the one before."""
        state = {name: {"reloads": one.reloads, "problem": one.problem} for name, one in served.items()}
        return said({"status": "ok", "version": version, "seconds": round(time.monotonic() - started, 3),
                     "waiting": room.taken, "models": state})  # fmt: skip

    @app.get("/metrics", tags=["server"], responses=description.METRICS)
    async def counted() -> Response:
        """Give counters and histograms in Prometheus' text format."""
        return Response(metrics.text(), headers={"Content-Type": TYPE})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(description.page(app.openapi()), media_type="text/html")

    def add(address: str, name: str, kind: str) -> None:
        content = files("visus.server").joinpath("page", name).read_bytes()

        @app.get(address, include_in_schema=False)
        async def page() -> Response:
            return Response(content, media_type=kind)

    for address, (name, kind) in PAGES.items():
        add(address, name, kind)
    return app
