"""Values with tensors on their way from a worker process home, through blocks of memory that are used again and again.

A block has no name, so nothing stays in /dev/shm whoever is killed when.  The message that announces it is a few bytes,
so a worker that is stopped half-way cannot hold up the one who waits.  A block whose tensors are gone is filled again:
fresh memory costs far more than copying, since the system clears and maps it page by page.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import socket
import struct
import weakref
from collections import deque
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

NAMELESS = hasattr(os, "memfd_create") and hasattr(socket, "send_fds")
"""Whether the system has memory without a name (Linux); elsewhere bytes go through the pipe."""

_HEADER = struct.Struct("<qqqq")  # block, block it replaces, bytes of tensors, bytes of the pickle behind them
_ALIGN = 64  # bytes; where a tensor may begin


class Sender:
    """The worker's end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._blocks: dict[int, mmap.mmap] = {}
        self._free: list[int] = []
        self._made = 0

    def free(self, blocks: list[int]) -> None:
        """Take note that the tensors in these blocks are gone."""
        self._free += blocks

    def send(self, value: object) -> None:
        """Send anything that can be pickled; strided tensors travel as memory, whatever order their axes have there."""
        file = io.BytesIO()
        packer = _Packer(file)
        packer.dump(value)
        text = file.getvalue()
        if not NAMELESS:
            whole = bytearray(max(packer.size, 1))
            packer.fill(memoryview(whole))
            self._connection.send_bytes(whole)
            self._connection.send_bytes(text)
            return
        block, replaced, descriptor = self._block(packer.size + len(text))
        memory = self._blocks[block]
        packer.fill(memory)
        memory[packer.size : packer.size + len(text)] = text
        header = _HEADER.pack(block, replaced, packer.size, len(text))
        with socket.socket(fileno=os.dup(self._connection.fileno())) as channel:
            if descriptor is None:
                channel.sendall(header)
            else:
                socket.send_fds(channel, [header], [descriptor])
                os.close(descriptor)

    def _block(self, size: int) -> tuple[int, int, int | None]:
        """Return a block of at least ``size`` bytes, the one it replaces (or -1), and its descriptor when it is new."""
        for block in self._free:
            if len(self._blocks[block]) >= size:
                self._free.remove(block)
                return block, -1, None
        replaced = self._free.pop(0) if self._free else -1
        if replaced >= 0:
            self._blocks.pop(replaced).close()
        block, self._made = self._made, self._made + 1
        descriptor = os.memfd_create("visus-batch")
        os.ftruncate(descriptor, size + size // 16 + mmap.PAGESIZE)  # batches differ a little
        self._blocks[block] = mmap.mmap(descriptor, 0)
        return block, replaced, descriptor


class Receiver:
    """The end of who waits."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._blocks: dict[int, mmap.mmap] = {}
        self._freed: deque[int] = deque()

    def freed(self) -> list[int]:
        """Return the blocks whose tensors are gone since last asked, for ``Sender.free``."""
        return [self._freed.popleft() for _ in range(len(self._freed))]

    def receive(self) -> Any:
        """Return the next value; its tensors are views of the worker's block, which stays theirs as long as they live.

        Raises:
            EOFError: the worker is gone.
        """
        if not NAMELESS:
            whole = bytearray(self._connection.recv_bytes())
            return _Unpacker(io.BytesIO(self._connection.recv_bytes()), memoryview(whole)).load()
        with socket.socket(fileno=os.dup(self._connection.fileno())) as channel:
            header, descriptors, _, _ = socket.recv_fds(channel, _HEADER.size, 1)
        if len(header) < _HEADER.size:
            raise EOFError
        block, replaced, size, length = _HEADER.unpack(header)
        self._blocks.pop(replaced, None)
        for descriptor in descriptors:
            self._blocks[block] = mmap.mmap(descriptor, 0)
            os.close(descriptor)
        view = memoryview(self._blocks[block])  # every tensor holds it
        weakref.finalize(view, self._freed.append, block)
        return _Unpacker(io.BytesIO(view[size : size + length]), view).load()


class _Packer(pickle.Pickler):
    """Pickles a value without the bytes of its tensors, which it collects."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.tensors: list[tuple[int, Tensor]] = []
        self.size = 0

    def persistent_id(self, value: object) -> object:
        """Return where a tensor's bytes will be, and the depth, shape and order of axes that make it of them."""
        if type(value) is not Tensor or value.device.type != "cpu" or value.layout != torch.strided:
            return None
        order = sorted(range(value.dim()), key=value.stride, reverse=True)  # channels-last stays channels-last
        flat = value.detach().permute(order).contiguous()
        start = self.size
        self.size = -(-(start + flat.nbytes) // _ALIGN) * _ALIGN
        self.tensors.append((start, flat))
        return start, flat.dtype, tuple(flat.shape), tuple(order)

    def fill(self, memory: Any) -> None:
        """Copy the tensors to their places."""
        for start, flat in self.tensors:
            if flat.numel():
                torch.frombuffer(memory, dtype=flat.dtype, count=flat.numel(), offset=start).copy_(flat.view(-1))


class _Unpacker(pickle.Unpickler):
    """Reads what ``_Packer`` wrote; tensors are views of ``memory``."""

    def __init__(self, file: io.BytesIO, memory: memoryview) -> None:
        super().__init__(file)
        self._memory = memory

    def persistent_load(self, place: Any) -> Tensor:
        """Return the tensor at a place."""
        start, dtype, shape, order = place
        count = torch.Size(shape).numel()
        if count:
            flat = torch.frombuffer(self._memory, dtype=dtype, count=count, offset=start).view(shape)
        else:
            flat = torch.empty(shape, dtype=dtype)
        return flat.permute(sorted(range(len(order)), key=order.__getitem__))
