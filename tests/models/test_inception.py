"""FID's Inception is told from torchvision's by its outputs, pools as its paper's network does, and bears its name."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torchvision.models import Inception3

from visus.core.errors import UsageError
from visus.models.extractors import extractor
from visus.models.inception import OF_FID, OF_TORCHVISION, inception


def weights(outputs):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Inception3(outputs, aux_logits=False, init_weights=False).eval().state_dict()


@pytest.fixture(scope="module")
def of_fid():
    return inception(weights(OF_FID), "a file")


def heard(module, network, images):
    """Return what a module was given and what it said."""
    said = []
    handle = module.register_forward_hook(lambda module, given, answer: said.append((given[0], answer)))
    with torch.no_grad():
        network.eval()(images)
    handle.remove()
    return said[0]


@pytest.mark.parametrize("block", ["Mixed_5b", "Mixed_6c", "Mixed_7b"])
def test_its_averages_leave_out_padding(of_fid, block):
    _, network, _ = of_fid
    module = network.get_submodule(block)
    given, said = heard(module, network, torch.randn(1, 3, 139, 139))
    expected = module.branch_pool.bn(module.branch_pool.conv(F.avg_pool2d(given, 3, 1, 1, count_include_pad=False)))
    assert torch.allclose(said[:, -expected.shape[1] :], F.relu(expected), atol=1e-5)


def test_its_last_block_takes_the_largest(of_fid):
    _, network, _ = of_fid
    given, said = heard(network.Mixed_7c, network, torch.randn(1, 3, 139, 139))
    branch = network.Mixed_7c.branch_pool
    expected = F.relu(branch.bn(branch.conv(F.max_pool2d(given, 3, 1, 1))))
    assert torch.allclose(said[:, -expected.shape[1] :], expected, atol=1e-5)


def test_it_reads_pictures_in_minus_one_to_one_and_gives_2048_features(of_fid):
    name, _, input = of_fid
    assert (name, input.size, input.mean, input.std) == ("Inception", (299, 299), (0.5,), (0.5,))


def test_torchvisions_is_asked_as_it_is_and_bears_its_own_name(tmp_path):
    tensors = weights(OF_TORCHVISION)
    save_file(tensors, tmp_path / "inception_v3.safetensors")
    found = extractor(str(tmp_path / "inception_v3.safetensors"), 3, (32, 32))
    assert found.name == "torchvision's Inception v3"
    assert found.width == 2048
    plain = Inception3(OF_TORCHVISION, aux_logits=False, init_weights=False).eval()
    plain.load_state_dict(tensors)
    images = torch.randn(1, 3, 139, 139)
    with torch.no_grad():
        assert torch.equal(found.network(images), plain(images))


def test_an_inception_of_other_outputs_is_neither():
    with pytest.raises(UsageError, match="neither that of FID"):
        inception({"fc.weight": torch.zeros(10, 2048)}, "a file")
