from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from visus.core.errors import UsageError
from visus.core.recipe import ModelSettings
from visus.models.building import build
from visus.models.fitting import fit
from visus.models.heads import for_channels


def small(outputs: int = 3, channels: int = 3, weights: str = "none", **options: object) -> nn.Module:
    settings = ModelSettings(name="cnn", weights=weights, options={"widths": [4, 8], **options})
    return build(settings, outputs, channels, (8, 8), seed=5)


def trained() -> dict[str, torch.Tensor]:
    return {key: torch.full_like(tensor, 2) for key, tensor in small().state_dict().items()}


def test_weights_of_the_same_network_are_taken_whole_and_nothing_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_file(trained(), tmp_path / "weights.safetensors")
    model = small(weights=str(tmp_path / "weights.safetensors"))
    assert all(torch.equal(tensor, trained()[key]) for key, tensor in model.state_dict().items())
    assert not caplog.records


def test_a_head_of_another_shape_starts_fresh_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_file(trained(), tmp_path / "weights.safetensors")
    with caplog.at_level(logging.WARNING):
        model = small(outputs=7, weights=str(tmp_path / "weights.safetensors"))
    assert torch.equal(model.head.weight, small(outputs=7).head.weight)  # type: ignore[union-attr, arg-type]
    assert torch.equal(model.state_dict()["blocks.1.0.weight"], trained()["blocks.1.0.weight"])
    assert "the head head starts fresh (the weights have 3 outputs, here are 7)" in caplog.text


def test_a_first_layer_for_three_channels_reads_one_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    model = small(channels=1)
    with caplog.at_level(logging.WARNING):
        fit(model, trained(), "weights")
    assert torch.equal(model.state_dict()["blocks.0.0.weight"], torch.full((4, 1, 3, 3), 6.0))
    assert "made for 3 channels, it now reads 1" in caplog.text


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 7])
def test_a_layer_for_other_channels_answers_a_flat_picture_as_before(channels: int) -> None:
    weight = torch.randn(5, 3, 3, 3)
    flat = weight.mean(1).sum((1, 2))
    adapted = for_channels(weight.mean(1, keepdim=True).expand(-1, 3, -1, -1), channels)
    torch.testing.assert_close(adapted.sum((1, 2, 3)), 3 * flat)


def test_weights_of_another_network_are_refused_with_counts_and_the_nearest_name() -> None:
    tensors = {key.replace("blocks.", "block."): tensor for key, tensor in trained().items()}
    with pytest.raises(UsageError) as caught:
        fit(small(), tensors, "weights.pt")
    assert "2 of its 14 tensors are there, 10 are wrong" in str(caught.value)
    assert "nearest there: block.0.0.weight (4, 3, 3, 3)" in str(caught.value)


def test_a_trunk_of_another_width_is_refused_with_both_shapes() -> None:
    with pytest.raises(UsageError, match="does not fit PlainNetwork") as caught:
        fit(build(ModelSettings(name="cnn", options={"widths": [4, 9]}), 3, 3, (8, 8)), trained(), "weights.pt")
    assert "blocks.1.0.weight is (8, 4, 3, 3) in the file, (9, 4, 3, 3) in the network" in str(caught.value)


def test_tensors_beyond_the_network_are_left_out_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        fit(small(), {**trained(), "aux.weight": torch.ones(2, 2)}, "weights.pt")
    assert "1 tensors were left out (aux.weight)" in caplog.text


def test_a_whole_fit_refuses_what_is_left_over() -> None:
    with pytest.raises(UsageError, match="does not fit"):
        fit(small(), {**trained(), "aux.weight": torch.ones(2, 2)}, "weights.pt", whole=True)


def test_a_wrapper_around_the_network_is_looked_through() -> None:
    model = small()
    fit(model, {f"backbone.{key}": tensor for key, tensor in trained().items()}, "weights.pt")
    assert torch.equal(model.state_dict()["head.bias"], torch.full((3,), 2.0))


def test_weights_that_are_not_finite_are_refused_by_name() -> None:
    tensors = trained()
    tensors["blocks.1.0.weight"][0, 0, 0, 0] = torch.nan
    with pytest.raises(UsageError, match=r"blocks\.1\.0\.weight holds a number that is not finite"):
        fit(small(), tensors, "weights.pt")


def test_files_older_than_the_batch_counter_fit() -> None:
    fit(small(), {key: t for key, t in trained().items() if "num_batches" not in key}, "weights.pt", whole=True)


def test_half_precision_weights_become_float32() -> None:
    model = small()
    fit(model, {key: t.half() if t.is_floating_point() else t for key, t in trained().items()}, "weights.pt")
    assert {t.dtype for key, t in model.state_dict().items() if "num_batches" not in key} == {torch.float32}
