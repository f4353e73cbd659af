"""The same commands on a CUDA device; skipped, with the reason, where there is none."""

import pytest
import torch
from tests.verbs.examples import TINY, write_splits
from torch import nn

import visus
from visus.core.errors import UsageError

pytestmark = pytest.mark.device

ON_IT = {**TINY, "device": "cuda"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_splits(tmp_path_factory.mktemp("data") / "photos", train=60, val=20, test=30)


def weights(run):
    return visus.load(run.best).network.state_dict()


def test_a_run_learns_there_what_it_learns_here(photos, tmp_path):
    run = visus.train(photos, steps=30, set=ON_IT, out=tmp_path / "run")
    assert run.recipe.device == "cuda" and run.scores["accuracy"].value > 0.9
    said = visus.predict(run.best, photos / "test" / "six")
    assert len(said.files) == 30


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_recipe_twice_gives_the_same_bits(photos, tmp_path, precision):
    a, b = (visus.train(photos, steps=8, set={**ON_IT, "precision": precision}, out=tmp_path / name) for name in "ab")
    assert all(torch.equal(tensor, weights(b)[name]) for name, tensor in weights(a).items())


def test_a_stopped_run_goes_on_bit_for_bit(photos, tmp_path):
    whole = visus.train(photos, steps=8, set=ON_IT, out=tmp_path / "whole")

    def stop(row):
        if row.get("step") == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        visus.train(photos, steps=8, set={**ON_IT, "save_every": 0.0}, out=tmp_path / "cut", watch=stop)
    resumed = visus.resume(tmp_path / "cut")
    assert all(torch.equal(tensor, weights(resumed)[name]) for name, tensor in weights(whole).items())


def test_a_layer_without_a_deterministic_kernel_is_named_and_can_be_allowed(photos, tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveMaxPool2d(3), nn.Flatten(), nn.Linear(72, 3))
    settings = {key: value for key, value in ON_IT.items() if not key.startswith("model.")}
    with pytest.raises(UsageError) as told:
        visus.train(photos, model=net, steps=2, set=settings, out=tmp_path / "strict")
    assert told.value.code == "FIT-011" and "deterministic=false" in told.value.fix
    run = visus.train(photos, model=net, steps=2, set={**settings, "deterministic": False}, out=tmp_path / "loose")
    assert run.steps == 2
