"""The body of a request, read within its limits, as named pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from visus.server.limits import Limits, RequestError

FIELD = "files"
"""Name of the form's field that holds pictures."""

_NAME = 255


async def read_body(receive: Callable[[], Awaitable[Any]], headers: Mapping[str, str], limits: Limits) -> bytes:
    """Return the body of a request.

    Args:
        receive: of ASGI.
        headers: in lower case.
        limits: of its length, checked while it comes, and of the seconds it may take.

    Raises:
        RequestError: SERVE-003 it is too long, SERVE-004 it came too slowly, SERVE-005 it was broken off.
    """
    stated = headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limits.max_bytes:
        raise _too_long(int(stated), limits)
    parts: list[bytes] = []
    length, more = 0, True
    try:
        async with asyncio.timeout(limits.body_seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestError("SERVE-005", "the body was broken off", status=400)
                parts.append(message.get("body", b""))
                length, more = length + len(parts[-1]), message.get("more_body", False)
                if length > limits.max_bytes:
                    raise _too_long(length, limits)
    except TimeoutError:
        raise RequestError(
            "SERVE-004", f"the body did not come within {limits.body_seconds:g} s", status=408,
            headers={"Connection": "close"},
        ) from None  # fmt: skip
    return b"".join(parts)


def pictures_of(body: bytes, headers: Mapping[str, str], limits: Limits, name: str) -> list[tuple[str, bytes]]:
    """Return (name, bytes) of each picture: of a form each file of the field ``files``, else the body itself.

    What a picture is, its bytes say, so the content type of a body that is no form is not asked for.

    Args:
        name: of a picture that is not in a form.

    Raises:
        RequestError: SERVE-006 no picture, or too many; SERVE-007 a form that cannot be read.
    """
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        found = [(name, body)] if body else []
    else:
        found = _form(body, headers["content-type"])
    if not found:
        raise RequestError("SERVE-006", "there is no picture in the request", status=422,
                           fix=f"send it as the body, or as a form with the field {FIELD}")  # fmt: skip
    if len(found) > limits.pictures:
        raise RequestError(
            "SERVE-006", f"{len(found):,} pictures are more than the {limits.pictures:,} of one request", status=413,
            fix="send several requests",
        )  # fmt: skip
    return found


def _too_long(length: int, limits: Limits) -> RequestError:
    return RequestError(
        "SERVE-003", f"the body has {length:,} bytes or more, more than the {limits.max_bytes:,} that are read",
        status=413, fix="send fewer pictures at once, or smaller ones", headers={"Connection": "close"},
    )  # fmt: skip


@dataclass
class _Part:
    """A part of a form while it is read."""

    headers: dict[str, bytes] = field(default_factory=dict)
    name: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    data: list[bytes] = field(default_factory=list)


def _form(body: bytes, content_type: str) -> list[tuple[str, bytes]]:
    """Return the files of a form, all of it in memory: its length has been bounded already."""
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    parts: list[_Part] = []
    ended = False

    def header_end() -> None:
        part = parts[-1]
        part.headers[part.name.decode("latin-1").lower()] = bytes(part.value)
        part.name.clear()
        part.value.clear()

    def end() -> None:
        nonlocal ended
        ended = True

    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    try:
        if not boundary:
            raise FormParserError("its content type names no boundary")
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": lambda: parts.append(_Part()),
                "on_header_field": lambda data, start, stop: parts[-1].name.extend(data[start:stop]),
                "on_header_value": lambda data, start, stop: parts[-1].value.extend(data[start:stop]),
                "on_header_end": header_end,
                "on_part_data": lambda data, start, stop: parts[-1].data.append(data[start:stop]),
                "on_end": end,
            },
        )
        parser.write(body)
        if not ended:
            raise FormParserError("its end is missing")
    except FormParserError as error:
        raise RequestError("SERVE-007", f"the form cannot be read: {error}", status=400) from error
    found: list[tuple[str, bytes]] = []
    for part in parts:
        options = parse_options_header(part.headers.get("content-disposition", b""))[1]
        field_name = options.get(b"name", b"").decode("utf-8", "replace")
        if field_name != FIELD:
            raise RequestError("SERVE-007", f"the form has a field {field_name!r}", status=400,
                               fix=f"its pictures belong into the field {FIELD}")  # fmt: skip
        name = options.get(b"filename", b"").decode("utf-8", "replace")[:_NAME]
        found.append((name or f"picture {len(found) + 1}", b"".join(part.data)))
    return found
