"""DCGAN: any size that halves, with and without classes."""

from __future__ import annotations

import pytest
import torch

from visus.core.errors import UsageError
from visus.core.recipe import ModelSettings
from visus.models.building import build

SMALL = {"width": 4, "latent": 6}


def pair(classes: int = 3, channels: int = 1, size: tuple[int, int] = (32, 32), **options: object) -> torch.nn.Module:
    return build(ModelSettings(name="dcgan", options={**SMALL, **options}), classes, channels, size)


@pytest.mark.parametrize("size", [(32, 32), (28, 28), (64, 96), (16, 16), (8, 6)])
@pytest.mark.parametrize("classes", [0, 3])
def test_pictures_of_many_sizes_are_made_and_judged(size, classes):
    model = pair(classes, 3, size)
    images = model(torch.randn(4, 6), torch.tensor([0, 1, 2, 0]) % max(classes, 1))
    assert images.shape == (4, 3, *size) and images.abs().max() <= 1
    assert model.discriminator(images, torch.zeros(4).long()).shape == (4,)


def test_a_size_that_cannot_be_halved_is_refused():
    with pytest.raises(UsageError, match="33 x 32 pixels"):
        pair(size=(32, 33))


def test_the_class_changes_picture_and_verdict():
    model = pair().eval()
    latents, images = torch.randn(2, 6).repeat(2, 1), torch.randn(2, 1, 32, 32).repeat(2, 1, 1, 1)
    labels = torch.tensor([0, 0, 1, 1])
    made, said = model(latents, labels), model.discriminator(images, labels)
    assert not torch.allclose(made[:2], made[2:]) and not torch.allclose(said[:2], said[2:])


def test_vectors_of_classes_are_as_long_as_latents_however_far_they_have_moved():
    model, labels = pair(), torch.arange(3)
    with torch.no_grad():
        before = model.generator.styles(torch.zeros(3, 6), labels)[:, 0, 6:]
        model.generator.classes.weight.mul_(1000)
        after = model.generator.styles(torch.zeros(3, 6), labels)[:, 0, 6:]
    torch.testing.assert_close(after, before, rtol=1e-3, atol=0)
    torch.testing.assert_close(after.square().mean(1), torch.ones(3))


def test_styles_and_draw_are_the_generator_in_two_steps():
    model = pair().eval()
    latents, labels = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    made = model.generator(latents, labels, truncation=0.5)
    assert torch.equal(made, model.generator.draw(model.generator.styles(latents, labels, 0.5)))
    assert torch.equal(made, model.generator(0.5 * latents, labels))


def test_without_batch_normalisation_a_picture_does_not_depend_on_the_others():
    model = pair(generator_normalisation="pixel", discriminator_normalisation="none").double()
    latents, labels = torch.randn(5, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    whole = model(latents, labels)
    torch.testing.assert_close(whole[:2], model(latents[:2], labels[:2]))
    torch.testing.assert_close(model.discriminator(whole, labels)[3:], model.discriminator(whole[3:], labels[3:]))


def test_every_parameter_of_both_is_learned_from():
    model = pair()
    model.discriminator(
        model(torch.randn(4, 6), torch.tensor([0, 1, 2, 0])), torch.tensor([0, 1, 2, 0])
    ).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_its_layers_are_as_many_and_as_wide_as_in_the_paper_at_64_pixels():
    """Figure 1 of the paper: 1024, 512, 256, 128 maps of 4, 8, 16, 32 pixels."""
    model = build(ModelSettings(name="dcgan", options={"width": 128, "widest": 1024}), 0, 3, (64, 64))
    widths = [layer.out_channels for layer in model.generator.layers if isinstance(layer, torch.nn.ConvTranspose2d)]
    assert model.generator.dense.out_features == 1024 * 4 * 4 and widths == [512, 256, 128]
