"""Depthwise convolutions in bfloat16 give what autocast gives, and gradients that are closer to those of float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from visus.engine.device import Device

HALF, WHOLE = Device(torch.device("cpu"), "bfloat16"), Device(torch.device("cpu"))
SLOW = [(5, 1, 2, 1), (3, 2, 1, 1), (7, (2, 1), (3, 2), (1, 2))]


def layer(kernel: int, stride, padding, dilation, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(6, 12, kernel, stride, padding, dilation, groups=6, bias=bias)


def gradients(device: Device, model: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    images = images.clone().requires_grad_()
    with device.autocast():
        said = model(images)
    return list(torch.autograd.grad(said.float().sin().sum(), [images, *model.parameters()]))


@pytest.mark.parametrize("shape", SLOW)
@pytest.mark.parametrize("bias", [True, False])
def test_what_is_said_is_what_autocast_says_and_gradients_are_those_of_float32(shape, bias):
    model, images = layer(*shape, bias=bias), torch.randn(2, 6, 15, 18)
    with HALF.autocast():
        said = model(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(said, model(images))
    for ours, true in zip(gradients(HALF, model, images), gradients(WHOLE, model, images), strict=True):
        assert ours.dtype == torch.float32
        assert (ours - true).norm() < 0.02 * true.norm()


@pytest.mark.parametrize("shape", SLOW)
def test_gradients_are_those_of_pytorch_given_the_same_gradient_of_the_answer(shape):
    model, images = layer(*shape), torch.randn(2, 6, 15, 18).bfloat16().float()
    with HALF.autocast():
        said = model(images.requires_grad_())
    upstream = torch.randn_like(said)
    ours = torch.autograd.grad(said, [images, *model.parameters()], upstream)
    true = torch.autograd.grad(model(images), [images, *model.parameters()], upstream.float())
    for one, other in zip(ours, true, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_frozen_weights_get_no_gradient_and_pictures_none_they_do_not_ask_for():
    model = layer(*SLOW[0])
    model.weight.requires_grad_(False)
    with HALF.autocast():
        model(torch.randn(1, 6, 9, 9)).float().sum().backward()
    assert model.weight.grad is None and model.bias is not None and model.bias.grad is not None


def test_a_gradient_of_a_gradient_is_that_of_float32():
    model, images = layer(*SLOW[1]), torch.randn(2, 6, 9, 9, requires_grad=True)

    def penalty(device: Device) -> torch.Tensor:
        with device.autocast():
            said = model(images)
        (slope,) = torch.autograd.grad(said.float().square().sum(), images, create_graph=True)
        (found,) = torch.autograd.grad(slope.square().sum(), model.weight)
        return found

    ours, true = penalty(HALF), penalty(WHOLE)
    assert (ours - true).norm() < 0.03 * true.norm()


def test_other_convolutions_are_computed_as_ever():
    images = torch.randn(2, 8, 9, 9)
    for model in (nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Conv2d(8, 8, 5, 2, 2, groups=2),
                  nn.Conv2d(8, 8, 5, padding="same", groups=8), nn.Conv1d(9, 9, 3, 2, groups=9)):  # fmt: skip
        shown = images[..., 0].transpose(1, 2) if isinstance(model, nn.Conv1d) else images
        with HALF.autocast():
            ours = model(shown)
        with torch.autocast("cpu", torch.bfloat16):
            theirs = model(shown)
        assert torch.equal(ours, theirs) and type(ours.grad_fn) is type(theirs.grad_fn)
