"""What a setting means and which values it takes, in words: read from the types and docstrings of the recipe itself."""

from __future__ import annotations

import re
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null (not set)"}
_COUNTS = {1: "one", 2: "two", 3: "three", 4: "four"}


def described(documented: type) -> dict[str, str]:
    """Return {attribute: words} of a class's ``Attributes:`` section; ``a, b: words`` describes both."""
    _, _, text = (documented.__doc__ or "").partition("Attributes:\n")
    lines = re.sub(r"\n {9,}", " ", text).splitlines()  # a continued line is indented further
    found: dict[str, str] = {}
    for line in lines:
        for part in re.split(r"(?<=\.)\s\s+(?=\w+:)", line.strip()):
            names, colon, words = part.partition(":")
            if colon and all(re.fullmatch(r"\w+", name) for name in names.split(", ")):
                found |= dict.fromkeys(names.split(", "), re.sub(r"\s+", " ", words.strip()))
    return found


def accepted(field: FieldInfo) -> str:
    """Return what a field takes: "a number above 0, or auto"; its own description where it has one."""
    return field.description or _kind(field.annotation, field.metadata)


def _kind(kind: Any, limits: list[Any]) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _kind(parts[0], list(parts[1:]))
    if origin in (Union, UnionType):
        return ", or ".join(_kind(part, []) for part in parts)
    if origin is Literal:
        return " or ".join(filter(None, [", ".join(map(str, parts[:-1])), str(parts[-1])]))
    if origin is tuple and parts[-1] is Ellipsis:
        return f"a list of {_several(_kind(parts[0], []))}"
    if origin is tuple:
        return f"{_COUNTS.get(len(parts), len(parts))} {_several(_kind(parts[0], []))}"
    if origin is dict:
        return "a mapping of names to values"
    return " ".join(filter(None, [_KINDS.get(kind, str(kind)), _limits(_flat(limits))]))


def _several(one: str) -> str:
    """Return the plural of one of our phrases: "a number from 0 to 1" becomes "numbers from 0 to 1"."""
    return re.sub(r"^a (.*?)number", r"\1numbers", one).replace("text", "names")


def _flat(limits: list[Any]) -> list[Any]:
    return [part for limit in limits for part in (limit.metadata if isinstance(limit, FieldInfo) else [limit])]


def _limits(limits: list[Any]) -> str:
    """Return "above 0", "from 0 to 1", "from 0 to below 1"; nothing where there is no limit."""
    ends = {name: getattr(one, name) for one in limits for name in ("ge", "gt", "le", "lt") if hasattr(one, name)}
    low = f"from {_number(ends['ge'])}" if "ge" in ends else f"above {_number(ends['gt'])}" if "gt" in ends else ""
    high = _number(ends["le"]) if "le" in ends else f"below {_number(ends['lt'])}" if "lt" in ends else ""
    if low and high:
        return f"{low} {'to' if 'ge' in ends else 'up to'} {high}"
    return f"up to {high}" if high else f"{low} up" if "ge" in ends else low


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
