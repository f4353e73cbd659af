"""What every task keeps.  A new file in ``tasks`` is tested as soon as EXAMPLES says what it reads."""

import json
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch

from visus.core.annotations import Boxes, ClassMap, Stated, StatedMap
from visus.core.recipe import Choice, Draft, Facts
from visus.core.sample import Sample, Samples
from visus.core.seeds import Draws
from visus.core.task import PICTURE, Showing, Term
from visus.tasks import TASKS

B = 7
CLASSES = ("ant", "bee", "wasp")
UNKNOWN = 2  # a sample of which nothing is known
EXAMPLES = {
    "label": torch.tensor([0, 1, -1, 2, 2, 0, 1]),
    "labels": torch.tensor(
        [[1, 0, 0], [0, 1, 1], [255, 255, 255], [0, 0, 0], [1, 255, 0], [0, 1, 0], [1, 1, 1]]
    ).byte(),
    "numbers": torch.tensor(
        [[1, 10, 5], [2, 30, 6], [torch.nan] * 3, [3, 20, 5], [4, 1, torch.nan], [5, 5, 5], [0, 9, 1]]
    ),
    "objects": [
        Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(labels, dtype=torch.int64))
        for boxes, labels in (
            ([(1, 1, 8, 9)], [0]), ([(0, 0, 5, 5), (4, 4, 12, 12)], [1, 2]), ([(0, 0, 12, 12)], [-1]), ([], []),
            ([(2, 3, 11, 7)], [2]), ([(0, 6, 12, 12), (1, 1, 3, 3), (5, 5, 9, 9)], [0, 0, 1]), ([(6, 6, 7, 7)], [1]),
        )
    ],
    "class_map": [
        ClassMap(classes.where(torch.rand(12, 12, generator=torch.Generator().manual_seed(i)) > 0.1 * i, 255))
        if i != UNKNOWN else ClassMap(torch.full((12, 12), 255, dtype=torch.uint8))
        for i, classes in enumerate(torch.arange(B * 144).view(B, 12, 12).div(37, rounding_mode="floor").byte() % 3)
    ],
    "class_sets": [
        ClassMap(bits.where(torch.rand(12, 12, generator=torch.Generator().manual_seed(i)) > 0.1 * i, -1), -1)
        if i != UNKNOWN else ClassMap(torch.full((12, 12), -1), -1)
        for i, bits in enumerate(torch.arange(B * 144).view(B, 12, 12).div(37, rounding_mode="floor") % 8)
    ],
    PICTURE: None,
}  # fmt: skip
"""By column, what is known of B samples."""
NETWORKS = {
    "detect": {"model.name": "anchor_free", "model.options": {"width": 8, "normalisation": "none"}, "input.size": 64},
    "segment": {"model.name": "fast", "model.options": {"width": 8, "normalisation": "none"}, "input.size": 64},
}
NETWORKS["segment_multilabel"] = NETWORKS["segment"]
NETWORKS["generate"] = {"model.name": "dcgan", "model.options": {"width": 4, "latent": 3}}
NETWORKS["stylize"] = {
    "model.name": "johnson", "model.options": {"width": 4, "blocks": 1}, "input.size": 64, "stylize.features": "random"
}  # fmt: skip
"""Tiny networks of the tasks that a network of whole pictures does not do."""
MAKES = "it makes pictures, and says nothing of any"


@pytest.fixture(
    params=[(name, column) for name in TASKS for column in TASKS[name].reads], ids=lambda p: f"{p[0]}-{p[1]}"
)
def given(request):
    """Return every task with each column it reads: name, column."""
    return request.param


def facts(column, **changes):
    usual = {
        "annotation": "" if column == PICTURE else column,
        "classes": CLASSES,
        "counts": {"label": (2, 2, 2), "labels": (3, 3, 2)}.get(column, ()),
        "train": B,
        "sizes": ((12, 12),) * B,
        "channels": 3,
        "means": (2.5, 12.0, 4.0),
        "deviations": (1.7, 9.0, 1.0),
    }
    return Facts(**{**usual, **changes})


def drafted(name, column, **wanted):
    """Return the recipe for a tiny network without normalisation, so that samples do not see each other."""
    small = {"model.name": "cnn", "model.weights": "none", "model.options": {"widths": [4], "normalisation": "none"}}
    settings = {"task": name, "input.size": 12, "resamples": 10, **small, **NETWORKS.get(name, {}), **wanted}
    draft = Draft(Choice(key, value, "the test") for key, value in settings.items())
    for choice in TASKS[name].defaults(facts(column, wanted=draft.wanted())):
        draft.choose(choice)
    return draft.finish()


def example(column):
    images = torch.randint(0, 256, (B, 3, 12, 12), generator=torch.Generator().manual_seed(0)).byte()
    frames = torch.eye(3, dtype=torch.float64).repeat(B, 1, 1)
    originals = torch.full((B, 2), 12)
    return Samples(
        tuple(f"{i}.png" for i in range(B)), torch.arange(B), images, columns_of(column), frames, originals=originals
    )


