"""StyleGAN2: what its paper says of styles, noise, sums of pictures and groups, on networks small enough for a test."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from visus.core.filters import BINOMIAL, double
from visus.models.describing import multiply_adds
from visus.models.generators.stylegan2 import StyleGAN2Generator, build, spread

SMALL = {"latent": 16, "style": 12, "depth": 2, "width": 8, "widest": 16}


def pair(classes: int = 0, channels: int = 3, size: tuple[int, int] = (16, 16), **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(classes, channels, size, **{**SMALL, **options})  # type: ignore[arg-type]


def lively(model: torch.nn.Module) -> torch.nn.Module:
    """Let every layer do something: strengths of noise and classes' opinions begin at nothing."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("strength", "bias")):
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def asked(model: torch.nn.Module, n: int = 4, classes: int = 1) -> tuple[Tensor, Tensor]:
    return torch.randn(n, model.generator.latent), torch.arange(n) % classes


@pytest.mark.parametrize("channels", [1, 3, 16])
@pytest.mark.parametrize("size", [(16, 16), (64, 32), (28, 28)])
@pytest.mark.parametrize("growth", ["skip", "residual"])
def test_it_makes_and_judges_pictures_of_any_size_and_number_of_channels(
    channels: int, size: tuple[int, int], growth: str
) -> None:
    model = pair(3, channels, size, generator_growth=growth, discriminator_growth=growth)
    latents, labels = asked(model, 2, 3)
    images = model(latents, labels)
    assert images.shape == (2, channels, *size)
    assert model.discriminator(images, labels).shape == (2,)


@pytest.mark.parametrize("side", [16, 32, 64, 128, 256, 512, 1024])
def test_it_is_built_for_every_power_of_two(side: int) -> None:
    with torch.device("meta"):
        model = build(0, 3, (side, side))
    levels = side.bit_length() - 2
    assert len(model.generator.levels) == levels and len(model.discriminator.levels) == levels - 1
    assert model.generator.noise_shapes[0] == (4, 4) and model.generator.noise_shapes[-1] == (side, side)
    assert len(model.generator.noise_shapes) == 2 * levels - 1


def test_configuration_f_has_the_papers_number_of_parameters() -> None:
    """Table 1 of the paper counts 30 million in the generator at 1,024 pixels, and 29 million in the discriminator."""
    with torch.device("meta"):
        model = build(0, 3, (1024, 1024))
    generator, discriminator = (
        sum(each.numel() for each in part.parameters()) for part in (model.generator, model.discriminator)
    )
    assert 29.5e6 < generator < 30.5e6 and 28.5e6 < discriminator < 29.5e6


@pytest.mark.parametrize("growth", ["skip", "residual"])
def test_every_parameter_is_learned_from(growth: str) -> None:
    model = pair(3, generator_growth=growth, discriminator_growth=growth)
    latents, labels = asked(model, 4, 3)
    model.discriminator(model(latents, labels), labels).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), name
        assert bool(parameter.grad.abs().sum() > 0), name


def test_a_picture_is_the_sum_of_the_doubled_pictures_of_every_size() -> None:
    model = lively(pair(size=(32, 32)))
    parts: list[Tensor] = []
    for level in model.generator.levels:
        level.picture.register_forward_hook(lambda _, __, found: parts.append(found))
    whole = model(*asked(model))
    total = parts[0]
    for part in parts[1:]:
        total = double(total, BINOMIAL) + part
    assert [part.shape[-1] for part in parts] == [4, 8, 16, 32]
    torch.testing.assert_close(whole, total)


def test_a_residual_generator_makes_one_picture_at_the_end() -> None:
    generator = pair(size=(32, 32), generator_growth="residual").generator
    assert [level.picture is not None for level in generator.levels] == [False, False, False, True]


