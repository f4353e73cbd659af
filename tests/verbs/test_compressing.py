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
from visus.metrics.classification import Classification
from visus.metrics.compare import Difference, paired
from visus.verbs.compress import chance_of
from visus.verbs.compressing import widened
from visus.verbs.load import load


@pytest.mark.parametrize("score", ["accuracy", "miou", "map", "r2"])
def test_pictures_of_which_none_changed_leave_room_for_those_that_were_not_seen(score):
    alike = widened(Difference(score, 0.9, 0.9, 0.0, 0.0, 0.0, 60), 0.05)
    assert (alike.low, alike.high) == (pytest.approx(-0.0596, abs=1e-4), pytest.approx(0.0596, abs=1e-4))


@pytest.mark.parametrize("score", ["rmse", "mae", "median_absolute_error/width"])
def test_an_error_that_did_not_move_may_on_others_by_as_large_a_part_of_it(score):
    alike = widened(Difference(score, 20.0, 20.0, 0.0, -1e-9, 1e-9, 60), 0.05)
    assert (alike.low, alike.high) == (pytest.approx(-1.19, abs=0.01), pytest.approx(1.19, abs=0.01))


def test_one_picture_that_changed_for_the_better_leaves_room_for_others_that_do_not():
    assert widened(Difference("accuracy", 0.9, 0.9 + 1 / 60, 1 / 60, 0.0, 0.05, 60), 0.05).low < -0.04


@pytest.mark.parametrize("score", ["accuracy", "miou", "rmse"])
def test_an_interval_of_many_pictures_that_is_wide_already_is_as_it_was(score):
    wide = Difference(score, 0.9, 0.8, -0.1, -0.2, 0.0, 100_000)
    same = widened(wide, 0.05)
    assert (same.low, same.high) == (pytest.approx(-0.2, abs=1e-5), pytest.approx(0.0, abs=1e-5))


def test_the_interval_of_few_pictures_is_that_of_student():
    numbers = np.random.default_rng(0).normal(0, 1, 8)
    mean, deviation = numbers.mean(), numbers.std()  # of resamples: over n, not n - 1
    reach = 1.959964 * deviation / np.sqrt(8)
    found = widened(Difference("miou", 0.0, mean, mean, mean - reach, mean + reach, 8), 0.05)
    right = stats.t.interval(0.95, 7, mean, stats.sem(numbers))
    assert (found.low, found.high) == pytest.approx(right)


def drawn(generator, pictures, before, after):
    """Return the metrics of two models, each right about a picture by a chance of its own."""
    made = []
    for chance in (before, after):
        right = torch.rand(pictures, generator=generator) < chance
        logits = torch.stack([right.float(), 1 - right.float()], 1)
        metric = Classification(("one", "two"))
        count = torch.zeros(pictures, dtype=torch.int64)
        batch = Batch((logits,), {"label": count}, ("",) * pictures, torch.arange(pictures), count)
        metric.update({"logits": logits}, batch)
        made.append(metric)
    return made


def test_of_many_forms_that_are_all_a_little_too_bad_hardly_ever_one_is_kept_by_luck():
    generator, allowed = torch.Generator().manual_seed(0), 0.02
    searches = kept = plain = 0
    for _ in range(60):
        changes = [paired(*drawn(generator, 400, 0.9, 0.9 - allowed), "accuracy", 200) for _ in range(8)]
        searches += 1
        kept += any(widened(one, chance_of(k)).low >= -allowed for k, one in enumerate(changes, 1))
        plain += any(one.low >= -allowed for one in changes)
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
