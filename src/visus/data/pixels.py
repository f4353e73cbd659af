"""Pixels as a network reads them: one rule for channels and stored size, whether from files or arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from visus.core.errors import DataError
from visus.data.dataset import ArrayImages, FileImages, Images
from visus.data.fetched import FetchedImages
from visus.data.paths import shown

Beat: TypeAlias = Callable[[int], None]
"""Told the index of the picture that is read next: a sign of life, and the culprit's name if it was the last one."""

LARGE = 1 << 16
"""Bytes from which on pictures stay apart: one kernel for all saves less than copying them together costs."""

_LUMA = (19595, 38470, 7471)  # 0.299, 0.587, 0.114 in units of 2**-16


@dataclass(frozen=True)
class Taken:
    """Pictures that were read, R of them.

    Attributes:
        images: (R, C, H, W) where sizes and depths agree and pictures are small, else a list of (C, H, W), which copies
            nothing.  In memory the channels of a pixel are neighbours, wherever the pictures came from, so that the
            kernels that follow are the same.
        originals: (R, 2) height and width before shrinking.
        bad: why, by index, for pictures that could not be read; they take no row.
        maps: (H, W) of each, the class of every original pixel; None where the data states none (see ``mapped``).
    """

    images: Tensor | list[Tensor]
    originals: NDArray[np.int64]
    bad: dict[int, str]
    maps: Sequence[Tensor] | None = None

    def without(self, rows: Sequence[int], bad: Mapping[int, str]) -> Taken:
        """Return the same without some pictures more, before maps came with them.

        Args:
            rows: the index of each picture.
            bad: why, by index, for those that are left out.
        """
        if not bad:
            return self
        keep = [row for row, i in enumerate(rows) if i not in bad]
        images = self.images[keep] if isinstance(self.images, Tensor) else [self.images[row] for row in keep]
        return Taken(images, self.originals[keep], {**self.bad, **bad})


class Pictures(Protocol):
    """Pictures of a data set, ready for a transform."""

    def take(self, indices: NDArray[np.int64], beat: Beat) -> Taken:
        """Return pictures by their index in the data set; an index may come more than once."""
        ...


def pictures(images: Images, channels: int, stored: int = 0) -> Pictures:
    """Return the pictures of a data set with ``channels`` channels and a shorter side of at most ``stored`` pixels.

    Args:
        images: of the data set.
        channels: 1 grey, 3 RGB, or as many as the pictures have.
        stored: 0 for the size they have.

    Raises:
        DataError: an array of a depth or with channels for which there is no rule.
    """
    if isinstance(images, ArrayImages) and images.array.ndim in (3, 4):
        none = images.array[:0] if images.array.ndim == 4 else images.array[:0, :, :, None]
        fit(none, channels)  # refuses a wrong depth or wrong channels now, not picture by picture
        height, width = shrunk(images.array.shape[1], images.array.shape[2], stored)
        if height * width * channels * images.array.itemsize < LARGE:
            return ArrayPictures(images, channels, stored)
    return SinglePictures(images, channels, stored)


def fit(picture: NDArray[np.generic], channels: int, stored: int = 0) -> Tensor:
    """Return (..., H, W, C) pixels with the wanted channels, shrunk to the stored size.

    Grey becomes RGB by repeating it; RGB becomes grey by ITU-R BT.601 luma in 16-bit fixed point, as Pillow does it.
    Shrinking is bilinear and antialiased, to a shorter side of ``stored`` pixels; nothing is ever enlarged.

    Args:
        picture: (H, W), (H, W, C), or (N, H, W, C); uint8, uint16 or float32, which is kept.
        channels: of the result.
        stored: shorter side in pixels; 0 keeps the size.

    Raises:
        DataError: another depth, or channels for which there is no rule.
    """
    if picture.dtype not in (np.uint8, np.uint16, np.float32):
        raise DataError("DATA-030", f"pixels are {picture.dtype}", fix="store them as uint8, uint16 or float32")
    pixels = tensor_of(np.ascontiguousarray(picture))
    return _shrink(_channels(pixels if pixels.dim() > 2 else pixels[:, :, None], channels), stored)


