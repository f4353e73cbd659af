"""The task of multilabel segmentation: sums that hold under any split, and answers of several classes a pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from visus.core.annotations import ClassMap, StatedMap
from visus.core.errors import UsageError
from visus.core.recipe import Choice, Draft
from visus.core.sample import Sample, Samples
from visus.tasks.segment_multilabel import SegmentMultilabel

CLASSES = ("cat", "dog", "tail")
STAY = torch.eye(3, dtype=torch.float64)


def task(classes=CLASSES, **wanted):
    settings = {"task": "segment_multilabel", "loss.name": "binary_cross_entropy", **wanted}
    return SegmentMultilabel(Draft(Choice(key, value, "the test") for key, value in settings.items()).finish(), classes)


def batch(of, bits, seed=1):
    """Return random pictures with given classes, (B, H, W) int64."""
    n, size = len(bits), tuple(bits.shape[1:])
    images = torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(seed))
    columns = {"class_map": [ClassMap(each, -1) for each in bits], "stated_map": list(map(StatedMap, bits))}
    frames = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    return of.collate(Samples(tuple(map(str, range(n))), torch.arange(n), images, columns, frames,
                              originals=torch.tensor([size] * n)))  # fmt: skip


def random_bits(n=4, size=(32, 64)):
    bits = torch.randint(0, 8, (n, *size), generator=torch.Generator().manual_seed(2))
    bits[0, :9] = -1
    bits[-1] = -1
    return bits


def test_it_counts_pixels_of_which_something_is_stated_also_that_they_show_nothing():
    bits = torch.tensor([[[0, -1], [5, 7]], [[-1, -1], [-1, -1]]])
    counts = task().counts(batch(task(), bits))
    assert {unit: int(count) for unit, count in counts.items()} == {"pixel": 3, "image": 1}


def test_beyond_a_smaller_picture_of_a_batch_nothing_is_stated():
    maps = [ClassMap(torch.ones(size, dtype=torch.int64), -1) for size in ((2, 3), (4, 5))]
    images = [torch.zeros(3, *each.classes.shape) for each in maps]
    samples = Samples(("a", "b"), torch.arange(2), images, {"class_map": maps}, torch.eye(3).repeat(2, 1, 1))
    (small, large) = task().collate(samples).targets["classes"]
    assert (small == -1).sum() == 20 - 6 and bool((small[:2, :3] == 1).all()) and bool((large == 1).all())


def test_the_loss_is_torchs_mean_over_the_classes_of_each_known_pixel():
    of, model, bits = task(), nn.Conv2d(3, 3, 1), random_bits()
    given = batch(of, bits)
    shown = torch.stack([bits >> k & 1 for k in range(3)], 1).double()
    terms = F.binary_cross_entropy_with_logits(model(*given.inputs).double(), shown, reduction="none").mean(1)
    (term,) = of.losses(model, given, "model", 0).values()
    assert term.unit == "pixel"
    torch.testing.assert_close(term.sum.double(), terms[bits >= 0].sum(), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("micro", [1, 3])
@pytest.mark.parametrize("loss", [{}, {"segment.region_loss": "dice", "loss.class_weights": [1.0, 5.0, 0.5]},
                                  {"loss.name": "lovasz"}, {"loss.name": "binary_focal"}])  # fmt: skip
def test_splitting_a_batch_of_different_numbers_of_known_pixels_does_not_change_its_gradient(micro, loss):
    of = task(**{"model.name": "fast", "model.options": {"width": 8, "normalisation": "none"}, **loss})
    model, given = of.model().double(), batch(of, random_bits())
    given = replace(given, inputs=tuple(each.double() for each in given.inputs))

    def gradient(parts):
        model.zero_grad()
        counts = of.counts(given)
        for part in parts:
            sum(t.sum / counts[t.unit] for t in of.losses(model, part, "model", 0).values()).backward()
        return torch.cat([each.grad.flatten() for each in model.parameters()])

    whole, split = gradient([given]), gradient(given.split(micro))
    assert torch.linalg.vector_norm(whole) > 0
    assert torch.linalg.vector_norm(split - whole) <= 1e-12 * torch.linalg.vector_norm(whole)


def test_views_are_joined_by_the_mean_of_their_probabilities():
    logits = 4 * torch.randn(2, 1, 3, 4, 4)
    views = [{"logits": each, "originals": torch.tensor([[4, 4]])} for each in logits]
    torch.testing.assert_close(task().merge(views)["logits"].sigmoid(), logits.sigmoid().mean(0))


def test_an_answer_comes_home_by_interpolated_scores_and_says_each_class_by_itself():
    logits = 3 * torch.randn(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    (said,) = task().decode({"logits": logits, "originals": torch.tensor([[20, 30]])})
    home = said.home(torch.diag(torch.tensor([2.5, 2.5, 1], dtype=torch.float64)))
    larger = F.interpolate(logits, (20, 30), mode="bilinear", align_corners=False)[0] > 0
    assert set(home.layers) == set(CLASSES)
    for k, name in enumerate(CLASSES):
        assert (home.layers[name] == larger[k]).float().mean() > 0.99


@pytest.mark.parametrize("size", [(150, 200), (200, 150), (32, 64)])
def test_a_network_that_looks_at_single_pixels_says_the_same_of_tiles_as_of_the_whole(size):
    torch.manual_seed(0)
    model = nn.Conv2d(3, 3, 1)
    whole, tiled = task(), task(**{"input.size": [32, 64], "input.tiles": 64})
    bits = torch.randint(0, 8, (2, *size), generator=torch.Generator().manual_seed(3))
    given = batch(whole, bits)
    raw = tiled.raw(model, given)
    in_tiles, at_once = tiled.decode(raw), whole.decode(whole.raw(model, given))
    for one, other in zip(in_tiles, at_once, strict=True):
        assert one.home(STAY) is one and (one.bits == other.home(STAY).bits).float().mean() > 0.9999
    metrics = tiled.metric(), whole.metric()
    metrics[0].update(raw, given)
    metrics[1].update(whole.raw(model, given), given)
    scores, expected = (metric.compute() for metric in metrics)
    assert expected.keys() - scores.keys() == {"calibration_error"}  # of which nothing is kept
    for name, score in scores.items():
        assert score.value == pytest.approx(expected[name].value, abs=1e-3)


def test_where_the_network_says_no_numbers_no_class_and_no_absence_of_one_is_said():
    logits = torch.full((1, 3, 4, 4), -1.0)
    logits[0, 1] = 1
    logits[0, 2, 0] = torch.nan
    (said,) = task().decode({"logits": logits, "originals": torch.tensor([[4, 4]])})
    assert (said.bits[0] == -1).all() and (said.bits[1:] == 2).all()
    assert said.shares() == {"dog": 0.75}
    drawn = task().draw(Sample("a", torch.full((3, 4, 4), 200, dtype=torch.uint8)), said)
    assert drawn[0, 0].tolist() == [200, 200, 200]


def test_areas_are_told_of_each_class_and_may_add_up_to_more_than_the_picture():
    logits = torch.full((1, 3, 4, 4), -1.0)
    logits[0, 2], logits[0, 0, :2] = 1, 1
    (said,) = task().decode({"logits": logits, "originals": torch.tensor([[4, 4]])})
    assert said.json() == {"height": 4, "width": 4, "classes": ["tail", "cat"], "areas": {"tail": 1.0, "cat": 0.5}}
    assert said.rows() == [{"label": "tail", "pixels": 16, "share": 1.0}, {"label": "cat", "pixels": 8, "share": 0.5}]
    (nothing,) = task().decode({"logits": logits - 9, "originals": torch.tensor([[4, 4]])})
    assert nothing.json()["classes"] == [] and nothing.rows() == [{"label": "", "pixels": 0, "share": 0.0}]


def test_what_overlaps_is_drawn_in_the_mean_of_its_colours_and_beside_the_truth():
    of = task(**{"segment.palette": ["#ff0000", "#00ff00", "#0000ff"]})
    logits = torch.full((1, 3, 40, 400), -1.0)
    logits[0, 0, :, :200], logits[0, 1, :, 100:] = 1, 1
    (said,) = of.decode({"logits": logits, "originals": torch.tensor([[40, 400]])})
    image = torch.zeros(3, 40, 400, dtype=torch.uint8)
    alone = of.draw(Sample("a", image), said)
    assert alone[20, 50].tolist() == [140, 0, 0] and alone[20, 350].tolist() == [0, 140, 0]
    assert alone[20, 150].tolist() == [70, 70, 0]
    truth = torch.ones(40, 400, dtype=torch.int64)
    truth[:, 300:] = -1
    judged = of.draw(Sample("a", image, {"stated_map": StatedMap(truth)}), said)
    assert judged[75, 50].tolist() == [140, 0, 0] and judged[75, 350].tolist() == [0, 0, 0]  # below the titles
    assert judged[75, 650].tolist() == [200, 40, 50] and judged[75, 450].tolist() == [110, 110, 110]


def test_more_combinations_than_can_be_drawn_are_left_as_they_are():
    of = task(classes=tuple(f"c{k}" for k in range(10)))
    logits = torch.randn(1, 10, 64, 64, generator=torch.Generator().manual_seed(0))
    (said,) = of.decode({"logits": logits, "originals": torch.tensor([[64, 64]])})
    regions, _ = said.mixed()
    assert len(regions.names) == 254 and bool((regions.class_map == 255).any())
    assert np.asarray(of.draw(Sample("a", torch.zeros(3, 64, 64, dtype=torch.uint8)), said)).ndim == 3


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(UsageError, match="64 classes: a pixel can show 63"):
        task(classes=tuple(map(str, range(64))))
    with pytest.raises(UsageError, match="learns from 'label'"):
        task(**{"model.name": "fast", "loss.name": "cross_entropy"}).model()
