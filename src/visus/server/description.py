"""What the pages of the server take and give, for ``/openapi.json`` and, without a script, ``/docs``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from visus.server.limits import Limits
from visus.server.uploads import FIELD

TEXT = "What trained models say about pictures."
MODEL = "Name of the model."
NAME = "What a picture that is the body itself is called in the answer."
METHOD = "How it is explained; nothing for the usual way of the task."
LABEL = "The class, or number, that is explained; nothing for what the model says."
CHECK = "Measure how far the map can be believed, which takes some hundred answers of the network."
FORM = "The answer as JSON; as a PNG of the picture with what was said drawn on it; or as a palette PNG of its classes."

_STRING = {"type": "string"}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "what"],
            "properties": dict.fromkeys(("code", "what", "where", "done", "fix"), _STRING),
        }
    },
}
_SAID = {
    "type": "object",
    "required": ["predictions", "problems", "notes"],
    "properties": {
        "predictions": {
            "type": "array",
            "items": {"type": "object", "required": ["file"], "properties": {"file": _STRING}},
        },
        "problems": {
            "type": "array",
            "items": {"type": "object", "required": ["file", "why"], "properties": {"file": _STRING, "why": _STRING}},
        },
        "notes": {"type": "array", "items": _STRING},
    },
}


def _json(words: str, schema: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": schema}, **others}}


_REFUSED: dict[int | str, dict[str, Any]] = {
    401: _json("The token is missing or wrong.", _ERROR),
    403: _json("A page of another server asks.", _ERROR),
    421: _json("The server is called by a name that is not its own.", _ERROR),
}
PREDICTED: dict[int | str, dict[str, Any]] = {
    200: _json("What is said of each picture; those that cannot be read are among the problems.", _SAID,
               **{"image/png": {"schema": {"type": "string", "format": "binary"}}}),
    400: _json("A body that was broken off, or a form that cannot be read.", _ERROR),
    404: _json("There is no such model.", _ERROR),
    408: _json("The body came too slowly.", _ERROR),
    413: _json("The body is too long, or has too many pictures.", _ERROR),
    422: _json("Not one picture can be read, or what was asked for makes no sense.", {"anyOf": [_SAID, _ERROR]}),
    429: _json("Too many pictures are waiting; Retry-After says for how many seconds.", _ERROR)
    | {"headers": {"Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}}}},
    **_REFUSED,
}  # fmt: skip
EXPLAINED: dict[int | str, dict[str, Any]] = {
    **PREDICTED,
    200: _json("What speaks for each thing that is said, as a map over the picture in a data URI.", {
        "type": "object", "required": ["method", "convention", "explanations", "warnings"],
        "properties": {
            "method": _STRING, "convention": _STRING, "warnings": {"type": "array", "items": _STRING},
            "explanations": {"type": "array", "items": {
                "type": "object", "required": ["label", "score", "map"],
                "properties": {"label": _STRING, "score": {"type": ["number", "null"]}, "map": _STRING},
            }},
        },
    }),
    422: _json("The picture cannot be read, nothing in it can be explained, or what was asked for makes no sense.",
               {"anyOf": [_ERROR, {"type": "object", "required": ["explanations", "problems"]}]}),
}  # fmt: skip
MODELS: dict[int | str, dict[str, Any]] = {
    200: _json("The models, the one that is asked by default first.", {
        "type": "object", "required": ["models", "methods"],
        "properties": {"methods": {"type": "array", "items": _STRING}, "models": {"type": "array", "items": {
            "type": "object", "required": ["name", "task", "classes"],
            "properties": {"name": _STRING, "task": _STRING, "classes": {"type": "array", "items": _STRING}},
        }}},
    }),
    **_REFUSED,
}  # fmt: skip
HEALTH: dict[int | str, dict[str, Any]] = {
    200: _json("It is well.", {
        "type": "object", "required": ["status", "version", "models"],
        "properties": {"status": {"const": "ok"}, "version": _STRING, "models": {"type": "object"}},
    }),
    403: _REFUSED[403], 421: _REFUSED[421],
}  # fmt: skip
METRICS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": _STRING}}},
    **_REFUSED,
}


def _body(most: int) -> dict[str, Any]:
    """Return how the body of a request with pictures is described."""
    picture = {"type": "string", "format": "binary"}
    several = {"type": "array", "items": picture, "minItems": 1, "maxItems": most}
    form = {"type": "object", "required": [FIELD], "additionalProperties": False, "properties": {FIELD: several}}
    content = {"multipart/form-data": {"schema": form}, "application/octet-stream": {"schema": picture}}
    return {"requestBody": {"required": True, "content": content}}


PICTURES, PICTURE = _body(Limits().pictures), _body(1)


def page(document: Mapping[str, Any]) -> str:
    """Return the description as a page that loads nothing and runs no script."""
    operations = [
        {"path": path, "method": method.upper(), **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    text: str = _template().render(info=document["info"], operations=operations)
    return text


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = files("visus.server").joinpath("page", "docs.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(text)
