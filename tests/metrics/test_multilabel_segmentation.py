"""Judging several classes a pixel: equal to scikit-learn and torchmetrics over all known pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score, jaccard_score, multilabel_confusion_matrix
from torchmetrics.classification import MultilabelAccuracy, MultilabelJaccardIndex

from visus.core.task import Batch
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


def test_the_worst_picture_is_the_one_of_the_lowest_mean_iou_and_the_worst_class_comes_first():
    logits, bits = pictures()
    logits[4] = torch.stack([(bits[4] >> k & 1) * 2.0 - 1 for k in range(K)])
    logits[:, 3] = -logits[:, 3].abs() - 1  # never said
    logits[4, 3] = (bits[4] >> 3 & 1) * 2.0 - 1
    metric = judged(logits, bits)
    assert metric.gallery(1)["best"] == [4] and 2 not in metric.gallery(9)["worst"]
    (table,) = metric.figures()
    assert table.rows[0][0] == "class 3"