def shrunk(height: int, width: int, stored: int) -> tuple[int, int]:
    """Return the (height, width) at which a picture of this size is stored."""
    shorter = min(height, width)
    if not stored or shorter <= stored:
        return height, width
    return (stored, stored * width // height) if height <= width else (stored * height // width, stored)


def frames(originals: NDArray[np.int64], sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Return (R, 3, 3) float64 matrices from the present pixels of each picture to its original ones."""
    scale = originals / np.asarray(sizes, dtype=np.float64).reshape(-1, 2)
    matrices = np.zeros((len(scale), 3, 3))
    matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, 2, 2] = scale[:, 1], scale[:, 0], 1
    return torch.from_numpy(matrices)


def together(rows: list[Tensor]) -> Tensor | list[Tensor]:
    """Return (H, W, C) pictures as one (R, C, H, W) tensor where they are alike and small, else a list of (C, H, W)."""
    if rows and rows[0].nbytes < LARGE and all(r.shape == rows[0].shape and r.dtype == rows[0].dtype for r in rows):
        return torch.stack(rows).permute(0, 3, 1, 2)
    return [row.permute(2, 0, 1) for row in rows]


def size_of(images: Images, i: int) -> tuple[int, int]:
    """Return height and width of picture ``i``, of a file by its header alone.

    Raises:
        DataError: it cannot be read.
    """
    if isinstance(images, FileImages):
        from visus.data.decode import peek

        seen = peek(images.source(i), max_pixels=images.max_pixels)
        return seen.height, seen.width
    height, width = images.read(i).shape[:2]
    return height, width


class SinglePictures:
    """Pictures that are read one by one, such as files."""

    def __init__(self, images: Images, channels: int, stored: int) -> None:
        self._images, self._channels, self._stored = images, channels, stored

    def take(self, indices: NDArray[np.int64], beat: Beat) -> Taken:
        """Read each picture once, however often it is asked for."""
        read: dict[int, Tensor] = {}
        originals: dict[int, tuple[int, int]] = {}
        bad: dict[int, str] = {}
        for i in dict.fromkeys(indices.tolist()):
            beat(i)
            try:
                picture, originals[i] = self._read(i)
                read[i] = fit(picture, self._channels, self._stored)
            except DataError as error:
                bad[i] = error.what.removeprefix(f"{self._subject(i)}: ")  # whoever shows it names the record
        good = [i for i in indices.tolist() if i not in bad]
        sizes = np.array([originals[i] for i in good], dtype=np.int64).reshape(-1, 2)
        return Taken(together([read[i] for i in good]), sizes, bad)

    def _subject(self, i: int) -> str:
        """Return what the decode door calls a picture."""
        if isinstance(self._images, FileImages):
            return shown(self._images.source(i))
        return shown(self._images.paths[i]) if isinstance(self._images, FetchedImages) else ""

    def _read(self, i: int) -> tuple[NDArray[np.generic], tuple[int, int]]:
        """Return a picture and its original size; a JPEG far larger than what is stored is decoded at a fraction."""
        if self._stored and isinstance(self._images, FileImages | FetchedImages):
            from visus.data.decode import decode

            decoded = decode(self._images.source(i), max_pixels=self._images.max_pixels, at_least=self._stored,
                             name=self._subject(i))  # fmt: skip
            return decoded.pixels, decoded.size
        picture = self._images.read(i)
        return picture, (picture.shape[0], picture.shape[1])


class ArrayPictures:
    """Pictures of one size that are already one array: a batch is one gather, without Python for each picture."""

    def __init__(self, images: ArrayImages, channels: int, stored: int) -> None:
        array = tensor_of(np.ascontiguousarray(images.array))
        self._array = array if array.dim() == 4 else array[..., None]
        self._channels, self._stored = channels, stored

    def take(self, indices: NDArray[np.int64], beat: Beat) -> Taken:
        """Gather the rows, then bring them to the wanted channels and size together."""
        height, width = self._array.shape[1:3]
        rows = self._array.index_select(0, torch.from_numpy(indices))
        images = _shrink(_channels(rows, self._channels), self._stored).permute(0, 3, 1, 2)
        return Taken(images, np.tile(np.array([[height, width]], dtype=np.int64), (len(indices), 1)), {})


def tensor_of(array: NDArray[np.generic]) -> Tensor:
    """Return a tensor over the memory of an array, which may be read-only: whoever gets it only reads."""
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Writable(array)))


@dataclass(frozen=True)
class _Writable:
    """The memory of a read-only array under a flag that spares a warning; filters of warnings are not for threads."""

    array: NDArray[np.generic]

    @property
    def __array_interface__(self) -> dict[str, Any]:
        told = self.array.__array_interface__
        return told | {"data": (told["data"][0], False)}


def _channels(pixels: Tensor, channels: int) -> Tensor:
    """Return (..., H, W, C) pixels with the wanted number of channels."""
    there = pixels.shape[-1]
    if there == channels:
        return pixels
    if there == 1 and channels == 3:
        return pixels.expand(*pixels.shape[:-1], 3).contiguous()
    if there == 3 and channels == 1:
        red, green, blue = pixels.unbind(-1)
        if pixels.dtype == torch.float32:
            return (red * 0.299 + green * 0.587 + blue * 0.114)[..., None]
        wide = torch.int32 if pixels.dtype == torch.uint8 else torch.int64
        luma = red.to(wide) * _LUMA[0] + green.to(wide) * _LUMA[1] + blue.to(wide) * _LUMA[2] + 0x8000
        return (luma >> 16).to(pixels.dtype)[..., None]
    raise DataError(
        "DATA-031", f"the picture has {there} channels, the network reads {channels}",
        fix=f"--set input.channels={there}, or store the pictures as grey or RGB",
    )  # fmt: skip


def _shrink(pixels: Tensor, stored: int) -> Tensor:
    """Return (H, W, C) or (N, H, W, C) pixels whose shorter side is at most ``stored``."""
    height, width = pixels.shape[-3:-1]
    size = shrunk(height, width, stored)
    if size == (height, width) or not pixels.numel():
        return pixels
    planes = (pixels if pixels.dim() == 4 else pixels[None]).permute(0, 3, 1, 2)
    if pixels.dtype == torch.uint16:
        planes = planes.float()
    planes = F.interpolate(planes, size, mode="bilinear", align_corners=False, antialias=True)
    if pixels.dtype == torch.uint16:
        planes = planes.round().clamp(0, 65535).to(torch.uint16)
    small = planes.permute(0, 2, 3, 1).contiguous()
    return small if pixels.dim() == 4 else small[0]
