"""The one door through which image bytes enter: what a file is, whether it may be decoded, and its upright pixels.

The bytes say what a file is, never its name.  Read are JPEG, PNG, WebP, BMP, GIF, TIFF, PPM/PGM/PBM and AVIF.  Each
kind of pixel has a declared answer:

=====================  ==============================================================================================
in the file            in the array
=====================  ==============================================================================================
grey, 1 or 8 bits      (H, W) uint8, black 0 and white 255
colour, 8 bits         (H, W, 3) uint8, RGB; a colour profile is not applied
palette                (H, W, 3) uint8: the palette's colours
16 bits                (H, W) or (H, W, 3) uint16 with its whole range
32-bit integers        (H, W) uint16 where the largest is at most 65,535, else float32, the share of 2^31 - 1; always
                       with a warning; refused where one is negative
floats                 (H, W) float32 as they are; a warning outside 0 to 1, refused where one is not finite
transparency           laid on white; a warning where nothing is visible
CMYK, YCCK             RGB of 8 bits by Pillow's formula, without a profile
YCbCr, LAB             RGB (LAB by LittleCMS, D50 to sRGB)
several frames, pages  the first one, with a warning
EXIF orientation       applied: the picture stands upright; damaged EXIF gives a warning and no turn
=====================  ==============================================================================================
"""

from __future__ import annotations

import io
import os
import re
import sys
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError
from visus.data.headers import EXTENSIONS, check_png, exif_orientation, is_profile, jpeg_header, png_exif, recognise
from visus.data.paths import open_regular, shown

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

Pixels = NDArray[np.generic]
Number = TypeVar("Number", bound=np.generic)

BACKGROUND = 255  # transparent pictures are laid on white, as a page would show them
MAX_PIXELS = 100_000_000
MAX_BYTES = 1 << 29


@dataclass(frozen=True)
class Decoded:
    """A picture as the rest of visus sees it.

    Attributes:
        pixels: (H, W) grey or (H, W, 3) RGB; uint8, uint16 or float32; upright and contiguous.
        format: what its bytes are: a key of ``EXTENSIONS``.
        warnings: what a user should know, a phrase each.
        orientation: EXIF's number, 1 to 8, that was applied.
        size: upright (height, width) in the file; larger than the pixels' only where ``at_least`` allowed it.
    """

    pixels: Pixels
    format: str
    warnings: tuple[str, ...]
    orientation: int
    size: tuple[int, int]


class Peek(NamedTuple):
    """What a header says: upright size, channels after decoding (1 or 3), the format, and EXIF's orientation."""

    height: int
    width: int
    channels: int
    format: str
    orientation: int


class Opened(NamedTuple):
    """A picture whose header has passed the door; nothing is decoded yet.

    Attributes:
        image: Pillow's lazy image, in whatever mode its file has.
        format: what its bytes are: a key of ``EXTENSIONS``.
        turn: EXIF's orientation, 1 to 8, that is still to be applied to its pixels; see ``upright``.
    """

    image: ImageFile
    format: str
    turn: int


def decode(
    source: Path | bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    at_least: int | None = None,
    name: str = "",
) -> Decoded:
    """Return the upright pixels of one picture, by the rules at the head of this file.

    Args:
        source: a regular file, or its bytes.
        max_pixels: largest picture that is decoded, checked in the header.  WebP and TIFF also meet Pillow's own limit
            of 178 million.
        max_bytes: largest file that is read.
        at_least: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter side keeps this many
            pixels: several times faster, with slightly other pixels than decoding whole and shrinking after.
        name: what messages call it, where the source is bytes.

    Raises:
        DataError: DATA-010 not a readable regular file, DATA-011 too many bytes, DATA-012 not an image of a known
            format, DATA-013 impossible or too large a size, DATA-014 the file ends early, DATA-015 damaged, DATA-016
            pixel values that cannot be used.
    """
    if isinstance(source, bytes):
        subject, data = name or "the image", bytearray(source)
        if len(data) > max_bytes:
            raise _too_long(subject, len(data), max_bytes)
    else:
        subject = name or shown(source)
        with open_regular(source) as file:
            data = _whole(file, subject, max_bytes)
    format = recognise(bytes(data[:_START]), subject)
    header = _header(io.BytesIO(data), format, subject, max_pixels)
    pixels, found = _pixels(data, header, subject, at_least)
    notes = [*header.warnings, *found]
    suffix = source.suffix.lower() if isinstance(source, Path) else ""
    others = [other for other, suffixes in EXTENSIONS.items() if suffix in suffixes and other != format]
    if others:
        notes.append(f"the content is {format}, the name says {others[0]}")
    return Decoded(upright(pixels, header.turn), format, tuple(notes), header.orientation, header.size)


