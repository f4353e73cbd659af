"""From the pictures of a request to what is said of them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from visus.core.errors import DataError
from visus.core.files import finite
from visus.core.sample import Sample
from visus.core.task import Layered, Mapped, Prediction
from visus.server.batching import COMPUTING
from visus.server.limits import RequestError
from visus.server.models import Generation
from visus.server.preparing import Preparers, Unreadable

LONGEST = 1024
"""Pixels of the longer side of a map, beyond which it is sent smaller."""


@dataclass(frozen=True)
class How:
    """What a client wants to have explained.

    Attributes:
        method: name of the explainer; nothing for the usual one of the task.
        label: class or number; nothing for what the model says.
        check: measure how far the map can be believed, which takes some hundred answers of the network.
    """

    method: str = ""
    label: str = ""
    check: bool = False


Explain: TypeAlias = Callable[
    [Any, str, NDArray[np.generic], How], tuple[dict[str, Any], Sequence[NDArray[np.float32]]]
]
"""From a model, a picture's name, its (H, W, C) pixels and what is wanted to a document and its maps, (H, W) in [0, 1].

Raises ``Unreadable`` where nothing of the picture can be explained.
"""


@dataclass(frozen=True)
class Answer:
    """What is said of one picture, or why nothing is.

    Attributes:
        file: what the client calls it.
        said: in pixels of the picture itself.
        why: it cannot be read.
    """

    file: str
    said: Prediction | None = None
    why: str = ""


async def ask(generation: Generation, preparers: Preparers, pictures: Sequence[tuple[str, bytes]]) -> list[Answer]:
    """Return an answer for each picture; those of several requests are looked at together."""
    with generation.asking(len(pictures)) as asked:

        async def one(name: str, data: bytes) -> Answer:
            try:
                ready = await preparers.prepare(generation.preparation, name, data)
                return Answer(name, await asked(ready))
            except Unreadable as error:
                return Answer(name, why=str(error))
            except DataError as error:  # such as a picture of another size than an exported file reads
                return Answer(name, why=error.what)

        return list(await asyncio.gather(*(one(name, data) for name, data in pictures)))


def document(answers: Sequence[Answer]) -> bytes:
    """Return the JSON document that ``visus predict --json`` prints of the same pictures."""
    return json_bytes({
        "predictions": [{"file": one.file, **one.said.json()} for one in answers if one.said is not None],
        "problems": [{"file": one.file, "why": one.why} for one in answers if one.said is None],
        "notes": [],
    })  # fmt: skip


def json_bytes(document: dict[str, Any]) -> bytes:
    """Return a JSON document without blanks; a number that JSON has not becomes null."""
    return json.dumps(finite(document), separators=(",", ":"), allow_nan=False).encode()


async def drawn(
    generation: Generation, preparers: Preparers, pictures: Sequence[tuple[str, bytes]], answers: Sequence[Answer]
) -> bytes:
    """Return the picture of a request, with what is said of it drawn, as a PNG file.

    Raises:
        RequestError: SERVE-011, there are several.
    """
    (name, data), said = _only(pictures, answers)
    pixels = await preparers.whole(generation.preparation, name, data)
    draw = generation.model.task.draw
    return await asyncio.to_thread(lambda: _png(draw(Sample(name, pixels), said)))


async def explained(
    generation: Generation, preparers: Preparers, pictures: Sequence[tuple[str, bytes]], explain: Explain, how: How
) -> dict[str, Any]:
    """Return why a model says what it says of the picture of a request, with the maps as PNG files of grey levels.

    Raises:
        RequestError: SERVE-011, there are several pictures.
        Unreadable: it cannot be read, or nothing in it can be explained.
        VisusError: the method, or the class, is not one of this model.
    """
    if len(pictures) > 1:
        raise _several(pictures)
    name, data = pictures[0]
    pixels = await preparers.whole(generation.preparation, name, data)

    def computed() -> dict[str, Any]:
        with COMPUTING:
            said, maps = explain(generation.model, name, pixels.permute(1, 2, 0).numpy(), how)
        for one, values in zip(said["explanations"], maps, strict=True):
            one["map"] = f"data:image/png;base64,{base64.b64encode(_grey_png(values)).decode()}"
        return said

    return await asyncio.to_thread(computed)


async def class_map(pictures: Sequence[tuple[str, bytes]], answers: Sequence[Answer]) -> bytes:
    """Return the class of each pixel of the picture of a request as a palette PNG.

    Raises:
        RequestError: SERVE-011, there are several; SERVE-012, the model says nothing of single pixels.
    """
    _, said = _only(pictures, answers)
    if not isinstance(said, Mapped):
        why = "any number of classes" if isinstance(said, Layered) else "nothing"
        raise RequestError("SERVE-012", f"this model says {why} of single pixels", status=422, fix="as=json or as=png")
    return await asyncio.to_thread(_palette_png, said)


def _only(pictures: Sequence[tuple[str, bytes]], answers: Sequence[Answer]) -> tuple[tuple[str, bytes], Prediction]:
    """Return the one picture of a request and what is said of it."""
    said = answers[0].said
    if len(pictures) > 1 or said is None:
        raise _several(pictures)
    return pictures[0], said


def _several(pictures: Sequence[tuple[str, bytes]]) -> RequestError:
    return RequestError("SERVE-011", f"{len(pictures)} pictures cannot be answered by one", status=422,
                        fix="send one, or ask /predict for as=json")  # fmt: skip


def _grey_png(values: NDArray[np.float32]) -> bytes:
    """Return a map of values in [0, 1] as a PNG file of at most ``LONGEST`` pixels a side."""
    from PIL import Image

    image = Image.fromarray(np.rint(255 * values).astype(np.uint8))
    if max(image.size) > LONGEST:
        image.thumbnail((LONGEST, LONGEST), Image.Resampling.BILINEAR)
    return _file(image)


def _palette_png(said: Mapped) -> bytes:
    from PIL import Image

    image = Image.fromarray(said.class_map.to(torch.uint8).numpy())
    levels = [level for colour in said.palette for level in colour]
    image.putpalette(levels + [0] * (3 * 256 - len(levels)))
    return _file(image)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    return _file(Image.fromarray(pixels))


def _file(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=3)
    return file.getvalue()
