import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from visus.core.annotations import Label
from visus.core.errors import UsageError
from visus.core.recipe import Choice, Draft
from visus.core.sample import Sample
from visus.core.task import Batch
from visus.metrics.classification import Classification
from visus.metrics.multilabel import Multilabel
from visus.tasks._class_weights import balanced
from visus.tasks.classify import Classify

CLASSES = ("ant", "bee", "wasp", "fly", "moth", "gnat", "tick")


def task(**settings):
    return Classify(Draft(Choice(key, value, "the test") for key, value in settings.items()).finish(), CLASSES)


def several(**settings):
    return task(**{"target.column": "labels", "loss.name": "binary_cross_entropy", **settings})


def batch(logits, **targets):
    """Return a batch whose picture is the answer, for a network that says what it sees."""
    n = len(logits)
    return Batch((logits,), targets, tuple(map(str, range(n))), torch.arange(n), torch.eye(3).repeat(n, 1, 1))


SAYS = nn.Identity()


def test_the_loss_is_the_sum_of_cross_entropy_over_labelled_pictures():
    logits, label = torch.randn(5, 7), torch.tensor([0, 6, -1, 3, 3])
    given = batch(logits, label=label)
    term = task().losses(SAYS, given, "model", 0)["cross_entropy"]
    assert term.unit == "image"
    expected = F.cross_entropy(logits, label, ignore_index=-1, reduction="sum")
    torch.testing.assert_close(term.sum, expected)
    assert task().counts(given)["image"] == 4


def test_mixed_pictures_cost_the_mixture_of_both_classes():
    logits, own, other = torch.randn(4, 7), torch.tensor([0, 1, 2, 3]), torch.tensor([4, 5, 6, 3])
    share = torch.tensor([0.25, 1.0, 0.0, 0.5])
    term = task().losses(SAYS, batch(logits, label=own, partner_label=other, share=share), "model", 0)["cross_entropy"]
    both = share * F.cross_entropy(logits, own, reduction="none") + (1 - share) * F.cross_entropy(
        logits, other, reduction="none"
    )
    torch.testing.assert_close(term.sum, both.sum())


def test_a_picture_mixed_with_one_of_unknown_class_does_not_count():
    given = batch(
        torch.randn(3, 7),
        label=torch.tensor([0, 1, 2]),
        partner_label=torch.tensor([-1, -1, 3]),
        share=torch.tensor([0.5, 1.0, 0.5]),
    )
    assert task().counts(given)["image"] == 2
    alone = Batch(
        given.inputs, {k: v.clone() for k, v in given.targets.items()}, given.ids, given.indices, given.frames
    )
    whole = task().losses(SAYS, given, "model", 0)["cross_entropy"].sum
    rows = sum(task().losses(SAYS, alone.rows(i, i + 1), "model", 0)["cross_entropy"].sum for i in (1, 2))
    torch.testing.assert_close(whole, rows)


def test_one_class_a_picture_is_also_learned_as_one_against_the_rest():
    logits, label = torch.randn(4, 7), torch.tensor([0, 1, -1, 3])
    term = task(**{"loss.name": "binary_cross_entropy"}).losses(SAYS, batch(logits, label=label), "model", 0)
    known = label >= 0
    expected = F.binary_cross_entropy_with_logits(logits[known], F.one_hot(label[known], 7).float()) * 3
    torch.testing.assert_close(term["binary_cross_entropy"].sum, expected)


def test_a_loss_of_numbers_is_refused_before_training():
    with pytest.raises(UsageError, match="learns from 'numbers'"):
        task(**{"loss.name": "huber", "model.name": "cnn", "input.size": 8}).model()


def test_a_softmax_loss_is_refused_where_pictures_show_several_classes():
    with pytest.raises(UsageError, match="learns from 'label'"):
        several(**{"loss.name": "cross_entropy", "model.name": "cnn", "input.size": 8}).model()


def test_balanced_weights_are_scikit_learns():
    y = np.repeat([0, 1, 2], [10, 3, 1])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y)
    np.testing.assert_allclose(balanced(np.bincount(y)), expected, rtol=1e-6)


def test_balanced_weights_multiply_the_loss_of_each_class():
    logits, label = torch.randn(4, 7), torch.tensor([0, 1, 1, 3])
    counts = [10, 3, 1, 1, 1, 1, 1]
    weighted = task(**{"loss.class_weights": "balanced", "target.counts": counts})
    term = weighted.losses(SAYS, batch(logits, label=label), "model", 0)["cross_entropy"]
    torch.testing.assert_close(term.sum, F.cross_entropy(logits, label, balanced(counts), reduction="sum"))


