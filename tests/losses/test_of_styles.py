"""Distances of style and content: against sums by hand, and their gradients against differences."""

import pytest
import torch

from visus.losses._style import content, gram, style, total_variation


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_gram_matrix_is_the_mean_product_of_two_channels():
    found = maps(2, 3, 4, 5)
    by_hand = torch.einsum("bchw,bdhw->bcd", found, found) / 20
    torch.testing.assert_close(gram(found), by_hand)


def test_a_gram_matrix_of_some_places_is_that_of_a_picture_of_these_alone():
    found = maps(1, 3, 4, 6)
    weight = torch.zeros(1, 1, 4, 6, dtype=torch.float64)
    weight[..., 2:] = 1
    torch.testing.assert_close(gram(found, weight), gram(found[..., 2:]))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("weight", [None, torch.rand(1, 1, 6, 10, dtype=torch.float64)])
def test_a_gram_matrix_falls_along_its_slope_behind_batch_normalisation(layout, weight):
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.BatchNorm2d(4).double().eval()
    layer.running_var = torch.tensor([0.5, 1, 2, 3], dtype=torch.float64)
    images = torch.rand(1, 4, 6, 10, generator=generator, dtype=torch.float64).to(memory_format=layout)
    images.requires_grad_()
    assert torch.autograd.gradcheck(lambda given: gram(layer(given), weight), images)


def test_a_gram_matrix_of_no_place_is_zero():
    assert not gram(maps(1, 3, 4, 6), torch.zeros(1, 1, 4, 6, dtype=torch.float64)).any()


def test_a_style_is_at_no_distance_from_itself_and_nothing_at_one():
    wanted = [gram(maps(1, 3, 4, 5)), gram(maps(1, 7, 2, 2))]
    assert style(wanted, wanted).item() == 0
    assert style([torch.zeros_like(each) for each in wanted], wanted).item() == pytest.approx(1)


def test_a_style_does_not_say_where_things_are():
    found = maps(1, 3, 4, 5)
    moved = found.flatten(2)[..., torch.randperm(20)].reshape(found.shape)
    assert style([gram(moved)], [gram(found)]).item() == pytest.approx(0, abs=1e-12)


def test_content_costs_nothing_where_it_is_and_one_where_each_channel_is_its_mean():
    found = maps(2, 3, 4, 5)
    assert not content(found, found).any()
    flat = found.mean((2, 3), keepdim=True).expand_as(found)
    torch.testing.assert_close(content(flat, found), torch.ones(2, dtype=torch.float64))


def test_total_variation_is_the_mean_squared_step_along_both_sides():
    picture = torch.tensor([[[[0.0, 1.0], [3.0, 3.0]]]])
    assert total_variation(picture).item() == pytest.approx((1 + 0) / 2 + (9 + 4) / 2)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: style([gram(x)], [gram(maps(2, 3, 4, 5, seed=1))]),
        lambda x: style([gram(x, maps(2, 1, 4, 5, seed=2).abs())], [gram(maps(1, 3, 4, 5, seed=1))]),
        lambda x: content(x, maps(2, 3, 4, 5, seed=1)),
        total_variation,
    ],
    ids=["style", "masked style", "content", "total variation"],
)
def test_the_gradient_is_the_slope_of_the_value_and_pictures_do_not_see_each_other(loss):
    found = maps(2, 3, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(loss, found)
    (pull,) = torch.autograd.grad(loss(found)[0], found)
    assert not pull[1].any()
