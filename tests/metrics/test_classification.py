import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn import metrics as sklearn
from torchmetrics import functional as torchmetrics

from visus.core.figures import Curve, Matrix, Table
from visus.core.scores import Score
from visus.metrics.classification import Classification

# (items, classes, decimals the logits are rounded to, classes that occur): ties, absent classes, hardly any items
CASES = [(200, 2, 9, 2), (500, 3, 0, 3), (300, 10, 1, 10), (60, 12, 9, 7), (40, 30, 0, 25), (7, 3, 9, 3)]


def case(n, k, decimals, occurring, seed=0):
    generator = torch.Generator().manual_seed(100 * seed + n)
    label = torch.randint(0, occurring, (n,), generator=generator)
    logits = torch.randn(n, k, generator=generator) + 1.5 * torch.nn.functional.one_hot(label, k)
    logits[:, occurring:] -= 2
    return logits.round(decimals=decimals), label


@pytest.fixture
def judge(batch_of):
    """Return a maker of metrics that have seen all items."""

    def make(logits, label, **options):
        options = {"resamples": 20, **options}
        metric = Classification([f"class {k}" for k in range(logits.shape[1])], **options)
        metric.update({"logits": logits}, batch_of(label=label))
        return metric

    return make


@pytest.mark.parametrize("of", CASES)
def test_scores_of_predicted_classes_equal_scikit_learns(judge, of):
    logits, label = case(*of)
    y, p = label.numpy(), logits.argmax(1).numpy()
    found = judge(logits, label).compute()
    expected = {
        "accuracy": sklearn.accuracy_score(y, p),
        "balanced_accuracy": np.mean([(p[y == k] == k).mean() for k in np.unique(y)]),
        "f1_weighted": sklearn.f1_score(y, p, average="weighted"),
    }
    for kind, function in {
        "precision": sklearn.precision_score,
        "recall": sklearn.recall_score,
        "f1": sklearn.f1_score,
    }.items():
        expected[f"{kind}_macro"] = function(y, p, average="macro", zero_division=0)
        expected[f"{kind}_micro"] = function(y, p, average="micro", zero_division=0)
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("of", CASES)
@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_scores_of_probabilities_equal_scikit_learns(judge, of, temperature):
    logits, label = case(*of)
    k = logits.shape[1]
    y, probability = label.numpy(), softmax((logits.double() - logits.amax(1, keepdim=True)) / temperature, axis=1)
    found = judge(logits, label, temperature=temperature).compute()
    truth = np.eye(k)[y]
    both = [c for c in range(k) if 0 < truth[:, c].sum() < len(y)]
    expected = {
        "log_loss": sklearn.log_loss(y, probability, labels=range(k)),
        "brier": sklearn.brier_score_loss(y, probability if k > 2 else probability[:, 1], labels=range(k)),
        "roc_auc_macro": np.mean([sklearn.roc_auc_score(truth[:, c], probability[:, c]) for c in both]),
        "average_precision_macro": np.mean(
            [sklearn.average_precision_score(truth[:, c], probability[:, c]) for c in np.unique(y)]
        ),
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=1e-9), name


def test_ranking_scores_equal_scikit_learns_own_macro_average_where_every_class_occurs(judge):
    logits, label = case(400, 5, 1, 5)
    y, probability = label.numpy(), logits.double().softmax(1).numpy()
    found = judge(logits, label).compute()
    auc = sklearn.roc_auc_score(y, probability, multi_class="ovr", average="macro")
    precision = sklearn.average_precision_score(np.eye(5)[y], probability, average="macro")
    assert found["roc_auc_macro"].value == pytest.approx(auc, abs=1e-9)
    assert found["average_precision_macro"].value == pytest.approx(precision, abs=1e-9)


@pytest.mark.parametrize("of", [(300, 10, 9, 10), (60, 12, 9, 12)])
def test_top5_accuracy_equals_scikit_learns(judge, of):
    logits, label = case(*of)
    expected = sklearn.top_k_accuracy_score(label.numpy(), logits.double().numpy(), k=5, labels=range(of[1]))
    assert judge(logits, label).compute()["top5_accuracy"].value == pytest.approx(expected, abs=1e-9)


def test_equal_logits_rank_by_class_index_as_the_prediction_does(judge):
    found = judge(torch.zeros(10, 10), torch.arange(10)).compute()
    assert found["accuracy"].value == 0.1
    assert found["top5_accuracy"].value == 0.5


def test_top5_accuracy_is_left_out_where_five_classes_are_all(judge):
    assert "top5_accuracy" not in judge(*case(60, 5, 9, 5)).compute()


