"""What the bytes of a picture say of themselves, before anything is decoded: format, sizes, orientation, checksums."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

from visus.core.errors import DataError

EXTENSIONS = {
    "jpeg": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "png": {".png", ".apng"},
    "webp": {".webp"},
    "bmp": {".bmp", ".dib"},
    "gif": {".gif"},
    "tiff": {".tif", ".tiff"},
    "ppm": {".ppm", ".pgm", ".pbm", ".pnm"},
    "avif": {".avif"},
}


def sniff_format(start: bytes) -> str:
    """Return the format that a file's first bytes announce (32 are enough), or an empty string."""
    for format, pattern in _FORMATS.items():
        if pattern.match(start):
            return format
    return ""


def recognise(start: bytes, subject: str) -> str:
    """Return the format that a file's first bytes announce; a stranger is refused with what it is and the way out.

    Raises:
        DataError: DATA-012 no known format, DATA-014 no bytes at all.
    """
    if not start:
        raise DataError("DATA-014", f"{subject}: the file is empty", fix="copy it again, or remove it")
    format = sniff_format(start)
    if format:
        return format
    for pattern, what, way in _STRANGERS:
        if re.match(pattern, start, re.IGNORECASE | re.DOTALL):
            raise DataError("DATA-012", f"{subject}: not an image file: {what}", fix=way)
    raise DataError("DATA-012", f"{subject}: not an image file", looked=_KNOWN, fix="convert it to PNG, or remove it")


class JpegHeader(NamedTuple):
    """What stands before the first scan of a JPEG.

    Attributes:
        height, width: as stored, before any turn.
        components: colour channels in the file: 1, 3 or 4.
        bits: of each channel.
        exif: the EXIF block, or nothing.
        profile: the start of the ICC profile, or nothing.
    """

    height: int
    width: int
    components: int
    bits: int
    exif: bytes
    profile: bytes


def jpeg_header(file: IO[bytes]) -> JpegHeader | None:
    """Walk a JPEG's segments up to its first scan; None where they do not make sense.

    Raises:
        ValueError: there are more of them than any camera or program writes.

    Source:
        ITU-T T.81, annex B.
    """
    file.seek(2)
    frame = exif = profile = b""
    steps = _steps()
    for _ in steps:
        marker = file.read(2)
        while marker[1:] == b"\xff":  # fill bytes
            next(steps)
            marker = marker[1:] + file.read(1)
        if len(marker) < 2 or marker[0] != 0xFF or marker[1] in {0xD8, 0xD9}:
            return None
        code = marker[1]
        if code == 0x01 or 0xD0 <= code <= 0xD7:
            continue
        length = int.from_bytes(file.read(2), "big") - 2
        if length < 0:
            return None
        if code == 0xDA:
            break
        if 0xC0 <= code <= 0xCF and code not in {0xC4, 0xC8, 0xCC}:
            if frame:
                return None
            frame = file.read(length)
        elif code in {0xE1, 0xE2}:
            content = file.read(length)
            if content.startswith(b"Exif\0"):
                exif = exif or content
            elif content.startswith(b"ICC_PROFILE\0\x01"):
                profile = content[14:]
        else:
            file.seek(length, os.SEEK_CUR)
    if len(frame) < 6:
        return None
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    return JpegHeader(height, width, frame[5], frame[0], exif, profile)


def exif_orientation(exif: bytes) -> tuple[int, str]:
    """Return EXIF's orientation, 1 to 8, and a warning where the block is damaged.

    Source:
        CIPA DC-008 (Exif 2.32), tag 0x0112; TIFF 6.0, section 2.
    """
    block = exif.removeprefix(b"Exif\0")[exif.startswith(b"Exif\0") :]  # the sixth byte of the mark is padding
    if not block:
        return 1, ""
    damaged = 1, "its EXIF data is damaged, so it is not turned"
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(block[:4])
    if order is None:
        return damaged

    def number(at: int, length: int) -> int:
        return int.from_bytes(block[at : at + length], order)  # type: ignore[arg-type]

    start = number(4, 4)
    count = number(start, 2)
    if not 8 <= start <= len(block) - 2 or start + 2 + 12 * count > len(block):
        return damaged
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if number(entry, 2) == 0x0112:
            value = number(entry + 8, 2)
            if value > 8:
                return 1, f"its EXIF orientation is {value}, which does not exist, so it is not turned"
            return value or 1, ""
    return 1, ""