def columns_of(column):
    """Return the columns of the samples, as a feed makes them of what the data set knows."""
    if column in ("class_map", "class_sets"):
        maps = EXAMPLES[column]
        return {"class_map": maps, "stated_map": [StatedMap(each.classes) for each in maps]}
    if column != "objects":
        return {column: EXAMPLES[column]} if column and column != PICTURE else {}
    marked = EXAMPLES[column]
    area = [(each.xyxy[:, 2:] - each.xyxy[:, :2]).prod(1).double() for each in marked]
    stated = [Stated(m.xyxy.double(), m.labels, m.crowd, a) for m, a in zip(marked, area, strict=True)]
    return {"boxes": marked, "stated": stated}


def prepared(task, column, *, train=False):
    """Return a batch as the task's own transform and collation make it."""
    draws = Draws(0, np.zeros(B, np.int64), np.arange(B))
    samples, transform = example(column), task.transforms(train)
    partners = [(samples.rows([1, 0, 3, 4, 5, 6, 0]), draws)] * transform.partners
    return task.collate(transform(samples, draws, partners))


@pytest.fixture
def task(given):
    name, column = given
    return TASKS[name](drafted(name, column), CLASSES)


@pytest.fixture
def model(task):
    return task.model().double()


def doubled(batch):
    """Return a batch in float64, in which sums in any order agree."""
    return replace(batch, inputs=tuple(t.double() for t in batch.inputs))


def widened(said):
    """Return numbers as an evaluation gives them: reals in float32."""
    return said.float() if said.is_floating_point() else said


def test_a_task_bears_the_name_of_its_file(given):
    assert TASKS[given[0]].name == given[0]


def test_its_legend_names_colours_that_the_page_has(given):
    style = (files("visus.report") / "page.css").read_text(encoding="utf-8")
    assert all(f".legend.verdict .{kind} " in style and words for kind, words in TASKS[given[0]].legend.items())


def test_there_is_an_example_of_what_it_reads(given):
    assert given[1] in EXAMPLES


@pytest.mark.parametrize(
    "situation",
    [{}, {"minutes": 2.0}, {"device": "cuda"}, {"sizes": ((300, 400),) * 5}, {"sizes": ()}, {"channels": 1}],
)
def test_its_defaults_are_settings_with_a_reason(given, situation):
    name, column = given
    draft = Draft()
    for choice in TASKS[name].defaults(facts(column, **situation)):
        assert choice.why
        draft.choose(choice)
    assert TASKS[name](draft.finish(), CLASSES).score


def test_what_it_counts_does_not_depend_on_how_a_batch_is_split(given, task):
    batch = prepared(task, given[1])
    whole = task.counts(batch)
    for unit, count in whole.items():
        assert count.shape == ()
        assert sum(task.counts(part)[unit] for part in batch.split(3)) == count


@pytest.mark.parametrize("changes", [{}, {"augment.mixup": 0.4, "augment.cutmix": 1.0}])
def test_its_losses_are_sums_in_units_it_counts_however_a_batch_is_split(given, changes):
    name, column = given
    if column == "objects":
        changes = {key: value for key, value in changes.items() if key != "augment.cutmix"}  # cuts objects in two
    if column in ("class_map", "class_sets"):
        changes = {key: value for key, value in changes.items() if key != "augment.mixup"}  # blends classes
    task = TASKS[name](drafted(name, column, **changes), CLASSES)
    model, batch = task.model().double(), doubled(prepared(task, column, train=True))
    for player in task.players:
        whole = task.losses(model, batch, player, 0)
        parts = [task.losses(model, part, player, 0) for part in batch.split(2)]
        for term_name, term in whole.items():
            assert isinstance(term, Term)
            assert term.unit in task.counts(batch)
            assert torch.isfinite(term.sum)
            assert sum(part[term_name].sum for part in parts).item() == pytest.approx(term.sum.item(), rel=1e-12)


def test_what_is_unknown_pulls_at_no_weight(given, task, model):
    if given[1] == "objects":
        pytest.skip("a picture without objects is known to show none: each counts; regions are tested with the task")
    if given[1] == PICTURE:
        pytest.skip("nothing needs to be known of a picture: each counts")
    batch = doubled(prepared(task, given[1])).rows(UNKNOWN, UNKNOWN + 1)
    assert all(count == 0 for count in task.counts(batch).values())
    for player in task.players:
        sum(term.sum for term in task.losses(model, batch, player, 0).values()).backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_its_answer_has_a_row_a_sample_and_a_prediction_that_json_can_hold(given, task, model):
    raw = task.raw(model, doubled(prepared(task, "")))
    assert all(len(tensor) == B for tensor in raw.values())
    predictions = task.decode({name: widened(t) for name, t in raw.items()})
    assert len(predictions) == B
    for prediction in predictions:
        assert json.dumps(prediction.home(torch.eye(3)).json(), allow_nan=False)


def test_an_answer_that_is_not_finite_is_decoded_without_nan(given, task, model):
    raw = task.raw(model, doubled(prepared(task, "")))
    broken = {name: torch.full_like(t, torch.nan) if t.is_floating_point() else t for name, t in raw.items()}
    for prediction in task.decode(broken):
        assert json.dumps(prediction.json(), allow_nan=False)


