"""Run lengths: equal to those of COCO's own code, and nothing malformed is taken for a mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from visus.core.errors import DataError
from visus.core.run_lengths import area, box, compress, decode, decompress, encode, fault_of, fill, first_fault, trace

MASKS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@pytest.fixture(scope="module")
def coco():
    return pytest.importorskip("pycocotools.mask", reason="pycocotools, the oracle, is not installed")


def polygons(seed: int, count: int, reach: float = 0.0) -> list[np.ndarray]:
    """Return polygons on a picture of 40 x 60, or ``reach`` pixels beyond; some corners on whole pixels, some twice."""
    random = np.random.default_rng(seed)
    made = []
    for i in range(count):
        corners = random.uniform(-reach, 1, (random.integers(3, 12), 2)) * (60 + reach, 40 + reach)
        corners = np.round(corners, (0, 1, 2, 9)[i % 4])
        made.append(np.repeat(corners, random.integers(1, 3, len(corners)), 0))
    return made


def test_the_runs_of_a_small_mask_go_down_its_columns():
    mask = np.array([[0, 1, 1], [0, 0, 1]], np.bool_)
    assert encode(mask).tolist() == [2, 1, 1, 2]
    assert encode(~mask).tolist() == [0, 2, 1, 1, 2]
    assert encode(np.zeros((2, 2), np.bool_)).tolist() == [4]


@given(MASKS)
def test_a_mask_comes_back_from_its_runs_and_these_from_their_letters(mask):
    lengths = encode(mask)
    assert fault_of(lengths, mask.size) == ""
    np.testing.assert_array_equal(decode(lengths, mask.shape), mask)
    np.testing.assert_array_equal(decompress(compress(lengths)), lengths)


@given(st.lists(st.integers(0, 1 << 33), min_size=1, max_size=30))
def test_runs_of_any_length_come_back_from_their_letters(lengths):
    assert decompress(compress(np.array(lengths))).tolist() == lengths


@given(MASKS)
def test_letters_area_and_box_are_those_of_cocos_own_code(coco, mask):
    lengths, theirs = encode(mask), coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert compress(lengths) == theirs["counts"].decode()
    assert area(lengths) == coco.area(theirs)
    x, y, width, height = coco.toBbox(theirs).tolist()
    assert box(lengths, mask.shape[0]) == (x, y, x + width, y + height)


def test_an_empty_mask_has_no_box():
    assert box(encode(np.zeros((3, 4), np.bool_)), 3) == (0, 0, 0, 0)


@pytest.mark.parametrize("reach", [0.0, 30.0])
def test_a_filled_polygon_is_to_the_pixel_that_of_cocos_own_code(coco, reach):
    for polygon in polygons(0, 400, reach):
        theirs = coco.frPyObjects([polygon.ravel().tolist()], 40, 60)[0]
        np.testing.assert_array_equal(decode(trace(polygon, (40, 60)), (40, 60)), coco.decode(theirs))


def test_an_object_of_several_parts_is_their_union_as_in_cocos_own_code(coco):
    parts = polygons(1, 5)
    theirs = coco.merge(coco.frPyObjects([part.ravel().tolist() for part in parts], 40, 60))
    np.testing.assert_array_equal(fill(parts, (40, 60)), coco.decode(theirs))


def test_a_square_on_whole_pixels_fills_exactly_these():
    square = np.array([[1.0, 2], [4, 2], [4, 5], [1, 5]])
    wanted = np.zeros((8, 8), np.bool_)
    wanted[2:5, 1:4] = True
    np.testing.assert_array_equal(fill([square], (8, 8)), wanted)


def test_a_polygon_that_reaches_far_beyond_any_picture_is_not_filled():
    for far in (2e6, 1e7, 1e300, np.inf, np.nan):
        with pytest.raises(DataError) as caught:
            fill([np.array([[0.0, 0], [far, 0], [far, 5]])], (8, 8))
        assert caught.value.code == "DATA-210"


@pytest.mark.parametrize("text", ["", "\x7f\x7f zzzz", "P", "05P", "é", "0\ud800", "\U0001f600", "oooooooooo0", "!"])
def test_letters_that_are_no_runs_are_refused(text):
    with pytest.raises(DataError) as caught:
        decompress(text)
    assert caught.value.code == "DATA-210"
    assert first_fault(["4", text], np.array([4, 4]))[0] == 1


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=40))
def test_any_text_is_run_lengths_or_refused(text):
    try:
        lengths = decompress(text)
    except DataError:
        return
    assert len(lengths) >= 1


def test_runs_that_do_not_fit_a_picture_are_told():
    assert fault_of(np.array([-5, 17]), 12) == "a run has a negative length"
    assert fault_of(np.array([5, 8]), 12) == "the runs add up to 13 pixels, the picture has 12"
    assert "negative" not in fault_of(np.array([1 << 62, 1 << 62, 1 << 62]), 12)


def test_the_first_of_many_masks_that_does_not_fit_is_found():
    texts = [compress(np.array(lengths)) for lengths in ([12], [0, 12], [3, 4, 5], [4, 4, 4], [20, -8], [13])]
    assert first_fault(texts[:4], np.full(4, 12)) is None
    assert first_fault(texts, np.full(6, 12)) == (4, "a run has a negative length")
    assert first_fault([*texts[:4], texts[5]], np.full(5, 12))[0] == 4
    assert first_fault([], np.zeros(0, np.int64)) is None


def test_many_masks_are_checked_in_portions(monkeypatch):
    monkeypatch.setattr("visus.core.run_lengths._PORTION", 10)
    texts = [compress(encode(np.random.default_rng(i).random((5, 7)) < 0.5)) for i in range(20)]
    assert first_fault(texts, np.full(20, 35)) is None
    assert first_fault([*texts, texts[0]], np.array([35] * 20 + [36]))[0] == 20
