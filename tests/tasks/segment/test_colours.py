"""The colours of classes are the data's own, or ones that can be told apart."""

from __future__ import annotations

import pytest

from visus.tasks.segment.colours import palette_of, written


def test_stated_colours_are_taken_and_written_as_they_were():
    stated = ["#000000", "#ff8001", "#0a0b0c"]
    assert palette_of(stated, 3) == ((0, 0, 0), (255, 128, 1), (10, 11, 12))
    assert written(palette_of(stated, 3)) == stated


@pytest.mark.parametrize("classes", [1, 12, 13, 150, 255])
def test_each_class_has_a_colour_of_its_own(classes):
    palette = palette_of((), classes)
    assert len(set(palette)) == len(palette) == classes
    assert all(0 <= level <= 255 for colour in palette for level in colour)
