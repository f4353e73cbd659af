"""The door through which class maps enter: one number a pixel, on the upright picture.

Read are PNG, TIFF, BMP and GIF files of one channel: grey of 1 to 16 bits, or a palette, of which the numbers count and
not the colours; and of three, where the data states which colour is which class.  Other files of several channels, of
floats, of several pages, and those whose format changes pixels to save space (JPEG, WebP, AVIF) are refused.

EXIF may say that a picture is to be shown turned, and tools differ in whether they draw masks on the turned picture or
on the pixels as they are stored.  A mask's own EXIF turn is applied first.  A mask of the upright picture's size is
then taken as drawn on the upright picture; one that has the stored picture's size alone is turned as the picture is.
Half turns, mirrors and square pictures leave the question open (see ``undecided``); there too, upright is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError
from visus.core.pixels import IGNORE
from visus.data.decode import MAX_PIXELS, Opened, Peek, opened, peek, upright
from visus.data.mask_colours import numbered, unstated
from visus.data.objects import ClassMaps
from visus.data.paths import shown

Values: TypeAlias = NDArray[np.uint8 | np.uint16]
"""(H, W) numbers as a file stores them."""


class Stored(NamedTuple):
    """What a mask file holds.

    Attributes:
        values: (H, W) uint8 or uint16, upright by the file's own EXIF.
        palette: (256, 3) uint8 colours of the numbers 0 to 255; None where the file has none.
    """

    values: Values
    palette: NDArray[np.uint8] | None


def read_map(maps: ClassMaps, i: int) -> NDArray[np.uint8]:
    """Return the dense class of every pixel of map ``i``, upright, (H, W); ``IGNORE`` where none is stated.

    Raises:
        DataError: as ``values_of``, and DATA-273: a value that stands for no class.
    """
    if not maps.paths[i]:
        return np.full(_picture(maps, i)[:2], IGNORE, np.uint8)
    values = values_of(maps, i)
    dense = np.full(np.iinfo(values.dtype).max + 1, -1, np.int16)
    for value in maps.ignore:
        if 0 <= value < len(dense):
            dense[value] = IGNORE
    for k, value in enumerate(maps.values.tolist()):
        if 0 <= value < len(dense):
            dense[value] = k
    classes = dense[values]
    if classes.min() < 0:
        raise no_class(maps.root / maps.paths[i], np.unique(values[classes < 0]).tolist(), maps.values, maps.ignore)
    return classes.astype(np.uint8)


def values_of(maps: ClassMaps, i: int) -> Values:
    """Return the stored numbers of map ``i``, upright.

    Raises:
        DataError: as ``read_stored``; as ``peek`` where the picture cannot be read; DATA-272: it fits its picture
            neither upright nor as stored.
    """
    path = maps.root / maps.paths[i]
    values = read_stored(path, max_pixels=maps.max_pixels, code=maps.code).values
    return values if maps.pictures is None else fitted(values, _picture(maps, i), path)


def fitted(values: Values, picture: Peek, path: Path) -> Values:
    """Return the numbers of a mask as they lie on its upright picture.

    Args:
        values: upright by the mask's own EXIF.
        picture: what the picture's header says.
        path: of the mask, for the message.

    Raises:
        DataError: DATA-272, as above.
    """
    if values.shape == picture[:2]:
        return values
    if picture.orientation > 4 and values.shape[::-1] == picture[:2]:
        return upright(values, picture.orientation)
    raise DataError(
        "DATA-272", f"{shown(path)}: the mask has {values.shape[1]:,} x {values.shape[0]:,} pixels, its picture"
        f" {picture.width:,} x {picture.height:,}", fix="draw it at the picture's size, or resize it without smoothing",
    )  # fmt: skip


def undecided(picture: Peek) -> bool:
    """Tell whether a picture's EXIF turn leaves open in which frame a mask of its size was drawn."""
    return picture.orientation in {2, 3, 4} or (picture.orientation > 4 and picture.height == picture.width)


