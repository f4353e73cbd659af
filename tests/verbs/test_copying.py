"""A generator that shows its training pictures again is found out, and its pictures stand beside those they are of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.verbs.examples import write_splits
from tests.verbs.test_generating import train
from torch import nn

import visus
from visus.data.reading import open_data
from visus.verbs.copying import BESIDE, MADE, TITLE, copying, looks

NAME = "authenticity (random convolutions, seed 0)"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return write_splits(tmp_path_factory.mktemp("data") / "digits", train=20, val=6, test=8)


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    return train(digits, tmp_path_factory.mktemp("runs") / "run")


class Copier(nn.Module):
    """A generator that makes its training pictures again, but for a level here and there."""

    def __init__(self, pictures):
        super().__init__()
        self.latent, self.noise_shapes, self.pictures = 8, (), pictures
        self.rest = nn.Parameter(torch.zeros(1))

    def forward(self, latents, labels, *, truncation=1.0, noise=None):
        return (self.pictures[torch.arange(len(latents))] + 0.01 * torch.sign(latents[:, :1, None, None])).clamp(-1, 1)


def test_a_budget_keeps_time_for_as_many_pictures_as_are_looked_at(run, digits):
    model, data = visus.load(run.best), open_data(digits, run.recipe.data, seed=run.recipe.seed)
    found = copying(model.task, model.network, data, model.recipe, model.device())
    assert looks(model.task, data) == found.looked + min(MADE, found.there)


def test_copies_are_found_out_and_stand_beside_what_they_are_of(run, digits):
    model, data = visus.load(run.best), open_data(digits, run.recipe.data, seed=run.recipe.seed)
    files = [data.images.read(i) for i in data.indices("train").tolist()]
    pictures = torch.from_numpy(np.stack(files)).float().view(len(files), 1, 16, 16) / 127.5 - 1
    pair = nn.Module()
    pair.generator, pair.discriminator = Copier(pictures), lambda images, labels: images.flatten(1).mean(1)
    found = copying(model.task, pair, data, model.recipe, model.device())
    assert found.scores[NAME].value == 0
    assert found.looked == found.there == len(files)
    assert all(picture.pixels.shape == (16, (1 + BESIDE) * 18 - 2, 3) for picture in found.pictures)
    first = found.pictures[0].pixels.astype(int)
    assert np.abs(first[:, :16] - first[:, 18:34]).max() <= 3


def test_the_report_and_an_evaluation_say_how_near_generated_pictures_lie_to_training_pictures(run, digits):
    assert TITLE in run.report.read_text(encoding="utf-8")
    ((name, score),) = visus.evaluate(run.best, digits).figures[-1].rows
    assert name == NAME
    assert 0 <= score.low <= score.value <= score.high <= 1
    assert score.n == 60


def test_an_evaluation_by_a_classifier_bears_its_name_and_counts_the_classes_it_sees(run, digits, tmp_path):
    small = {"model.name": "cnn", "model.options.widths": [8, 16], "input.size": 16, "resamples": 10}
    classifier = visus.train(digits, out=tmp_path / "classifier", steps=2, set={"task": "classify", **small})
    scores = visus.evaluate(run.best, digits, classifier=classifier.best).scores
    assert "class_accuracy" in scores
    assert any(name.startswith("fid (cnn of digits, ") for name in scores)
    assert not any("random convolutions" in name for name in scores)
