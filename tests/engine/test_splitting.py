"""Splitting a batch changes nothing: gradients of parts add up to the gradient of the whole."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import nn

from tests.engine.test_loop import Hungry, decisions
from tests.engine.toy import FEATURES, Points, Toy, network, recipe, train
from visus.core.errors import UsageError
from visus.engine import loop
from visus.engine.gradient import denominators, gradient
from visus.engine.splitting import Rows, uncovered


def gradient_of_step(micro: int, dtype: torch.dtype, folder: Path, model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the gradient of step 0 by parameter, before anything moves."""
    found = {}

    def stop(run: loop.Run) -> None:
        batch = run.train.batch(0)
        gradient(run, batch, denominators(run.task, batch, run.device), "model", 0)
        found.update({n: run.state.flat.view(run.state.flat.gradients, n).clone() for n in run.state.flat.place})
        run.state.progress.step = run.state.progress.evaluated = 10**9

    train(folder, recipe(micro=micro, steps=1), model=model, feed=Points(dtype=dtype), change=stop)
    return found


@pytest.mark.parametrize("micro", [1, 3, 8])
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_parts_give_the_gradient_of_the_whole_with_unequal_counts_and_dropout(micro, dtype, within, tmp_path):
    whole = gradient_of_step(0, dtype, tmp_path / "whole", network(dtype=dtype))
    parts = gradient_of_step(micro, dtype, tmp_path / "parts", network(dtype=dtype))
    for name, exact in whole.items():
        assert torch.linalg.vector_norm(parts[name] - exact) <= within * torch.linalg.vector_norm(exact), name


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


def test_the_smallest_group_of_a_task_is_never_split(tmp_path):
    class Grouped(Toy):
        group = 4

    run = train(tmp_path, recipe(micro=4, steps=2), task=Grouped())
    assert run.micro(0) == 4


class Drawing(nn.Module):
    """A network that draws random numbers where no mask can be cut from a whole one."""

    def __init__(self, draw):
        super().__init__()
        self.draw, self.linear = draw, nn.Linear(FEATURES, 3)

    def forward(self, points):
        return self.linear(self.draw(points))


def attention(points):
    heads = points[:, None, :, None]
    return F.scaled_dot_product_attention(heads, heads, heads, dropout_p=0.1)[:, 0, :, 0]


DRAWS = {
    "scaled_dot_product_attention": attention,
    "randn_like": lambda points: points + 0.1 * torch.randn_like(points),
    "rand": lambda points: points * torch.rand(len(points), 1),
    "normal_": lambda points: points + torch.empty_like(points).normal_(),
    "gumbel_softmax": F.gumbel_softmax,
    "dropout": lambda points: F.dropout(points.T, 0.3).T.contiguous()[:, :FEATURES],
}


def inexact(folder):
    return [d["why"] for d in decisions(folder) if d["kind"] == "splitting_is_inexact"]


@pytest.mark.parametrize("name", DRAWS)
def test_random_numbers_that_no_mask_covers_are_named_by_the_function_that_drew_them(name, tmp_path):
    train(tmp_path, recipe(micro=5, steps=2), model=Drawing(DRAWS[name]))
    assert len(inexact(tmp_path)) == 1
    assert name in inexact(tmp_path)[0]


def test_covered_masks_and_generators_of_its_own_are_no_reason_to_warn(tmp_path):
    own = torch.Generator().manual_seed(0)
    model = Drawing(lambda points: points + torch.rand(len(points), 1, generator=own))
    train(tmp_path / "own", recipe(micro=5, steps=1), model=model)
    train(tmp_path / "dropout", recipe(micro=5, steps=1), model=network(dropout=0.5))
    assert inexact(tmp_path / "own") == inexact(tmp_path / "dropout") == []


def test_an_unsplit_run_is_exact_and_says_nothing(tmp_path):
    train(tmp_path, recipe(steps=2), model=Drawing(DRAWS["rand"]))
    assert inexact(tmp_path) == []


def test_the_note_also_comes_when_want_of_memory_splits_a_batch_late_and_only_once(tmp_path):
    class Late(Hungry):
        def losses(self, model, batch, player, step):
            return super().losses(model, batch, player, step) if step > 3 else Toy.losses(self, model, batch, player, 0)

    train(tmp_path, recipe(steps=7), model=network(norm=True), task=Late(5))
    told = [d for d in decisions(tmp_path) if d["kind"] == "splitting_is_inexact"]
    assert [d["step"] for d in told] == [4]
    assert "batch normalisation (1 layers, first 1)" in told[0]["why"]


def test_a_resumed_run_does_not_write_the_note_again(tmp_path):
    settings = recipe(micro=5)
    train(
        tmp_path, settings, model=network(norm=True), change=lambda run: setattr(run.horizon, "ended", lambda s: s > 3)
    )
    train(tmp_path, settings, model=network(norm=True))
    assert len(inexact(tmp_path)) == 1


def test_no_part_is_a_single_row_that_batch_normalisation_could_not_learn_from(tmp_path):
    run = train(tmp_path, recipe(batch=13, micro=4), model=network(norm=True), feed=Points(batch=13))
    assert run.state.progress.finished


def test_a_single_row_that_batch_normalisation_cannot_learn_from_is_a_named_error(tmp_path):
    with pytest.raises(UsageError) as error:
        train(tmp_path, recipe(micro=1), model=network(norm=True))
    assert error.value.code == "FIT-010"
    assert "--set micro" in error.value.fix
