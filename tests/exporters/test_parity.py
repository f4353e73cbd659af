"""The parity gate's arithmetic: what counts as the same."""

import math
from dataclasses import dataclass

import pytest
import torch

from visus.exporters._parity import TOLERANCE, Candidates, Differences, Parity, changes


@dataclass
class Said:
    """A prediction of a class."""

    label: str

    def json(self):
        return {"label": self.label}


@dataclass
class Found:
    """Objects."""

    boxes: torch.Tensor
    labels: tuple[str, ...]
    scores: torch.Tensor

    def home(self, frame):
        return self

    def json(self):
        return {}

    def rows(self):
        return []


def found(*objects):
    """Return objects, the smaller the surer."""
    boxes = torch.tensor([box for _, box in objects], dtype=torch.float64).reshape(-1, 4)
    return Found(boxes, tuple(name for name, _ in objects), 1 - boxes[:, 2:].prod(1) / 1000)


CAT, DOG = ("cat", (0, 0, 10, 10)), ("dog", (0, 0, 10, 10))


def test_a_difference_is_a_share_of_the_largest_number_over_all_pictures():
    measured = Differences()
    measured.add({"logits": torch.tensor([1.0, 2.0])}, {"logits": torch.tensor([1.5, 2.0])})
    measured.add({"logits": torch.tensor([-50.0])}, {"logits": torch.tensor([-50.0])})
    assert measured.found() == {"logits": pytest.approx(0.01)}


def test_what_is_finite_on_one_side_alone_never_passes():
    measured = Differences()
    measured.add({"logits": torch.tensor([1.0])}, {"logits": torch.tensor([torch.inf])})
    measured.add({"logits": torch.tensor([1.0])}, {"logits": torch.tensor([1.0])})
    assert math.isnan(measured.found()["logits"])
    assert not Parity(2, measured.found(), 0, 2, "labels").holds


def test_the_tolerance_is_the_last_difference_that_passes():
    assert Parity(1, {"logits": TOLERANCE}, 0, 1, "labels").holds
    assert not Parity(1, {"logits": TOLERANCE * 1.01}, 0, 1, "labels").holds


def test_one_changed_label_is_one_too_many():
    changed = changes([Said("a"), Said("b")], [Said("a"), Said("c")])
    assert changed == (1, 2, "labels")
    assert not Parity(2, {}, *changed).holds


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ([CAT, DOG], 0),
        ([DOG, CAT], 0),
        ([CAT], 1),
        ([CAT, DOG, CAT], 1),
        ([CAT, CAT], 1),
        ([CAT, ("dog", (0, 0, 10, 10.01))], 0),
        ([CAT, ("dog", (0, 0, 10, 11))], 1),
        ([], 2),
    ],
)
def test_boxes_are_matched_by_class_and_place_whatever_their_order(file, changed):
    assert changes([found(CAT, DOG)], [found(*file)]) == (changed, 2, "boxes")


def test_of_two_candidates_over_one_object_with_the_same_score_either_may_hide_the_other():
    weights, file = found(CAT), found(("cat", (0, 0, 11, 10)))
    known = Candidates(torch.cat([weights.boxes, file.boxes]), ("cat", "cat"), weights.scores.repeat(2))
    assert changes([weights], [file], [known]) == (1, 1, "boxes")
    file.scores = weights.scores
    assert changes([weights], [file], [known]) == (0, 1, "boxes")


def test_a_box_that_is_no_candidate_of_the_weights_is_another_one_whatever_its_score():
    weights, moved = found(CAT), found(("cat", (0, 0, 11, 10)))
    moved.scores = weights.scores
    known = Candidates(weights.boxes, ("cat",), weights.scores)
    assert changes([weights], [moved], [known]) == (1, 1, "boxes")


def test_candidates_of_one_object_that_a_file_does_not_suppress_are_too_many():
    weights, both = found(CAT), found(CAT, ("cat", (0, 0, 11, 10)))
    both.scores = weights.scores.repeat(2)
    known = Candidates(both.boxes, both.labels, both.scores)
    assert changes([weights], [both], [known]) == (1, 1, "boxes")


def test_boxes_and_scores_of_the_objects_in_both_are_compared_by_number():
    def said(boxes, scores):
        return {"boxes": torch.tensor([boxes]), "scores": torch.tensor([scores]), "labels": torch.zeros(1, 2).long(),
                "shown": torch.ones(1, 2).bool()}  # fmt: skip

    one = said([[0.0, 0, 100, 100], [0, 0, 50, 50]], [0.9, 0.8])
    other = said([[0.0, 0, 50, 50.1], [0, 0, 100, 100]], [0.8, 0.91])
    measured = Differences()
    measured.add(one, other)
    assert measured.found() == {"boxes": pytest.approx(0.001, rel=1e-4), "scores": pytest.approx(0.01 / 0.9, rel=1e-4)}


@dataclass
class Sets:
    """Several classes a pixel."""

    layers: dict[str, torch.Tensor]

    def home(self, frame):
        return self

    def json(self):
        return {}

    def rows(self):
        return []


def test_a_pixel_of_other_classes_counts_once():
    left, right = torch.tensor([[True, False, False]]), torch.tensor([[False, False, True]])
    weights, file = Sets({"a": left, "b": left}), Sets({"a": right})
    assert changes([weights, weights], [file, weights]) == (2, 6, "pixels")