def test_a_class_that_is_never_shown_has_a_finite_weight():
    assert torch.isfinite(balanced([5, 0, 5])).all()


@pytest.mark.parametrize("settings", [{"loss.class_weights": [1.0, 2.0]}, {"loss.class_weights": "balanced"}])
def test_weights_that_are_not_one_a_class_are_refused_before_training(settings):
    with pytest.raises(UsageError, match="for 7 classes"):
        task(**{**settings, "model.name": "cnn", "input.size": 8}).model()


def test_the_prediction_is_the_softmax_of_tempered_logits():
    given = task()
    logits = torch.randn(3, 7)
    for temperature in (1.0, 2.5):
        given.calibrate({"temperature": temperature})
        expected = (logits.double() / temperature).softmax(1)
        for row, said in enumerate(given.decode({"logits": logits})):
            assert said.label == CLASSES[expected[row].argmax()]
            assert said.score == pytest.approx(expected[row].max().item())
            assert len(said.top) == 5
            assert [score for _, score in said.top] == sorted((s for _, s in said.top), reverse=True)


def test_a_prediction_in_json_has_label_score_and_the_five_highest():
    (said,) = task().decode({"logits": torch.tensor([[5.0, 4, 3, 2, 1, 0, -1]])})
    document = said.json()
    assert set(document) == {"label", "score", "scores"}
    assert list(document["scores"]) == ["ant", "bee", "wasp", "fly", "moth"]


def test_several_classes_are_those_above_one_half():
    (said,) = several().decode({"logits": torch.tensor([[2.0, -1, 0.5, -3, -3, -3, -3]])})
    assert said.json()["labels"] == ["ant", "wasp"]
    assert said.label == "ant"


def test_the_metric_follows_the_column_and_takes_the_temperature():
    given = task(**{"resamples": 7})
    given.calibrate({"temperature": 1.5})
    metric = given.metric()
    assert isinstance(metric, Classification)
    assert (metric.temperature, metric.resamples) == (1.5, 7)
    assert isinstance(several().metric(), Multilabel)
    assert several().score == "average_precision_macro"


def test_the_score_of_the_recipe_picks_the_best_weights():
    assert task(score="f1_macro").score == "f1_macro"


@pytest.mark.parametrize(("score", "said"), [("f1_marco", "f1_macro"), ("log_loss", "accuracy")])
def test_a_score_that_does_not_exist_or_should_be_small_is_refused(score, said):
    with pytest.raises(UsageError) as caught:
        task(score=score)
    assert caught.value.code == "TASK-001"
    assert said in caught.value.fix


def test_mixed_labels_of_several_classes_are_mixed_in_the_same_shares():
    logits = torch.randn(2, 7)
    own, other = torch.eye(7)[:2], torch.eye(7)[2:4]
    own[0, 6] = torch.nan
    share = torch.tensor([0.25, 1.0])
    given = batch(logits, labels=own, partner_labels=other, share=share)
    term = several().losses(SAYS, given, "model", 0)["binary_cross_entropy"]
    mixed = share[:, None] * own + (1 - share[:, None]) * other
    expected = F.binary_cross_entropy_with_logits(logits[0, :6], mixed[0, :6]) + F.binary_cross_entropy_with_logits(
        logits[1], own[1]
    )
    torch.testing.assert_close(term.sum, expected)


def test_the_frame_of_a_drawn_picture_tells_right_from_wrong():
    said = task().decode({"logits": torch.tensor([[9.0, 0, 0, 0, 0, 0, 0]])})[0]
    image = torch.full((3, 20, 20), 255, dtype=torch.uint8)
    right = task().draw(Sample("a", image, {"label": Label(0)}), said)
    wrong = task().draw(Sample("a", image, {"label": Label(1)}), said)
    unjudged = task().draw(Sample("a", image), said)
    assert right[0, 0, 1] > right[0, 0, 0]
    assert wrong[0, 0, 0] > wrong[0, 0, 1]
    assert unjudged[0, 0].std() == 0
    assert wrong.shape[0] > right.shape[0]


def test_the_truth_is_not_needed_to_predict():
    assert task().annotations({}, 0) == {}
    assert task().annotations({"label": np.array([-1])}, 0) == {}
    assert task().annotations({"label": np.array([2])}, 0) == {"label": Label(2)}
