"""Detection as a task: sums that splitting does not change, answers at home in the picture, targets of any number."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from visus.core.annotations import Boxes, Stated
from visus.core.recipe import DetectSettings, InputSettings, LossSettings, ModelSettings, Recipe
from visus.core.sample import Samples
from visus.core.task import Batch
from visus.tasks import TASKS

SIZE = (64, 96)
CLASSES = ("cat", "dog", "owl")


def recipe(**changes):
    settings = {
        "task": "detect",
        "model": ModelSettings(name="anchor_free", options={"width": 16, "normalisation": "layer"}),
        "loss": LossSettings(name="varifocal"),
        "input": InputSettings(size=SIZE, fit="pad"),
        **changes,
    }
    return Recipe(**settings)


def marked(*boxes, labels=None, crowd=None):
    n = len(boxes)
    return Boxes(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(labels or [0] * n, dtype=torch.int64),
        crowd=torch.tensor(crowd or [False] * n, dtype=torch.bool),
    )  # fmt: skip


def batch(task, columns, size=SIZE, frames=None, originals=None, seed=0):
    n = len(columns)
    images = torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(seed))
    stated = [Stated(each.xyxy.double(), each.labels, each.crowd, torch.ones(len(each))) for each in columns]
    samples = Samples(
        tuple(f"picture {i}" for i in range(n)), torch.arange(n), images, {"boxes": columns, "stated": stated},
        frames if frames is not None else torch.eye(3, dtype=torch.float64).expand(n, 3, 3),
        **({"originals": originals} if originals is not None else {}),
    )  # fmt: skip
    return task.collate(samples)


FOUR = [
    marked((4, 4, 40, 40), (50, 10, 90, 60), labels=[0, 2]),
    marked(),
    marked((0, 0, 96, 64), labels=[1]),
    marked((10, 10, 30, 30), (20, 12, 44, 34), (60, 40, 64, 44), labels=[1, 1, 0]),
]


def gradient(task, model, parts, counts, dtype):
    model.zero_grad()
    for part in parts:
        for term in task.losses(model, part, "model", 0).values():
            (term.sum / counts[term.unit]).backward(retain_graph=True)
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_the_gradient_does_not_depend_on_how_a_batch_was_split(parts, dtype, bound):
    task = TASKS["detect"](recipe(), CLASSES)
    model = task.model().to(dtype)
    whole = batch(task, FOUR)
    whole = Batch(tuple(t.to(dtype) for t in whole.inputs), whole.targets, whole.ids, whole.indices, whole.frames)
    counts = task.counts(whole)
    one = gradient(task, model, [whole], counts, dtype)
    split = gradient(task, model, whole.split(parts), counts, dtype)
    assert torch.linalg.vector_norm(split - one) <= bound * torch.linalg.vector_norm(one)


def test_a_picture_counts_as_one_object_more():
    task = TASKS["detect"](recipe(), CLASSES)
    assert task.counts(batch(task, FOUR)) == {"object": 6 + 4}


@pytest.mark.parametrize(("label", "crowd"), [(1, True), (-1, False)])
def test_regions_and_unknown_classes_are_not_learned(label, crowd):
    task = TASKS["detect"](recipe(), CLASSES)
    model = task.model().eval()
    plain = batch(task, [marked((4, 4, 40, 40))])
    region = batch(task, [marked((4, 4, 40, 40), (48, 0, 96, 64), labels=[0, label], crowd=[False, crowd])])
    assert region.targets["labels"].tolist() == [[0, -2]]
    assert task.counts(region) == task.counts(plain)
    with torch.no_grad():
        less, more = (task.losses(model, each, "model", 0)["varifocal"].sum for each in (region, plain))
    assert less < more


def test_a_batch_without_any_object_is_learned_from():
    task = TASKS["detect"](recipe(), CLASSES)
    empty = batch(task, [marked(), marked()])
    assert empty.targets["boxes"].shape == (2, 0, 4) and task.counts(empty) == {"object": 2}
    losses = task.losses(task.model(), empty, "model", 0)
    assert losses["varifocal"].sum.item() > 0 and losses["giou"].sum.item() == 0


def test_candidates_are_cut_at_the_edges_of_the_picture_not_of_its_padding():
    task = TASKS["detect"](recipe(detect=DetectSettings(least=0.0)), CLASSES)
    frames = torch.tensor([[[2.0, 0, 0], [0, 2, -32], [0, 0, 1]]], dtype=torch.float64)  # 64 high became 32, 16 lower
    shown = batch(task, [marked()], frames=frames, originals=torch.tensor([[64, 192]]))
    raw = task.raw(task.model().eval(), shown)
    boxes = raw["boxes"][raw["scores"] >= 0]
    assert boxes[:, 1].min() >= 16 and boxes[:, 3].max() <= 48
    assert boxes[:, 0].min() >= 0 and boxes[:, 2].max() <= 96


def test_predictions_go_home_to_the_original_pixels():
    task = TASKS["detect"](recipe(), CLASSES)
    raw = {
        "boxes": torch.tensor([[[8.0, 8, 24, 40], [9, 8, 24, 40], [0, 0, 1, 1]]]),
        "scores": torch.tensor([[0.9, 0.8, -1.0]]), "labels": torch.tensor([[2, 2, 0]]),
    }  # fmt: skip
    (found,) = task.decode(raw)
    home = found.home(torch.tensor([[4.0, 0, -8], [0, 4, 0], [0, 0, 1]], dtype=torch.float64))
    assert home.json() == {"boxes": [[24, 32, 88, 160]], "labels": ["owl"], "scores": pytest.approx([0.9])}
    assert home.rows() == [{"label": "owl", "score": pytest.approx(0.9), "x0": 24, "y0": 32, "x1": 88, "y1": 160}]


def test_a_picture_without_objects_is_one_empty_line():
    task = TASKS["detect"](recipe(), CLASSES)
    none = {"boxes": torch.zeros(1, 3, 4), "scores": torch.full((1, 3), -1.0), "labels": torch.zeros(1, 3).long()}
    (found,) = task.decode(none)
    assert found.json() == {"boxes": [], "labels": [], "scores": []}
    assert found.rows() == [dict.fromkeys(("label", "score", "x0", "y0", "x1", "y1"), "")]


def test_the_calibrated_threshold_decides_what_is_shown():
    task = TASKS["detect"](recipe(), CLASSES)
    raw = {"boxes": torch.tensor([[[0.0, 0, 9, 9], [20, 20, 40, 40]]]), "scores": torch.tensor([[0.6, 0.3]]),
           "labels": torch.zeros(1, 2).long()}  # fmt: skip
    assert len(task.decode(raw)[0].labels) == 2
    task.calibrate({"threshold": 0.5})
    assert len(task.decode(raw)[0].labels) == 1
    task.calibrate({"threshold": 0.5, f"threshold/{CLASSES[0]}": 0.2, f"threshold/{CLASSES[1]}": 0.7})
    assert len(task.decode(raw)[0].labels) == 2
    assert task.decode({**raw, "labels": torch.ones(1, 2).long()})[0].labels == ()


def test_what_was_asked_in_inference_mode_can_be_learned_from_afterwards():
    task, size = TASKS["detect"](recipe(), CLASSES), (32, 224)  # a size that nobody asked for before
    model, shown = task.model(), batch(task, [marked((4, 4, 30, 30))], size)
    with torch.inference_mode():
        task.raw(model, shown)
    sum(term.sum for term in task.losses(model, shown, "model", 0).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.head.parameters())


def test_what_is_shown_from_a_lower_score_on_is_looked_for_from_there():
    task = TASKS["detect"](recipe(detect=DetectSettings(least=0.5)), CLASSES)
    model, shown = task.model().eval(), batch(task, [marked()])
    assert not len(task.decode(task.raw(model, shown))[0])
    task.calibrate({"threshold": 0.001})
    assert len(task.decode(task.raw(model, shown))[0])


def test_an_answer_that_is_not_finite_finds_nothing():
    task = TASKS["detect"](recipe(), CLASSES)
    model = task.model().eval()
    with torch.no_grad():
        for branch in model.head:
            branch.logits.bias.fill_(np.nan)
            branch.sides.bias.fill_(np.inf)
    (found,) = task.decode(task.raw(model, batch(task, [marked()])))
    assert not len(found.labels)


def test_flips_find_what_the_mirrored_picture_shows_at_its_own_place():
    task, mirrored = (TASKS["detect"](recipe(flips=flips), CLASSES) for flips in (False, True))
    model = task.model().eval()
    shown = batch(task, [marked()])
    turned = Batch((shown.inputs[0].flip(-1),), shown.targets, shown.ids, shown.indices, shown.frames)
    both, other = mirrored.raw(model, shown), task.raw(model, turned)
    half = both["scores"].shape[1] // 2
    torch.testing.assert_close(both["scores"][:, half:], other["scores"])
    torch.testing.assert_close(both["boxes"][:, half:, 0], SIZE[1] - other["boxes"][:, :, 2])
