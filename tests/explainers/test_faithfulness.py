"""Measuring maps: what is true scores high, what does not depend on the model is seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import sobel
from tests.explainers.networks import PatchFinder, question

from visus.core.task import Batch, Target
from visus.explainers import EXPLAINERS
from visus.explainers._asking import Asking, shuffled
from visus.explainers._faithfulness import (
    Faithfulness,
    alike,
    curves,
    importance,
    rank_correlation,
    structural_similarity,
)
from visus.explainers._maps import spread

PATCH = torch.where((torch.arange(8)[:, None] + torch.arange(8)) % 4 < 2, 1.0, -1.0).expand(3, 8, 8)
AT = (slice(20, 28), slice(36, 44))


class Said:
    """The part of a task that is asked: logits of two classes."""

    def raw(self, network, batch):
        return {"logits": network(*batch.inputs)}


TARGET = Target("patch", 1.0, lambda raw: raw["logits"][:, 1], lambda raw: raw["logits"].softmax(1)[:, 1])


def planted(seed=0):
    """Return a noisy picture with the patch in it."""
    image = 0.3 * torch.randn((1, 3, 48, 64), generator=torch.Generator().manual_seed(seed))
    image[0, :, *AT] = PATCH
    return image


def asking(image, network=None):
    frames = torch.eye(3)[None]
    batch = Batch((image,), {}, ("a",), torch.zeros(1, dtype=torch.int64), frames)
    return Asking(Said(), network or PatchFinder(PATCH).eval(), batch)


def evidence(name, image, network=None):
    network = network or PatchFinder(PATCH).eval()
    found = EXPLAINERS[name].explain(question(network, image, 1, layer="relu")).detach()
    return spread(found, (48, 64))


@pytest.mark.parametrize("name", ["grad_cam", "layer_cam", "integrated_gradients", "occlusion", "smooth_grad"])
def test_a_map_of_a_planted_patch_finds_it(name):
    pytest.importorskip("captum")
    found = evidence(name, planted()).clamp(min=0)
    assert found[AT].sum() / found.sum() > 0.5  # the patch is one 48th of the picture


@pytest.mark.parametrize("name", ["layer_cam", "occlusion"])
def test_a_map_of_a_planted_patch_beats_every_random_map(name):
    pytest.importorskip("captum")
    image = planted()
    found = Faithfulness(*curves(asking(image), TARGET, evidence(name, image), 1), 0.0, 0.0)
    assert found.beaten == len(found.random_deletion) and found.gain > 0.3


def test_a_map_that_marks_everything_but_the_patch_gains_nothing():
    image = planted()
    found = Faithfulness(*curves(asking(image), TARGET, -evidence("layer_cam", image), 1), 0.0, 0.0)
    assert found.gain < 0


def test_curves_begin_and_end_with_the_whole_picture_and_none_of_it():
    image = planted()
    asked = asking(image)
    _, deletion, insertion, random_deletion, _ = curves(asked, TARGET, evidence("layer_cam", image), 1)
    whole, none = asked.strengths(TARGET, torch.cat([image, torch.zeros_like(image)])).tolist()
    assert deletion[0] == insertion[-1] == random_deletion[0, 0] == pytest.approx(whole)
    assert deletion[-1] == pytest.approx(none)


def test_a_deletion_curve_equals_one_made_by_hand():
    image = planted()
    asked, map_ = asking(image), torch.rand((48, 64), generator=torch.Generator().manual_seed(4))
    _, deletion, *_ = curves(asked, TARGET, map_, 1)
    first = map_ >= map_.flatten().sort(descending=True).values[48 * 64 // 12 - 1]  # one twelfth, the highest
    covered = image.where(~first, 0.0)
    assert deletion[1] == pytest.approx(asked.strengths(TARGET, covered).item(), abs=1e-9)


def test_of_pixels_marked_alike_those_come_first_around_which_more_is_marked():
    map_ = torch.zeros(33, 33)
    map_[16, 16] = 1
    rank = importance(map_)
    assert rank[16, 16] == 0 and rank[15:18, 15:18].max() == 8 and rank[0, 0] > 80


def test_a_random_map_is_exactly_as_smooth_and_the_same_for_the_same_seed():
    """Its power spectrum, hence its autocorrelation, is that of the map."""
    map_ = evidence("layer_cam", planted()).double()
    other = alike(map_, 7)
    power = [torch.fft.rfft2(each).abs().square() for each in (map_, other)]
    middle = (slice(1, -1), slice(1, -1))  # waves that are their own mirror image have no phase to draw
    torch.testing.assert_close(power[0][middle], power[1][middle], rtol=1e-6, atol=1e-6)
    assert torch.equal(other, alike(map_, 7)) and not torch.equal(other, alike(map_, 8))
    assert abs(rank_correlation(map_, other)) < 0.5


def test_a_shuffled_network_has_the_same_numbers_in_another_order_and_the_trained_one_is_left_alone():
    network = PatchFinder(PATCH)
    before = network.match.weight.clone()
    other = shuffled(network, 3)
    assert torch.equal(network.match.weight, before) and not torch.equal(other.match.weight, before)
    assert torch.equal(other.match.weight.flatten().sort().values, before.flatten().sort().values)


def test_the_map_of_a_good_method_is_another_one_for_a_network_that_has_learned_nothing():
    image = planted()
    network = PatchFinder(PATCH).eval()
    like = rank_correlation(evidence("layer_cam", image), evidence("layer_cam", image, shuffled(network, 3)))
    assert like < 0.5


def test_an_edge_detector_that_poses_as_an_explanation_is_seen_to_ignore_the_model():
    """Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018, section 5.1."""
    image = planted()
    edges = torch.from_numpy(np.hypot(sobel(image[0].mean(0).numpy(), 0), sobel(image[0].mean(0).numpy(), 1)))
    same = rank_correlation(edges, edges)  # whatever the network, it draws this
    assert same == pytest.approx(1)
    assert not Faithfulness(*curves(asking(image), TARGET, edges, 1), same, 1.0).depends


def test_structural_similarity_is_one_for_the_same_map_and_small_for_another():
    map_ = evidence("layer_cam", planted()).clamp(min=0)
    map_ = map_ / map_.max()
    assert structural_similarity(map_, map_) == pytest.approx(1)
    assert structural_similarity(map_, torch.rand(map_.shape, generator=torch.Generator().manual_seed(0))) < 0.3


def test_a_map_that_is_the_same_everywhere_resembles_nothing():
    assert rank_correlation(torch.zeros(4, 4), torch.arange(16.0).view(4, 4)) == 0
