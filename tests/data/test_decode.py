"""The decode door: what it takes, what it refuses, and which pixels come out."""

from __future__ import annotations

import io
import json
import os
import socket
import struct
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch  # with it JPEG goes by torchvision's kernel
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from visus.core.errors import DataError
from visus.data.decode import decode, peek
from visus.data.paths import open_regular

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")


def picture(height: int = 37, width: int = 53, channels: int = 3, seed: int = 0) -> Image.Image:
    """Return smooth colours: noise enlarged, so that JPEG has something to keep."""
    rough = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, channels), dtype=np.uint8)
    return Image.fromarray(rough.squeeze()).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(depth: int, colour: int, rows: np.ndarray) -> bytes:
    """Return a PNG by hand: ``rows`` are the bytes of each line."""
    chunks = [
        (
            b"IHDR",
            struct.pack(
                ">IIBBBBB", rows.shape[1] // ((depth // 8) * {4: 2, 0: 1}[colour]), len(rows), depth, colour, 0, 0, 0
            ),
        ),
        (b"IDAT", zlib.compress(b"".join(b"\0" + line.tobytes() for line in rows))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def test_every_odd_and_broken_file_gets_the_answer_it_should(bad_inputs: Path):
    expected = json.loads((bad_inputs / "images_expect.json").read_text())
    wrong = {}
    for name, entry in expected.items():
        try:
            answer = "ok_warn" if decode(bad_inputs / "images" / name).warnings else "ok"
        except DataError as error:
            answer = "refuse"
            assert name in str(error) and error.code.startswith("DATA-01")
        if entry["expect"] not in {"any", answer}:
            wrong[name] = (entry["expect"], answer)
    assert len(expected) > 150 and wrong == {}


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "411", "440"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (17, 33), (101, 67)])
def test_a_jpeg_has_pillows_pixels(subsampling: str, progressive: bool, size: tuple[int, int]):
    assert "torch" in sys.modules
    factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{subsampling}")
    for channels in (1, 3):
        options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
        data = cv2.imencode(".jpg", np.asarray(picture(*size, channels)), options)[1].tobytes()
        np.testing.assert_array_equal(decode(data).pixels, np.asarray(Image.open(io.BytesIO(data))))


@given(st.data())
def test_a_damaged_jpeg_gets_pillows_answer(data: st.DataObject):
    channels = data.draw(st.sampled_from([1, 3]))
    whole = bytearray(encoded(picture(16, 24, channels), "JPEG", progressive=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(2, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        ours = decode(bytes(whole), max_pixels=1_000_000)
    except DataError as error:
        if error.code != "DATA-013":
            with pytest.raises(Exception):  # noqa: B017 (Pillow raises nearly anything)
                ImageOps.exif_transpose(Image.open(io.BytesIO(whole), formats=["JPEG"])).load()
        return
    theirs = Image.open(io.BytesIO(whole), formats=["JPEG"])
    np.testing.assert_array_equal(ours.pixels, np.asarray(theirs.convert("RGB") if theirs.mode == "CMYK" else theirs))


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=30)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_is_cut_gives_the_whole_picture_or_an_error(format: str, share: float):
    data = encoded(picture(16, 24), format)
    try:
        cut = decode(data[: int(share * len(data))]).pixels
    except DataError as error:
        assert error.code in {"DATA-012", "DATA-013", "DATA-014", "DATA-015"}
    else:
        np.testing.assert_array_equal(cut, decode(data).pixels)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=30)
@given(data=st.data())
def test_no_damage_crashes_the_door(format: str, data: st.DataObject):
    frames = data.draw(st.integers(0, 2)) if format in {"PNG", "WEBP", "GIF", "TIFF", "AVIF"} else 0
    more = {"save_all": True, "append_images": [picture(16, 24, seed=i + 1) for i in range(frames)]} if frames else {}
    whole = bytearray(encoded(picture(16, 24), format, **more))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode(bytes(whole), max_pixels=1_000_000).pixels
    except DataError:
        return
    assert pixels.ndim in {2, 3}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_applies_it(format: str, orientation: int):
    image = picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    result = decode(data)
    np.testing.assert_array_equal(result.pixels, np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))
    assert result.orientation == orientation or format == "AVIF"  # which stores a rotation, not EXIF's number
    assert result.size == result.pixels.shape[:2]