def read_stored(path: Path, *, max_pixels: int = MAX_PIXELS, code: NDArray[np.int64] | None = None) -> Stored:
    """Return what a mask file holds.

    Args:
        path: of the mask.
        max_pixels: largest one that is decoded.
        code: (N, 4) red, green, blue and the number that stands for it, by which a mask of colours is read.

    Raises:
        DataError: as ``decode`` for files that are no images, damaged or too large; DATA-270: it has several channels,
            and no code says what they mean; DATA-271: it holds what cannot be numbers of classes; DATA-273: a colour
            that the code does not hold.
    """
    with opened(path, max_pixels=max_pixels) as file:
        image = file.image
        coded = code is not None and image.mode in {"RGB", "RGBA"}
        if len(image.getbands()) > 1 and not coded:
            raise unstated(np.asarray(image.convert("RGB")), image.getbands(), path)
        _check_kind(path, file, {"RGB", "RGBA"} if coded else _NUMBERS)
        if code is not None and coded:
            pixels = np.asarray(image)
            if (pixels[..., 3:] != 255).any():
                raise _unfit(path, "some of its pixels are transparent, and nothing says of which class those are")
            return Stored(upright(numbered(pixels[..., :3], code, path), file.turn), None)
        packed = _PACKED.search(_raw_mode(image.tile[0].args)) if image.tile else None
        values = np.asarray(image)
        palette = image.getpalette("RGB") if image.mode == "P" else None
    if values.dtype.kind == "i":
        if values.min() < 0 or values.max() > _LARGEST:
            raise _unfit(path, f"its values reach from {values.min():,} to {values.max():,}; 0 to 65,535 can be read")
        values = values.astype(np.uint16)
    elif values.dtype.itemsize == 2:
        values = values.astype(np.uint16, copy=False)  # in the machine's byte order
    else:
        values = values.astype(np.uint8, copy=False) if packed is None else values // _SPREAD[packed[1]]
    colours = None if palette is None else np.zeros((256, 3), np.uint8)
    if palette is not None and colours is not None:
        colours.reshape(-1)[: len(palette)] = palette
    return Stored(upright(values, file.turn), colours)


def no_class(path: Path, strays: list[int], values: Iterable[int], ignore: Iterable[int]) -> DataError:
    """Return the error of a mask with values that stand for no class."""
    others = f" (and {', '.join(map(str, strays[1:6]))}{' ...' * (len(strays) > 6)})" if len(strays) > 1 else ""
    return DataError(
        "DATA-273", f"{shown(path)}: the value {strays[0]} stands for no class{others}",
        where=f"classes have the values {_ranges(values) or 'none'}; ignored are {_ranges(ignore) or 'none'}",
        fix='name it in classes.txt, or ignore it: classes.json with {"classes": {"0": "road"}, "ignore": [255]}',
    )  # fmt: skip


_LARGEST = 65535
_NUMBERS = {"1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N"}  # Pillow's modes of one whole number a pixel
_LOSSY = {"jpeg", "webp", "avif"}
_PACKED = re.compile(r"^L;([24])")  # grey of 2 and 4 bits, which Pillow spreads over 0 to 255
_SPREAD = {"2": 85, "4": 17}


def _check_kind(path: Path, file: Opened, modes: Set[str]) -> None:
    if file.format in _LOSSY:
        raise _unfit(path, f"{file.format.upper()} changes pixels to save space, and with them their classes")
    if file.format == "ppm" or file.image.mode not in modes:
        raise _unfit(path, f"its pixels ({file.format}, {file.image.mode}) are no numbers of classes")
    if getattr(file.image, "is_animated", False):
        raise _unfit(path, "it holds several pages or frames, of which only one could be the mask")


def _unfit(path: Path, why: str) -> DataError:
    return DataError("DATA-271", f"{shown(path)}: {why}", fix="save masks as grey or palette PNG, a number a class")


def _raw_mode(args: object) -> str:
    return args if isinstance(args, str) else str(args[0]) if isinstance(args, tuple) and args else ""


def _picture(maps: ClassMaps, i: int) -> Peek:
    if maps.pictures is None:
        raise ValueError(f"map {i} has no file, and the size of its picture is not known")
    return peek(maps.root / maps.pictures[i], max_pixels=maps.max_pixels)


def _ranges(numbers: Iterable[int]) -> str:
    """Return numbers in few words: ``0 to 10, 255``."""
    told: list[list[int]] = []
    for number in sorted(int(number) for number in numbers if number >= 0):
        if told and number == told[-1][-1] + 1:
            told[-1] = [told[-1][0], number]
        else:
            told.append([number])
    return ", ".join(" to ".join(map(str, ends)) for ends in told[:8]) + " ..." * (len(told) > 8)
