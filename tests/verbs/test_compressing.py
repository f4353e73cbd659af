"""Candidates beside the weights they are made of: how sure a drop is, and what the model that is given keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from tests.verbs.examples import TINY, train
from torch import nn

import visus
from visus.core.errors import DivergedError, UsageError
from visus.core.modelfile import read_card
from visus.core.task import Batch
from visus.metrics.bootstrap import interval, resamples_of
from visus.metrics.classification import Classification
from visus.metrics.compare import Difference, paired
from visus.verbs.compress import chance_of
from visus.verbs.compressing import compared, widened
from visus.verbs.load import load


def together(n):
    """Return what is behind a score of which all of n items are one part."""
    return np.array([[float(n)]])


@pytest.mark.parametrize("score", ["pixel_accuracy", "miou", "map", "r2"])
def test_pictures_of_which_none_changed_leave_room_for_those_that_were_not_seen(score):
    alike = widened(Difference(score, 0.9, 0.9, 0.0, 0.0, 0.0, 60), 0.05, together(60))
    assert (alike.low, alike.high) == (pytest.approx(-0.0596, abs=1e-4), pytest.approx(0.0596, abs=1e-4))


@pytest.mark.parametrize("score", ["rmse", "mae", "median_absolute_error/width"])
def test_an_error_that_did_not_move_may_on_others_by_as_large_a_part_of_it(score):
    alike = widened(Difference(score, 20.0, 20.0, 0.0, -1e-9, 1e-9, 60), 0.05, together(60))
    assert (alike.low, alike.high) == (pytest.approx(-1.19, abs=0.01), pytest.approx(1.19, abs=0.01))


@pytest.mark.parametrize("score", ["miou", "rmse"])
def test_an_interval_of_many_pictures_that_is_wide_already_is_as_it_was(score):
    wide = Difference(score, 0.9, 0.8, -0.1, -0.2, 0.0, 100_000)
    same = widened(wide, 0.05, together(100_000))
    assert (same.low, same.high) == (pytest.approx(-0.2, abs=5e-5), pytest.approx(0.0, abs=5e-5))


def test_the_interval_of_few_pictures_is_that_of_student():
    numbers = np.random.default_rng(0).normal(0, 1, 8)
    mean, deviation = numbers.mean(), numbers.std()  # of resamples: over n, not n - 1
    reach = 1.959964 * deviation / np.sqrt(8)
    found = widened(Difference("miou", 0.0, mean, mean, mean - reach, mean + reach, 8), 0.05, together(np.inf))
    right = stats.t.interval(0.95, 7, mean, stats.sem(numbers))
    assert (found.low, found.high) == pytest.approx(right)


def named(truth, said, classes):
    """Return the metric of a model that says some classes of pictures, sure of each."""
    metric, truth = Classification([f"class {k}" for k in range(classes)]), torch.as_tensor(truth)
    batch = Batch((truth,), {"label": truth}, ("",) * len(truth), torch.arange(len(truth)), truth)
    metric.update({"logits": 10.0 * torch.nn.functional.one_hot(torch.as_tensor(said), classes)}, batch)
    return metric


CLASSES = np.repeat([0, 1, 2], [200, 150, 50])


def losing(lost):
    """Return the metrics of a perfect model, and of one that calls some pictures of the rarest class another one."""
    said = CLASSES.copy()
    said[len(said) - lost :] = 0
    return named(CLASSES, CLASSES, 3), named(CLASSES, said, 3)


@pytest.mark.parametrize("chance", [0.05, 0.001])
@pytest.mark.parametrize(
    ("score", "loss"),
    [
        ("accuracy", lambda rate: rate / 8),
        ("balanced_accuracy", lambda rate: rate / 3),
        ("precision_macro", lambda rate: 50 * rate / (200 + 50 * rate) / 3),
        ("f1_macro", lambda rate: (rate / (2 - rate) + 50 * rate / (400 + 50 * rate)) / 3),
    ],
)
def test_of_models_that_only_lose_the_loss_is_missed_by_no_larger_chance_than_promised(score, loss, chance):
    ends = np.array([compared(*losing(lost), score, chance).low for lost in range(16)])
    assert (np.diff(ends) < 0).all()  # one more that is lost moves it down, from the first on
    for rate in np.linspace(0, 0.2, 81):
        pictures, share = (400, rate / 8) if score == "accuracy" else (50, rate)
        missed = stats.binom.pmf(np.arange(16), pictures, share)[-loss(rate) < ends - 1e-9].sum()
        assert missed <= chance / 2 + 1e-12


@pytest.mark.parametrize("chance", [0.05, 0.025, 0.01, 0.001, 1e-5])
def test_resamples_and_what_is_unseen_together_reach_as_far_as_the_exact_limit_of_few_lost(chance):
    n = 400
    for lost in range(12):
        gains = -(np.arange(n) < lost).astype(float)
        draws = np.concatenate([gains @ weights / n for weights in resamples_of(n, 1000)])
        low, high = map(float, interval(np.float64(-lost / n), draws))
        found = widened(Difference("miou", 1.0, 1 - lost / n, -lost / n, low, high, n), chance, together(n))
        assert found.low <= -stats.binomtest(lost, n).proportion_ci(1 - chance, method="exact").high + 1e-9


def test_a_mean_over_classes_hangs_on_the_pictures_of_the_rarest():
    whole, _ = losing(0)
    assert whole.behind("balanced_accuracy").tolist() == whole.behind("recall_macro").tolist() == [[50, np.inf, np.inf]]
    assert whole.behind("f1_macro").tolist() == [[50, 100, np.inf]]  # its own, and one that it is taken for
    assert whole.behind("log_loss").tolist() == [[400]]


def drawn(generator, pictures, before, after):
    """Return the metrics of two models, each right about a picture by a chance of its own."""
    right = [torch.rand(pictures, generator=generator) < chance for chance in (before, after)]
    return [named(torch.zeros(pictures, dtype=torch.int64), (~each).long(), 2) for each in right]


def test_of_many_forms_that_are_all_a_little_too_bad_hardly_ever_one_is_kept_by_luck():
    generator, allowed = torch.Generator().manual_seed(0), 0.02
    searches = kept = plain = 0
    for _ in range(60):
        forms = [drawn(generator, 400, 0.9, 0.9 - allowed) for _ in range(8)]
        searches += 1
        kept += any(compared(*one, "accuracy", chance_of(k, 1)).low >= -allowed for k, one in enumerate(forms, 1))
        plain += any(paired(*one, "accuracy", 200).low >= -allowed for one in forms)
    assert kept / searches <= 0.05 < plain / searches


class Moody(nn.Module):
    """A network that says something else where it is exported."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, classes))

    def forward(self, images):
        said = self.body(images)
        return said.roll(1, 1) if torch.compiler.is_exporting() else said