@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_behind_the_pixels_of_a_png_counts_as_before_them(orientation: int, tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    whole = encoded(picture(), "PNG")
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    (tmp_path / "late.png").write_bytes(whole[:-12] + chunk + whole[-12:])
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "late.png")))
    np.testing.assert_array_equal(decode(tmp_path / "late.png").pixels, upright)
    assert peek(tmp_path / "late.png")[:2] == upright.shape[:2]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_sixteen_bits_keep_their_whole_range(channels: int, extension: str):
    values = np.random.default_rng(0).integers(0, 65536, (19, 23, channels), dtype=np.uint16)
    for options in [[]] if extension == ".png" else [[cv2.IMWRITE_TIFF_COMPRESSION, c] for c in (1, 5, 8, 32773)]:
        pixels = decode(cv2.imencode(extension, values, options)[1].tobytes()).pixels
        assert pixels.dtype == np.uint16
        np.testing.assert_array_equal(pixels, values[..., ::-1] if channels == 3 else values[..., 0])


def test_sixteen_bit_colours_with_alpha_are_laid_on_white():
    values = np.random.default_rng(0).integers(
        0, 65536, (5, 7, 4), dtype=np.uint16
    )  # cv2's order: blue, green, red, alpha
    pixels = decode(cv2.imencode(".png", values)[1].tobytes()).pixels
    alpha = values[..., 3:] / 65535
    np.testing.assert_array_equal(pixels, np.rint(values[..., 2::-1] * alpha + 65535 * (1 - alpha)).astype(np.uint16))


def test_sixteen_bit_grey_with_alpha_is_laid_on_white():
    rows = np.array([[0x1234, 0xFFFF, 0x1234, 0x0000]], ">u2").view(np.uint8)
    assert decode(png(16, 4, rows)).pixels.tolist() == [[0x1234, 0xFFFF]]


@pytest.mark.parametrize(
    ("white", "kept", "full"),
    [(100, np.uint8, 255), (1, np.uint8, 255), (1023, np.uint16, 65535), (65535, np.uint16, 65535)],
)
def test_a_pnm_is_scaled_to_the_range_of_its_type(white: int, kept: type, full: int):
    values = np.random.default_rng(0).integers(0, white + 1, (4, 6, 3))
    body = values.astype(np.uint8 if white < 256 else ">u2").tobytes()
    pixels = decode(b"P6\n# a remark\n6 4\n%d\n" % white + body).pixels
    assert pixels.dtype == kept
    np.testing.assert_array_equal(pixels, np.floor(values * full / white + 0.5))


def test_the_one_transparent_level_of_sixteen_bit_grey_is_white():
    image = Image.fromarray(np.array([[0x1234, 0x5678]], np.uint16))
    assert decode(encoded(image, transparency=0x1234)).pixels.tolist() == [[0xFFFF, 0x5678]]


def test_transparent_pixels_are_white_and_half_transparent_ones_are_mixed():
    image = Image.fromarray(np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [100, 100, 100, 128]]], np.uint8))
    mixed = round((100 * 128 + 255 * 127) / 255)
    assert decode(encoded(image)).pixels.tolist() == [[[10, 20, 30], [255, 255, 255], [mixed] * 3]]


def test_grey_with_alpha_stays_grey():
    image = Image.fromarray(np.array([[[7, 255], [7, 0]]], np.uint8), "LA")
    assert decode(encoded(image)).pixels.tolist() == [[7, 255]]


def test_a_palette_gives_its_colours_and_its_transparent_entry_white():
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 4, 5, 6])
    image.putpixel((1, 0), 1)
    assert decode(encoded(image)).pixels.tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert decode(encoded(image, transparency=1)).pixels.tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_one_bit_is_black_and_white():
    assert decode(encoded(Image.fromarray(np.array([[True, False]])))).pixels.tolist() == [[255, 0]]