def peek(source: Path, *, max_pixels: int = MAX_PIXELS) -> Peek:
    """Return what the header of a picture says, without decoding it.

    Raises:
        DataError: as ``decode``, as far as a header can tell.
    """
    with open_regular(source) as file:
        format = recognise(file.read(_START), shown(source))
        file.seek(0)
        header = _header(file, format, shown(source), max_pixels)
    return Peek(*header.size, header.channels, format, header.orientation)


@contextmanager
def opened(source: Path, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> Iterator[Opened]:
    """Open a picture of which the stored numbers are wanted, not the colours, with the checks of ``decode``.

    Raises:
        DataError: as ``decode``; what Pillow raises within the block too.
    """
    subject = shown(source)
    with open_regular(source) as file:
        data = _whole(file, subject, max_bytes)
    format = recognise(bytes(data[:_START]), subject)
    header = _header(io.BytesIO(data), format, subject, max_pixels)
    try:
        if format == "png":
            check_png(data)
        with _collecting([]) if format == "tiff" else nullcontext():
            yield Opened(header.opened or _open_with_pillow(io.BytesIO(data), format)[0], format, header.turn)
    except (MemoryError, DataError):
        raise
    except Exception as error:  # as below
        raise _damaged(subject, error, io.BytesIO(data)) from error


def upright(pixels: NDArray[Number], orientation: int) -> NDArray[Number]:
    """Return pixels turned as EXIF's orientation 1 to 8 asks."""
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


# What is below stands in the order in which a file passes it.

_START = 4096
_PLUGINS = {
    "jpeg": "JpegImagePlugin.JpegImageFile",
    "png": "PngImagePlugin.PngImageFile",
    "webp": "WebPImagePlugin.WebPImageFile",
    "bmp": "BmpImagePlugin.BmpImageFile",
    "gif": "GifImagePlugin.GifImageFile",
    "tiff": "TiffImagePlugin.TiffImageFile",
    "ppm": "PpmImagePlugin.PpmImageFile",
    "avif": "AvifImagePlugin.AvifImageFile",
}
_GREY = {"1", "L", "LA", "La", "I", "F"}  # and the 16-bit ones, "I;16" and its byte orders
_EARLY = re.compile(r"truncat|unpack|no more images|EOF while", re.IGNORECASE)  # as Pillow words it
_CATCHING = threading.RLock()  # warnings.catch_warnings is one for the process


@dataclass(frozen=True)
class _Header:
    """What is known before decoding.

    ``height`` and ``width`` are those of the pixels that decoding gives, ``turn`` is the EXIF orientation still to be
    applied to them: 1 for TIFF, which Pillow turns itself.  ``opened`` is Pillow's lazy file, absent for a JPEG that
    needs no Pillow.
    """

    height: int
    width: int
    channels: int
    format: str
    orientation: int
    turn: int
    warnings: tuple[str, ...]
    opened: ImageFile | None

    @property
    def size(self) -> tuple[int, int]:
        """Upright (height, width)."""
        return (self.width, self.height) if self.turn > 4 else (self.height, self.width)


def _whole(file: IO[bytes], subject: str, max_bytes: int) -> bytearray:
    length = os.fstat(file.fileno()).st_size
    if length > max_bytes:
        raise _too_long(subject, length, max_bytes)
    data = bytearray(length)
    filled = 0
    try:
        while filled < length and (count := file.readinto(memoryview(data)[filled:])):  # type: ignore[attr-defined]
            filled += count
    except OSError as error:
        raise DataError("DATA-010", f"{subject}: the file cannot be read: {error.strerror}") from error
    del data[filled:]
    return data


def _too_long(subject: str, length: int, limit: int) -> DataError:
    return DataError("DATA-011", f"{subject}: the file has {length:,} bytes, more than the {limit:,} that are read")


def _header(file: IO[bytes], format: str, subject: str, max_pixels: int) -> _Header:
    """Read sizes and orientation, and refuse what must not be decoded, before any pixel is."""
    try:
        jpeg = jpeg_header(file) if format == "jpeg" else None
        exif = png_exif(file) if format == "png" else b""
    except ValueError as error:
        raise _damaged(subject, error, file) from error
    if jpeg is not None:
        _check_size(jpeg.height, jpeg.width, subject, max_pixels)
        if jpeg.components in {1, 3} and jpeg.bits == 8:
            turn, notes = _metadata(jpeg.exif, jpeg.profile)
            return _Header(jpeg.height, jpeg.width, jpeg.components, format, turn, turn, tuple(notes), None)
    file.seek(0)
    try:
        opened, told = _open_with_pillow(file, format)
        (width, height), mode, info = opened.size, opened.mode, opened.info
        tagged = opened.tag_v2.get(0x0112) if format == "tiff" else None  # type: ignore[attr-defined]
        several = _has_more_frames(opened)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged bytes; the cause is told, never lost
        raise _damaged(subject, error, file) from error
    _check_size(height, width, subject, max_pixels)
    turn, notes = _metadata(exif or info.get("exif") or b"", info.get("icc_profile") or b"")
    if several:
        notes.append("it holds several frames or pages; the first is read")
        file.seek(0)
        opened = _open_with_pillow(file, format)[0]  # counting may have left it at another frame
    orientation = turn
    if format == "tiff":
        turn, orientation = 1, tagged if isinstance(tagged, int) and 1 <= tagged <= 8 else 1
    channels = 1 if mode in _GREY or mode.startswith("I;16") else 3
    return _Header(height, width, channels, format, orientation, turn, (*told, *notes), opened)


def _metadata(exif: bytes, profile: bytes) -> tuple[int, list[str]]:
    """Return the EXIF orientation, and what is wrong with it or with the colour profile."""
    orientation, fault = exif_orientation(exif)
    notes = [fault] if fault else []
    if profile and not is_profile(profile):
        notes.append("its colour profile is damaged; profiles are not applied anyway")
    return orientation, notes


def _has_more_frames(opened: ImageFile) -> bool:
    """Tell whether there is more than one frame; a damaged second one counts."""
    try:
        return bool(getattr(opened, "is_animated", False))
    except MemoryError:
        raise
    except Exception:  # as the caller's: it is there, whatever is wrong with it
        return True


def _check_size(height: int, width: int, subject: str, max_pixels: int) -> None:
    if height < 1 or width < 1:
        raise DataError("DATA-013", f"{subject}: its header claims {width} x {height} pixels", fix="remove it")
    if height * width > max_pixels:
        raise DataError(
            "DATA-013", f"{subject}: {width:,} x {height:,} pixels are more than the {max_pixels:,} that are decoded",
            fix=f"shrink it, or --set data.max_pixels={height * width}",
        )  # fmt: skip


def _open_with_pillow(file: IO[bytes], format: str) -> tuple[ImageFile, list[str]]:
    """Return Pillow's lazy image and what Pillow warned of.

    The format's own class is called instead of ``Image.open``, so that no other decoder is ever tried on these bytes
    and the size limit is the caller's.
    """
    module, _, name = _PLUGINS[format].partition(".")
    plugin: Callable[[IO[bytes]], ImageFile] = getattr(import_module(f"PIL.{module}"), name)
    notes: list[str] = []
    with _collecting(notes):
        opened = plugin(file)
    return opened, notes


@contextmanager
def _collecting(notes: list[str]) -> Iterator[None]:
    """Add what Pillow warns of to ``notes``, each once, instead of printing it."""
    with _CATCHING, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    told = [str(w.message).strip().rstrip(".") for w in caught if issubclass(w.category, UserWarning)]
    notes += [note for note in dict.fromkeys(told) if note not in notes]


def _pixels(data: bytearray, header: _Header, subject: str, at_least: int | None) -> tuple[Pixels, list[str]]:
    """Return pixels as they lie in the file, not yet upright, and what a user should know."""
    try:
        if header.opened is None:
            return _jpeg_pixels(data, header, at_least), []
        notes = check_png(data) if header.format == "png" else []
        with _collecting(notes) if header.format == "tiff" else nullcontext():  # TIFF reads its metadata only now
            deep = _deep_pixels(data, header.opened, header.format)
            pixels, found = deep if deep is not None else _to_array(header.opened)
        return pixels, [*notes, *found]
    except MemoryError:
        raise
    except _UnusableError as error:
        raise DataError("DATA-016", f"{subject}: {error}") from error
    except Exception as error:  # as above
        raise _damaged(subject, error, io.BytesIO(data)) from error


class _UnusableError(ValueError):
    """Pixel values without a meaning."""


def _damaged(subject: str, error: Exception, file: IO[bytes]) -> DataError:
    length = file.seek(0, os.SEEK_END)
    if type(error).__name__ == "DecompressionBombError":
        return DataError("DATA-013", f"{subject}: it has more pixels than Pillow decodes", where=str(error))
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    reason = "its header makes no sense" if reason == "not identified by this driver" else reason
    if _EARLY.search(reason) or isinstance(error, EOFError):
        return DataError(
            "DATA-014",
            f"{subject}: the file ends early ({length:,} bytes)",
            where=reason,
            fix="copy it again, or remove it",
        )
    return DataError("DATA-015", f"{subject}: the file is damaged: {reason}", fix="copy it again, or remove it")


@cache
def _jpeg_kernel() -> Callable[..., Any] | None:
    """Return torchvision's JPEG decoder, or None where it has none.

    The kernel is taken, not ``torchvision.io``: its functions warn at every call, since 0.29, that they will go.
    """
    try:
        import torch

        import_module("torchvision")  # which loads the kernel
        kernel: Callable[..., Any] = torch.ops.image.decode_jpeg
    except (ImportError, AttributeError, OSError):
        return None
    return kernel


def _jpeg_pixels(data: bytearray, header: _Header, at_least: int | None) -> Pixels:
    """Decode a grey or RGB JPEG of 8 bits by torchvision: the same pixels as Pillow's, faster.

    Pillow judges what torchvision refuses, and decodes at a fraction of the size.  A process without torch stays
    without: loading it takes longer than many pictures.
    """
    scale = 1
    while at_least and scale < 8 and min(header.height, header.width) // (2 * scale) >= at_least:
        scale *= 2
    kernel = _jpeg_kernel() if scale == 1 and "torch" in sys.modules else None
    if kernel is not None:
        import torch

        try:
            planes = kernel(torch.frombuffer(data, dtype=torch.uint8), 0, False)
        except RuntimeError:
            pass  # what is wrong with it is Pillow's to say
        else:
            pixels: NDArray[np.uint8] = planes.permute(1, 2, 0).numpy()
            return pixels[..., 0] if pixels.shape[2] == 1 else pixels
    opened = _open_with_pillow(io.BytesIO(data), "jpeg")[0]
    if scale > 1:
        opened.draft(opened.mode, (header.width // scale, header.height // scale))
    return np.array(opened, np.uint8)


def _deep_pixels(data: bytearray, opened: ImageFile, format: str) -> tuple[Pixels, list[str]] | None:
    """Return the pixels of a picture whose colours have 16 bits, or of a PNM whose white is not 255; None for others.

    Pillow holds no colours of 16 bits and would keep their high bytes; read again in the other byte order it keeps
    their low bytes, and the two make the whole.
    """
    if format == "ppm":
        scaled = _pnm_scaled(data)
        return None if scaled is None else (scaled, [])
    if format == "png" and data[24:26] == b"\x10\x04":  # grey and alpha of 16 bits lie as RGBA of 8 bits do
        eight = bytearray(data)
        eight[24:26] = b"\x08\x06"
        eight[29:33] = zlib.crc32(eight[12:29]).to_bytes(4, "big")
        bytes_of = np.asarray(_open_with_pillow(io.BytesIO(eight), "png")[0]).astype(np.uint16)
        return _on_white((bytes_of[..., 0::2] << 8 | bytes_of[..., 1::2]).astype(np.uint16))
    if format not in {"png", "tiff"} or opened.mode not in {"RGB", "RGBA", "RGBX"}:
        return None
    if not opened.tile or not all(_DEEP.search(_raw_mode(tile)) for tile in opened.tile):
        return None
    again = _open_with_pillow(io.BytesIO(data), format)[0]
    again.tile = [_other_order(tile) for tile in again.tile]
    pixels = np.asarray(opened).astype(np.uint16) << 8 | np.asarray(again)
    if opened.mode == "RGBA":
        return _on_white(pixels)
    pixels = np.ascontiguousarray(pixels[..., :3])
    if "transparency" in opened.info:  # one colour of a PNG that counts as transparent
        pixels[(pixels == np.asarray(opened.info["transparency"], np.uint16)).all(-1)] = 65535
    return pixels, []


_DEEP = re.compile(r";16[BLN]$")


def _raw_mode(tile: Any) -> str:
    return tile.args if isinstance(tile.args, str) else tile.args[0]


def _other_order(tile: Any) -> Any:
    raw = _raw_mode(tile)
    native = {"little": "L", "big": "B"}[sys.byteorder] if raw[-1] == "N" else raw[-1]
    other = raw[:-1] + {"L": "B", "B": "L"}[native]
    return tile._replace(args=other if isinstance(tile.args, str) else (other, *tile.args[1:]))


def _on_white(pixels: NDArray[np.uint16]) -> tuple[Pixels, list[str]]:
    """Return (H, W, 2 or 4) 16-bit pixels without their last channel, laid on white."""
    alpha = pixels[..., -1:].astype(np.float64) / 65535
    notes = [] if alpha.any() else ["nothing is visible: every pixel is transparent"]
    laid = np.rint(pixels[..., :-1] * alpha + 65535 * (1 - alpha)).astype(np.uint16)
    return laid[..., 0] if laid.shape[2] == 1 else laid, notes


_PNM = re.compile(rb"P([56])" + rb"(?:\s|#[^\n]*\n)+(\d{1,6})" * 3 + rb"\s", re.DOTALL)


def _pnm_scaled(data: bytearray) -> Pixels | None:
    """Read a binary PGM or PPM whose white is not 255: to uint8 up to 255, to uint16 above; None for any other.

    Source:
        Netpbm, pgm(5) and ppm(5).
    """
    found = _PNM.match(data)
    if found is None:
        return None
    kind, width, height, white = (int(part) for part in found.groups())
    if white == 255 or not 1 <= white <= 65535:
        return None
    count = height * width * (3 if kind == 6 else 1)
    stored = np.dtype(np.uint8 if white < 256 else ">u2")
    if len(data) - found.end() < count * stored.itemsize:
        raise EOFError(
            f"{count * stored.itemsize:,} bytes of pixels were announced, {len(data) - found.end():,} are there"
        )
    values = np.frombuffer(data, stored, count, found.end())
    if values.max() > white:
        raise ValueError(f"a pixel is {values.max()}, the header says that white is {white}")
    full, kept = (255, np.uint8) if white < 256 else (65535, np.uint16)
    scaled = (values.astype(np.uint32) * full + white // 2) // white
    pixels: Pixels = scaled.astype(kept).reshape((height, width, 3) if kind == 6 else (height, width))
    return pixels


def _to_array(opened: Any) -> tuple[Pixels, list[str]]:
    """Return the array of a loaded Pillow image by the table at the head of this file."""
    from PIL import Image

    opened.load()
    mode = opened.mode
    if mode == "F":
        return _floats(np.asarray(opened, np.float32))
    if mode == "I":
        return _integers(np.asarray(opened))
    if mode.startswith("I;16"):
        grey = np.asarray(opened).astype(np.uint16)
        if "transparency" in opened.info:  # one level of a PNG that counts as transparent
            grey[grey == opened.info["transparency"]] = 65535
        return np.ascontiguousarray(grey), []
    notes: list[str] = []
    if mode == "LAB":
        opened = _lab_to_rgb(opened)
    elif opened.has_transparency_data:
        kept = "L" if mode in {"1", "L", "LA", "La"} else "RGB"
        seen = opened.convert("RGBA" if kept == "RGB" else "LA")
        alpha = seen.getchannel("A")
        if not alpha.getextrema()[1]:
            notes.append("nothing is visible: every pixel is transparent")
        opened = Image.new(kept, seen.size, BACKGROUND if kept == "L" else (BACKGROUND,) * 3)
        opened.paste(seen.convert(kept), mask=alpha)
    elif mode == "1":
        opened = opened.convert("L")
    elif mode not in {"L", "RGB"}:
        opened = opened.convert("RGB")
    return np.array(opened, np.uint8), notes


def _floats(values: NDArray[np.float32]) -> tuple[Pixels, list[str]]:
    if not np.isfinite(values).all():
        raise _UnusableError("its floats are not all finite")
    low, high = float(values.min()), float(values.max())
    outside = low < 0 or high > 1
    return values.copy(), [f"its floats reach from {low:g} to {high:g}, not from 0 to 1"] if outside else []


def _integers(values: NDArray[np.int32]) -> tuple[Pixels, list[str]]:
    low, high = int(values.min()), int(values.max())
    if low < 0:
        raise _UnusableError(f"its 32-bit integers reach from {low:,} to {high:,}; a negative grey has no meaning")
    if high <= 65535:
        return values.astype(np.uint16), ["its 32-bit integers are read as 16-bit grey"]
    scaled = (values / np.float64(2**31 - 1)).astype(np.float32)
    return scaled, [f"its 32-bit integers, up to {high:,}, are read as a share of 2,147,483,647"]


def _lab_to_rgb(opened: Any) -> Any:
    from PIL import ImageCms

    to_srgb = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
    return ImageCms.applyTransform(opened, to_srgb)
