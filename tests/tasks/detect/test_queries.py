"""Losses of networks of queries: sums that no split changes, equal to transformers' own, and matches by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from visus.core.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from visus.core.errors import UsageError
from visus.core.recipe import DetectSettings, Facts, InputSettings, LossSettings, ModelSettings, Recipe
from visus.core.task import Batch
from visus.tasks.detect import queries
from visus.tasks.detect.choices import choices
from visus.tasks.detect.task import Detect

pytest.importorskip("transformers")

SIZE = (64, 96)
CLASSES = ("cat", "dog", "owl")
NAMES = ("rtdetr_v2", "dfine")
SMALL = {"width": 16, "hidden": 24, "layers": 3, "queries": 12}


def task(name, classes=CLASSES, loss="varifocal", **settings):
    recipe = Recipe(
        task="detect", model=ModelSettings(name=f"{name}:csp", options=SMALL), loss=LossSettings(name=loss),
        detect=DetectSettings(suppression="none", **settings), input=InputSettings(size=SIZE, fit="pad"),
    )  # fmt: skip
    return Detect(recipe, classes)


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
    targets = {"boxes": boxes, "labels": labels, "stated": [None] * n}
    return Batch((images,), targets, tuple(map(str, range(n))), torch.arange(n), frames, seed=5, whole=n)


ONE = ([(4, 4, 40, 40), (50, 10, 90, 60), (10, 30, 25, 60)], [0, 2, 1])
FOUR = (
    ([(4, 4, 40, 40), (50, 10, 90, 60)], [0, 2]),
    ([], []),
    ([(0, 0, 96, 64)], [1]),
    ([(10, 10, 30, 30), (20, 12, 44, 34), (60, 40, 64, 44), (70, 0, 96, 20)], [1, 1, 0, -2]),
)
MANY = ([(4 * i, 4, 4 * i + 20, 40) for i in range(19)], [0] * 19)

BUILT = {}


def network(name, dtype=torch.float32):
    """Return a network whose stages differ, judging, so that no picture depends on another."""
    if name not in BUILT:
        model = task(name).model()
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if any(head in key for head in ("bbox_embed", "bbox_head", "class_embed", "lqe", "score_head")):
                    parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        BUILT[name] = model
    return copy.deepcopy(BUILT[name]).to(dtype).eval()


def gradient(task, model, parts, counts):
    model.zero_grad()
    for part in parts:
        for term in task.losses(model, part, "model", 0).values():
            (term.sum / counts[term.unit]).backward(retain_graph=True)
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_does_not_depend_on_how_a_batch_was_split(name, dtype, bound):
    ours, model, whole = task(name), network(name, dtype), batch(*FOUR, dtype=dtype)
    counts = ours.counts(whole)
    one = gradient(ours, model, [whole], counts)
    for parts in (1, 3):
        split = gradient(ours, model, whole.split(parts), counts)
        assert torch.linalg.vector_norm(split - one) <= bound * torch.linalg.vector_norm(one)


@pytest.mark.parametrize("box_loss", ["giou", "ciou"])
@pytest.mark.parametrize("name", NAMES)
def test_the_losses_reach_every_parameter(name, box_loss):
    ours, model = task(name, box_loss=box_loss), network(name)
    losses = ours.losses(model, batch(*FOUR), "model", 0)
    assert box_loss in losses and {term.unit for term in losses.values()} == {"object"}
    sum(term.sum for term in losses.values()).backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_left_before_boxes_are_made_of_what_is_said(name):
    ours, model = task(name), network(name)
    with torch.autocast("cpu", torch.bfloat16):
        losses = ours.losses(model, batch(*FOUR), "model", 0)
        raw = ours.raw(model, batch(*FOUR))
    assert all(term.sum.dtype == torch.float32 and term.sum.isfinite() for term in losses.values())
    assert raw["boxes"].dtype == raw["scores"].dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_any_object_is_learned_from(name):
    ours, model = task(name), network(name)
    losses = ours.losses(model, batch(([], []), ([], [])), "model", 0)
    assert losses["varifocal"].sum > 0 and losses["giou"].sum == losses["absolute_error"].sum == 0
    sum(term.sum for term in losses.values()).backward()


@pytest.mark.parametrize("name", NAMES)
def test_more_objects_than_queries_are_learned_as_far_as_queries_go(name):
    ours, model = task(name), network(name)
    losses = ours.losses(model, batch(MANY), "model", 0)
    assert all(term.sum.isfinite() for term in losses.values())


@pytest.mark.parametrize("name", NAMES)
def test_one_class_is_enough(name):
    ours = task(name, classes=("cat",))
    losses = ours.losses(ours.model().eval(), batch(([(4, 4, 40, 40)], [0])), "model", 0)
    assert losses["varifocal"].sum > 0 and losses["giou"].sum > 0


@pytest.mark.parametrize("name", NAMES)
def test_background_in_a_region_in_which_nothing_is_counted_is_not_learned(name):
    ours, model = task(name), network(name)
    plain, region = batch(([], [])), batch(([(0, 0, 96, 64)], [-2]))
    less, more = (ours.losses(model, each, "model", 0)["varifocal"].sum for each in (region, plain))
    assert less < more


def test_a_loss_that_does_not_fit_is_refused_before_training():
    with pytest.raises(UsageError, match="learns from"):
        task("dfine", loss="huber").model()


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_that_is_not_finite_finds_nothing(name):
    ours, model = task(name), network(name)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "decoder" in key:
                parameter.fill_(torch.nan)
    found = ours.decode(ours.raw(model, batch(*FOUR)))
    assert [len(each.labels) for each in found] == [0] * 4


@pytest.mark.parametrize("name", NAMES)
def test_what_is_found_is_the_surest_pairs_of_query_and_class_of_the_last_layer(name):
    ours, model, given = task(name, least=0.0, candidates=5), network(name), batch(ONE)
    with torch.no_grad():
        logits, boxes, *_ = model(*given.inputs)
        found = ours.decode(ours.raw(model, given))[0]
    scores, at = logits[0, -1].sigmoid().flatten().topk(5)
    pixels = cxcywh_to_xyxy(boxes[0, -1][at // 3]) * torch.tensor([96.0, 64, 96, 64])
    cut = torch.minimum(pixels.clamp(min=0), torch.tensor([96.0, 64, 96, 64]))
    real = (cut[:, 2:] > cut[:, :2]).all(1)
    torch.testing.assert_close(found.boxes, cut[real])
    torch.testing.assert_close(found.scores, scores[real])


def said(name, given):
    """Return what a network says of one picture, what there is as transformers wants it, and its settings."""
    from transformers import DFineConfig, RTDetrV2Config

    model = network(name)
    height, width = SIZE
    objects = xyxy_to_cxcywh(given.targets["boxes"][0] / torch.tensor([width, height, width, height]))
    config = {"rtdetr_v2": RTDetrV2Config, "dfine": DFineConfig}[name](num_labels=len(CLASSES))
    return model, model(*given.inputs), [{"boxes": objects, "class_labels": given.targets["labels"][0]}], config


def test_a_match_is_the_cheapest_by_hand():
    """Two queries, two objects, logits of zero: classes cost the same, so that only the boxes decide."""
    boxes = torch.tensor([[[0.2, 0.2, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2]], [[0.7, 0.7, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2]]])
    wanted = torch.tensor([[0.7, 0.7, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2]])
    stages, chosen, objects = queries.matches(torch.zeros(2, 2, 3), boxes, wanted, torch.tensor([0, 1]))
    assert torch.stack([stages, chosen, objects], 1).tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 1, 1]]
    logits = torch.tensor([[[9.0, -9.0], [-9.0, 9.0]]])
    same = torch.full((1, 2, 4), 0.5)
    assert queries.matches(logits, same, same[0], torch.tensor([1, 0]))[2].tolist() == [1, 0]


@pytest.mark.parametrize("name", NAMES)
def test_matches_are_transformers_own(name):
    from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher

    given = batch(ONE)
    _, (logits, boxes, *_), truth, config = said(name, given)
    stages, chosen, objects = queries.matches(logits[0], boxes[0], truth[0]["boxes"], truth[0]["class_labels"])
    for stage in range(logits.shape[1]):
        outputs = {"logits": logits[:, stage], "pred_boxes": boxes[:, stage]}
        ((theirs, of),) = RTDetrHungarianMatcher(config)(outputs, truth)
        mine = stages == stage
        assert dict(zip(chosen[mine].tolist(), objects[mine].tolist(), strict=True)) == dict(
            zip(theirs.tolist(), of.tolist(), strict=True)
        )


def test_a_total_cost_is_that_of_scipy():
    given = batch(ONE)
    _, (logits, boxes, *_), truth, _ = said("rtdetr_v2", given)
    wanted, labels = truth[0]["boxes"], truth[0]["class_labels"]
    _, chosen, objects = queries.matches(logits[0, :1], boxes[0, :1], wanted, labels)
    score = logits[0, 0].detach().double().sigmoid().numpy()
    cost = torch.zeros(len(score), len(labels), dtype=torch.float64)
    for q, (x, y, w, h) in enumerate(boxes[0, 0].tolist()):
        for m, (X, Y, W, H) in enumerate(wanted.tolist()):
            p = score[q, labels[m]]
            focal = -0.25 * (1 - p) ** 2 * torch.tensor(p).log() + 0.75 * p**2 * torch.tensor(1 - p).log()
            across = max(0, min(x + w / 2, X + W / 2) - max(x - w / 2, X - W / 2))
            down = max(0, min(y + h / 2, Y + H / 2) - max(y - h / 2, Y - H / 2))
            joint = w * h + W * H - across * down
            hull = (max(x + w / 2, X + W / 2) - min(x - w / 2, X - W / 2)) * (
                max(y + h / 2, Y + H / 2) - min(y - h / 2, Y - H / 2)
            )
            giou = across * down / joint - (hull - joint) / hull
            cost[q, m] = 2 * focal + 5 * (abs(x - X) + abs(y - Y) + abs(w - W) + abs(h - H)) - 2 * giou
    rows, columns = linear_sum_assignment(cost.numpy())
    assert (rows.tolist(), columns.tolist()) == (chosen.tolist(), objects.tolist())


def test_rt_detr_learns_as_transformers_does():
    from transformers.loss.loss_rt_detr import RTDetrLoss

    given = batch(ONE)
    ours = task("rtdetr_v2")
    model, (logits, boxes), truth, config = said("rtdetr_v2", given)
    losses = ours.losses(model, given, "model", 0)
    stages = [{"logits": a, "pred_boxes": b} for a, b in zip(logits.unbind(1), boxes.unbind(1), strict=True)]
    expected = RTDetrLoss(config)({**stages[-1], "auxiliary_outputs": stages[:-1]}, truth)
    for mine, theirs in (("varifocal", "loss_vfl"), ("giou", "loss_giou"), ("absolute_error", "loss_bbox")):
        total = sum(value for key, value in expected.items() if key.startswith(theirs))
        torch.testing.assert_close(losses[mine].sum / 3, total)


def test_dfine_learns_as_transformers_does():
    """Layer by layer: on their way from the network to the loss, theirs put distributions beside the layer before."""
    from transformers.loss.loss_d_fine import DFineLoss

    given = batch(ONE)
    ours = task("dfine")
    model, (logits, boxes, corners, starts), truth, config = said("dfine", given)
    losses = ours.losses(model, given, "model", 0)
    theirs = DFineLoss(config)
    first = boxes.shape[1] - corners.shape[1]
    fine = distilled = 0.0
    for layer in range(corners.shape[1]):
        outputs = {
            "logits": logits[:, first + layer],
            "pred_boxes": boxes[:, first + layer],
            "pred_corners": corners[:, layer].flatten(2),
            "ref_points": starts,
            "teacher_corners": corners[:, -1].flatten(2),
            "teacher_logits": logits[:, -1],
        }
        expected = theirs.loss_local(outputs, truth, theirs.matcher(outputs, truth), 3.0)
        fine, distilled = fine + expected["loss_fgl"], distilled + expected["loss_ddf"]
    torch.testing.assert_close(losses["fine_grained"].sum / 3, 0.15 * fine)
    torch.testing.assert_close(losses["distilled"].sum / 4, 1.5 * distilled)
    assert losses["fine_grained"].sum > 0 and losses["distilled"].sum > 0


def test_a_side_between_two_steps_is_said_best_by_these_two():
    from visus.models.detectors.dfine import steps

    edges = steps()
    start = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    out = torch.tensor([0.5 * (edges[20] + edges[21]), edges[16], edges[3], 9.0])  # the last beyond the last step
    move = torch.tensor([-0.2, -0.4, 0.2, 0.4]) * (0.5 + out)
    sides = torch.tensor([0.5, 0.5, 0.5, 0.5]) + move
    corners = torch.full((1, 4, len(edges)), -20.0)
    corners[0, 0, [20, 21]] = corners[0, 1, 16] = corners[0, 2, 3] = corners[0, 3, 32] = 20.0
    wanted = xyxy_to_cxcywh(sides[None])
    torch.testing.assert_close(
        queries.fine_grained(corners, start, wanted), torch.tensor([2.0]).log(), rtol=0, atol=1e-3
    )


def test_the_last_layer_does_not_follow_the_others():
    corners = torch.randn(3, 5, 4, 33, generator=torch.Generator().manual_seed(0)).requires_grad_()
    known = torch.zeros(3, 5, dtype=torch.bool)
    known[:, 2] = True
    queries.taught(corners, torch.rand(3, 5), known).backward()
    assert corners.grad is not None and (corners.grad[-1] == 0).all() and (corners.grad[:-1] != 0).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_few_pictures_are_learned_in_a_few_steps(name):
    ours, given = task(name), batch(FOUR[0], FOUR[2])
    model = ours.model().train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    values = []
    for _ in range(20):
        optimiser.zero_grad()
        losses = {name: term.sum for name, term in ours.losses(model, given, "model", 0).items()}
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        values.append(losses["giou"].item() + losses["absolute_error"].item())
    assert sum(values[-5:]) < 0.95 * sum(values[:5])


def chosen(**wanted):
    facts = Facts(annotation="objects", classes=("cat",), counts=(10,), train=100, sizes=((480, 640),) * 5, channels=3,
                  wanted=wanted)  # fmt: skip
    return {choice.key: choice.value for choice in choices(facts)}


@pytest.mark.parametrize("name", NAMES)
def test_the_usual_settings_are_those_of_the_papers(name):
    settings = chosen(**{"model.name": name})
    assert settings["loss.name"] == "varifocal" and settings["detect.suppression"] == "none"
    assert (settings["optim.clip"], settings["optim.weight_decay"], settings["detect.candidates"]) == (0.1, 1e-4, 300)
    assert "detect.box_gain" not in settings, "2 is the default"
    assert settings["optim.lr"] == 2e-4 < chosen(**{"model.name": f"{name}:csp"})["optim.lr"]


def test_a_graphics_card_is_not_asked_for_kernels_that_it_has_not():
    assert "deterministic" not in chosen(**{"model.name": "dfine"})
    facts = Facts(annotation="objects", classes=("cat",), counts=(10,), train=100, sizes=((480, 640),) * 5, channels=3,
                  device="cuda", wanted={"model.name": "dfine"})  # fmt: skip
    assert {choice.key: choice.value for choice in choices(facts)}["deterministic"] is False


def test_mirror_images_may_find_an_object_twice():
    assert "detect.suppression" not in chosen(**{"model.name": "dfine", "flips": True})
    small = Facts(annotation="objects", classes=("cat",), counts=(10,), train=9, sizes=((64, 64),) * 5, channels=3,
                  wanted={"model.name": "dfine"})  # fmt: skip
    assert "flips" not in {choice.key for choice in choices(small)}
