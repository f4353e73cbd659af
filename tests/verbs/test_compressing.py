"""Candidates beside the weights they are made of: how sure a drop is, and what the model that is given keeps."""

from __future__ import annotations

import pytest
import torch
from tests.verbs.examples import TINY, train
from torch import nn

import visus
from visus.core.errors import DivergedError, UsageError
from visus.core.modelfile import read_card
from visus.metrics.compare import Difference
from visus.verbs.compressing import _no_surer
from visus.verbs.load import load


@pytest.mark.parametrize("score", ["accuracy", "miou", "map"])
def test_pictures_of_which_none_changed_leave_room_for_those_that_were_not_seen(score):
    alike = _no_surer(Difference(score, 0.9, 0.9, 0.0, 0.0, 0.0, 60))
    assert (alike.low, alike.high) == (pytest.approx(-0.0596, abs=1e-4), pytest.approx(0.0596, abs=1e-4))


def test_one_picture_that_changed_for_the_better_leaves_room_for_others_that_do_not():
    assert _no_surer(Difference("accuracy", 0.9, 0.9 + 1 / 60, 1 / 60, 0.0, 0.05, 60)).low < -0.04


@pytest.mark.parametrize("score", ["accuracy", "rmse"])
def test_an_interval_that_is_wide_already_is_as_it_was(score):
    wide = Difference(score, 0.9, 0.8, -0.1, -0.2, 0.0, 60)
    assert _no_surer(wide) == wide


def test_a_score_that_moves_with_every_picture_is_as_sure_as_resamples_say():
    moved = Difference("miou", 0.7, 0.699, -0.001, -0.002, 0.0005, 60)
    assert _no_surer(moved) == moved


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


@pytest.mark.parametrize("pictures", [-1, 0, 7])
def test_fewer_pictures_than_can_be_judged_by_are_refused(pictures, run):
    with pytest.raises(UsageError, match="COMPRESS-008"):
        visus.compress(run.folder, pictures=pictures)
