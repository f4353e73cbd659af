"""Pictures under the colours of classes."""

from __future__ import annotations

import numpy as np

from visus.tasks.segment.drawing import TINT, fitted, tinted

PALETTE = ((255, 0, 0), (0, 0, 200))


def test_classes_are_tinted_in_their_colours_and_what_is_of_none_is_left():
    classes = np.array([[0, 1, 2, 255]], np.uint8)
    shown = tinted(np.full((1, 4, 3), 100, np.uint8), classes, PALETTE)
    own = 100 * (1 - TINT)
    assert shown[0, 0].tolist() == [round(own + 255 * TINT), round(own), round(own)]
    assert shown[0, 1].tolist() == [round(own), round(own), round(own + 200 * TINT)]
    assert (shown[0, 2:] == 100).all()


def test_a_map_is_brought_to_another_size_by_the_nearest_centre():
    values = np.array([[7, 8, 9]])
    assert fitted(values, (2, 6, 3)).tolist() == [[7, 7, 8, 8, 9, 9]] * 2
    assert fitted(values, (1, 1)).tolist() == [[8]]
