"""Stylization as a task: sums over pictures, the painting within the network, and what cannot be learned."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from visus.core.errors import UsageError
from visus.core.recipe import Choice, Draft, Facts
from visus.core.task import Batch
from visus.tasks import TASKS

B, SIDE = 5, 64


def pictures(n, seed=0):
    coarse = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return (F.interpolate(coarse, SIDE, mode="bilinear") * 255).byte()


def task_for(name="johnson", paintings=1, **settings):
    wanted = {"task": "stylize", "model.name": name, "model.options": {"width": 4, "blocks": 1}, "input.size": SIDE,
              "stylize.features": "random", "resamples": 10, **settings}  # fmt: skip
    task = TASKS["stylize"](Draft(Choice(key, value, "the test") for key, value in wanted.items()).finish(), ())
    if paintings:
        task.study(pictures(paintings, seed=7), pictures(3, seed=8))
    return task


def batch():
    images = pictures(B, seed=1).double() / 127.5 - 1
    frames = torch.eye(3, dtype=torch.float64).repeat(B, 1, 1)
    ids = tuple(f"{i}.png" for i in range(B))
    return Batch((images,), {}, ids, torch.arange(B), frames, seed=11, start=0, whole=B)


def gradient(task, parts):
    model = task.model().double()
    for part in parts:
        sum(term.sum for term in task.losses(model, part, "model", 3).values()).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", ["johnson", "adain"])
def test_parts_of_unequal_size_give_the_gradient_of_the_whole(name):
    whole = batch()
    ours = gradient(task_for(name), [whole])
    split = gradient(task_for(name), [whole.rows(0, 1), whole.rows(1, 3), whole.rows(3, 5)])
    assert torch.linalg.vector_norm(ours - split) <= 1e-12 * torch.linalg.vector_norm(ours)


@pytest.mark.parametrize("name", ["johnson", "adain"])
def test_what_is_learned_from_falls(name):
    task = task_for(name)
    model, whole = task.model().double(), batch()
    optimiser, sums = torch.optim.Adam(model.parameters(), 0.003), []
    for _ in range(12):
        loss = sum(term.sum for term in task.losses(model, whole, "model", 0).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        sums.append(loss.item())
    assert sums[-1] < 0.9 * sums[0]


def test_the_network_keeps_its_painting():
    task = task_for()
    assert torch.equal(task.model().painting, pictures(1, seed=7)[0])
    assert "painting" in task.model().state_dict()


def test_a_picture_in_the_very_style_is_at_no_distance_from_it():
    task = task_for()
    painting = pictures(1, seed=7).double() / 127.5 - 1
    same = Batch((painting,), {}, ("a",), torch.arange(1), torch.eye(3)[None], seed=0, start=0, whole=1)
    said = task.raw(task.model().double(), same)
    assert said["before"].item() == pytest.approx(0, abs=1e-12) and said["after"].item() > 0


def test_what_is_said_of_a_picture_does_not_depend_on_its_batch():
    task = task_for("adain", paintings=3)
    model, whole = task.model().double(), batch()
    together = task.raw(model, whole)
    alone = [task.raw(model, whole.rows(i, i + 1)) for i in range(B)]
    for name, values in together.items():
        torch.testing.assert_close(values, torch.cat([each[name] for each in alone]), rtol=1e-10, atol=1e-10)


def test_several_paintings_are_too_many_for_one_style():
    with pytest.raises(UsageError) as refused:
        task_for(paintings=2).model()
    assert refused.value.code == "STYLE-026" and "adain" in refused.value.fix


def test_what_says_something_of_pictures_does_not_paint():
    with pytest.raises(UsageError) as refused:
        task_for("cnn").model()
    assert refused.value.code == "STYLE-025"


def test_photos_on_which_no_style_is_seen_are_refused():
    with pytest.raises(UsageError) as refused:
        task_for(paintings=0, **{"input.size": 32}).model()
    assert refused.value.code == "STYLE-028"


@pytest.mark.parametrize(("name", "named"), [("johnson", "PHOTO --model"), ("adain", "PHOTO PAINTING --model")])
def test_what_is_typed_next_names_a_painting_where_one_is_needed(name, named):
    assert task_for(name).command == f"visus stylize {named} {{model}}"


def test_a_network_of_any_style_asks_for_paintings():
    task = task_for("adain", paintings=0)
    with pytest.raises(UsageError) as refused:
        task.raw(task.model().double(), batch())
    assert refused.value.code == "STYLE-020"


@pytest.mark.parametrize(("name", "rows", "columns"), [("johnson", 2, 4), ("adain", 3, 3)])
def test_the_sheet_shows_paintings_photos_and_what_is_painted(name, rows, columns):
    task = task_for(name, paintings=1 if name == "johnson" else 2)
    model = task.model()
    sheet = task.shown(model)
    assert sheet.shape == (rows * SIDE, columns * SIDE, 3) and sheet.dtype == np.uint8 and model.training
    assert np.array_equal(sheet[:SIDE, :SIDE], pictures(1, seed=7)[0].permute(1, 2, 0).numpy())
    assert np.array_equal(sheet, task.shown(model))


def test_the_score_that_picks_weights_bears_the_name_of_the_features():
    assert task_for().score == "fidelity (random)"
    assert task_for(score="style_fall").score == "style_fall (random)"
    with pytest.raises(UsageError):
        task_for(score="style_distance")


def test_small_photos_are_learned_from_at_their_size():
    chosen = {c.key: c.value for c in TASKS["stylize"].defaults(Facts("", (), (), 9, ((100, 130),) * 3, 3))}
    assert chosen["input.size"] == [96, 96] and chosen["input.channels"] == 3 and chosen["batch"] == 4
