"""Pictures inside the page hold the pixels they were given."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from visus.report.pictures import contact_sheet, data_uri, palette_png, png

DRAW = np.random.Generator(np.random.Philox(3))


def _decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


@pytest.mark.parametrize("shape", [(8, 8, 3), (28, 17, 3), (96, 96, 3), (1, 1, 3)])
def test_a_small_picture_keeps_every_pixel(shape):
    pixels = DRAW.integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(_decoded(data_uri(pixels)), pixels)


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1)])
def test_a_grey_picture_keeps_every_pixel(shape):
    pixels = DRAW.integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(_decoded(data_uri(pixels))[..., 0], pixels.reshape(9, 7))


def test_a_large_picture_is_shrunk_without_changing_its_shape():
    pixels = np.full((600, 300, 3), 77, np.uint8)
    small = _decoded(data_uri(pixels, longest=200))
    assert small.shape == (200, 100, 3)
    assert np.abs(small.astype(int) - 77).max() <= 1


def test_a_sheet_shows_each_picture_in_its_place():
    pictures = [np.full((10, 10, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = contact_sheet(pictures, columns=2, side=10, gap=2)
    assert sheet.shape == (26, 26, 3)
    assert sheet[5, 5, 0] == 10 and sheet[5, 17, 0] == 20 and sheet[17, 5, 0] == 30
    assert (sheet[14:24, 14:24] == 255).all()


def test_a_sheet_keeps_the_shape_of_a_wide_picture():
    sheet = contact_sheet([np.zeros((10, 20), np.uint8)], side=20, gap=0)
    assert (sheet[:5] == 255).all() and (sheet[5:15] == 0).all() and (sheet[15:] == 255).all()


def test_a_sheet_of_nothing_is_empty_paper():
    assert (contact_sheet([]) == 255).all()


def test_a_large_picture_of_few_colours_keeps_every_pixel():
    pixels = np.kron(DRAW.integers(0, 256, (25, 20, 1)), np.ones((8, 8, 3), np.int64)).astype(np.uint8)
    assert np.array_equal(_decoded(data_uri(pixels)), pixels)


def test_a_png_file_holds_the_pixels():
    pixels = DRAW.integers(0, 256, (30, 20, 3)).astype(np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(pixels)))), pixels)


def test_a_palette_png_holds_numbers_and_shows_colours():
    classes = np.array([[0, 1, 255], [2, 1, 0]], np.uint8)
    palette = [(9, 8, 7), (255, 0, 0), (0, 0, 255)]
    held = Image.open(io.BytesIO(palette_png(classes, palette)))
    assert held.mode == "P" and np.array_equal(np.asarray(held), classes)
    shown = np.asarray(held.convert("RGB"))
    assert [shown[0, 0].tolist(), shown[0, 1].tolist(), shown[1, 0].tolist()] == [list(colour) for colour in palette]
