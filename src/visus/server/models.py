"""The models of a server by name, each replaced while it serves only by one that has already answered a picture."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import torch

from visus.core.errors import VisusError, first_line
from visus.core.sample import Samples
from visus.engine.device import Device
from visus.engine.evaluate import answers
from visus.server.batching import Batcher
from visus.server.limits import Limits
from visus.server.metrics import Metrics
from visus.server.preparing import Preparation, Preparers, Ready

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from visus.core.deployment import Contract
    from visus.core.modelfile import Card
    from visus.core.recipe import Recipe
    from visus.core.task import Prediction, Task

Stamp: TypeAlias = tuple[int, int, int]


class Model(Protocol):
    """A model that can be asked, as ``visus.load`` returns it."""

    path: Path
    card: Card
    recipe: Recipe
    task: Task
    contract: Contract | None

    @property
    def at_once(self) -> int:
        """Pictures that can be asked at once; 0 for any number."""
        ...

    @property
    def asked(self) -> nn.Module:
        """The network as it predicts."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The user's names."""
        ...

    def device(self) -> Device:
        """Return where and how the network runs."""
        ...


class Generation:
    """One loaded model file and the thread that asks it; requests that began with it end with it.

    Attributes:
        model: as loaded.
        number: 1 for the file with which the server began.
        preparation: how its pictures are read.
    """

    def __init__(self, model: Model, number: int, limits: Limits, told: Callable[[int, float], None]) -> None:
        self.model, self.number = model, number
        self.preparation = Preparation.of(model.task, model.recipe, limits.max_pixels)
        self._device, self._network = model.device(), model.asked
        most = 1 if model.recipe.input.tiles else model.at_once or limits.batch  # a whole picture may be large
        self._batcher: Batcher[Ready, Prediction] = Batcher(self._answer, most, limits.linger, told)
        self._users, self._retired = 0, False

    @contextmanager
    def asking(self, pictures: int) -> Iterator[Callable[[Ready], asyncio.Future[Prediction]]]:
        """Announce so many pictures and give what asks about each; those that never come are taken back."""
        self._users += 1
        left = pictures

        def ask(ready: Ready) -> asyncio.Future[Prediction]:
            nonlocal left
            left -= 1
            return self._batcher.ask(ready)

        self._batcher.announce(pictures)
        try:
            yield ask
        finally:
            self._batcher.announce(-left)
            self._users -= 1
            self._end_if_done()

    def retire(self) -> None:
        """Take no new request; the thread ends with the last one."""
        self._retired = True
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._retired and not self._users:
            self._batcher.stop()

    def _answer(self, pictures: Sequence[Ready]) -> list[Prediction]:
        """Return what the network says of pictures, in their own pixels."""
        task = self.model.task
        images = [picture.image for picture in pictures]
        alike = len({image.shape for image in images}) == 1
        shown = Samples(
            tuple(picture.name for picture in pictures), torch.arange(len(pictures)),
            torch.stack(images) if alike else images, {}, torch.stack([picture.frame for picture in pictures]),
            torch.tensor([picture.original for picture in pictures]),
        )  # fmt: skip
        said = []
        for part, raw in answers(task, self._network, [task.collate(shown)], self._device):
            said += [one.home(frame) for one, frame in zip(task.decode(raw), part.frames, strict=True)]
        return said


class Served:
    """One name of the server, whatever file stands behind it at the moment.

    Attributes:
        name: in the addresses.
        current: the generation that new requests are given.
        problem: why the newest file is not it, or nothing.
        reloads: how often it was replaced.
    """

    def __init__(
        self, name: str, load: Callable[[], Model], limits: Limits, preparers: Preparers, metrics: Metrics
    ) -> None:
        self.name, self._load, self._limits, self._preparers, self._metrics = name, load, limits, preparers, metrics
        self.current = self._fresh(1)
        self.path = self.current.model.path
        self._seen = self._stamp()
        self.problem, self.reloads = "", 0
        self._one = asyncio.Lock()

    def changed(self) -> bool:
        """Tell whether another file stands there than the one that was last looked at."""
        return self._stamp() != self._seen

    async def reload(self) -> bool:
        """Put the file's model in place of the present one once it has answered a picture; tell whether it did."""
        async with self._one:
            self._seen = self._stamp()
            try:
                fresh = await asyncio.to_thread(self._fresh, self.current.number + 1)
                try:
                    await self.try_out(fresh)
                except BaseException:
                    fresh.retire()
                    raise
            except Exception as error:  # whatever is wrong with a file, the old model serves on and it is told
                self.problem = f"{error.code}: {error.what}" if isinstance(error, VisusError) else first_line(error)
                self._metrics.reloaded(self.name, False)
                return False
            before, self.current = self.current, fresh
            before.retire()
            self.problem, self.reloads = "", self.reloads + 1
            self._metrics.reloaded(self.name, True)
            return True

    async def try_out(self, generation: Generation) -> None:
        """Let a model answer a grey picture.

        Raises:
            Exception: it cannot.
        """
        grey = _grey(generation.model.contract)
        ready = await self._preparers.prepare(generation.preparation, "a grey picture", grey)
        with generation.asking(1) as ask:
            json = (await ask(ready)).json()
        if not isinstance(json, Mapping):
            raise TypeError("it said nothing")

    def described(self) -> dict[str, Any]:
        """Return what a client wants to know of it."""
        model = self.current.model
        palette = getattr(model.task, "palette", ())
        return {
            "name": self.name,
            "task": model.card.task,
            "classes": list(model.classes),
            "palette": [list(colour) for colour in palette],
            "input": {"size": list(model.card.input.size), "channels": model.card.input.channels},
            "scores": model.card.scores,
            "split": model.card.split,
            "reloads": self.reloads,
            "problem": self.problem,
        }

    def _fresh(self, number: int) -> Generation:
        told = partial(self._metrics.batch, self.name)
        return Generation(self._load(), number, self._limits, told)

    def _stamp(self) -> Stamp:
        try:
            found = os.stat(self.path)  # noqa: PTH116  # Path.stat is the same, slower
        except OSError:
            return 0, 0, 0
        return found.st_mtime_ns, found.st_size, found.st_ino


def _grey(contract: Contract | None) -> bytes:
    """Return a grey PNG, not square: as deep, and of that size, as an exported file reads, if it is one."""
    from PIL import Image

    size = (contract and contract.size) or (48, 64)
    deep = contract is not None and contract.dtype == "uint16"
    pixels = np.full(size, 1 << 15, np.uint16) if deep else np.full((*size, 3), 128, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
