"""Maps over pictures: what the colours mean, and that the picture is still seen."""

from __future__ import annotations

import numpy as np
from PIL import Image

from visus.report.overlays import BAR, coloured, filter_sheet, map_sheet, overlay


def picture(height=120, width=160):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_colours_grow_brighter_in_even_steps():
    """Luminance rises all the way, so the map can be read without seeing hues, and printed in grey."""
    light = coloured(np.linspace(0, 1, 64)) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(light) > 0).all() and np.diff(light).max() < 4 * np.diff(light).mean()


def test_where_nothing_speaks_the_picture_stays_as_it_is_but_for_its_colours():
    pixels = picture(384, 500)
    shown = overlay(pixels, np.zeros((384, 500), np.float32), "cat 0.9")[:384]
    grey = pixels @ (0.299, 0.587, 0.114)
    assert np.abs(shown @ (0.299, 0.587, 0.114) - grey).max() < 2


def test_an_overlay_is_large_enough_to_be_seen_and_has_a_bar_below():
    shown = overlay(picture(12, 16), np.ones((12, 16), np.float32), "cat 0.9")
    assert shown.shape == (288 + BAR, 384, 3)


def test_the_bar_goes_from_the_bare_picture_to_the_colour_of_1():
    bar = overlay(picture(384, 400), np.zeros((384, 400), np.float32), "cat 0.9")[385]
    assert np.ptp(bar[0].astype(int)) <= 3  # grey, as where nothing speaks
    assert np.abs(bar[-1] - (0.8 * coloured(np.array(1.0)) + 0.2 * 190)).max() <= 1


def test_a_name_too_long_or_odd_for_the_bar_breaks_nothing():
    for words in ("n" * 500, "\ud800 broken", "two\nlines", ""):
        assert overlay(picture(), np.zeros((120, 160), np.float32), words).ndim == 3


def test_a_box_and_the_edge_of_a_region_are_drawn():
    pixels, nothing = np.zeros((400, 400, 3), np.uint8), np.zeros((400, 400), np.float32)
    region = np.zeros((400, 400), bool)
    region[100:200, 100:200] = True
    boxed, edged = overlay(pixels, nothing, "x", (50, 50, 300, 300)), overlay(pixels, nothing, "x", None, region)
    assert boxed[51, 150].min() > 200 and boxed[150, 150].max() == 0
    assert edged[100, 150].min() == 255 and edged[150, 150].max() == 0


def test_sheets_of_filters_and_maps_show_each_of_them():
    random = np.random.default_rng(0)
    for sheet in (filter_sheet(random.normal(size=(10, 3, 5, 5))), filter_sheet(random.normal(size=(3, 1, 3, 3))),
                  map_sheet(random.normal(size=(5, 7, 9))), map_sheet(np.zeros((1, 4, 4)))):  # fmt: skip
        assert sheet.dtype == np.uint8 and Image.fromarray(sheet).mode == "RGB"
