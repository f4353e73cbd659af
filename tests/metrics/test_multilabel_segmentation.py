"""Judging several classes a pixel: equal to scikit-learn and torchmetrics over all known pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score, jaccard_score, multilabel_confusion_matrix
from torchmetrics.classification import MulticlassCalibrationError, MultilabelAccuracy, MultilabelJaccardIndex

from visus.core.task import Batch
from visus.metrics.contours import contour_scores
from visus.metrics.multilabel_segmentation import MultilabelSegmentation, counted

K, SIZE = 5, (30, 41)
NAMES = tuple(f"class {k}" for k in range(K))


def pictures(n=7):
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(0, 2**K, (n, *SIZE), generator=generator) & torch.randint(
        0, 2**K, (n, *SIZE), generator=generator
    )
    bits[torch.rand(n, *SIZE, generator=generator) < 0.1] = -1
    bits[2] = -1
    return torch.randn(n, K, *SIZE, generator=generator), bits


def judged(logits, bits, frames=None):
    n = len(logits)
    metric = MultilabelSegmentation(NAMES, resamples=50)
    frames = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1) if frames is None else frames
    for rows in torch.arange(n).split(3):
        metric.update(
            {"logits": logits[rows]},
            Batch((), {"stated": [bits[i] for i in rows]}, ("",) * len(rows), rows, frames[rows]),
        )
    return metric


def flat(logits, bits):
    known = bits >= 0
    shown = torch.stack([bits >> k & 1 for k in range(K)], -1)[known]
    return shown.numpy(), (logits.movedim(1, -1)[known] > 0).long().numpy()


def test_counts_are_those_of_scikit_learns_confusion_matrices():
    logits, bits = pictures()
    truth, said = flat(logits[:2], bits[:2])
    matrix = multilabel_confusion_matrix(truth, said)
    right, named, shown = sum(counted(logits[i], bits[i]) for i in range(2)).numpy()
    assert np.array_equal(right, matrix[:, 1, 1]) and np.array_equal(named, matrix[:, :, 1].sum(1))
    assert np.array_equal(shown, matrix[:, 1].sum(1))


def test_scores_are_those_of_scikit_learn_and_torchmetrics():
    logits, bits = pictures()
    scores = judged(logits, bits).compute()
    truth, said = flat(logits, bits)
    assert scores["miou"].value == pytest.approx(jaccard_score(truth, said, average="macro"), abs=1e-12)
    assert scores["dice"].value == pytest.approx(f1_score(truth, said, average="macro"), abs=1e-12)
    of_class = jaccard_score(truth, said, average=None)
    assert [scores[f"iou/{name}"].value for name in NAMES] == pytest.approx(of_class.tolist(), abs=1e-12)
    theirs = MultilabelJaccardIndex(K)(torch.from_numpy(said), torch.from_numpy(truth))
    assert scores["miou"].value == pytest.approx(theirs.item(), abs=1e-6)
    theirs = MultilabelAccuracy(K, average="micro")(torch.from_numpy(said), torch.from_numpy(truth))
    assert scores["pixel_accuracy"].value == pytest.approx(theirs.item(), abs=1e-6)
    assert scores["miou"].n == 6, "nothing is known of one picture"


def test_scores_are_brought_home_bilinearly_before_they_are_compared(monkeypatch):
    logits, _ = pictures(3)
    larger = F.interpolate(logits, (60, 82), mode="bilinear", align_corners=False)
    truth = sum((larger[:, k] > 0).long() << k for k in range(K))
    frames = torch.diag(torch.tensor([2, 2, 1], dtype=torch.float64)).repeat(3, 1, 1)
    whole = judged(logits, truth, frames).compute()
    assert whole["miou"].value > 0.999
    monkeypatch.setattr("visus.metrics.multilabel_segmentation.BLOCK", 2000)
    assert judged(logits, truth, frames).compute() == whole


def test_a_class_that_is_neither_shown_nor_said_is_left_out_and_no_numbers_are_mistakes():
    logits = torch.full((1, K, *SIZE), -1.0)
    bits = torch.zeros(1, *SIZE, dtype=torch.int64)
    bits[0, :15] = 1
    logits[0, 0, :15] = 1
    scores = judged(logits, bits).compute()
    assert scores["miou"].value == scores["iou/class 0"].value == 1 and "iou/class 1" not in scores
    logits[0, 0] = torch.nan
    broken = judged(logits, bits).compute()
    assert broken["iou/class 0"].value == 0 and broken["pixel_accuracy"].value == pytest.approx(1 - 1 / K)


def test_the_calibration_error_is_that_of_torchmetrics_over_all_yes_and_no():
    logits, bits = pictures()
    known = bits >= 0
    yes = logits.movedim(1, -1)[known].double().sigmoid().flatten()
    shown = torch.stack([bits >> k & 1 for k in range(K)], -1)[known].flatten()
    oracle = MulticlassCalibrationError(2, n_bins=15, norm="l1")(torch.stack([1 - yes, yes], 1), shown)
    assert judged(logits, bits).compute()["calibration_error"].value == pytest.approx(oracle.item(), abs=1e-6)


def test_contours_are_judged_class_by_class_as_if_each_were_alone():
    generator = torch.Generator().manual_seed(1)
    bits = F.interpolate(torch.randint(0, 2**K, (3, 1, 5, 6), generator=generator).float(), SIZE)[:, 0].long()
    bits[:, :4] = -1
    logits = F.interpolate(torch.randn(3, K, 5, 6, generator=generator), SIZE, mode="bilinear")
    of_pictures = []
    for i in range(3):
        said = logits[i] > 0
        of_classes = []
        for k in range(K):
            truth = torch.where(bits[i] >= 0, bits[i] >> k & 1, 255).to(torch.uint8)
            shown, scores = contour_scores(truth.numpy(), said[k].to(torch.uint8).numpy(), 2)
            of_classes += scores[shown == 1].tolist()
        of_pictures.append(np.mean(of_classes))
    assert judged(logits, bits).compute()["boundary_f"].value == pytest.approx(np.mean(of_pictures))


def test_a_perfect_answer_has_perfect_contours_and_no_doubt_unpunished():
    _, bits = pictures(3)
    logits = torch.stack([torch.where(bits >> k & 1 == 1, 20.0, -20.0) for k in range(K)], 1)
    scores = judged(logits, bits).compute()
    assert scores["boundary_f"].value == 1 and scores["calibration_error"].value < 1e-6


def test_what_is_left_out_takes_its_contours_and_its_bins_along():
    logits, bits = pictures()
    scores, some = judged(logits, bits).without([0, 4]).compute(), [1, 3, 5, 6]
    only = judged(logits[some], bits[some]).compute()
    assert {name: score.value for name, score in scores.items()} == {name: score.value for name, score in only.items()}


def test_the_worst_picture_is_the_one_of_the_lowest_mean_iou_and_the_worst_class_comes_first():
    logits, bits = pictures()
    logits[4] = torch.stack([(bits[4] >> k & 1) * 2.0 - 1 for k in range(K)])
    logits[:, 3] = -logits[:, 3].abs() - 1  # never said
    logits[4, 3] = (bits[4] >> 3 & 1) * 2.0 - 1
    metric = judged(logits, bits)
    assert metric.gallery(1)["best"] == [4] and 2 not in metric.gallery(9)["worst"]
    table, _ = metric.figures()
    assert table.rows[0][0] == "class 3"


def test_behind_a_mean_over_classes_are_the_pictures_that_hold_each_and_behind_other_scores_all():
    bits = torch.zeros(3, 1, 2, dtype=torch.int64)
    bits[1:, 0, 0], bits[2] = 1, 3
    logits = torch.full((3, K, 1, 2), -1.0)
    logits[0, 2] = 1  # said, and not shown
    metric, inf = judged(logits, bits), np.inf
    assert metric.behind("miou").tolist() == [[inf, inf, 1], [2, inf, inf], [2, 1, inf]]
    assert metric.behind("dice/class 0").tolist() == [[2]]
    assert metric.behind("pixel_accuracy").tolist() == [[3]]