@pytest.mark.parametrize("of", [(500, 2, 9, 2), (300, 10, 9, 10)])
def test_scores_equal_torchmetrics(judge, of):
    logits, label = case(*of)
    k = of[1]
    found = judge(logits, label).compute()
    probability = logits.double().softmax(1)
    expected = {
        "accuracy": torchmetrics.accuracy(logits, label, "multiclass", num_classes=k),
        "f1_macro": torchmetrics.f1_score(logits, label, "multiclass", num_classes=k, average="macro"),
        "roc_auc_macro": torchmetrics.auroc(probability, label, "multiclass", num_classes=k),
        "average_precision_macro": torchmetrics.average_precision(probability, label, "multiclass", num_classes=k),
        "calibration_error": torchmetrics.calibration_error(probability, label, "multiclass", num_classes=k, n_bins=15),
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value.item(), abs=1e-6), name


def test_calibration_error_of_a_hand_computed_case(judge):
    logits = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]]).log()
    found = judge(logits, torch.tensor([0, 1, 0, 1])).compute()["calibration_error"]
    assert found.value == pytest.approx((2 * abs(0.9 - 0.5) + 2 * abs(0.6 - 1.0)) / 4, abs=1e-6)


def test_it_does_not_matter_how_the_items_were_batched_or_spread_over_ranks(judge, batch_of):
    logits, label = case(90, 7, 1, 6)
    whole = judge(logits, label)
    ranks = [Classification(whole.classes, resamples=20) for _ in range(3)]
    for start in (60, 0, 30, 75, 15, 45):
        part = slice(start, start + 15)
        rank = ranks[start % 2]
        rank.update({"logits": logits[part]}, batch_of(start, label=label[part]))
    merged = Classification(whole.classes, resamples=20)
    merged.load([rank.state() for rank in reversed(ranks)])
    assert merged.compute() == whole.compute()
    assert merged.gallery(5) == whole.gallery(5)


def test_judging_more_items_after_a_look_counts_them_too(judge, batch_of):
    logits, label = case(60, 4, 9, 4)
    metric = judge(logits[:40], label[:40])
    metric.compute()
    metric.update({"logits": logits[40:]}, batch_of(40, label=label[40:]))
    assert metric.compute() == judge(logits, label).compute()


def test_items_of_unknown_class_are_left_out(judge):
    logits, label = case(50, 4, 9, 4)
    label[::3] = -1
    found = judge(logits, label).compute()["accuracy"]
    assert found.n == int((label >= 0).sum())
    assert found.value == (logits.argmax(1) == label)[label >= 0].double().mean()


def test_one_item_that_is_right_says_next_to_nothing(judge):
    found = judge(torch.tensor([[1.0, 3.0, 0.0]]), torch.tensor([1])).compute()
    assert found["accuracy"] == Score(1.0, 0.025, 1.0, 1)
    assert found["log_loss"].low == found["log_loss"].high == found["log_loss"].value  # no share: as resampled


def test_what_one_class_alone_does_not_define_is_left_out(judge):
    logits, _ = case(30, 3, 9, 3)
    found = judge(logits, torch.full((30,), 2)).compute()
    assert "roc_auc_macro" not in found
    assert found["average_precision_macro"].value == 1
    assert found["log_loss"].value > 0


