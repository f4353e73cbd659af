import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn import metrics as sklearn
from torchmetrics import functional as torchmetrics

from visus.core.figures import Curve, Table
from visus.metrics.multilabel import Multilabel

# (pictures, classes, decimals the logits are rounded to, classes that occur)
CASES = [(200, 5, 9, 5), (150, 8, 0, 8), (60, 6, 1, 4), (9, 3, 9, 3), (1, 4, 9, 4)]


def case(n, k, decimals, occurring):
    generator = torch.Generator().manual_seed(n)
    labels = (torch.rand(n, k, generator=generator) < 0.3).float()
    labels[:, occurring:] = 0
    logits = torch.randn(n, k, generator=generator) + 2 * labels - 1
    logits[:, occurring:] = -3
    return logits.round(decimals=decimals), labels


@pytest.fixture
def judge(batch_of):
    """Return a maker of metrics that have seen all pictures."""

    def make(logits, labels, **options):
        metric = Multilabel([f"class {k}" for k in range(logits.shape[1])], **{"resamples": 20, **options})
        metric.update({"logits": logits}, batch_of(labels=labels))
        return metric

    return make


@pytest.mark.parametrize("of", CASES)
def test_scores_equal_scikit_learns(judge, of):
    logits, labels = case(*of)
    y, said = labels.numpy().astype(int), (logits > 0).numpy().astype(int)
    probability = expit(logits.double().numpy())
    met = np.flatnonzero((y + said).any(0))
    positive = np.flatnonzero(y.any(0))
    both = np.flatnonzero(y.any(0) & ~y.all(0))
    found = judge(logits, labels).compute()
    expected = {
        "subset_accuracy": sklearn.accuracy_score(y, said),
        "hamming_loss": sklearn.hamming_loss(y, said),
        "f1_macro": sklearn.f1_score(y, said, average="macro", labels=met, zero_division=0),
        "precision_macro": sklearn.precision_score(y, said, average="macro", labels=met, zero_division=0),
        "recall_macro": sklearn.recall_score(y, said, average="macro", labels=met, zero_division=0),
        "f1_micro": sklearn.f1_score(y, said, average="micro", zero_division=np.nan),
        "precision_micro": sklearn.precision_score(y, said, average="micro", zero_division=np.nan),
        "recall_micro": sklearn.recall_score(y, said, average="micro", zero_division=np.nan),
        "f1_weighted": sklearn.f1_score(y, said, average="weighted", zero_division=0) if y.any() else np.nan,
        "log_loss": sklearn.log_loss(y.ravel(), probability.ravel(), labels=[0, 1]),
        "average_precision_macro": np.mean(
            [sklearn.average_precision_score(y[:, k], probability[:, k]) for k in positive]
        )
        if len(positive)
        else np.nan,
        "roc_auc_macro": np.mean([sklearn.roc_auc_score(y[:, k], probability[:, k]) for k in both])
        if len(both)
        else np.nan,
    }
    assert {name for name, value in expected.items() if not np.isnan(value)} == set(found)
    for name, score in found.items():
        assert score.value == pytest.approx(expected[name], abs=1e-9), name
        assert score.n == of[0]


def test_scores_equal_torchmetrics(judge):
    logits, labels = case(200, 5, 9, 5)
    probability, y = logits.double().sigmoid(), labels.long()
    found = judge(logits, labels).compute()
    expected = {
        "f1_macro": torchmetrics.f1_score(probability, y, "multilabel", num_labels=5, average="macro"),
        "average_precision_macro": torchmetrics.average_precision(probability, y, "multilabel", num_labels=5),
        "roc_auc_macro": torchmetrics.auroc(probability, y, "multilabel", num_labels=5),
        "hamming_loss": torchmetrics.hamming_distance(probability, y, "multilabel", num_labels=5),
        "subset_accuracy": torchmetrics.exact_match(probability, y, "multilabel", num_labels=5),
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value.item(), abs=1e-6), name