def test_cmyk_is_read_by_pillows_formula():
    data = encoded(Image.merge("CMYK", [picture(channels=1, seed=s) for s in range(4)]), "TIFF")
    np.testing.assert_array_equal(decode(data).pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_lab_white_and_black_are_white_and_black():
    lab = Image.merge("LAB", [Image.fromarray(np.array([[255, 0]], np.uint8)), *[Image.new("L", (2, 1), 128)] * 2])
    np.testing.assert_allclose(decode(encoded(lab, "TIFF")).pixels, [[[255] * 3, [0] * 3]], atol=1)


def test_floats_stay_as_they_are_with_a_warning_outside_zero_to_one():
    inside = decode(encoded(Image.fromarray(np.array([[0.0, 1.0]], np.float32)), "TIFF"))
    outside = decode(encoded(Image.fromarray(np.array([[-1.0, 2.5]], np.float32)), "TIFF"))
    assert (inside.pixels.tolist(), inside.warnings) == ([[0, 1]], ())
    assert outside.pixels.tolist() == [[-1, 2.5]] and "-1 to 2.5" in outside.warnings[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_floats_that_are_not_finite_are_refused(value: float):
    with pytest.raises(DataError, match="not all finite") as caught:
        decode(encoded(Image.fromarray(np.array([[0, value]], np.float32)), "TIFF"), name="depth.tif")
    assert caught.value.code == "DATA-016" and caught.value.what.startswith("depth.tif")


def test_integers_of_32_bits_are_grey_of_16_where_they_fit_and_shares_of_the_range_where_not():
    small = decode(encoded(Image.fromarray(np.array([[0, 65535]], np.int32)), "TIFF"))
    large = decode(encoded(Image.fromarray(np.array([[0, 2**31 - 1]], np.int32)), "TIFF"))
    assert small.pixels.dtype == np.uint16 and small.pixels.tolist() == [[0, 65535]] and small.warnings
    assert large.pixels.dtype == np.float32 and large.pixels.tolist() == [[0, 1]] and large.warnings
    with pytest.raises(DataError, match="negative grey"):
        decode(encoded(Image.fromarray(np.array([[-1, 0]], np.int32)), "TIFF"))


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_read_with_a_warning(format: str):
    first, second = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    options = {"lossless": True} if format == "WEBP" else {}
    result = decode(encoded(first, format, save_all=True, append_images=[second], **options))
    assert (result.pixels == [255, 0, 0]).all() and "several frames" in result.warnings[0]


def test_a_checksum_that_does_not_hold_is_refused_though_the_pixels_would_decode():
    data = bytearray(encoded(picture()))
    at = data.index(b"IDAT") + 4 + int.from_bytes(data[data.index(b"IDAT") - 4 : data.index(b"IDAT")], "big")
    data[at] ^= 1  # the chunk's own checksum
    with pytest.raises(DataError, match="checksum of its chunk IDAT") as caught:
        decode(bytes(data))
    assert caught.value.code == "DATA-015"


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.jpg"))
        for path in (
            tmp_path / "pipe.jpg",
            tmp_path / "socket.jpg",
            tmp_path,
            Path("/dev/zero"),
            tmp_path / "absent.jpg",
        ):
            with pytest.raises(DataError) as caught:
                decode(path)
            assert caught.value.code == "DATA-010" and path.name in caught.value.what


def test_the_size_is_read_in_the_header_before_anything_is_decoded():
    data = bytearray(encoded(picture()))
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(DataError, match=r"20,000 x 20,000 pixels are more than the 100,000,000") as caught:
        decode(bytes(data))
    assert caught.value.code == "DATA-013"


def test_limits_are_the_callers(tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture(10, 10)))
    assert decode(path, max_pixels=100).pixels.shape == (10, 10, 3)
    for limits, code in (({"max_pixels": 99}, "DATA-013"), ({"max_bytes": 10}, "DATA-011")):
        with pytest.raises(DataError) as caught:
            decode(path, **limits)
        assert caught.value.code == code


def test_a_name_of_any_bytes_can_be_read_and_shown(tmp_path: Path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    path.write_bytes(encoded(picture()))
    assert decode(path).pixels.shape == (37, 53, 3)
    path.write_bytes(b"text")
    with pytest.raises(DataError) as caught:
        decode(path)
    assert r"caf\xe9.png" in str(caught.value)
    str(caught.value).encode()


def test_a_name_that_promises_another_format_is_a_warning(tmp_path: Path):
    (tmp_path / "a.gif").write_bytes(encoded(picture()))
    assert decode(tmp_path / "a.gif").warnings == ("the content is png, the name says gif",)
    (tmp_path / "a").write_bytes(encoded(picture()))
    assert decode(tmp_path / "a").warnings == ()


@pytest.mark.parametrize(("start", "told"), [
    (b"version https://git-lfs.github.com/spec/v1", "Git LFS"), (b"<html><body>404", "web page"),
    (b"\x80\x04\x95", "pickle"),
    (b"\0\0\0\x18ftypheic", "HEIC"), (b"\0" * 4096, "zeros"), (b"PK\x03\x04", "zip"), (b"<?xml version", "SVG"),
])  # fmt: skip
def test_a_stranger_is_named_with_the_way_out(start: bytes, told: str):
    with pytest.raises(DataError, match=told) as caught:
        decode(start)
    assert caught.value.code == "DATA-012" and caught.value.fix


@pytest.mark.parametrize(("wanted", "scale"), [(None, 1), (200, 1), (101, 1), (100, 2), (50, 4), (25, 8), (1, 8)])
def test_a_jpeg_is_decoded_smaller_only_when_asked_and_never_below_what_was_asked(wanted: int | None, scale: int):
    data = encoded(picture(200, 301), "JPEG")
    result = decode(data, at_least=wanted)
    assert result.pixels.shape == (-(-200 // scale), -(-301 // scale), 3)
    assert result.size == (200, 301)


def test_a_smaller_jpeg_shows_the_same_picture():
    data = encoded(picture(40, 60).resize((600, 400), Image.Resampling.BICUBIC), "JPEG", quality=95)
    whole = Image.fromarray(decode(data).pixels).resize((150, 100), Image.Resampling.BOX)
    small = decode(data, at_least=100).pixels
    assert small.shape == (100, 150, 3) and np.abs(small.astype(int) - np.asarray(whole)).mean() < 1


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_peek_tells_what_decoding_gives(tmp_path: Path, format: str, channels: int):
    path = tmp_path / "x"
    exif = Image.Exif()
    exif[0x0112] = 6
    path.write_bytes(encoded(picture(channels=channels), format, exif=exif))
    result = decode(path)
    kept = 1 if result.pixels.ndim == 2 else 3
    assert peek(path) == (*result.pixels.shape[:2], kept, result.format, result.orientation)


def test_every_odd_file_is_peeked_as_it_is_decoded(bad_inputs: Path):
    for path in sorted((bad_inputs / "images").iterdir()):
        try:
            pixels = decode(path).pixels
        except DataError:
            continue
        assert peek(path)[:3] == (*pixels.shape[:2], 1 if pixels.ndim == 2 else 3)


def test_threads_get_the_pixels_and_warnings_of_one_thread(bad_inputs: Path):
    paths = [path for path in sorted((bad_inputs / "images").iterdir()) if path.stat().st_size < 5000]

    def answer(path: Path) -> object:
        try:
            result = decode(path)
        except DataError as error:
            return str(error)
        return result.pixels.tobytes(), result.warnings

    alone = [answer(path) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, paths)) == alone


def test_pixels_are_the_callers_own_and_contiguous():
    for format in FORMATS:
        pixels = decode(encoded(picture(), format)).pixels
        assert pixels.flags.c_contiguous and pixels.flags.writeable
    torch.from_numpy(pixels)


def test_a_name_with_a_nul_is_refused():
    with pytest.raises(DataError) as caught:
        open_regular(Path("a\0b.jpg"))
    assert caught.value.code == "DATA-010"