def test_no_items_give_no_scores_and_a_headline_that_is_not_a_number(judge):
    metric = judge(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    assert metric.compute() == {}
    assert metric.figures() == ()
    assert np.isnan(metric.quick()["accuracy"])
    assert metric.gallery(3) == {"most confident mistakes": [], "worst": [], "best": []}


@pytest.mark.parametrize("fault", [torch.nan, torch.inf, -torch.inf])
def test_an_answer_that_is_not_finite_is_a_mistake(judge, fault):
    logits = torch.full((4, 3), fault)
    logits[3] = torch.tensor([0.0, 5.0, 0.0])
    metric = judge(logits, torch.tensor([0, 1, 2, 1]))
    assert metric.compute()["accuracy"].value == 0.25
    assert all(np.isfinite(score.value) for score in metric.compute().values())


def test_the_headline_holds_the_chosen_score_and_agrees_with_the_full_judgement(judge):
    metric = judge(*case(100, 8, 1, 8), score="roc_auc_macro")
    full = metric.compute()
    assert {"accuracy", "top5_accuracy", "f1_macro", "log_loss", "roc_auc_macro"} == set(metric.quick())
    assert all(full[name].value == value for name, value in metric.quick().items())


def test_nine_times_the_items_narrow_the_interval_to_a_third(judge):
    logits, label = case(100, 2, 9, 2)
    wide = judge(logits, label, resamples=600).compute()["log_loss"]
    narrow = judge(logits.repeat(9, 1), label.repeat(9), resamples=600).compute()["log_loss"]
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(3, rel=0.15)


def test_the_interval_of_accuracy_is_the_normal_one(judge):
    found = judge(*case(1000, 2, 9, 2), resamples=1000).compute()["accuracy"]
    half = 1.96 * np.sqrt(found.value * (1 - found.value) / 1000)
    assert found.high - found.value == pytest.approx(half, rel=0.1)
    assert found.value - found.low == pytest.approx(half, rel=0.1)


def test_the_gallery_shows_the_surest_mistakes_and_the_ends_of_the_loss(judge):
    logits = torch.tensor([[5.0, 0.0], [0.0, 1.0], [2.0, 0.0], [9.0, 0.0]])
    shown = judge(logits, torch.tensor([1, 0, 0, 0])).gallery(2)
    assert shown == {"most confident mistakes": [0, 1], "worst": [0, 1], "best": [3, 2]}


def test_the_confusion_matrix_is_scikit_learns(judge):
    logits, label = case(200, 6, 9, 5)
    matrix = next(f for f in judge(logits, label).figures() if isinstance(f, Matrix))
    expected = sklearn.confusion_matrix(label.numpy(), logits.argmax(1).numpy(), labels=range(6))
    assert (matrix.values == expected).all()


def test_the_class_table_equals_scikit_learns_report_and_is_blank_where_nothing_is_defined(judge):
    logits, label = case(60, 8, 9, 4)
    table = next(f for f in judge(logits, label).figures() if isinstance(f, Table))
    y, p = label.numpy(), logits.argmax(1).numpy()
    precision, recall, f1, n = sklearn.precision_recall_fscore_support(y, p, labels=range(8), zero_division=np.nan)
    assert table.columns == ("class", "n", "precision", "recall", "F1")
    for name, *cells in table.rows:
        k = int(name.removeprefix("class "))
        assert cells[0] == n[k]
        named = k in p
        for cell, expected in zip(cells[1:], (precision[k], recall[k], f1[k]), strict=True):
            defined = not np.isnan(expected) and (named or n[k] > 0)
            assert (cell.value == pytest.approx(expected)) if defined else cell is None


def test_the_class_table_starts_with_the_worst(judge):
    table = judge(*case(300, 10, 9, 10)).figures()[0]
    values = [row[4].value for row in table.rows]
    assert values == sorted(values)


def test_the_reliability_curve_counts_every_item_once(judge):
    curve = next(f for f in judge(*case(300, 10, 9, 10)).figures() if isinstance(f, Curve) and f.bars)
    assert sum(curve.bars) == 300
    line = curve.lines[0]
    assert all(low <= y <= high for low, y, high in zip(line.low, line.y, line.high, strict=True))


def test_the_roc_curve_is_scikit_learns(judge):
    logits, label = case(100, 2, 1, 2)
    curve = next(f for f in judge(logits, label).figures() if isinstance(f, Curve) and "ROC" in f.title)
    probability = softmax(logits.double().numpy(), axis=1)[:, 1]
    false, true, _ = sklearn.roc_curve(label.numpy(), probability, drop_intermediate=False)
    (line,) = curve.lines
    np.testing.assert_allclose(line.x, false, atol=1e-12)
    np.testing.assert_allclose(line.y, true, atol=1e-12)


def test_many_classes_show_the_ten_curves_of_the_smallest_area(judge):
    metric = judge(*case(400, 60, 9, 60))
    curve = next(f for f in metric.figures() if isinstance(f, Curve) and "ROC" in f.title)
    shown = {int(line.name.split()[1]) for line in curve.lines}
    assert shown == set(np.argsort(metric.judged().ranks.by_class[:, 0])[:10].tolist())


def test_the_temperature_makes_the_same_items_less_surprising(judge):
    logits, label = case(500, 5, 9, 5)
    sharp = 3 * logits
    temperature = judge(sharp, label).calibration()["temperature"]
    before, after = judge(sharp, label).compute(), judge(sharp, label, temperature=temperature).compute()
    assert after["log_loss"].value < before["log_loss"].value
    assert after["accuracy"] == before["accuracy"]


def test_of_the_share_of_pictures_that_are_right_it_is_known_which(batch_of):
    logits = torch.arange(7.0).flip(0).repeat(3, 1)  # the first class is the most likely
    metric = Classification([f"class {k}" for k in range(7)])
    metric.update({"logits": logits}, batch_of(label=torch.tensor([0, 4, 5])))
    assert metric.right("accuracy").tolist() == metric.right("f1_micro").tolist() == [True, False, False]
    assert metric.right("top5_accuracy").tolist() == [True, True, False]
    assert metric.right("balanced_accuracy") is None
