"""R3GAN: how its residual networks begin, and that no picture depends on another one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from visus.core.filters import BINOMIAL, double
from visus.models.describing import multiply_adds
from visus.models.generators.r3gan import Residual, build

SMALL = {"latent": 8, "width": 8, "widest": 16, "blocks": 1, "group": 4}


def pair(classes: int = 0, channels: int = 3, size: tuple[int, int] = (16, 16), **options: object) -> nn.Module:
    torch.manual_seed(0)
    return build(classes, channels, size, **{**SMALL, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 3, 16])
@pytest.mark.parametrize("size", [(16, 16), (64, 32), (28, 28)])
def test_it_makes_and_judges_pictures_of_any_size_and_number_of_channels(channels: int, size: tuple[int, int]) -> None:
    model = pair(3, channels, size)
    latents, labels = torch.randn(2, 8), torch.tensor([0, 2])
    images = model(latents, labels)
    assert images.shape == (2, channels, *size)
    assert model.discriminator(images, labels).shape == (2,)


@pytest.mark.parametrize("side", [16, 32, 64, 256, 1024])
def test_it_is_built_for_every_power_of_two(side: int) -> None:
    with torch.device("meta"):
        model = build(0, 3, (side, side))
    assert len(model.generator.levels) == len(model.discriminator.levels) == side.bit_length() - 2


def test_a_residual_block_adds_nothing_at_first() -> None:
    maps = torch.randn(2, 16, 6, 6)
    assert torch.equal(Residual(16, 8, 4)(maps), maps)


def test_the_first_weights_of_a_block_shrink_with_the_number_of_blocks() -> None:
    torch.manual_seed(0)
    few, many = Residual(64, 16, 1), Residual(64, 16, 16)
    for name in ("enter", "grouped"):
        ratio = getattr(many, name).weight.std() / getattr(few, name).weight.std()
        assert ratio.item() == pytest.approx(16**-0.25, rel=0.05)


def test_convolutions_are_grouped_and_wider_inside() -> None:
    block = Residual(32, 16, 1)
    assert block.grouped.weight.shape == (64, 16, 3, 3) and block.grouped.groups == 4


def test_nothing_is_normalised() -> None:
    kinds = {type(module).__name__ for module in pair(3).modules()}
    assert not {kind for kind in kinds if "Norm" in kind}


def test_at_first_a_picture_is_a_bilinear_doubling_of_weighed_maps() -> None:
    generator = pair(size=(16, 16), width=16).generator
    latents, labels = torch.randn(2, 8), torch.zeros(2, dtype=torch.int64)
    maps = generator.basis * generator.weights(latents)[:, :, None, None]
    torch.testing.assert_close(generator(latents, labels), generator.picture(double(double(maps, BINOMIAL), BINOMIAL)))


def test_no_picture_depends_on_another_one() -> None:
    model = pair(3).double()
    images, labels = torch.randn(6, 3, 16, 16, dtype=torch.float64), torch.arange(6) % 3
    whole = model.discriminator(images, labels)
    parts = [model.discriminator(images[at : at + 1], labels[at : at + 1]) for at in range(6)]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert model.discriminator.group == 1


def test_every_parameter_is_learned_from_after_the_first_step() -> None:
    model = pair(3)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Residual):
                nn.init.normal_(module.leave.weight, 0, 0.1)
    latents, labels = torch.randn(3, 8), torch.arange(3)
    model.discriminator(model(latents, labels), labels).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.abs().sum() > 0), name


def test_both_penalties_can_be_learned_from() -> None:
    model = pair(3)
    images = torch.randn(4, 3, 16, 16, requires_grad=True)
    (slopes,) = torch.autograd.grad(model.discriminator(images, torch.arange(4) % 3).sum(), images, create_graph=True)
    slopes.square().sum().backward()
    assert all(bool(torch.isfinite(each.grad).all()) for each in model.parameters() if each.grad is not None)


def test_styles_and_drawing_are_the_generator_in_two_steps() -> None:
    model = pair(3)
    latents, labels = torch.randn(3, 8), torch.arange(3)
    styles = model.generator.styles(latents, labels, 0.7)
    assert styles.shape == (3, 1, 16)
    assert torch.equal(model.generator.draw(styles), model.generator(latents, labels, truncation=0.7))


def test_half_precision_stays_finite() -> None:
    model = pair(3, size=(32, 32))
    with torch.autocast("cpu", torch.bfloat16):
        images = model(torch.randn(3, 8), torch.arange(3))
        logits = model.discriminator(images, torch.arange(3))
    logits.float().sum().backward()
    assert bool(torch.isfinite(images).all()) and bool(torch.isfinite(logits).all())


def test_its_cost_can_be_measured() -> None:
    assert multiply_adds(pair(3), 3, (16, 16)) > 0