def test_a_shifted_constant_shifts_the_picture() -> None:
    """Nothing but its edges tells the network where it is: a pixel of the first map is four of the last."""
    torch.manual_seed(0)
    sizes = [(16, 16), (32, 32), (64, 64)]
    generator = StyleGAN2Generator(0, 3, sizes, [16, 8, 8], 16, 12, 2).eval()
    latents, labels = torch.randn(2, 16), torch.zeros(2, dtype=torch.int64)
    before = generator(latents, labels)
    with torch.no_grad():
        generator.constant.copy_(generator.constant.roll(1, 2))
    after = generator(latents, labels)
    torch.testing.assert_close(after[..., 24:-20, 24:-20], before[..., 24:-20, 20:-24], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(after[..., 24:-20, 24:-20], before[..., 24:-20, 24:-20], atol=0.01)


def test_only_the_direction_of_a_latent_counts() -> None:
    model = pair()
    latents, labels = asked(model)
    torch.testing.assert_close(model.generator.mapping(latents, labels), model.generator.mapping(3 * latents, labels))


def test_styles_and_drawing_are_the_generator_in_two_steps() -> None:
    model = lively(pair(3)).eval()
    latents, labels = asked(model, 4, 3)
    styles = model.generator.styles(latents, labels, 1.0)
    assert styles.shape == (4, 2 * len(model.generator.levels), 12)
    assert torch.equal(model.generator.draw(styles), model(latents, labels))


def test_each_style_moves_the_picture_and_none_is_left_out() -> None:
    model = lively(pair(size=(32, 32))).eval()
    styles = model.generator.styles(*asked(model), 1.0)
    drawn = model.generator.draw(styles)
    for layer in range(styles.shape[1]):
        other = styles.clone()
        other[:, layer] = other[:, layer].roll(1, 0)
        assert not torch.allclose(model.generator.draw(other), drawn, atol=1e-3), layer


def test_the_finest_style_moves_colours_alone() -> None:
    model = lively(pair()).eval()
    styles = model.generator.styles(*asked(model), 1.0)
    kept: list[Tensor] = []
    model.generator.levels[-1].stay.register_forward_hook(lambda _, __, found: kept.append(found))
    model.generator.draw(styles)
    styles = styles.clone()
    styles[:, -1] = styles[:, -1].roll(1, 0)
    model.generator.draw(styles)
    assert torch.equal(*kept)


def test_no_truncation_is_the_identity_and_full_truncation_is_the_mean_style() -> None:
    model = pair().train()
    latents, labels = asked(model, 64)
    for _ in range(60):
        model.generator.styles(torch.randn(256, 16), torch.zeros(256, dtype=torch.int64))
    model.eval()
    plain = model.generator.styles(latents, labels, 1.0)
    none = model.generator.styles(latents, labels, 0.0)
    half = model.generator.styles(latents, labels, 0.5)
    torch.testing.assert_close(none, model.generator.mean_style.expand_as(none))
    torch.testing.assert_close(half, (plain + none) / 2)
    torch.testing.assert_close(model.generator.mean_style, plain[:, 0].mean(0), rtol=0, atol=0.4)


def test_truncation_draws_towards_the_mean_style_of_the_class_that_is_asked_for() -> None:
    model = pair(classes=3).train()
    labels = torch.arange(300) % 2
    for seed in range(20):
        latents = torch.randn(300, 16, generator=torch.Generator().manual_seed(seed))
        styles = model.generator.styles(latents, labels)
    none = model.eval().generator.styles(latents, labels, 0.0)[:, 0]
    means = torch.stack([styles[labels == k, 0].mean(0) for k in range(2)])
    torch.testing.assert_close(none, model.generator.mean_style[labels])
    torch.testing.assert_close(none[:2], means, rtol=0, atol=0.1)
    assert not model.generator.mean_style[2].any(), "a class that was never shown has none"


def test_the_mean_style_moves_in_training_alone() -> None:
    model = pair()
    model.eval().generator.styles(*asked(model))
    assert not model.generator.mean_style.any()
    model.train().generator.styles(*asked(model))
    assert bool(model.generator.mean_style.any())


def test_the_mean_style_moves_as_far_however_a_batch_is_split() -> None:
    one, two = pair().train(), pair().train()
    latents, labels = torch.ones(8, 16), torch.zeros(8, dtype=torch.int64)
    one.generator.styles(latents, labels)
    for rows in (slice(0, 3), slice(3, 8)):
        two.generator.styles(latents[rows], labels[rows])
    torch.testing.assert_close(one.generator.mean_style, two.generator.mean_style)


def test_the_mean_style_is_summed_in_float32_where_styles_are_computed_in_half_precision() -> None:
    model = pair().train()
    latents = torch.randn(512, 16, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        styles = model.generator.styles(latents, torch.zeros(512, dtype=torch.int64))[:, 0]
    assert styles.dtype == torch.bfloat16
    wanted = (1 - 0.999**512) * styles.float().mean(0)
    torch.testing.assert_close(model.generator.mean_style.view(-1, wanted.numel())[0], wanted, rtol=1e-4, atol=1e-6)


def test_noise_belongs_to_a_picture_and_moves_no_other() -> None:
    model = lively(pair()).eval()
    latents, labels = asked(model)
    noise = [torch.randn(4, 1, *shape) for shape in model.generator.noise_shapes]
    drawn = model.generator(latents, labels, noise=noise)
    for each in noise:
        each[2] = torch.randn_like(each[2])
    again = model.generator(latents, labels, noise=noise)
    others = [0, 1, 3]
    assert torch.equal(again[others], drawn[others]) and not torch.allclose(again[2], drawn[2], atol=1e-3)


def test_without_noise_a_latent_gives_the_same_picture_twice() -> None:
    model = lively(pair()).eval()
    latents, labels = asked(model)
    assert torch.equal(model(latents, labels), model(latents, labels))


def test_classes_change_what_is_made_and_what_is_said_of_it() -> None:
    model = lively(pair(3)).eval()
    latents = torch.randn(1, 16).expand(3, -1)
    images = model(latents, torch.arange(3))
    assert not torch.allclose(images[0], images[1], atol=1e-3)
    same = images[:1].expand(3, -1, -1, -1)
    assert len(set(model.discriminator(same, torch.arange(3)).tolist())) == 3


@pytest.mark.parametrize("growth", ["skip", "residual"])
def test_splitting_in_whole_groups_changes_no_logit(growth: str) -> None:
    model = lively(pair(3, discriminator_growth=growth)).double()
    images, labels = torch.randn(10, 3, 16, 16, dtype=torch.float64), torch.arange(10) % 3
    whole = model.discriminator(images, labels)
    parts = [model.discriminator(images[at : at + 4], labels[at : at + 4]) for at in (0, 4, 8)]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert model.discriminator.group == 4


def test_the_spread_is_the_mean_deviation_of_each_group_of_consecutive_rows() -> None:
    maps = torch.randn(6, 5, 3, 2)
    found = spread(maps, 4)
    assert found.shape == (6, 1, 3, 2)
    for rows in (slice(0, 4), slice(4, 6)):
        expected = maps[rows].std(0, correction=0).mean()
        torch.testing.assert_close(found[rows], expected.expand(found[rows].shape), rtol=1e-4, atol=1e-6)


def test_a_group_of_equal_pictures_has_no_spread_and_a_finite_slope() -> None:
    maps = torch.ones(4, 2, 3, 3, requires_grad=True)
    found = spread(maps, 4)
    assert found.max().item() < 1e-3
    (slope,) = torch.autograd.grad(found.sum(), maps)
    assert bool(torch.isfinite(slope).all())


def test_gradient_penalties_can_be_learned_from() -> None:
    model = lively(pair(3))
    latents, labels = asked(model, 4, 3)
    images = torch.randn(4, 3, 16, 16, requires_grad=True)
    (slopes,) = torch.autograd.grad(model.discriminator(images, labels).sum(), images, create_graph=True)
    slopes.square().sum().backward()
    styles = model.generator.styles(latents, labels)
    drawn = model.generator.draw(styles)
    (moves,) = torch.autograd.grad((drawn * torch.randn_like(drawn)).sum(), styles, create_graph=True)
    moves.square().sum(2).mean(1).sqrt().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or bool(torch.isfinite(parameter.grad).all()), name
    assert all(each.weight.grad is not None for each in model.generator.modules() if hasattr(each, "affine"))


@pytest.mark.parametrize("growth", ["skip", "residual"])
def test_half_precision_stays_finite(growth: str) -> None:
    model = lively(pair(3, size=(64, 64), generator_growth=growth, discriminator_growth=growth))
    latents, labels = asked(model, 4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        images = model(latents, labels)
        logits = model.discriminator(images, labels)
    logits.float().square().sum().backward()
    assert bool(torch.isfinite(images).all()) and bool(torch.isfinite(logits).all())
    assert all(bool(torch.isfinite(each.grad).all()) for each in model.parameters() if each.grad is not None)


def test_half_precision_is_close_to_whole_precision() -> None:
    model = pair(size=(32, 32)).eval()
    latents, labels = asked(model)
    with torch.no_grad():
        exact = model(latents, labels)
        with torch.autocast("cpu", torch.bfloat16):
            short = model(latents, labels)
    assert ((short.float() - exact).norm() / exact.norm()).item() < 0.03


def test_its_cost_can_be_measured() -> None:
    assert multiply_adds(pair(3), 3, (16, 16)) > 0
