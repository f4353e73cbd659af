import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.metrics.boxes import judged

from visus.metrics.average_precision import COCO, VOC07

A, B, C, FAR = (0, 0, 100, 100), (200, 0, 300, 100), (400, 0, 500, 100), (600, 600, 700, 700)


def areas(found, truth):
    names = ("voc_map50", "voc07_map50")
    scores = judged([(found, truth)], 1).weighted(np.ones((1, 1)), names)
    return tuple(float(scores[name][0]) for name in names)


def of_the_devkit(found, truth):
    """Return both areas by the loops of VOCevaldet.m and VOCap.m, and of VOC 2007's eleven points."""
    taken, right, wrong = set(), [], []
    for box, _, _ in sorted(found, key=lambda row: -row[1]):
        overlaps = [overlap(box, other) for other, *_ in truth]
        best = int(np.argmax(overlaps)) if overlaps else -1
        hit = best >= 0 and overlaps[best] >= 0.5
        if hit and truth[best][2]:
            continue
        right.append(hit and best not in taken)
        wrong.append(not right[-1])
        if hit:
            taken.add(best)
    positives = sum(not difficult for _, _, difficult, _ in truth)
    recall = np.cumsum(right) / positives
    precision = np.cumsum(right) / (np.cumsum(right) + np.cumsum(wrong))
    eleven = sum(max(precision[recall * 10 >= t], default=0) for t in range(11)) / 11
    wide, tall = np.concatenate([[0], recall, [1]]), np.concatenate([[0], precision, [0]])
    for i in range(len(tall) - 2, -1, -1):
        tall[i] = max(tall[i], tall[i + 1])
    steps = np.flatnonzero(wide[1:] != wide[:-1]) + 1
    return float(((wide[steps] - wide[steps - 1]) * tall[steps]).sum()), float(eleven)


def overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (size(one) + size(other) - shared)


def size(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def test_a_hand_computed_curve():
    # Right, wrong, right of 4 objects: recall 1/4, 1/4, 2/4 at precision 1, 1/2, 2/3.
    found = [(A, 0.9, 0), (FAR, 0.8, 0), (B, 0.7, 0)]
    all_points, eleven = areas(found, [(A, 0), (B, 0), (C, 0), ((0, 300, 50, 350), 0)])
    assert all_points == pytest.approx(0.25 * 1 + 0.25 * 2 / 3, abs=1e-12)
    assert eleven == pytest.approx((3 * 1 + 3 * 2 / 3) / 11, abs=1e-12)


def test_a_second_detection_does_not_move_on_to_the_object_beside():
    beside = (30, 0, 130, 100)  # overlaps A by 0.54
    found = [(A, 0.9, 0), ((5, 0, 105, 100), 0.8, 0)]
    metric = judged([(found, [(A, 0), (beside, 0)])], 1).compute()
    assert metric["voc_map50"].value == 0.5
    assert metric["mar_100"].value > 0.5


def test_what_lies_on_a_difficult_object_does_not_count():
    assert areas([(A, 0.9, 0), (B, 0.8, 0)], [(A, 0, True, 1e4), (B, 0)]) == (1, 1)


boxes = st.builds(lambda x, y, w: (x, y, x + w, y + 20), st.integers(0, 30), st.integers(0, 5), st.integers(10, 30))


@given(
    st.lists(st.tuples(boxes, st.floats(0, 1), st.just(0)), max_size=12, unique_by=lambda row: row[1]),
    st.lists(st.tuples(boxes, st.just(0), st.booleans(), st.just(400.0)), min_size=1, max_size=6),
)
@settings(max_examples=60)
def test_both_areas_equal_the_development_kits(found, truth):
    truth = [*truth, ((500, 500, 520, 520), 0, False, 400.0)]
    assert areas(found, truth) == pytest.approx(of_the_devkit(found, truth), abs=1e-9)


def test_a_place_on_the_recall_axis_is_reached_where_the_oracles_say():
    for n in range(1, 1000):
        right = np.arange(n + 1)
        places = np.searchsorted(np.linspace(0, 1, 101), right / n, "right")
        np.testing.assert_array_equal(COCO.passed(right / n), places)
        np.testing.assert_array_equal(VOC07.passed(right / n), 10 * right // n + 1)
