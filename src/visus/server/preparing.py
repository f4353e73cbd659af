"""Pictures made ready for a network in child processes: a decoder that hangs or crashes ends a child, not the server.

A child gets bytes and answers with plain numbers: nothing that it sends is unpickled, so a decoder that a hostile file
has taken over can say something wrong of its own picture, and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import queue
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visus.core.errors import DataError
from visus.core.memory import keep_freed_memory
from visus.core.recipe import Recipe
from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.core.task import Task, Transform
from visus.data.decode import decode
from visus.data.pixels import fit, frames


class Unreadable(Exception):
    """A picture that cannot be read; what it says is what ``visus predict`` would."""


@dataclass(frozen=True)
class Preparation:
    """How the pictures of a model are read: all that a child must know.

    Attributes:
        transform: of the task, for judging.
        channels, stored: as the recipe says.
        max_pixels: of a picture.
    """

    transform: Transform
    channels: int
    stored: int
    max_pixels: int

    @staticmethod
    def of(task: Task, recipe: Recipe, max_pixels: int) -> Preparation:
        """Return how a model's pictures are read, none of them of more pixels than both it and the server allow."""
        allowed = min(max_pixels, recipe.data.max_pixels)
        return Preparation(task.transforms(False), recipe.input.channels, recipe.data.stored, allowed)

    def read(self, name: str, data: bytes, stored: int) -> tuple[Tensor, tuple[int, int]]:
        """Return (H, W, C) pixels and the size (height, width) they had.

        Raises:
            Unreadable: with the reason.
        """
        try:
            decoded = decode(data, max_pixels=self.max_pixels, at_least=stored or None, name=name)
            return fit(decoded.pixels, self.channels, stored), decoded.size
        except DataError as error:
            raise Unreadable(error.what.removeprefix(f"{name}: ")) from error  # whoever shows it names the picture

    def prepared(self, name: str, data: bytes) -> Ready:
        """Return a picture as the network reads it: the same numbers as in ``visus predict``."""
        pixels, original = self.read(name, data, self.stored)
        originals = np.array([original], np.int64)
        alone = Samples(
            (name,), torch.zeros(1, dtype=torch.int64), [pixels.permute(2, 0, 1)], {},
            frames(originals, [(pixels.shape[0], pixels.shape[1])]), torch.from_numpy(originals),
        )  # fmt: skip
        try:
            shown = self.transform(alone, Draws(0, np.zeros(1, np.int64), np.zeros(1, np.int64)))
        except DataError as error:
            raise Unreadable(error.what.removeprefix(f"{name}: ")) from error
        return Ready(name, shown.images[0], shown.frames[0], original)


@dataclass(frozen=True)
class Ready:
    """A picture as a network reads it.

    Attributes:
        name: what the client calls it.
        image: (C, H, W) float32.
        frame: (3, 3) float64, from the pixels of ``image`` to those of the original.
        original: (height, width).
    """

    name: str
    image: Tensor
    frame: Tensor
    original: tuple[int, int]


class Preparers:
    """Child processes that read pictures.  One that dies or hangs is replaced, and its picture is tried once more.

    Args:
        count: of processes.
        seconds: in which a picture must have been read.
        memory: bytes beyond what a child begins with.
        lost: told whenever a child was lost, how.
    """

    def __init__(self, count: int, seconds: float, memory: int, lost: Callable[[str], None] = lambda how: None) -> None:
        self._context: Any = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
        if sys.platform != "win32":
            self._context.set_forkserver_preload([__name__, "torchvision"])
        self._seconds, self._memory, self._lost = seconds, memory, lost
        self._idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(count, "visus-prepare")
        self._children = [_Child(self._context, memory) for _ in range(count)]
        for child in self._children:
            self._idle.put(child)

    async def prepare(self, preparation: Preparation, name: str, data: bytes) -> Ready:
        """Return a picture as the network reads it.

        Raises:
            Unreadable: with the reason.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._asked, preparation, name, data)

    async def whole(self, preparation: Preparation, name: str, data: bytes) -> Tensor:
        """Return (C, H, W) upright pixels of a picture in its own size, with the channels that the network reads."""
        loop = asyncio.get_running_loop()
        ready: Ready = await loop.run_in_executor(self._threads, self._asked, preparation, name, data, True)
        return ready.image

    def close(self) -> None:
        """End the children."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for child in self._children:
            child.end()

    def _asked(self, preparation: Preparation, name: str, data: bytes, whole: bool = False) -> Ready:
        child, how = self._idle.get(), ""
        try:
            for _ in range(2):  # whatever ended a child may have had nothing to do with this picture
                try:
                    return child.ask(preparation, name, data, whole, self._seconds)
                except TimeoutError:  # which is an OSError too
                    child.end()
                    self._lost(f"took longer than {self._seconds:g} s")
                    child.start()
                    raise Unreadable(f"reading it took longer than {self._seconds:g} s") from None
                except (EOFError, OSError):
                    how = child.end()
                    self._lost(how)
                    child.start()
            raise Unreadable(f"every process that read it {how}")
        finally:
            self._idle.put(child)