def test_merging_one_view_changes_nothing_and_two_equal_ones_neither(given, task, model):
    raw = task.raw(model, doubled(prepared(task, "")))
    alone = [prediction.json() for prediction in task.decode(raw)]
    for views in ([raw], [raw, raw]):
        assert [prediction.json() for prediction in task.decode(task.merge(views))] == alone


def test_with_flips_a_picture_and_its_mirror_image_get_one_answer(given):
    name, column = given
    task = TASKS[name](drafted(name, column, flips=True), CLASSES)
    if isinstance(task, Showing):
        pytest.skip(MAKES)
    model, batch = task.model().double(), doubled(prepared(task, ""))
    mirrored = replace(batch, inputs=(batch.inputs[0].flip(-1),))
    one, other = task.raw(model, batch), task.raw(model, mirrored)
    if column in ("class_map", "class_sets"):
        other = {**other, "logits": other["logits"].flip(-1)}
    for key in ("scores",) if column == "objects" else one:  # where an object lies is mirrored too
        torch.testing.assert_close(one[key].sort(1).values, other[key].sort(1).values)


def test_its_metric_holds_the_score_that_picks_the_best_weights(given, task, model):
    metric, batch = task.metric(), prepared(task, given[1])
    metric.update({name: widened(t) for name, t in task.raw(model, doubled(batch)).items()}, batch)
    assert task.score in metric.quick()
    assert set(metric.quick()) - {task.score} <= set(metric.compute())


def test_its_metric_merges_over_ranks_in_any_order(given, task, model):
    batch = prepared(task, given[1])
    raw = {name: widened(t) for name, t in task.raw(model, doubled(batch)).items()}
    whole, merged, ranks = task.metric(), task.metric(), [task.metric(), task.metric(), task.metric()]
    whole.update(raw, batch)
    for i, part in enumerate(batch.split(3)):
        rows = slice(part.start - batch.start, part.start - batch.start + len(part))
        ranks[i % 2].update({name: tensor[rows] for name, tensor in raw.items()}, part)
    merged.load([rank.state() for rank in reversed(ranks)])
    assert merged.quick() == whole.quick()
    assert merged.compute() == whole.compute()
    assert merged.gallery(3) == whole.gallery(3)


def test_its_metric_names_pictures_of_the_data_set(given, task, model):
    metric, batch = task.metric(), prepared(task, given[1])
    metric.update({name: widened(t) for name, t in task.raw(model, doubled(batch)).items()}, batch)
    for indices in metric.gallery(3).values():
        assert len(indices) <= 3
        assert set(indices) <= set(range(B)) - ({UNKNOWN} if given[1] != PICTURE else set())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_it_draws_a_picture_of_any_kind_with_and_without_the_truth(given, task, model, dtype):
    predictions = task.decode({name: widened(t) for name, t in task.raw(model, doubled(prepared(task, ""))).items()})
    columns = {
        name: each.numpy() if isinstance(each, torch.Tensor) else each for name, each in columns_of(given[1]).items()
    }
    for i, channels in enumerate((1, 2, 3, 4)):
        image = torch.full((channels, 20, 30), 0.5 if dtype == torch.float32 else 100).to(dtype)
        for annotations in ({}, task.annotations(columns, i)):
            picture = task.draw(Sample(f"{i}.png", image, annotations), predictions[i])
            assert picture.dtype == np.uint8
            assert picture.ndim == 3
            assert picture.shape[2] == 3


def test_gradients_flow_from_what_it_says_of_a_picture_back_to_the_pixels(task, model, given):
    """What can be explained: a number for each version of the picture, at first as large as what was said."""
    if isinstance(task, Showing):
        pytest.skip(MAKES)
    task.calibrate({"threshold": 1e-6})  # a fresh detector is sure of nothing
    model.eval()
    batch = doubled(prepared(task, given[1])).rows(0, 1)
    with torch.no_grad():
        target = task.targets(task.raw(model, batch))[0]
    (images,) = batch.inputs
    versions = torch.cat([images, images / 2]).requires_grad_()
    frames, originals = batch.frames.repeat(2, 1, 1), batch.originals.repeat(2, 1)
    both = replace(batch, inputs=(versions,), ids=("a", "b"), frames=frames, originals=originals, targets={})
    raw = task.raw(model, both)
    value, strength = target.value(raw), target.strength(raw)
    value.sum().backward()
    assert value.shape == strength.shape == (2,) and all(versions.grad.flatten(1).abs().sum(1) > 0)
    said = value if given[1] == "numbers" else strength
    assert said[0].item() == pytest.approx(target.score, rel=1e-4)


def test_only_what_is_named_is_explained(task, model, given):
    if isinstance(task, Showing):
        pytest.skip(MAKES)
    batch = doubled(prepared(task, given[1])).rows(0, 1)
    task.calibrate({"threshold": 1e-6})
    with torch.no_grad():
        raw = task.raw(model.eval(), batch)
    for name in task.classes:
        assert {target.label for target in task.targets(raw, name)} <= {name}
