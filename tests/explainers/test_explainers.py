"""Each method against an oracle: a value computed by hand, an axiom, or captum's own."""

from __future__ import annotations

import pytest
import timm
import torch
from tests.explainers.networks import Averaged, Linear, picture, question

from visus.core.catalog import UnknownName
from visus.core.errors import UsageError
from visus.explainers import EXPLAINERS
from visus.explainers._maps import activations, choose, maps_for, spread

PIXELWISE = [name for name in EXPLAINERS if EXPLAINERS[name].reads in ("gradients", "answers")]


def explained(name, asked):
    return EXPLAINERS[name].explain(asked).detach()


def test_grad_cam_of_a_network_that_averages_its_maps_is_its_class_activation_map_by_hand():
    network, image = Averaged(), picture()
    maps = network.maps(image)[0]
    by_hand = (network.linear.weight[2][:, None, None] * maps).sum(0) / maps[0].numel()
    torch.testing.assert_close(explained("grad_cam", question(network, image, 2, layer="maps")), by_hand.detach())


def test_grad_cam_equals_captums_at_the_same_layer():
    attr = pytest.importorskip("captum.attr")
    network, image = timm.create_model("resnet10t", num_classes=4).eval(), picture((64, 96), 3)
    theirs = attr.LayerGradCam(network, network.layer3).attribute(image, target=1)[0, 0].detach()
    ours = explained("grad_cam", question(network, image, 1, layer="layer3"))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_layer_cam_counts_a_place_by_the_positive_slopes_there_alone():
    network, image = Averaged(), picture()
    maps = network.maps(image)[0]
    by_hand = (network.linear.weight[1].clamp(min=0)[:, None, None] * maps).sum(0) / maps[0].numel()
    torch.testing.assert_close(explained("layer_cam", question(network, image, 1, layer="maps")), by_hand.detach())


@pytest.mark.parametrize("name", PIXELWISE)
def test_of_a_linear_network_a_pixels_evidence_is_its_value_times_its_weight(name):
    """Occlusion of single pixels, too: covering one takes just that away."""
    pytest.importorskip("captum")
    network, image = Linear((8, 8)), picture((8, 8))
    by_hand = (network.weights * image[0]).sum(0).detach()
    torch.testing.assert_close(explained(name, question(network, image)), by_hand, atol=1e-5, rtol=1e-4)


def test_integrated_gradients_add_up_to_the_difference_from_an_empty_picture():
    """Completeness: Sundararajan et al., ICML 2017, proposition 1."""
    pytest.importorskip("captum")
    network, image = Averaged(), picture((24, 24))
    asked = question(network, image, 1)
    difference = (network(image) - network(torch.zeros_like(image)))[0, 1].item()
    assert explained("integrated_gradients", asked).sum().item() == pytest.approx(difference, rel=0.02)


def test_occlusion_of_a_larger_picture_is_captums_of_the_same_squares():
    attr = pytest.importorskip("captum.attr")
    network, image = Averaged(), picture((32, 48))
    theirs = attr.Occlusion(network).attribute(image, (2, 4, 4), strides=(2, 2, 2), target=0, baselines=0)
    torch.testing.assert_close(explained("occlusion", question(network, image)), theirs[0, 0].detach())


@pytest.mark.parametrize("name", sorted(set(EXPLAINERS) - {"attention_rollout"}))
def test_a_method_gives_the_same_bits_twice_and_leaves_the_global_generator_alone(name):
    pytest.importorskip("captum")
    network, image = Averaged(), picture()
    before = torch.get_rng_state()
    maps = [explained(name, question(network, image, layer="maps", seed=5)) for _ in range(2)]
    assert torch.equal(*maps) and torch.equal(before, torch.get_rng_state())


def test_the_noise_of_smooth_grad_derives_from_the_seed():
    network, image = Averaged(), picture()
    one, other = (explained("smooth_grad", question(network, image, seed=seed)) for seed in (1, 2))
    assert not torch.equal(one, other)


@pytest.fixture(scope="module")
def transformer():
    return timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=(64, 96), depth=2).eval()


def test_attention_rollout_multiplies_the_layers_mean_attention_by_hand(transformer):
    image = picture((64, 96), 3)
    rolled, tokens = torch.eye(25), None
    with torch.no_grad():
        tokens = transformer.patch_embed(image)
        tokens = transformer.norm_pre(transformer.patch_drop(transformer._pos_embed(tokens)))
        for block in transformer.blocks:
            q, k, _ = block.attn.qkv(block.norm1(tokens)).reshape(1, 25, 3, 3, 64).permute(2, 0, 3, 1, 4)
            attention = (q @ k.transpose(-1, -2) / 8).softmax(-1)[0].mean(0)
            rolled = (attention + torch.eye(25)) / 2 @ rolled
            tokens = block(tokens)
    ours = explained("attention_rollout", question(transformer, image))
    torch.testing.assert_close(ours, rolled[0, 1:].reshape(4, 6), atol=1e-6, rtol=1e-4)


