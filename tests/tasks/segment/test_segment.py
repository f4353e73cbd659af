"""The task of segmentation: what it counts, what its losses are sums of, and what it says of every pixel."""

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
from visus.core.seeds import Draws
from visus.tasks.segment.task import Segment

CLASSES = ("sky", "road", "car")


def task(**wanted):
    draft = Draft(Choice(key, value, "the test") for key, value in {"task": "segment", **wanted}.items())
    return Segment(draft.finish(), CLASSES)


class Quarter(nn.Module):
    """Says of each quarter-size pixel what its mean colour is."""

    def forward(self, images):
        return F.avg_pool2d(images, 4)


def batch(of, *maps, size=(32, 64)):
    """Return random pictures with maps of their size; a map is a number for all pixels, or a tensor."""
    n = len(maps)
    images = torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(1))
    classes = [torch.full(size, each, dtype=torch.uint8) if isinstance(each, int) else each for each in maps]
    columns = {"class_map": list(map(ClassMap, classes)), "stated_map": list(map(StatedMap, classes))}
    frames = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    originals = torch.tensor([size] * n)
    ids = tuple(map(str, range(n)))
    return of.collate(Samples(ids, torch.arange(n), images, columns, frames, originals=originals))


def half_known(size=(32, 64)):
    classes = torch.full(size, 255, dtype=torch.uint8)
    classes[: size[0] // 2] = 1
    return classes


def test_it_counts_known_pixels_and_pictures_that_have_any():
    counts = task().counts(batch(task(), 0, half_known(), 255))
    assert {unit: int(count) for unit, count in counts.items()} == {"pixel": 2048 + 1024, "image": 2}


def test_the_loss_is_torchs_over_logits_brought_to_the_size_of_the_picture():
    of, model = task(), Quarter()
    given = batch(of, torch.randint(3, (32, 64)).byte(), half_known())
    larger = F.interpolate(model(*given.inputs), (32, 64), mode="bilinear", align_corners=False)
    expected = F.cross_entropy(larger, given.targets["classes"].long(), ignore_index=255, reduction="sum")
    (term,) = of.losses(model, given, "model", 0).values()
    assert term.unit == "pixel"
    torch.testing.assert_close(term.sum, expected)


@pytest.mark.parametrize(
    ("micro", "kind", "most"),
    [(1, torch.float64, 1e-12), (2, torch.float64, 1e-12), (3, torch.float64, 1e-12), (1, torch.float32, 1e-5)],
)
@pytest.mark.parametrize(
    "loss",
    [
        {},
        {"segment.region_loss": "dice"},
        {"segment.region_loss": "lovasz", "loss.class_weights": [1.0, 7.0, 0.25]},
        {"loss.name": "boundary", "segment.region_loss": "tversky", "loss.class_weights": [1.0, 7.0, 0.25]},
    ],
)
def test_splitting_a_batch_of_different_numbers_of_known_pixels_does_not_change_its_gradient(micro, kind, most, loss):
    of = task(**{"model.name": "fast", "model.options": {"width": 8, "normalisation": "none"}, **loss})
    model = of.model().to(kind)
    few = torch.full((32, 64), 255, dtype=torch.uint8)
    few[3, 4:9] = 2
    given = batch(of, torch.randint(3, (32, 64)).byte(), half_known(), few, 255)
    given = replace(given, inputs=tuple(each.to(kind) for each in given.inputs))

    def gradient(parts):
        model.zero_grad()
        counts = of.counts(given)
        for part in parts:
            sum(t.sum / counts[t.unit] for t in of.losses(model, part, "model", 0).values()).backward()
        return torch.cat([each.grad.flatten() for each in model.parameters()])

    whole, split = gradient([given]), gradient(given.split(micro))
    assert torch.linalg.vector_norm(split - whole) <= most * torch.linalg.vector_norm(whole)


def test_class_weights_are_factors_and_do_not_change_the_number_of_pixels():
    plain, weighted, model = task(), task(**{"loss.class_weights": [2.0, 1.0, 1.0]}), Quarter()
    given = batch(plain, 0)
    (one,), (other,) = (each.losses(model, given, "model", 0).values() for each in (plain, weighted))
    torch.testing.assert_close(other.sum, 2 * one.sum)
    assert plain.counts(given) == weighted.counts(given)


def test_a_focal_loss_of_pixels_can_be_asked_for_by_name():
    (term,) = task(**{"loss.name": "focal"}).losses(Quarter(), batch(task(), 0, 255), "model", 0).values()
    assert term.unit == "pixel" and bool(term.sum > 0)


@pytest.mark.parametrize("size", [(32, 64), (33, 50), (20, 100)])
def test_pictures_of_any_size_are_answered_at_that_size(size):
    assert task().raw(Quarter(), batch(task(), 0, size=size))["logits"].shape == (1, 3, *size)


def test_what_a_picture_is_extended_by_is_cut_off_its_answer():
    of, model = task(), nn.Conv2d(3, 3, 1)
    given = batch(of, 0, size=(33, 50))
    torch.testing.assert_close(of.raw(model, given)["logits"], model(*given.inputs))


def test_two_views_are_joined_by_the_mean_of_their_probabilities():
    logits = torch.randn(2, 1, 3, 4, 4)
    one, other = ({"logits": each, "originals": torch.tensor([[4, 4]])} for each in logits)
    mean = (logits[0].softmax(1) + logits[1].softmax(1)) / 2
    joined = task().merge([one, other])["logits"].softmax(1)
    torch.testing.assert_close(joined, mean)


def test_with_flips_the_answer_to_a_mirrored_picture_is_turned_back():
    model, given = nn.Conv2d(3, 3, 3, padding=1), batch(task(), 0)
    plain = task().raw(model, given)["logits"]
    turned = task().raw(model, replace(given, inputs=(given.inputs[0].flip(-1),)))["logits"].flip(-1)
    mean = (plain.softmax(1) + turned.softmax(1)) / 2
    torch.testing.assert_close(task(flips=True).raw(model, given)["logits"].softmax(1), mean)


@pytest.mark.parametrize("flips", [False, True])
def test_at_several_scales_the_answer_is_the_mean_of_probabilities_at_present_pixels(flips):
    model, given = nn.Conv2d(3, 3, 3, padding=1), batch(task(), 0)
    (images,) = given.inputs
    views = []
    for scale in ((16, 32), (32, 64), (48, 96)):
        seen = F.interpolate(images, scale, mode="bilinear", antialias=True)
        pair = [model(F.pad(seen, (0, -scale[1] % 32, 0, -scale[0] % 32)))[..., : scale[0], : scale[1]]]
        if flips:
            turned = F.pad(seen.flip(-1), (0, -scale[1] % 32, 0, -scale[0] % 32))
            pair.append(model(turned)[..., : scale[0], : scale[1]].flip(-1))
        views += [F.interpolate(each, (32, 64), mode="bilinear").softmax(1) for each in pair]
    asked = task(**{"segment.scales": [0.5, 1.0, 1.5], "flips": flips})
    mean = torch.stack(views).mean(0)
    torch.testing.assert_close(asked.raw(model, given)["logits"].exp(), mean)


def test_one_scale_alone_may_be_another_one():
    model, given = nn.Conv2d(3, 3, 1), batch(task(), 0)
    small = F.interpolate(given.inputs[0], (16, 32), mode="bilinear", antialias=True)
    expected = F.interpolate(model(F.pad(small, (0, 0, 0, 16)))[:, :, :16], (32, 64), mode="bilinear")
    torch.testing.assert_close(task(**{"segment.scales": [0.5]}).raw(model, given)["logits"], expected)


def test_a_network_of_one_picture_size_is_asked_at_that_size_alone():
    model = nn.Sequential(Quarter())
    model[0].reads_one_size = True  # as Trunk says it of such a network
    assert task().raw(model, batch(task(), 0))["logits"].shape == (1, 3, 32, 64)
    with pytest.raises(UsageError, match="reads pictures of one size"):
        task(**{"segment.scales": [1.0, 1.5]}).raw(model, batch(task(), 0))


def test_an_answer_comes_home_to_the_size_of_the_original_by_interpolated_scores():
    of, logits = task(), 3 * torch.randn(1, 3, 8, 12)
    (said,) = of.decode({"logits": logits, "originals": torch.tensor([[20, 30]])})
    frame = torch.diag(torch.tensor([2.5, 2.5, 1], dtype=torch.float64))
    home = said.home(frame)
    larger = F.interpolate(logits, (20, 30), mode="bilinear", align_corners=False)[0]
    assert home.class_map.shape == (20, 30) and home.class_map.dtype == torch.uint8
    assert (home.class_map == larger.argmax(0)).float().mean() > 0.99
    torch.testing.assert_close(home.scores.float(), larger.softmax(0).amax(0), atol=2e-3, rtol=1e-2)


def test_where_the_size_of_the_original_is_not_known_the_frame_tells_it():
    (said,) = task().decode({"logits": torch.randn(1, 3, 8, 12), "originals": torch.zeros(1, 2, dtype=torch.int64)})
    assert said.home(torch.diag(torch.tensor([3.0, 2.0, 1.0]))).class_map.shape == (16, 36)


def test_many_lines_come_home_as_few_do(monkeypatch):
    (said,) = task().decode({"logits": torch.randn(1, 3, 8, 12), "originals": torch.tensor([[40, 60]])})
    frame = torch.diag(torch.tensor([5.0, 5.0, 1.0]))
    whole = said.home(frame)
    monkeypatch.setattr("visus.tasks.segment.regions.LINES", 500)
    assert torch.equal(said.home(frame).class_map, whole.class_map)


def test_areas_are_told_of_the_classes_that_are_shown_the_largest_first():
    classes = torch.zeros(1, 3, 4, 4)
    classes[0, 2] = 1
    classes[0, 0, 0] = 9
    (said,) = task().decode({"logits": classes, "originals": torch.tensor([[4, 4]])})
    assert said.json() == {"height": 4, "width": 4, "classes": ["car", "sky"], "areas": {"car": 0.75, "sky": 0.25}}
    assert said.rows() == [
        {"label": "car", "pixels": 12, "share": 0.75}, {"label": "sky", "pixels": 4, "share": 0.25}
    ]  # fmt: skip


def test_pictures_and_maps_move_by_the_same_matrix_in_training():
    of = task(**{"input.size": 64, "input.channels": 1, "input.mean": [0.0], "input.std": [1.0], "input.fit": "pad",
                 "augment.crop": [0.4, 1.0], "augment.scale": [0.8, 1.2], "augment.flip": 0.5, "augment.rotate": 0.3,
                 "augment.perspective": 0.1})  # fmt: skip
    n, size = 12, (48, 60)
    classes = torch.zeros(n, *size, dtype=torch.uint8)
    classes[:, 10:30, 20:50], classes[:, 35:, :25] = 1, 2
    images = (classes[:, None].float() + 1) / 4
    frames = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    samples = Samples(tuple(map(str, range(n))), torch.arange(n), images,
                      {"class_map": [ClassMap(each) for each in classes]}, frames)  # fmt: skip
    moved = of.collate(of.transforms(True)(samples, Draws(0, np.zeros(n, np.int64), np.arange(n))))
    shown, said = moved.inputs[0][:, 0] * 4 - 1, moved.targets["classes"]
    inner = F.max_pool2d(said[:, None].float(), 5, 1, 2) == -F.max_pool2d(-said[:, None].float(), 5, 1, 2)
    inner = (inner[:, 0] & (said != 255))[:, 4:-4, 4:-4]  # an edge beyond the frame is not seen
    assert inner.sum() > 5000 and (shown - said)[:, 4:-4, 4:-4][inner].abs().max() < 0.5
    assert bool((said == 255).any()), "beyond a picture nothing is said"


def test_a_picture_is_drawn_under_its_classes_with_a_legend_and_beside_the_truth_where_it_is_known():
    of = task(**{"segment.palette": ["#ff0000", "#00ff00", "#0000ff"]})
    logits = torch.zeros(1, 3, 40, 400)
    logits[0, 1, :, 200:] = 9
    (said,) = of.decode({"logits": logits, "originals": torch.tensor([[40, 400]])})
    image = torch.zeros(3, 40, 400, dtype=torch.uint8)
    alone = of.draw(Sample("a", image), said)
    assert alone.shape[1] == 400 and alone.shape[0] > 40
    assert alone[20, 50].tolist() == [140, 0, 0] and alone[20, 350].tolist() == [0, 140, 0]
    truth = StatedMap(torch.full((40, 400), 255, dtype=torch.uint8).index_fill_(1, torch.arange(300, 400), 2))
    judged = of.draw(Sample("a", image, {"stated_map": truth}), said)
    assert judged.shape[1] == 800 and judged.shape[0] > 80
    assert judged[20, 150].tolist() == [0, 0, 0] and judged[20, 550].tolist() == [140, 0, 0]  # beside the titles
    assert judged[60, 350].tolist() == [0, 0, 140] and judged[60, 150].tolist() == [0, 0, 0]  # 255 is left as it is
    assert judged[60, 750].tolist() == [200, 40, 50] and judged[60, 550].tolist() == [110, 110, 110]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"segment.palette": ["#000000"]}, "1 colours for 3 classes"),
        ({"score": "map"}, "no score named 'map'"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(wanted, words):
    with pytest.raises(UsageError, match=words):
        task(**wanted)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"model.name": "resnet_small"}, "resnet_small says nothing of single pixels"),
        ({"model.name": "fast", "loss.name": "huber"}, "learns from 'numbers'"),
        ({"model.name": "fast", "segment.region_loss": "focal"}, "learns from 'label'"),
        ({"model.name": "fast", "loss.class_weights": [1.0]}, "1 numbers for 3 classes"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is(wanted, words):
    with pytest.raises(UsageError, match=words):
        task(**wanted).model()


def test_where_scores_are_no_numbers_the_exported_network_says_no_class():
    class Broken(Quarter):
        def forward(self, images):
            logits = super().forward(images)
            return logits.masked_fill(torch.arange(logits.shape[2])[:, None] < 4, torch.nan)

    pictures = torch.randint(0, 256, (1, 32, 64, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    of = task(**{"input.size": [32, 64]})
    classes, scores = of.deployed(Broken())(pictures)
    assert (classes[0, :14] == 255).all() and not scores[0, :14].any()
    whole, _ = of.deployed(Quarter())(pictures)
    assert torch.equal(classes[0, 20:], whole[0, 20:]) and (whole < 3).all()