def test_what_is_unknown_of_a_picture_is_left_out(judge):
    logits, labels = case(120, 4, 9, 4)
    unknown = torch.rand(120, 4, generator=torch.Generator().manual_seed(3)) < 0.3
    unknown[:5] = True
    found = judge(logits, labels.masked_fill(unknown, torch.nan)).compute()
    known = ~unknown.numpy()
    y, probability, said = labels.numpy(), expit(logits.double().numpy()), (logits > 0).numpy()
    kept = known.any(1)
    of_each = [sklearn.average_precision_score(y[known[:, k], k], probability[known[:, k], k]) for k in range(4)]
    assert found["average_precision_macro"].value == pytest.approx(np.mean(of_each), abs=1e-9)
    of_each = [sklearn.f1_score(y[known[:, k], k], said[known[:, k], k]) for k in range(4)]
    assert found["f1_macro"].value == pytest.approx(np.mean(of_each), abs=1e-9)
    right = ((said == y) | ~known).all(1)[kept].mean()
    assert found["subset_accuracy"].value == pytest.approx(right)
    assert found["subset_accuracy"].n == kept.sum()


def test_no_pictures_give_no_scores_and_a_headline_that_is_not_a_number(judge):
    metric = judge(torch.zeros(2, 3), torch.full((2, 3), torch.nan))
    assert metric.compute() == {}
    assert metric.figures() == ()
    assert np.isnan(metric.quick()["average_precision_macro"])
    assert metric.gallery(3) == {"most confident mistakes": [], "worst": [], "best": []}


def test_an_answer_that_is_not_finite_is_a_mistake_in_every_class(judge):
    logits = torch.tensor([[torch.nan, 1.0], [3.0, -3.0]])
    found = judge(logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]])).compute()
    assert found["subset_accuracy"].value == 0.5
    assert found["hamming_loss"].value == 0.5
    assert found["average_precision_macro"].value == pytest.approx(1.0)


def test_parts_merge_to_the_whole(judge, batch_of):
    logits, labels = case(60, 6, 1, 4)
    whole = judge(logits, labels)
    parts = [Multilabel(whole.classes, resamples=20) for _ in range(2)]
    for i, part in enumerate(parts):
        part.update({"logits": logits[30 * i : 30 * i + 30]}, batch_of(30 * i, labels=labels[30 * i : 30 * i + 30]))
    merged = Multilabel(whole.classes, resamples=20)
    merged.load([part.state() for part in reversed(parts)])
    assert merged.compute() == whole.compute()


def test_the_class_table_shows_scikit_learns_average_precision_the_worst_first(judge):
    logits, labels = case(200, 5, 9, 5)
    table = next(f for f in judge(logits, labels).figures() if isinstance(f, Table))
    shown = {row[0]: row[2] for row in table.rows}
    for k in range(5):
        expected = sklearn.average_precision_score(labels[:, k].numpy(), expit(logits[:, k].double().numpy()))
        assert shown[f"class {k}"] == pytest.approx(expected)
    assert list(shown.values()) == sorted(shown.values())


def test_the_reliability_curve_counts_every_known_class_of_every_picture(judge):
    logits, labels = case(200, 5, 9, 5)
    labels[0, 0] = torch.nan
    curve = next(f for f in judge(logits, labels).figures() if isinstance(f, Curve) and f.bars)
    assert sum(curve.bars) == 999


def test_the_gallery_shows_the_surest_mistakes(judge):
    logits = torch.tensor([[5.0, -5.0], [5.0, 9.0], [-0.1, 4.0]])
    labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    assert judge(logits, labels).gallery(2) == {"most confident mistakes": [1, 2], "worst": [1], "best": [0, 2]}


def test_the_temperature_makes_the_same_pictures_less_surprising(judge):
    logits, labels = case(200, 5, 9, 5)
    temperature = judge(4 * logits, labels).calibration()["temperature"]
    before, after = judge(4 * logits, labels).compute(), judge(4 * logits, labels, temperature=temperature).compute()
    assert after["log_loss"].value < before["log_loss"].value
    assert after["f1_macro"] == before["f1_macro"]


def test_behind_a_mean_over_classes_are_the_pictures_that_show_each_and_subset_accuracy_is_a_share(judge):
    labels = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 0, 0]])
    metric, inf = judge(torch.tensor([[1.0, -1, -1], [1, 1, -1], [-1, 1, -1]]), labels), np.inf
    assert metric.behind("f1_macro").tolist() == [[3, inf], [3, 1], [3, inf]]
    assert metric.behind("precision_macro").tolist() == [[2, inf], [2, 2], [inf, 2]]
    assert metric.behind("f1_micro").tolist() == [[3]]
    assert metric.right("subset_accuracy").tolist() == [True, True, False]
    assert metric.right("f1_micro") is None
