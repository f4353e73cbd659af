"""The mask door: stored numbers come in exactly, colours and what does not fit its picture stay out."""

from __future__ import annotations

import io
import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from tests.data.examples import EXAMPLES, write_mask

from visus.core.errors import DataError
from visus.core.pixels import IGNORE
from visus.core.recipe import DataSettings
from visus.data.dataset import Strings
from visus.data.decode import Peek
from visus.data.mask_door import fitted, read_map, read_stored, undecided, values_of
from visus.data.objects import ClassMaps
from visus.data.reading import open_data

EDITS = 300


def png(values: np.ndarray, depth: int, colour: int = 0, palette: bytes = b"") -> bytes:
    """Return a PNG of one channel by hand: grey (0) or palette (3), of any depth."""
    bits = np.unpackbits(values.astype(">u2")[..., None].view(np.uint8), axis=-1)[..., 16 - depth :]
    rows = np.packbits(bits.reshape(len(values), -1), axis=1)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *([(b"PLTE", palette)] if palette else [])]
    chunks += [(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def maps(root: Path, *names: str, values: tuple[int, ...] = (0, 1), **rest: object) -> ClassMaps:
    return ClassMaps(root, Strings(names), np.array(values, np.int64), **rest)


def random_values(most: int, size: tuple[int, int] = (7, 11)) -> np.ndarray:
    return np.random.default_rng(most).integers(0, most + 1, size).astype(np.uint8 if most < 256 else np.uint16)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_of_any_depth_gives_the_numbers_that_are_stored(depth: int, tmp_path: Path):
    values = random_values(2**depth - 1)
    (tmp_path / "a.png").write_bytes(png(values, depth))
    np.testing.assert_array_equal(read_stored(tmp_path / "a.png").values, values)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palette_gives_its_indices_even_where_colours_repeat(depth: int, tmp_path: Path):
    values = random_values(2**depth - 1)
    colours = bytes([9, 9, 9] * 2**depth)
    (tmp_path / "a.png").write_bytes(png(values, depth, 3, colours))
    stored = read_stored(tmp_path / "a.png")
    np.testing.assert_array_equal(stored.values, values)
    assert stored.palette is not None and stored.palette[: 2**depth].tolist() == [[9, 9, 9]] * 2**depth


@pytest.mark.parametrize(
    ("mode", "ending"),
    [("1", "png"), ("1", "tif"), ("1", "bmp"), *[(m, e) for m in "LP" for e in ("png", "tif", "bmp", "gif")]],
)
def test_every_format_that_keeps_pixels_gives_the_numbers_that_were_written(mode: str, ending: str, tmp_path: Path):
    values = random_values(1 if mode == "1" else 6)
    image = Image.fromarray(values.astype(bool) if mode == "1" else values)
    if mode == "P":
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    image.save(tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(read_stored(tmp_path / f"a.{ending}").values, values)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_tiff_of_sixteen_bits_keeps_them(compression: str | None, tmp_path: Path):
    values = random_values(65535)
    Image.fromarray(values).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_stored(tmp_path / "a.tif").values, values)


def test_whole_numbers_of_32_bits_are_read_as_far_as_they_have_16(tmp_path: Path):
    Image.fromarray(np.array([[0, 65535]], np.int32)).save(tmp_path / "a.tif")
    assert read_stored(tmp_path / "a.tif").values.tolist() == [[0, 65535]]
    for value in (65536, -1):
        Image.fromarray(np.array([[0, value]], np.int32)).save(tmp_path / "b.tif")
        with pytest.raises(DataError, match=r"b\.tif: its values reach from") as caught:
            read_stored(tmp_path / "b.tif")
        assert caught.value.code == "DATA-271"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_several_equal_channels_are_refused_with_what_to_do(mode: str, tmp_path: Path):
    Image.new(mode, (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: a mask has one number a pixel") as caught:
        read_stored(tmp_path / "a.png")
    assert caught.value.code == "DATA-270" and "keep one of them" in caught.value.fix


@pytest.mark.parametrize(
    ("name", "image", "told"),
    [
        ("a.jpg", Image.new("L", (4, 4)), "JPEG changes pixels"),
        ("a.tif", Image.new("F", (4, 4)), "are no numbers of classes"),
        ("a.pgm", Image.new("L", (4, 4)), "are no numbers of classes"),
    ],
)
def test_what_cannot_be_numbers_of_classes_is_refused(name: str, image: Image.Image, told: str, tmp_path: Path):
    image.save(tmp_path / name)
    with pytest.raises(DataError, match=told) as caught:
        read_stored(tmp_path / name)
    assert caught.value.code == "DATA-271" and name in caught.value.what


def test_of_several_pages_none_is_taken(tmp_path: Path):
    page = Image.new("L", (4, 4))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[Image.new("L", (4, 4), 1)])
    with pytest.raises(DataError, match="several pages"):
        read_stored(tmp_path / "a.tif")


def test_a_mask_too_large_to_decode_is_refused_by_its_header(tmp_path: Path):
    Image.new("1", (2000, 2000)).save(tmp_path / "a.png")
    with pytest.raises(DataError) as caught:
        read_stored(tmp_path / "a.png", max_pixels=1_000_000)
    assert caught.value.code == "DATA-013"


def test_the_limit_on_pixels_is_that_of_the_data_set(tmp_path: Path):
    for name in ("a.png", "m.png"):
        write_mask(tmp_path / name, np.zeros((2, 3), np.uint8))
    both = maps(tmp_path, "m.png", pictures=Strings(["a.png"]), max_pixels=6)
    assert read_map(both, 0).shape == (2, 3)
    with pytest.raises(DataError) as caught:
        read_map(replace(both, max_pixels=5), 0)
    assert caught.value.code == "DATA-013"
    stated = open_data(EXAMPLES["masks"](tmp_path / "data"), DataSettings(max_pixels=123_456_789), carve=False)
    assert stated.maps is not None and stated.maps.max_pixels == 123_456_789


def turned(root: Path, orientation: int, drawn: str, size: tuple[int, int] = (6, 9)) -> tuple[ClassMaps, np.ndarray]:
    """Write a picture with an EXIF turn and a mask drawn on it ``upright`` or as it is ``stored``; return its truth."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = random_values(3, size)
    Image.fromarray(stored * 60).save(root / "a.png", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(root / "a.png"))) // 60
    write_mask(root / "m.png", upright if drawn == "upright" else stored)
    return maps(root, "m.png", values=(0, 1, 2, 3), pictures=Strings(["a.png"])), upright


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("drawn", ["upright", "stored"])
def test_where_a_picture_is_turned_a_quarter_the_size_of_its_mask_says_how_it_was_drawn(
    orientation: int, drawn: str, tmp_path: Path
):
    both, upright = turned(tmp_path, orientation, drawn)
    np.testing.assert_array_equal(read_map(both, 0), upright)


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_where_the_size_cannot_say_it_a_mask_is_taken_as_upright(orientation: int, tmp_path: Path):
    both, upright = turned(tmp_path, orientation, "upright")
    np.testing.assert_array_equal(read_map(both, 0), upright)


@pytest.mark.parametrize(
    ("orientation", "size", "open"), [(1, (6, 9), False), (3, (6, 9), True), (6, (6, 9), False), (6, (6, 6), True)]
)
def test_half_turns_mirrors_and_squares_leave_the_question_open(orientation: int, size: tuple[int, int], open: bool):
    assert undecided(Peek(*size, 1, "png", orientation)) is open


def test_a_mask_with_an_exif_turn_of_its_own_is_turned_by_it(tmp_path: Path):
    both, upright = turned(tmp_path, 6, "stored")
    (tmp_path / "m.png").write_bytes((tmp_path / "a.png").read_bytes())  # stored pixels and turn, 60 times the classes
    np.testing.assert_array_equal(values_of(both, 0), upright * 60)


def test_a_mask_of_another_size_than_its_picture_is_refused_with_both_sizes(tmp_path: Path):
    with pytest.raises(DataError, match="the mask has 3 x 2 pixels, its picture 2 x 3") as caught:
        fitted(np.zeros((2, 3), np.uint8), Peek(3, 2, 1, "png", 1), tmp_path / "m.png")
    assert caught.value.code == "DATA-272"


def test_a_map_holds_dense_classes_and_255_for_what_is_ignored(tmp_path: Path):
    write_mask(tmp_path / "m.png", np.array([[7, 300, 9], [0, 65535, 7]], np.uint16))
    held = maps(tmp_path, "m.png", values=(300, 7), ignore=(0, 9, 65535, 70000))
    assert read_map(held, 0).tolist() == [[1, 0, IGNORE], [IGNORE, IGNORE, 1]]
    assert read_map(held, 0).dtype == np.uint8


def test_a_value_that_stands_for_no_class_is_refused_with_file_and_value(tmp_path: Path):
    write_mask(tmp_path / "m.png", np.array([[0, 1, 9, 7]], np.uint8))
    with pytest.raises(DataError, match=r"m\.png: the value 7 stands for no class \(and 9\)") as caught:
        read_map(maps(tmp_path, "m.png", ignore=(255,)), 0)
    assert caught.value.code == "DATA-273" and caught.value.where == "classes have the values 0 to 1; ignored are 255"


def test_a_picture_without_a_mask_has_a_map_of_nothing(tmp_path: Path):
    write_mask(tmp_path / "a.png", np.zeros((4, 5), np.uint8))
    nothing = read_map(maps(tmp_path, "", pictures=Strings(["a.png"])), 0)
    assert nothing.shape == (4, 5) and (nothing == IGNORE).all()


def whole() -> tuple[bytes, np.ndarray]:
    values = random_values(3, (12, 16))
    image = Image.fromarray(values)
    image.putpalette(list(range(12)))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue(), values


WHOLE, TRUTH = whole()


def edited(data: st.DataObject) -> bytes:
    """Return the mask's bytes with a few of them changed, put in, or taken out."""
    parts = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(parts)))
        gone = data.draw(st.sampled_from([0, 1, 1, 4, 4096]))
        parts[at : at + gone] = data.draw(st.binary(max_size=4))
    return bytes(parts)


def check_an_edit(data: st.DataObject, folder: Path) -> None:
    (folder / "m.png").write_bytes(edited(data))
    try:
        seen = read_map(maps(folder, "m.png", values=(0, 1, 2, 3)), 0)
    except DataError as error:
        assert "m.png" in error.what and json.dumps(str(error))
        return
    np.testing.assert_array_equal(seen, TRUTH)


@given(st.data())
@settings(max_examples=EDITS)
def test_a_mask_with_edited_bytes_is_refused_by_name_or_unchanged(tmp_path_factory, data: st.DataObject):
    check_an_edit(data, tmp_path_factory.getbasetemp())


@pytest.mark.slow
@given(st.data())
@settings(max_examples=20_000)
def test_a_mask_with_edited_bytes_is_refused_by_name_or_unchanged_in_20_000_cases(
    tmp_path_factory, data: st.DataObject
):
    check_an_edit(data, tmp_path_factory.getbasetemp())