class _Child:
    """A process that reads pictures, one at a time."""

    def __init__(self, context: Any, memory: int) -> None:
        self._context, self._memory = context, memory
        self.start()

    def start(self) -> None:
        """Start it; it is ready when it answers."""
        self._connection, theirs = self._context.Pipe(duplex=True)
        self._process = self._context.Process(target=_serve, args=(theirs, self._memory), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, preparation: Preparation, name: str, data: bytes, whole: bool, seconds: float) -> Ready:
        """Return what the child makes of a picture.

        Raises:
            Unreadable: it cannot be read.
            TimeoutError: the child has not answered.
            EOFError, OSError: it is gone.
        """
        self._connection.send((preparation, name, whole))
        self._connection.send_bytes(data)
        if not self._connection.poll(seconds):
            raise TimeoutError
        said = json.loads(self._connection.recv_bytes())
        if "why" in said:
            raise Unreadable(said["why"])
        pixels = bytearray(self._connection.recv_bytes())
        image = torch.frombuffer(pixels, dtype=_DTYPES[said["dtype"]]).reshape(said["shape"])
        return Ready(name, image, torch.tensor(said["frame"], dtype=torch.float64), tuple(said["original"]))

    def end(self) -> str:
        """End it, whatever it is doing; return how it ended."""
        self._process.join(0.2)  # one that is ending has then ended
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()
        code = self._process.exitcode or 0
        return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


_DTYPES = {"torch.float32": torch.float32, "torch.uint8": torch.uint8, "torch.uint16": torch.uint16}


def _serve(connection: Connection, memory: int) -> None:
    """Be a child: make one picture after the other ready, until the server is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides: what it has accepted is still answered
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
    keep_freed_memory()
    _limit(memory)
    with contextlib.suppress(EOFError, OSError):  # of a server that is gone
        while True:
            preparation, name, whole = connection.recv()
            said, pixels = _answer(preparation, name, connection.recv_bytes(), whole)
            connection.send_bytes(json.dumps(said).encode())
            if pixels is not None:
                connection.send_bytes(pixels)


@torch.no_grad()
def _answer(preparation: Preparation, name: str, data: bytes, whole: bool) -> tuple[dict[str, Any], Any]:
    """Return what is said of a picture, and its numbers."""
    try:
        if whole:
            pixels, original = preparation.read(name, data, 0)
            ready = Ready(name, pixels.permute(2, 0, 1), torch.eye(3, dtype=torch.float64), original)
        else:
            ready = preparation.prepared(name, data)
    except Unreadable as error:
        return {"why": str(error)}, None
    except (MemoryError, RuntimeError) as error:  # PyTorch says so by a RuntimeError
        return {"why": f"reading it failed: {(str(error) or 'there is not enough memory').splitlines()[0]}"}, None
    image = ready.image.contiguous()
    said = {"shape": list(image.shape), "dtype": str(image.dtype), "frame": ready.frame.tolist(),
            "original": list(ready.original)}  # fmt: skip
    return said, image.numpy().data.cast("B")


def _limit(memory: int) -> None:
    """Let this process take so many bytes more than it has, and write no file."""
    if sys.platform == "win32":
        return  # which has no such limits
    import resource

    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmData:"))
        most = (int(line.split()[1]) << 10) + memory
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
