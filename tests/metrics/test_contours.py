import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, distance_transform_edt, generate_binary_structure

from visus.core.pixels import IGNORE
from visus.metrics.contours import TOLERANCE, contour_scores, contours


def blocks(seed, height, width, k, side=9, ignored=0.1):
    random = np.random.default_rng(seed)
    coarse = random.integers(0, k, (-(-height // side), -(-width // side))).astype(np.uint8)
    coarse[random.random(coarse.shape) < ignored] = IGNORE
    return coarse.repeat(side, 0).repeat(side, 1)[:height, :width]


def measured(truth, said, k):
    """Return the scores by distances to the contours of each class by itself."""
    known = truth != IGNORE
    cross = generate_binary_structure(2, 1)
    found = {}
    for c in range(k):
        drawn = []
        for classes in (truth, said):
            inside = (classes == c) & known
            drawn.append(inside & binary_dilation(known & ~inside, cross))
        if not (drawn[0].any() or drawn[1].any()):
            continue
        shares = []
        for one, other in (drawn, drawn[::-1]):
            reach = TOLERANCE * math.hypot(*truth.shape)
            near = distance_transform_edt(~other) < reach if other.any() else np.zeros_like(other)
            shares.append((one & near).sum() / one.sum() if one.any() else 0.0)
        found[c] = 2 * shares[0] * shares[1] / sum(shares) if sum(shares) else 0.0
    return found


@pytest.mark.parametrize("size", [(90, 120), (240, 320), (360, 480)])
def test_the_scores_are_those_of_exact_distance_transforms(size):
    truth = blocks(1, *size, 5, side=17)
    said = np.roll(blocks(1, *size, 5, side=17, ignored=0), (2, 1), (0, 1))
    said[: size[0] // 3] = blocks(2, size[0] // 3, size[1], 5, ignored=0)
    shown, scores = contour_scores(truth, said, 5)
    expected = measured(truth, said, 5)
    assert shown.tolist() == list(expected)
    assert scores == pytest.approx(list(expected.values()), abs=1e-12)
    assert 0.05 < scores.mean() < 0.95


@given(seed=st.integers(0, 10_000), height=st.integers(1, 30), width=st.integers(1, 30), k=st.integers(1, 4))
def test_small_pictures_are_measured_exactly_too(seed, height, width, k):
    truth, said = blocks(seed, height, width, k, 3), blocks(seed + 1, height, width, k, 2, ignored=0)
    shown, scores = contour_scores(truth, said, k)
    expected = measured(truth, said, k)
    assert shown.tolist() == list(expected)
    assert scores == pytest.approx(list(expected.values()), abs=1e-12)


def test_a_perfect_answer_scores_one_whatever_it_says_of_what_is_not_known():
    truth = blocks(3, 60, 80, 4)
    said = np.where(truth == IGNORE, 2, truth).astype(np.uint8)
    assert (contour_scores(truth, said, 4)[1] == 1).all()


@pytest.mark.parametrize(("shift", "score"), [(4, 1), (5, 0)])
def test_a_contour_counts_up_to_the_tolerance(shift, score):
    truth, said = np.zeros((360, 480), np.uint8), np.zeros((360, 480), np.uint8)
    truth[:, 240:], said[:, 240 + shift :] = 1, 1  # 0.75 % of the diagonal of 600 pixels is 4.5
    assert contour_scores(truth, said, 2)[1].tolist() == [score, score]


def test_a_picture_of_one_class_has_no_contour():
    flat = np.zeros((6, 6), np.uint8)
    assert not contours(flat).any()
    assert len(contour_scores(flat, flat, 3)[0]) == 0


def test_a_contour_that_is_not_there_scores_nothing():
    flat, split = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    split[:4] = 1
    for pair in ((flat, split), (split, flat)):
        shown, scores = contour_scores(*pair, 2)
        assert shown.tolist() == [0, 1]
        assert scores.tolist() == [0, 0]


def test_both_sides_of_an_edge_are_its_contour_and_what_is_unknown_has_none():
    classes = np.array([[0, 0, 1, 1, IGNORE, 0]], np.uint8)
    assert contours(classes).tolist() == [[False, True, True, False, False, False]]
