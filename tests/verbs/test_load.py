"""Loading a model file: it needs nothing but itself, and a damaged one is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import visus
from visus.core.errors import DataError, IntegrityError
from visus.core.modelfile import read_model, write_model


def test_a_model_file_needs_nothing_but_itself(run, tmp_path, monkeypatch):
    (tmp_path / "elsewhere.safetensors").write_bytes(run.best.read_bytes())
    monkeypatch.chdir(tmp_path)
    model = visus.load("elsewhere.safetensors")
    assert model.classes == ("one", "six", "two")
    assert len(model.predict([np.zeros((16, 16), np.uint8)])) == 1


def test_the_network_is_a_plain_module_in_eval_mode(run):
    network = visus.load(run.best).network
    assert not network.training
    with torch.no_grad():
        assert network(torch.zeros(2, 1, 16, 16)).shape == (2, 3)


def test_the_answers_are_divided_by_the_temperature_of_the_card(run):
    model = visus.load(run.best)
    picture = np.full((16, 16), 90, np.uint8)
    with torch.no_grad():
        logits = model.network(torch.full((1, 1, 16, 16), 90 / 255).sub(0.5).div(0.5))
    scores = (logits.double() / model.card.calibration["temperature"]).softmax(1)
    (said,) = model.predict([picture])
    assert said.score == pytest.approx(scores.max().item(), rel=1e-4)


def test_a_file_that_is_not_there_says_where_models_are(tmp_path):
    with pytest.raises(DataError) as caught:
        visus.load(tmp_path / "none.safetensors")
    assert caught.value.fix == "a run leaves RUN/best.safetensors"


@pytest.mark.parametrize("at", [0.01, 0.3, 0.999])
def test_a_flipped_bit_is_found_wherever_it_is(run, tmp_path, at):
    whole = bytearray(run.best.read_bytes())
    whole[int(at * len(whole))] ^= 4
    (tmp_path / "rotten.safetensors").write_bytes(whole)
    with pytest.raises(IntegrityError) as caught:
        visus.load(tmp_path / "rotten.safetensors")
    assert caught.value.exit == 6


def test_a_model_file_with_a_setting_of_another_visus_is_named_with_it(run, tmp_path):
    tensors, card = read_model(run.best)
    write_model(tmp_path / "old.safetensors", tensors, card.model_copy(update={"recipe": {"detect.tiles": 640}}))
    with pytest.raises(IntegrityError, match=r"old\.safetensors: it was trained by another visus .*'detect\.tiles'"):
        visus.load(tmp_path / "old.safetensors")


def test_a_truncated_file_is_found(run, tmp_path):
    (tmp_path / "torn.safetensors").write_bytes(run.best.read_bytes()[:-10])
    with pytest.raises(IntegrityError):
        visus.load(tmp_path / "torn.safetensors")


def test_what_predicts_answers_as_the_network_does_and_leaves_it_as_it_was_learned(run):
    model = visus.load(run.best)
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        folded, whole = model.asked(images).softmax(1), model.network(images).softmax(1)
    torch.testing.assert_close(folded, whole, rtol=0, atol=1e-6)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in model.asked.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.network.state_dict().items())