def is_profile(profile: bytes) -> bool:
    """Tell whether bytes, or their start, can be an ICC profile (ICC.1:2022, section 7.2)."""
    return profile[36:40] == b"acsp" and int.from_bytes(profile[:4], "big") >= len(profile)


def png_exif(file: IO[bytes]) -> bytes:
    """Return the EXIF block of a PNG, which may stand behind the pixels, or nothing.

    Raises:
        ValueError: it has more chunks than any program writes.

    Source:
        W3C PNG specification (third edition), section 11.3.4.
    """
    file.seek(8)
    for _ in _steps():
        if len(start := file.read(8)) < 8 or start[4:] == b"IEND":
            break
        size = int.from_bytes(start[:4], "big")
        if start[4:] == b"eXIf":
            return file.read(size)
        file.seek(size + 4, os.SEEK_CUR)
    return b""


def check_png(data: bytearray) -> list[str]:
    """Walk the chunks: every critical one is whole and has its checksum, which Pillow does not ask of the pixels.

    Returns:
        What a user should know, a phrase each.

    Raises:
        EOFError: the file ends within a chunk.
        ValueError: a checksum does not hold.

    Source:
        W3C PNG specification (third edition), section 5.3.
    """
    at, length = 8, len(data)
    view = memoryview(data)
    while at < length:
        size = int.from_bytes(view[at : at + 4], "big")
        end = at + 12 + size
        if end > length:
            raise EOFError(f"its chunk at byte {at:,} reaches to byte {end:,}")
        kind = bytes(view[at + 4 : at + 8])
        if not kind[0] & 0x20 and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            name = ascii(kind.decode("latin-1"))[1:-1]
            raise ValueError(f"the checksum of its chunk {name} at byte {at:,} does not hold")
        if kind == b"IEND":
            return []
        at = end
    return ["it has no end mark (IEND)"]


_MOST_STEPS = 200_000  # segments, fill bytes or chunks: half a gigabyte of the usual 8 KiB is a third of it


def _steps() -> Iterator[int]:
    yield from range(_MOST_STEPS)
    raise ValueError(f"it has more than {_MOST_STEPS:,} segments")


_FORMATS = {
    "jpeg": re.compile(rb"\xff\xd8\xff"),
    "png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "bmp": re.compile(rb"BM"),
    "gif": re.compile(rb"GIF8[79]a"),
    "tiff": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "ppm": re.compile(rb"P[1-6][\s#]"),
    "avif": re.compile(rb"....ftyp(avif|avis|mif1.{8,20}avif)", re.DOTALL),
}
_STRANGERS = (  # what people's folders hold instead, and the way out
    (rb"\0+$", "it is filled with zeros, as a crash or a broken copy leaves it", "copy it again"),
    (rb"version https://git-lfs", "it is a Git LFS pointer, not the picture", "git lfs pull"),
    (rb"\s*<(!doctype )?html", "it is a web page, probably an error page saved as a picture", "download it again"),
    (rb"\s*(<\?xml|<svg)", "it is XML or SVG text", "draw it to PNG first"),
    (rb"....ftyp(hei[cxms]|hev[cmx]|mif1|msf1)", "it is HEIC, as phones write it", "convert it to JPEG or PNG"),
    (rb"\x1f\x8b", "it is gzip-compressed", "gunzip it"),
    (rb"PK\x03\x04", "it is a zip archive", "unpack it"),
    (rb"%PDF", "it is a PDF", "draw it to PNG first"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "it is PostScript, which is a program", "draw it to PNG first"),
    (rb"\0\x05\x16\x07", "it is a side file of macOS", "remove it"),
    (rb"\x80[\x02-\x05]", "it is a Python pickle, which visus never opens", "remove it"),
    (rb"8BPS|\xff\x0a|\0\0\0\x0c(jP|JXL) ", "its format is not one visus reads", "convert it to PNG"),
)
_KNOWN = "JPEG, PNG, WebP, BMP, GIF, TIFF, PPM, PGM, PBM, AVIF"
