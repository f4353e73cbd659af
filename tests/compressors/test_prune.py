import copy

import pytest
import torch
from torch import nn

from visus.compressors.prune import narrower, pruned
from visus.core.errors import UsageError
from visus.core.modelfile import Architecture
from visus.core.recipe import ModelSettings
from visus.models.building import architecture_of, build, rebuild

pytest.importorskip("torch_pruning")

NETWORKS = {
    "cnn": {}, "resnet_small": {"widths": [16, 32, 32]}, "csp": {}, "efficientnet_lite0": {}, "fast": {},
    "anchor_free": {}, "fast:resnet18": {}, "unet:resnet18": {}, "deeplabv3:resnet18": {},
}  # fmt: skip


def network(name, options=None, outputs=5):
    made = build(ModelSettings(name=name, options=options or {}), outputs, 3, (64, 64))
    generator = torch.Generator().manual_seed(1)
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as if it had seen pictures: fresh statistics hide mistakes
            for tensor in (layer.weight.data, layer.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (layer.bias.data, layer.running_mean):
                tensor.normal_(0, 0.1, generator=generator)
    return made.eval()


def pictures(count=1):
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def tensors(said):
    return [said] if isinstance(said, torch.Tensor) else list(said)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pruned_network_is_made_again_from_its_card_and_tensors_and_answers_bit_for_bit_the_same(name):
    options = NETWORKS[name]
    made = pruned(network(name, options), pictures(), 0.4)
    card = architecture_of(ModelSettings(name=name, options=options), 5)
    again = rebuild(narrower(card, made.narrowed), 3, (64, 64))
    again.load_state_dict(made.network.state_dict())
    with torch.no_grad():
        said, wanted = tensors(again.eval()(pictures(2))), tensors(made.network(pictures(2)))
    assert all(torch.equal(one, other) for one, other in zip(said, wanted, strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pruned_network_has_fewer_weights_and_answers_of_the_same_shape(name):
    whole = network(name, NETWORKS[name])
    made = pruned(whole, pictures(), 0.5)
    before, after = (sum(p.numel() for p in each.parameters()) for each in (whole, made.network))
    assert after < 0.6 * before
    shapes = [[one.shape for one in tensors(each(pictures()))] for each in (whole, made.network)]
    assert shapes[0] == shapes[1]


def test_channels_that_say_nothing_are_removed_first_and_nothing_else_changes():
    whole = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 4),
    ).eval()  # fmt: skip
    with torch.no_grad():
        for channel in (1, 4, 6):  # says nothing, and nobody listens
            whole[0].weight[channel], whole[0].bias[channel], whole[1].weight[channel] = 0, 0, 0
            whole[3].weight[:, channel] = 0
        whole[3].weight[2], whole[3].bias[2], whole[6].weight[:, 2] = 0, 0, 0
    made = pruned(whole, pictures(), 0.25).network
    assert (made[0].out_channels, made[3].out_channels) == (6, 4)
    made = pruned(whole, pictures(), 3 / 8).network
    assert made[0].out_channels == 5
    assert torch.equal(made[0].weight, whole[0].weight[[0, 2, 3, 5, 7]])


def test_a_network_without_channels_that_were_zero_answers_the_same():
    whole = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    with torch.no_grad():
        for channel in (0, 3):
            whole[0].weight[channel], whole[0].bias[channel], whole[2].weight[:, channel] = 0, 0, 0
    made = pruned(whole, pictures(), 0.25).network
    assert made[0].out_channels == 6
    torch.testing.assert_close(made(pictures(3)), whole(pictures(3)), rtol=0, atol=1e-6)


def test_it_equals_the_network_in_which_the_removed_channels_are_masked():
    whole = network("resnet_small", {"widths": [16, 32], "blocks": [1, 1], "stem": 16})
    made = pruned(whole, pictures(), 0.5).network
    masked = copy.deepcopy(whole)
    kept = _same_rows(made.stem[0].weight, whole.stem[0].weight)
    gone = [channel for channel in range(16) if channel not in kept]
    assert len(gone) == 8
    with torch.no_grad():
        for tensor in (masked.stem[0].weight, masked.stem[1].weight, masked.stem[1].bias):
            tensor[gone] = 0
        seen, wanted = made.stem(pictures()), masked.stem(pictures())
    assert torch.equal(seen, wanted[:, kept])
    assert not wanted[:, gone].any()


def test_the_importance_of_taylor_follows_the_gradient_not_the_size_of_the_weights():
    whole = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 2, 1, bias=False)).eval()
    with torch.no_grad():
        whole[0].weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None, None].expand(4, 3, 1, 1))
        whole[1].weight.fill_(1.0)
    by_size = pruned(whole, pictures(), 0.5).network
    assert by_size[0].weight[:, 0, 0, 0].tolist() == [3.0, 4.0]
    gradients = {"0.weight": torch.zeros(4, 3, 1, 1), "1.weight": torch.zeros(2, 4, 1, 1)}
    gradients["0.weight"][:2] = 1.0
    by_change = pruned(whole, pictures(), 0.5, gradients).network
    assert by_change[0].weight[:, 0, 0, 0].tolist() == [1.0, 2.0]


def test_the_network_that_was_given_is_left_as_it_was():
    whole = network("cnn")
    before = copy.deepcopy(whole.state_dict())
    pruned(whole, pictures(), 0.5)
    assert all(torch.equal(before[name], tensor) for name, tensor in whole.state_dict().items())


def test_a_group_of_layers_that_would_become_another_function_is_left_and_named():
    class Turning(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1)

        def forward(self, images):
            hidden = self.second(self.first(images).relu())
            return self.third(hidden * hidden.mean((1, 2, 3), keepdim=True))  # a channel less is another mean

    made = pruned(Turning().eval(), pictures(), 0.5)
    assert made.network.first.out_channels == 4
    assert made.network.second.out_channels in (4, 8)
    assert "third" in made.left


def test_attention_of_a_transformer_is_left_and_its_hidden_layers_are_pruned():
    made = pruned(network("vit_tiny_patch16_224", {"img_size": 64, "depth": 2}), pictures(), 0.5)
    assert made.network.blocks[0].attn.qkv.out_features == 576
    assert made.network.blocks[0].mlp.fc1.out_features == 384


def test_a_network_without_channels_to_remove_is_refused():
    with pytest.raises(UsageError, match="COMPRESS-021"):
        pruned(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 4)).eval(), pictures(), 0.5)


def test_a_network_that_was_pruned_before_is_described_from_how_it_was_built():
    options = {"widths": [16, 32], "normalisation": "none"}
    first = pruned(network("cnn", options), pictures(), 0.5)
    card = narrower(Architecture(name="cnn", options=options, outputs=5), first.narrowed)
    second = pruned(first.network, pictures(), 0.5)
    again = rebuild(narrower(card, second.narrowed), 3, (64, 64))
    again.load_state_dict(second.network.state_dict())
    assert torch.equal(again.eval()(pictures()), second.network(pictures()))


def _same_rows(few, many):
    return [next(i for i, row in enumerate(many) if torch.equal(row, one)) for one in few]