def test_a_candidate_is_compared_with_the_weights_and_not_with_what_became_of_them(photos, tmp_path):
    settings = {key: value for key, value in TINY.items() if not key.startswith("model.")} | {"input.size": 16}
    run = visus.train(photos, model=Moody(), out=tmp_path / "run", steps=40, set=settings)
    model = load(run.best, model=Moody(), precision="float32")
    made = visus.compress(model, method="weight_only", target="size", max_drop=10, data=photos,
                          out=tmp_path / "a.onnx")  # fmt: skip
    right = visus.evaluate(model, photos, split="val").scores["accuracy"].value
    assert made.whole.score.value == right > 0.8
    assert made.kept is None
    assert made.best.score.value < 0.3


def test_a_model_that_is_given_stays_as_it_was(run, photos, tmp_path):
    model = load(run.folder)
    model.network.bfloat16()
    visus.compress(model, method="weight_only", target="size", data=photos, out=tmp_path / "a.onnx")
    assert {tensor.dtype for tensor in model.network.parameters()} == {torch.bfloat16}


@pytest.mark.usefixtures("exported_once")
def test_a_method_whose_training_diverges_is_left_out_and_the_others_count(photos, tmp_path):
    run = train(photos, tmp_path / "run", steps=2, settings={"model.options.widths": [32, 64]})
    model = load(run.folder, precision="float32")
    model.recipe = model.recipe.model_copy(update={"optim": model.recipe.optim.model_copy(update={"lr": 1e38})})
    made = visus.compress(model, target="size", max_drop=1000, steps=30, out=tmp_path / "a.onnx")
    assert any(note.startswith("qat was left out") for note in made.notes)
    assert {one.method for one in made.tried} == {"int8", "weight_only"}
    with pytest.raises(DivergedError) as caught:
        visus.compress(model, method="qat", steps=30, out=tmp_path / "b.onnx")
    assert caught.value.done == "nothing was written"  # the folder that it trained in is gone


def test_what_decodes_a_taught_network_is_fitted_to_it_and_not_to_its_teacher(photos, tmp_path):
    run = train(photos, tmp_path / "run", settings={"model.options.widths": [64, 96]})
    made = visus.compress(run.folder, method="distill", target="size", max_drop=100, steps=5,
                          out=tmp_path / "a.safetensors")  # fmt: skip
    own = visus.evaluate(load(made.path, precision="float32"), photos, split="val").metric.calibration()
    assert read_card(made.path).calibration == pytest.approx(own, rel=1e-3)
    assert own["temperature"] != pytest.approx(read_card(run.best).calibration["temperature"], rel=1e-3)


def test_what_decodes_a_network_in_whole_numbers_is_fitted_to_it_in_its_card_and_in_its_graph(photos, tmp_path):
    run = train(photos, tmp_path / "run", settings={"model.options.widths": [32, 64]})
    made = visus.compress(run.folder, method="int8", target="size", max_drop=100, out=tmp_path / "a.onnx")
    own = visus.evaluate(made.path, photos, split="val").metric.calibration()["temperature"]
    assert own != pytest.approx(read_card(run.best).calibration["temperature"], rel=1e-4)
    file = load(made.path)
    assert file.card.calibration["temperature"] == pytest.approx(own, rel=1e-6)
    said = file.network.runtime(torch.randint(0, 256, (1, 16, 16, 1), dtype=torch.uint8))
    torch.testing.assert_close(said["probabilities"], (said["logits"] / own).softmax(1))


@pytest.mark.parametrize("pictures", [-1, 0, 7])
def test_fewer_pictures_than_can_be_judged_by_are_refused(pictures, run):
    with pytest.raises(UsageError, match="COMPRESS-008"):
        visus.compress(run.folder, pictures=pictures)