def test_attention_rollout_leaves_the_network_as_it_was(transformer):
    fused = [block.attn.fused_attn for block in transformer.blocks]
    explained("attention_rollout", question(transformer, picture((64, 96), 3)))
    assert [block.attn.fused_attn for block in transformer.blocks] == fused
    assert not any(block.attn.attn_drop._forward_hooks for block in transformer.blocks)


@pytest.mark.parametrize("name", ["resnet10t", "swin_tiny_patch4_window7_224"])
def test_a_network_without_attention_over_all_places_is_refused(name):
    sizes = {"swin_tiny_patch4_window7_224": {"img_size": 64, "window_size": 2, "depths": (1, 1, 1, 1)}}
    network = timm.create_model(name, num_classes=3, **sizes.get(name, {})).eval()
    with pytest.raises(UsageError) as refused:
        explained("attention_rollout", question(network, picture((64, 64), 3)))
    assert refused.value.code == "EXPLAIN-008" and "grad_cam" in refused.value.fix


def test_the_layer_chosen_for_a_picture_is_the_last_one_of_the_coarsest():
    network = timm.create_model("resnet10t", num_classes=4).eval()
    assert choose(question(network, picture((64, 96), 3)), None).layer == "layer4"


def test_tokens_of_a_transformer_are_a_map_and_the_last_one_that_matters_is_chosen(transformer):
    chosen = choose(question(transformer, picture((64, 96), 3)), None)
    assert (chosen.layer, chosen.height, chosen.width) == ("blocks.1.norm1", 4, 6)


def test_channels_that_come_last_are_a_map_too():
    options = {"img_size": 64, "window_size": 2, "depths": (1, 1, 1, 1)}
    network = timm.create_model("swin_tiny_patch4_window7_224", num_classes=3, **options).eval()
    asked = question(network, picture((64, 64), 3))
    maps, slopes = activations(question(network, asked.image, layer=choose(asked, None).layer))
    assert maps.shape == slopes.shape == (768, 2, 2)


def test_a_small_object_is_looked_at_on_a_finer_map_than_a_large_one():
    network = timm.create_model("resnet10t", num_classes=4).eval()
    asked = question(network, picture((128, 128), 3))
    small, large = (choose(asked, torch.tensor([8.0, 8, 8 + side, 8 + side])) for side in (30, 100))
    assert (small.height, large.height) == (16, 4) and large.layer == "layer4"


def test_a_layer_that_is_asked_twice_is_no_place_to_look():
    shared = nn_relu = torch.nn.ReLU()
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), shared, torch.nn.Conv2d(3, 3, 3), nn_relu,
                                  torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())  # fmt: skip
    names = [each.layer for each in maps_for(question(network, picture()))]
    assert "1" not in names and "2" in names


@pytest.mark.parametrize(
    ("layer", "code", "said"),
    [("mops", "EXPLAIN-003", "maps"), ("linear", "EXPLAIN-005", "last map"), ("", "EXPLAIN-003", "")],
)
def test_a_layer_that_cannot_be_looked_at_is_refused_with_what_helps(layer, code, said):
    with pytest.raises(UsageError) as refused:
        activations(question(Averaged(), picture(), layer=layer))
    assert refused.value.code == code and said in refused.value.fix


def test_a_network_without_maps_is_refused():
    with pytest.raises(UsageError) as refused:
        choose(question(Linear(), picture()), None)
    assert refused.value.code == "EXPLAIN-007"


def test_a_misspelt_method_is_answered_with_the_nearest():
    with pytest.raises(UnknownName) as refused:
        EXPLAINERS["gradcam"]
    assert "grad_cam" in refused.value.fix


def test_places_beyond_the_picture_are_cut_off_where_a_network_extended_it():
    """40 pixels at stride 32 are two places, the second of which reaches 24 pixels beyond the picture."""
    wide = spread(torch.tensor([[0.0, 64.0], [0.0, 64.0]]), (64, 40))
    whole = torch.nn.functional.interpolate(torch.tensor([[[[0.0, 64], [0, 64]]]]), (64, 64), mode="bilinear")
    torch.testing.assert_close(wide, whole[0, 0, :, :40])
