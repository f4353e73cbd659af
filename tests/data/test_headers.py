"""What the first bytes of a picture say, against Pillow, and whatever bytes come."""

from __future__ import annotations

import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from visus.core.errors import DataError
from visus.data.decode import decode
from visus.data.headers import check_png, exif_orientation, is_profile, jpeg_header, recognise, sniff_format


def encoded(format: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (53, 37)).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF"])
def test_the_first_bytes_tell_the_format(format: str):
    assert sniff_format(encoded(format)[:32]) == recognise(encoded(format)[:4096], "x") == format.lower()


@pytest.mark.parametrize("start", [b"", b"RIFF0000WAVE", b"\xff\xd8", b"P7\n", b"II", b"\x89PNG\n"])
def test_what_only_begins_alike_is_not_taken_for_it(start: bytes):
    assert sniff_format(start) == ""
    with pytest.raises(DataError):
        recognise(start, "x")


@pytest.mark.parametrize(("mode", "components"), [("L", 1), ("RGB", 3), ("CMYK", 4)])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_header_has_pillows_size(mode: str, components: int, progressive: bool):
    exif = Image.Exif()
    exif[0x0112] = 6
    header = jpeg_header(io.BytesIO(encoded("JPEG", mode, progressive=progressive, exif=exif, comment=b"words")))
    assert header is not None and header[:4] == (37, 53, components, 8)
    assert exif_orientation(header.exif) == (6, "")


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_walk_through_a_jpeg(tail: bytes):
    jpeg_header(io.BytesIO(b"\xff\xd8" + tail))


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("value", range(10))
def test_an_orientation_is_read_in_either_byte_order(order: str, value: int):
    number = lambda n, size: n.to_bytes(size, order)  # noqa: E731
    entry = number(0x0112, 2) + number(3, 2) + number(1, 4) + number(value, 2) + b"\0\0"
    start = {"little": b"II*\0", "big": b"MM\0*"}[order] + number(8, 4)
    orientation, fault = exif_orientation(b"Exif\0\0" + start + number(1, 2) + entry + number(0, 4))
    assert orientation == (value if 1 <= value <= 8 else 1) and bool(fault) == (value > 8)


@given(st.binary(max_size=100), st.sampled_from([b"", b"Exif\0\0", b"Exif\0\0II*\0", b"MM\0*\0\0\0\x08"]))
def test_no_exif_crashes(tail: bytes, start: bytes):
    orientation, _ = exif_orientation(start + tail)
    assert 1 <= orientation <= 8


def test_a_png_without_its_end_is_a_note_and_one_that_is_cut_is_an_error():
    whole = bytearray(encoded("PNG"))
    assert check_png(whole) == []
    assert check_png(whole[:-12]) == ["it has no end mark (IEND)"]
    with pytest.raises(EOFError):
        check_png(whole[:-13])


def test_a_chunk_whose_name_is_no_letters_is_told_in_letters():
    whole = encoded("PNG").replace(b"IDAT", b"\0\xff\nT")
    with pytest.raises(ValueError, match=r"its chunk \\x00\\xff\\nT at byte"):
        check_png(bytearray(whole))


def test_a_profile_is_known_by_its_signature_and_length():
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert is_profile(profile) and is_profile(profile[:200])  # a JPEG may hold it in pieces
    assert not is_profile(b"garbage" * 50) and not is_profile(b"")


@pytest.mark.parametrize("data", [
    b"\xff\xd8" + b"\xff" * 20_000_000, b"\xff\xd8\xff" + b"\xe0\0\2\xff" * 5_000_000,
    b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0teXt\0\0\0\0" * 2_000_000,
], ids=["fill bytes", "segments", "chunks"])  # fmt: skip
def test_a_header_without_end_is_refused_at_once(data: bytes):
    began = time.process_time()
    with pytest.raises(DataError, match="more than 200,000 segments") as caught:
        decode(data)
    assert caught.value.code == "DATA-015" and time.process_time() - began < 2
