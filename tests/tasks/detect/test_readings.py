"""Losses of networks that start from given boxes: sums that no split changes, equal to torchvision's in one picture."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection import _utils, fcos, retinanet, roi_heads, rpn

from visus.core.errors import UsageError
from visus.core.recipe import DetectSettings, InputSettings, LossSettings, ModelSettings, Recipe
from visus.core.task import Batch
from visus.tasks.detect import centres, matching
from visus.tasks.detect.masks import GRID
from visus.tasks.detect.task import Detect

SIZE = (64, 96)
CLASSES = ("cat", "dog", "owl")
NETWORKS = {
    "retinanet": {"model.options": {"width": 8}, "loss": {"name": "binary_focal", "alpha": 0.25}},
    "fcos": {"model.options": {"width": 64, "layers": 1}, "loss": {"name": "binary_focal", "alpha": 0.25}},
    "faster_rcnn": {"model.options": {"width": 8, "hidden": 16, "proposals": 40}, "loss": {"name": "cross_entropy"}},
    "mask_rcnn": {"model.options": {"width": 8, "hidden": 16, "proposals": 40}, "loss": {"name": "cross_entropy"}},
}
BOXES = {
    "retinanet": ["giou", "huber"], "fcos": ["giou", "ciou"], "faster_rcnn": ["huber", "giou", "absolute_error"],
    "mask_rcnn": ["huber"],
}  # fmt: skip


def task(name, box_loss="giou", loss=None):
    settings = {"box_loss": box_loss, "box_gain": 1.0, "drawn": 32}
    recipe = Recipe(
        task="detect", model=ModelSettings(name=f"{name}:csp", options=NETWORKS[name]["model.options"]),
        loss=loss or LossSettings(**NETWORKS[name]["loss"]), detect=DetectSettings(**settings),
        input=InputSettings(size=SIZE, fit="pad"),
    )  # fmt: skip
    return Detect(recipe, CLASSES)


def batch(*pictures, dtype=torch.float32):
    """Return a batch of pictures, each given by boxes and labels."""
    most = max(len(labels) for _, labels in pictures)
    boxes, labels = torch.zeros(len(pictures), most, 4), torch.full((len(pictures), most), -1)
    for row, (mine, names) in enumerate(pictures):
        boxes[row, : len(names)] = torch.tensor(mine, dtype=torch.float32).reshape(-1, 4)
        labels[row, : len(names)] = torch.tensor(names, dtype=torch.int64)
    n = len(pictures)
    images = torch.rand(n, 3, *SIZE, generator=torch.Generator().manual_seed(0)).to(dtype)
    frames = torch.eye(3, dtype=torch.float64).expand(n, 3, 3)
    half = torch.tensor([[1, 0], [1, 1]], dtype=torch.uint8).repeat_interleave(GRID // 2, 0)
    masks = half.repeat_interleave(GRID // 2, 1).expand(n, most, GRID, GRID)
    known = (labels >= 0) & (torch.arange(most) != 1)  # the second object of each picture has no mask
    targets = {"boxes": boxes, "labels": labels, "stated": [None] * n, "masks": masks, "masked": known}
    return Batch((images,), targets, tuple(map(str, range(n))), torch.arange(n), frames, seed=5, whole=n)


FOUR = (
    ([(4, 4, 40, 40), (50, 10, 90, 60)], [0, 2]),
    ([], []),
    ([(0, 0, 96, 64)], [1]),
    ([(10, 10, 30, 30), (20, 12, 44, 34), (60, 40, 64, 44), (70, 0, 96, 20)], [1, 1, 0, -2]),
)


def network(name, dtype=torch.float32):
    """Return a network that answers with large numbers, judging, so that no picture depends on another."""
    model = task(name).model().to(dtype).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.dim() > 1 and not key.startswith("backbone"):
                parameter.mul_(3)
    return model


def gradient(task, model, parts, counts):
    model.zero_grad()
    for part in parts:
        for term in task.losses(model, part, "model", 0).values():
            (term.sum / counts[term.unit]).backward(retain_graph=True)
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_does_not_depend_on_how_a_batch_was_split(name, dtype, bound):
    ours, model, whole = task(name), network(name, dtype), batch(*FOUR, dtype=dtype)
    counts = ours.counts(whole)
    one = gradient(ours, model, [whole], counts)
    for parts in (1, 3):
        split = gradient(ours, model, whole.split(parts), counts)
        assert torch.linalg.vector_norm(split - one) <= bound * torch.linalg.vector_norm(one)


@pytest.mark.parametrize(("name", "box_loss"), [(name, box) for name in NETWORKS for box in BOXES[name]])
def test_every_loss_of_boxes_that_fits_reaches_every_parameter(name, box_loss):
    ours, model = task(name, box_loss), network(name)
    losses = ours.losses(model, batch(*FOUR), "model", 0)
    assert box_loss in losses and {term.unit for term in losses.values()} == {"object"}
    sum(term.sum for term in losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_is_left_before_boxes_are_made_of_what_is_said(name):
    ours, model = task(name), network(name)
    with torch.autocast("cpu", torch.bfloat16):
        losses = ours.losses(model, batch(*FOUR), "model", 0)
        raw = ours.raw(model, batch(*FOUR))
    assert all(term.sum.dtype == torch.float32 and term.sum.isfinite() for term in losses.values())
    assert raw["boxes"].dtype == raw["scores"].dtype == torch.float32


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_without_any_object_is_learned_from(name):
    ours, model = task(name), network(name)
    empty = batch(([], []), ([], []))
    losses = ours.losses(model, empty, "model", 0)
    assert losses[ours.recipe.loss.name].sum > 0 and losses["giou"].sum == 0
    sum(term.sum for term in losses.values()).backward()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_loss_that_does_not_fit_is_refused_before_training(name):
    with pytest.raises(UsageError, match="learns from"):
        task(name, loss=LossSettings(name="huber")).model()


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_of_classes_are_refused_rather_than_left_out(name):
    weighted = LossSettings(**NETWORKS[name]["loss"], class_weights=(1.0, 2.0, 3.0))
    with pytest.raises(UsageError, match="class_weights"):
        task(name, loss=weighted).model()


@pytest.mark.parametrize("name", NETWORKS)
def test_an_answer_that_is_not_finite_finds_nothing(name):
    ours, model = task(name), network(name)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if not key.startswith("backbone"):
                parameter.fill_(torch.nan)
    found = ours.decode(ours.raw(model, batch(*FOUR)))
    assert [len(each.labels) for each in found] == [0] * 4


ONE = ([(4, 4, 40, 40), (50, 10, 90, 60), (10, 30, 25, 60)], [0, 2, 1])


def targets(given):
    return [{"boxes": given.targets["boxes"][0], "labels": given.targets["labels"][0]}]


def test_retinanet_learns_as_torchvisions_does():
    ours, model, given = task("retinanet", "giou"), network("retinanet"), batch(ONE)
    losses = ours.losses(model, given, "model", 0)
    logits, offsets, laid = model(*given.inputs)
    matcher = _utils.Matcher(0.5, 0.4, allow_low_quality_matches=True)
    at = matcher(matching.pairwise_iou(given.targets["boxes"][0], laid[0]))
    head: retinanet.RetinaNetHead = model.head
    head.regression_head._loss_type = "giou"
    expected = head.compute_loss(
        targets(given), {"cls_logits": logits, "bbox_regression": offsets}, list(laid), [at]
    )  # fmt: skip
    torch.testing.assert_close(losses["binary_focal"].sum / 4, expected["classification"])
    torch.testing.assert_close(losses["giou"].sum / 4, expected["bbox_regression"])


def test_fcos_learns_as_torchvisions_does():
    ours, model, given = task("fcos"), network("fcos"), batch(ONE)
    losses = ours.losses(model, given, "model", 0)
    logits, sides, centrality, squares = model(*given.inputs)
    shell = fcos.FCOS.__new__(fcos.FCOS)
    torch.nn.Module.__init__(shell)
    shell.head, shell.center_sampling_radius = model.head, 1.5
    said = {"cls_logits": logits, "bbox_regression": sides, "bbox_ctrness": centrality[..., None]}
    widths = (squares[0, :, 2] - squares[0, :, 0]).unique_consecutive(return_counts=True)[1].tolist()
    expected = shell.compute_loss(targets(given), said, list(squares), widths)
    for ours_, theirs in (
        ("binary_focal", "classification"),
        ("giou", "bbox_regression"),
        ("centrality", "bbox_ctrness"),
    ):
        torch.testing.assert_close(losses[ours_].sum / 4, expected[theirs])


def test_faster_rcnn_learns_as_torchvisions_does_from_all_that_there_is():
    """Nothing is drawn where everything fits."""
    ours, model, given = task("faster_rcnn", "huber"), network("faster_rcnn"), batch(ONE)
    reading = ours._reading
    reading.detect = reading.detect.model_copy(update={"drawn": 100_000})
    losses = ours.losses(model, given, "model", 0)
    maps = model.maps(*given.inputs)
    said = model.propose(*given.inputs, maps)
    first = rpn.RegionProposalNetwork(model.anchors, model.proposals, 0.7, 0.3, 50_000, 0.5, {}, {}, 0.7)
    labels, objects = first.assign_targets_to_anchors([said.anchors], targets(given))
    wanted = first.box_coder.encode(objects, [said.anchors])
    objectness, moves = first.compute_loss(said.objectness, said.offsets.flatten(0, 1), labels, list(wanted))
    torch.testing.assert_close(losses["objectness"].sum / 4, objectness)
    torch.testing.assert_close(losses["proposals"].sum / 4, moves)

    heads = roi_heads.RoIHeads(None, None, None, 0.5, 0.5, 100_000, 0.25, None, 0, 0.5, 100)
    shifted = [{"boxes": each["boxes"], "labels": each["labels"] + 1} for each in targets(given)]
    real = (said.proposals[0, :, 2:] > said.proposals[0, :, :2]).all(1)
    boxes, _, labels, wanted = heads.select_training_samples([said.proposals[0][real]], shifted)
    logits, corrections = model.judge(*given.inputs, maps, boxes)
    classes, moves = roi_heads.fastrcnn_loss(logits, corrections.flatten(1), labels, list(wanted))
    torch.testing.assert_close(losses["cross_entropy"].sum / 4, classes)
    torch.testing.assert_close(losses["huber"].sum / 4, moves)


def test_an_object_that_no_box_overlaps_is_learned_by_none():
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    found = matching.matched(boxes, torch.tensor([[50.0, 50, 60, 60], [1, 1, 4, 4]]), 0.4, 0.5, each=True)
    assert found.tolist() == [1, -1]


def test_draws_are_of_the_stated_number_and_share():
    positive = torch.arange(100) < 40
    taken = matching.drawn(positive, ~positive, 32, 0.25, torch.Generator().manual_seed(0))
    assert taken.sum() == 32 and (taken & positive).sum() == 8
    few = matching.drawn(torch.arange(100) < 3, ~positive, 32, 0.25, torch.Generator().manual_seed(0))
    assert few.sum() == 32 and (few & positive).sum() == 3


def test_a_box_that_changes_sides_moves_no_other_that_was_drawn():
    negative = torch.ones(100, dtype=torch.bool)
    none = torch.zeros_like(negative)
    before = matching.drawn(none, negative, 100, 0.5, torch.Generator().manual_seed(0))
    one = torch.arange(100) == 17
    after = matching.drawn(one, negative & ~one, 100, 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(before, after)


def test_what_is_drawn_depends_on_the_step_and_the_picture():
    ours, model = task("faster_rcnn"), network("faster_rcnn")
    given = batch(*FOUR)
    one, again, other = (
        ours.losses(model, each, "model", 0)["objectness"].sum.item()
        for each in (given, given, Batch(given.inputs, given.targets, given.ids, given.indices, given.frames, seed=6))
    )
    assert one == again != other


@pytest.mark.parametrize("name", NETWORKS)
def test_background_in_a_region_in_which_nothing_is_counted_is_not_learned(name):
    ours, model = task(name), network(name)
    name = ours.recipe.loss.name
    plain, region = batch(([], [])), batch(([(0, 0, 96, 64)], [-2]))
    less, more = (ours.losses(model, each, "model", 0)[name].sum for each in (region, plain))
    assert less < more


def test_a_place_learns_the_smallest_object_that_it_is_central_in():
    squares = torch.tensor([[28.0, 28, 36, 36], [0, 0, 8, 8], [96, 96, 104, 104]])
    objects = torch.tensor([[16.0, 16, 48, 48], [24, 24, 40, 40]])
    assert centres.central(squares, objects).tolist() == [1, -1, -1]


def test_a_place_in_the_middle_is_wholly_central_and_one_at_a_side_is_not():
    squares = torch.tensor([[28.0, 28, 36, 36], [12, 28, 20, 36], [20, 28, 28, 36]])
    found = centres.centralities(squares, torch.tensor([[16.0, 16, 48, 48]] * 3))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0, (8 / 24) ** 0.5]))
