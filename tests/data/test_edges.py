"""Boxes at the edges of their pictures."""

import pytest

from visus.data.edges import decimal, on_picture

SIZE = (48, 64)


def test_a_box_within_the_picture_stays_as_it_is():
    assert on_picture((0, 0, 64, 48), SIZE) == ((0, 0, 64, 48), "", "")


def test_a_box_beyond_the_edge_is_cut_and_told():
    box, status, why = on_picture((60, -2, 80, 10), SIZE)
    assert box == (60, 0, 64, 10) and status == "clipped" and "16 pixels beyond the picture (64 x 48)" in why


def test_a_box_beyond_the_edge_by_rounding_is_cut_without_a_word():
    assert on_picture((0, 0, 64.3, 48), SIZE, 0.5) == ((0, 0, 64, 48), "", "")


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 5, 5, 9), (5, 9, 9, 5), (1, 1, 1.0000001, 5), (1, 1, 1.09, 5)])
def test_a_box_narrower_than_a_tenth_of_a_pixel_is_left_out(box):
    left, status, why = on_picture(box, SIZE)
    assert left is None and status == "skipped" and why.startswith("the box is ")


@pytest.mark.parametrize("box", [(64, 0, 70, 9), (63.95, 0, 70, 9), (-5, 0, 0, 9), (0, 48, 9, 50), (0, -9, 9, 0)])
def test_a_box_outside_the_picture_is_left_out(box):
    left, status, why = on_picture(box, SIZE)
    assert left is None and status == "skipped" and "outside the picture" in why


def test_a_picture_of_unknown_size_has_edges_at_its_left_and_top_alone():
    assert on_picture((0, 0, 640, 480), (0, 0)) == ((0, 0, 640, 480), "", "")
    assert on_picture((-5, 3, 640, 480), (0, 0)) == (
        (0, 3, 640, 480), "clipped", "the box reaches 5 pixels beyond the picture"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"), [(260.0, "260"), (12.34, "12.34"), (0.1 + 0.2, "0.3"), (1e-7, "0"), (5e5, "500000")]
)
def test_a_coordinate_is_written_to_a_millionth_without_an_exponent(value, text):
    assert decimal(value) == text
