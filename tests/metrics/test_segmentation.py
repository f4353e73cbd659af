import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix
from torchmetrics.classification import MulticlassF1Score, MulticlassJaccardIndex
from torchmetrics.functional.classification import multiclass_calibration_error
from torchmetrics.segmentation import DiceScore

from visus.core.figures import Curve, Matrix, Table
from visus.core.pixels import IGNORE
from visus.core.task import Batch
from visus.metrics.segmentation import SCORES, Segmentation, confusion


def names(k):
    return tuple(f"class {c}" for c in range(k))


def pictures(n=12, k=6, height=20, width=30, seed=0, wrong=0.3, ignored=0.1):
    """Return (n, h, w) truth, of which some is ignored, and answers, in blocks of five pixels."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n, height // 5, width // 5)
    truth = torch.randint(k, shape, generator=generator)
    said = torch.where(
        torch.rand(shape, generator=generator) < wrong, torch.randint(k, shape, generator=generator), truth
    )
    truth[torch.rand(shape, generator=generator) < ignored] = IGNORE
    grown = [F.interpolate(part[:, None].float(), (height, width))[:, 0].to(torch.uint8) for part in (truth, said)]
    return grown[0], grown[1]


def judged(truth, said, k, **options):
    metric = Segmentation(names(k), resamples=40, **options)
    for i in range(len(truth)):
        metric.remember(i, truth[i], said[i])
    return metric


def batch(logits, stated, frame=None):
    n = len(logits)
    frames = torch.eye(3, dtype=torch.float64) if frame is None else frame
    return {"logits": logits}, Batch(
        (), {"stated": stated}, ("",) * n, torch.arange(n), frames.expand(n, 3, 3),
        originals=torch.tensor([[0, 0] if s is None else list(s.shape) for s in stated]),
    )  # fmt: skip


@given(
    k=st.sampled_from([1, 2, 3, 11, 15, 16, 19, 150, 180, 181, 255]), seed=st.integers(0, 1000), side=st.integers(1, 40)
)
def test_the_confusions_are_scikit_learns(k, seed, side):
    generator = torch.Generator().manual_seed(seed)
    truth, said = torch.randint(k, (2, side, side), generator=generator).to(torch.uint8)
    truth[torch.rand(side, side, generator=generator) < 0.2] = IGNORE
    known = truth != IGNORE
    ours = confusion(truth, said, k)
    assert ours.dtype == torch.int64
    assert not ours[:, k].any()
    if known.any():
        assert ours[:, :k].tolist() == confusion_matrix(truth[known], said[known], labels=range(k)).tolist()


def test_the_confusions_of_many_pictures_are_scikit_learns():
    truth, said = pictures()
    known = truth != IGNORE
    ours = judged(truth, said, 6).judged().confusion()
    assert ours[:, :6].tolist() == confusion_matrix(truth[known], said[known], labels=range(6)).tolist()


@pytest.mark.parametrize("k", [6, 9])  # of nine classes, three are neither shown nor said
def test_iou_is_torchmetrics(k):
    truth, said = pictures()
    scores = judged(truth, said, k).compute()
    for average, ours in (
        ("macro", [scores["miou"].value]),
        ("none", [scores[f"iou/class {c}"].value for c in range(6)]),
    ):
        theirs = MulticlassJaccardIndex(k, average=average, ignore_index=IGNORE)
        for t, s in zip(truth, said, strict=True):
            theirs.update(s[None].long(), t[None].long())
        assert np.atleast_1d(theirs.compute().numpy())[: len(ours)] == pytest.approx(ours, abs=1e-6)


def test_dice_is_torchmetrics():
    truth, said = pictures(ignored=0)
    scores = judged(truth, said, 6).compute()
    theirs = DiceScore(6, average="macro", aggregation_level="global", input_format="index")
    assert scores["dice"].value == pytest.approx(theirs(said.long(), truth.long()).item(), abs=1e-6)


def test_dice_with_ignored_pixels_is_torchmetrics_f1():
    truth, said = pictures()
    scores = judged(truth, said, 8).compute()
    theirs = MulticlassF1Score(8, average="macro", ignore_index=IGNORE)
    assert scores["dice"].value == pytest.approx(theirs(said.long(), truth.long()).item(), abs=1e-6)


def test_accuracies_are_scikit_learns():
    truth, said = pictures()
    known = truth != IGNORE
    scores = judged(truth, said, 6).compute()
    assert scores["pixel_accuracy"].value == pytest.approx(accuracy_score(truth[known], said[known]), abs=1e-12)
    assert scores["mean_accuracy"].value == pytest.approx(balanced_accuracy_score(truth[known], said[known]), abs=1e-12)


def test_by_hand():
    truth = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, IGNORE]]], dtype=torch.uint8)
    said = torch.tensor([[[0, 0, 0, 1], [0, 1, 1, 0]]], dtype=torch.uint8)
    quick = judged(truth, said, 3, score="dice").quick()
    assert quick["miou"] == pytest.approx((3 / 5 + 2 / 4) / 2)
    assert quick["dice"] == pytest.approx((6 / 8 + 4 / 6) / 2)
    assert quick["pixel_accuracy"] == pytest.approx(5 / 7)


def test_the_calibration_error_of_pixels_is_torchmetrics():
    generator = torch.Generator().manual_seed(3)
    truth, _ = pictures()
    logits = 2 * torch.randn(12, 6, 20, 30, generator=generator)
    logits += 2 * F.one_hot(truth.long().clamp(max=5), 6).movedim(-1, 1)
    metric = Segmentation(names(6), resamples=40)
    metric.update(*batch(logits, list(truth)))
    known = truth != IGNORE
    theirs = multiclass_calibration_error(
        logits.movedim(1, -1)[known].softmax(1), truth[known].long(), 6, n_bins=15, norm="l1"
    )
    assert metric.compute()["calibration_error"].value == pytest.approx(theirs.item(), abs=1e-6)


def test_of_a_large_picture_the_certainty_of_a_grid_is_much_that_of_all_pixels():
    truth, said = pictures(2, height=400, width=600)
    logits = 3 * F.one_hot(said.long(), 6).movedim(-1, 1).float()
    metric = Segmentation(names(6), resamples=10)
    metric.update(*batch(logits, list(truth)))
    assert metric.state()["bin_pixels"].sum().item() == pytest.approx((truth != IGNORE).sum().item(), rel=0.02)
    certain = logits[0].softmax(0).max().item()
    right = (truth == said)[truth != IGNORE].double().mean().item()
    assert metric.compute()["calibration_error"].value == pytest.approx(abs(certain - right), abs=0.02)


def test_pixels_are_judged_at_the_size_that_the_truth_has():
    truth, _ = pictures(3, height=40, width=60)
    logits = torch.randn(3, 6, 13, 17, generator=torch.Generator().manual_seed(1))
    frame = torch.diag(torch.tensor([60 / 17, 40 / 13, 1.0], dtype=torch.float64))
    metric = Segmentation(names(6), resamples=10)
    metric.update(*batch(logits, list(truth), frame))
    said = F.interpolate(logits, (40, 60), mode="bilinear", align_corners=False).argmax(1)
    assert metric.judged().confusion().tolist() == judged(truth, said.to(torch.uint8), 6).judged().confusion().tolist()


def test_pictures_whose_classes_are_not_known_are_left_out():
    truth, said = pictures(4)
    truth[2] = IGNORE
    logits = F.one_hot(said.long(), 6).movedim(-1, 1).float()
    metric = Segmentation(names(6), resamples=10)
    metric.update(*batch(logits, [truth[0], None, truth[2], truth[3]]))
    assert metric.indices.tolist() == [0, 3]
    assert metric.compute()["miou"].n == 2


def test_a_class_that_is_neither_shown_nor_said_is_left_out_of_the_mean_and_told():
    truth, said = pictures()
    few, many = judged(truth, said, 6), judged(truth, said, 8)
    assert few.compute()["miou"] == many.compute()["miou"]
    assert "iou/class 7" not in many.compute()
    table = many.figures()[0]
    assert "left out of every mean: class 6, class 7" in table.note
    assert [row[0] for row in table.rows][-2:] == ["class 6", "class 7"]


def test_a_class_that_is_only_said_has_an_iou_of_nothing():
    truth, said = pictures(wrong=0)
    said[0, 0, 0] = 6
    truth[0, 0, 0] = 0
    scores = judged(truth, said, 7).compute()
    assert scores["iou/class 6"].value == 0
    assert scores["miou"].value < 6.5 / 7
    assert "iou/class 6" in scores and scores["iou/class 6"].n == 1


def test_a_pixel_of_which_the_network_says_nothing_is_wrong():
    truth, said = pictures(wrong=0, ignored=0)
    logits = 9 * F.one_hot(said.long(), 6).movedim(-1, 1).float()
    logits[0, 2, 3, 4] = torch.nan
    metric = Segmentation(names(6), resamples=10)
    metric.update(*batch(logits, list(truth)))
    scores = metric.compute()
    assert scores["pixel_accuracy"].value == pytest.approx(1 - 1 / truth.numel(), abs=1e-12)
    assert metric.judged().confusion()[:, 6].sum() == 1
    assert np.isfinite(scores["calibration_error"].value)
    (row,) = next(figure for figure in metric.figures() if figure.title == "Most frequent mistakes").rows
    assert row[1:3] == ("nothing", 1)


def test_a_class_on_few_pictures_may_be_anything():
    truth, said = pictures(8, ignored=0)
    truth[truth == 5], said[said == 5] = 0, 0
    truth[:5, :3, :3], said[:5, :3, :3] = 5, 5
    few = judged(truth, said, 6).compute()["iou/class 5"]
    assert (few.low, few.high, few.n) == (0, 1, 5)
    truth[5, :3, :3], said[5, :3, :3] = 5, 5
    said[0, 0, 0] = 0
    enough = judged(truth, said, 6).compute()["iou/class 5"]
    assert 0 < enough.low < enough.value < enough.high <= 1


def test_intervals_are_over_pictures_so_larger_copies_of_them_are_no_surer():
    truth, said = pictures()
    once, large = judged(truth, said, 6), judged(truth.repeat(1, 3, 1), said.repeat(1, 3, 1), 6)
    for name in ("miou", "dice", "pixel_accuracy", "iou/class 2"):
        assert large.compute()[name] == once.compute()[name]


def test_sums_of_pictures_that_no_float32_can_hold_stay_exact():
    metric = Segmentation(names(2), resamples=2)
    metric.load([{
        **Segmentation(names(2)).state(),
        "index": torch.arange(2), "bin_pixels": torch.zeros(2, 15, dtype=torch.int64),
        "bin_right": torch.zeros(2, 15, dtype=torch.int64),
        "bin_confidence": torch.zeros(2, 15, dtype=torch.float64),
        "pair_index": torch.tensor([0, 1]), "pair": torch.tensor([0, 1]), "pair_pixels": torch.tensor([2**40, 1]),
    }])  # fmt: skip
    assert metric.judged().confusion()[0].tolist() == [2**40, 1, 0]
    assert 1 - metric.quick()["pixel_accuracy"] == pytest.approx(2**-40, rel=1e-3)


def test_the_gallery_shows_the_worst_the_best_and_the_surest_mistakes():
    truth = torch.zeros(3, 10, 10, dtype=torch.uint8)
    truth[:, :5] = 1
    logits = 3.0 * F.one_hot(truth.long(), 2).movedim(-1, 1)
    logits[0, :, :3] = logits[0, :, :3].flip(0) * 0.1  # much is wrong, nothing of it surely
    logits[1, :, 0] = logits[1, :, 0].flip(0) * 3  # one row is wrong for sure
    metric = Segmentation(names(2), resamples=10)
    metric.update(*batch(logits, list(truth)))
    shown = metric.gallery(2)
    assert {title: shown[title] for title in ("most confident mistakes", "worst", "best")} == {
        "most confident mistakes": [1], "worst": [0, 1], "best": [2],
    }  # fmt: skip


def test_the_gallery_shows_the_pictures_of_the_most_confused_pairs_those_with_most_of_each_first():
    truth = torch.zeros(4, 10, 10, dtype=torch.uint8)
    truth[:, 5:] = 1
    said = truth.clone()
    said[0, 0, :3], said[2, 0, :7], said[3, 9, :9], said[1, 9, 0] = 1, 1, 3, 0  # the last one nothing
    shown = judged(truth, said, 3).gallery(5)
    assert list(shown)[3:] == ["class 0 called class 1", "class 1 called nothing", "class 1 called class 0"]
    assert list(shown.values())[3:] == [[2, 0], [3], [1]]


@pytest.mark.parametrize(("k", "kinds"), [(30, [Table, Matrix, Table]), (31, [Table, Table])])
def test_the_confusions_are_a_matrix_of_up_to_thirty_classes(k, kinds):
    truth, said = pictures(k=k)
    assert [type(figure) for figure in judged(truth, said, k).figures()] == kinds


def test_the_reliability_has_a_point_for_every_confidence_that_was_heard():
    truth, said = pictures()
    metric = Segmentation(names(6), resamples=20)
    metric.update(*batch(2 * F.one_hot(said.long(), 6).movedim(-1, 1).float(), list(truth)))
    curve = metric.figures()[-1]
    assert isinstance(curve, Curve)
    (line,) = curve.lines
    known = truth != IGNORE
    assert line.x == pytest.approx([torch.tensor([2.0, 0, 0, 0, 0, 0]).softmax(0).max().item()])
    assert line.y == pytest.approx([(truth == said)[known].double().mean().item()])
    assert line.low[0] < line.y[0] < line.high[0]


def test_the_table_of_classes_begins_with_the_worst():
    truth, said = pictures()
    said[truth == 3] = 1
    table = judged(truth, said, 6).figures()[0]
    values = [row[3].value for row in table.rows]
    assert table.rows[0][0] == "class 3"
    assert values == sorted(values)
    assert sum(row[2] for row in table.rows) == pytest.approx(1)


def test_the_names_of_scores_are_those_that_are_computed():
    truth, said = pictures()
    metric = Segmentation(names(6), resamples=20)
    metric.update(*batch(2 * F.one_hot(said.long(), 6).movedim(-1, 1).float(), list(truth)))
    assert set(metric.compute()) == set(Segmentation.scores_of(names(6)))
    assert {name.partition("/")[0] for name in metric.compute()} == set(SCORES)


def test_confusions_and_reliability_count_pixels():
    truth, said = pictures()
    metric = Segmentation(names(6), resamples=20)
    metric.update(*batch(2 * F.one_hot(said.long(), 6).movedim(-1, 1).float(), list(truth)))
    counted = {figure.title: figure.counted for figure in metric.figures() if not isinstance(figure, Table)}
    assert counted == {"Confusion of pixels": "pixel", "Reliability": "pixel"}


def test_behind_a_mean_over_classes_are_the_pictures_that_hold_each_and_behind_other_scores_all():
    truth = torch.tensor([[0, 0], [0, 1], [0, 1]], dtype=torch.uint8)[:, None]
    said = torch.tensor([[0, 0], [0, 1], [0, 2]], dtype=torch.uint8)[:, None]
    metric, inf = judged(truth, said, 4), np.inf
    assert metric.behind("miou").tolist() == [[3, inf, inf], [3, 2, inf], [3, 2, 1]]
    assert metric.behind("mean_accuracy").tolist() == [[3, inf], [3, 2], [3, 2]]  # class 2 is not shown
    assert metric.behind("iou/class 1").tolist() == [[2]]
    assert metric.behind("pixel_accuracy").tolist() == [[3]]
