"""Splitting a batch changes nothing: gradients of parts add up to the gradient of the whole."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import nn

from tests.engine.toy import FEATURES, Points, Toy, network, recipe, train
from visus.engine import loop
from visus.engine.splitting import Rows, uncovered


def gradient_of_step(micro: int, dtype: torch.dtype, folder: Path, model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the gradient of step 0 by parameter, before anything moves."""
    found = {}

    def stop(run: loop.Run) -> None:
        batch = run.train.batch(0)
        loop._gradient(run, batch, loop._counts(run, batch), "model", 0)
        found.update({n: run.state.flat.view(run.state.flat.gradients, n).clone() for n in run.state.flat.place})
        run.state.progress.step = run.state.progress.evaluated = 10**9

    train(folder, recipe(micro=micro, steps=1), model=model, feed=Points(dtype=dtype), change=stop)
    return found


@pytest.mark.parametrize("micro", [1, 3, 8])
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_parts_give_the_gradient_of_the_whole_with_unequal_counts_and_dropout(micro, dtype, within, tmp_path):
    whole = gradient_of_step(0, dtype, tmp_path / "whole", network(dtype=dtype))
    parts = gradient_of_step(micro, dtype, tmp_path / "parts", network(dtype=dtype))
    for name, gradient in whole.items():
        assert torch.linalg.vector_norm(parts[name] - gradient) <= within * torch.linalg.vector_norm(gradient), name


def test_a_mean_of_means_would_be_seen(tmp_path):
    batch = Points().batch(0)
    known = [(part.targets["label"] >= 0).sum().item() for part in batch.split(3)]
    assert len(set(known)) > 1  # equal counts could not tell a sum from a mean of means


@pytest.mark.parametrize(
    "layer",
    [nn.Dropout(0.4), nn.Dropout2d(0.4), nn.AlphaDropout(0.3), nn.FeatureAlphaDropout(0.3), DropPath(0.5)],
    ids=lambda layer: type(layer).__name__,
)
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_masks_of_parts_are_rows_of_the_whole_mask(layer, format):
    pixels = torch.rand(7, 8, 6, 5).add(0.5).to(memory_format=format)
    layer.train()
    torch.manual_seed(3)
    whole = layer(pixels)
    for start, stop in ((0, 2), (2, 5), (5, 7)):
        torch.manual_seed(3)
        with Rows(stop - start, start, 7):
            assert torch.equal(layer(pixels[start:stop]), whole[start:stop])


def test_windows_of_a_part_are_cut_in_proportion():
    tokens = torch.rand(12, 4, 3)  # four pictures of three windows
    torch.manual_seed(0)
    whole = F.dropout(tokens, 0.5)
    torch.manual_seed(0)
    with Rows(2, 1, 4):
        assert torch.equal(F.dropout(tokens[3:9], 0.5), whole[3:9])


def test_evaluation_draws_nothing():
    before = torch.get_rng_state()
    with Rows(2, 0, 4):
        F.dropout(torch.ones(2, FEATURES), 0.5, training=False)
    assert torch.equal(before, torch.get_rng_state())


def test_what_makes_splitting_inexact_is_named():
    assert uncovered(network()) == []
    assert "batch normalisation (1 layers, first 1)" in uncovered(network(norm=True).train())[0]
    assert "attention dropout" in uncovered(nn.MultiheadAttention(4, 2, dropout=0.1).train())[0]


def test_the_smallest_group_of_a_task_is_never_split(tmp_path):
    class Grouped(Toy):
        group = 4

    run = train(tmp_path, recipe(micro=4, steps=2), task=Grouped())
    assert run.micro(0) == 4
