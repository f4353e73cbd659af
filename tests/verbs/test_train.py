"""Training: what a run leaves behind, that it can be repeated, and that every kind of data and network goes through."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from tests.verbs.examples import TINY, digits, same_bits, tensors, train, write_classes, write_splits, write_table
from torch import nn

import visus
from visus.core.errors import DataError, LockedError, UsageError
from visus.core.modelfile import read_card
from visus.core.recipe import Recipe
from visus.core.scores import Score
from visus.verbs.train import plan


def test_a_run_learns_what_its_pictures_show(run):
    assert run.scores["accuracy"].value > 0.9
    assert run.scores["accuracy"].n == 90
    assert run.split == "test"


def test_a_run_folder_holds_what_is_promised(run):
    names = {path.name for path in run.folder.iterdir()}
    assert {"recipe.yaml", "log.jsonl", "best.safetensors", "last.safetensors", "report.html"} <= names
    assert not list(run.folder.rglob(".visus-part-*"))


def test_the_log_has_a_line_a_step_and_one_a_validation(run):
    steps = [row for row in run.log() if "validation" not in row]
    judged = [row for row in run.log() if "validation" in row]
    assert [row["step"] for row in steps] == list(range(1, 31))
    assert all(math.isfinite(row["loss"]) for row in steps)
    assert [row["step"] for row in judged] == [30] and "accuracy" in judged[0]["validation"]


def test_the_recipe_in_the_folder_is_the_one_that_ran(run):
    assert Recipe.read((run.folder / "recipe.yaml").read_text()) == run.recipe


def test_the_model_file_says_what_it_is_and_how_good_it_is(run):
    card = read_card(run.best)
    assert card.classes == ("one", "six", "two")
    assert Score(**card.scores["accuracy"]) == run.scores["accuracy"] and card.split == "test"
    assert card.data["name"] == "photos" and card.data["test"] == 90
    assert card.calibration["temperature"] != 1.0


def test_a_finished_run_is_read_back_from_its_folder(run):
    from visus.verbs.runs import Run

    read = Run.read(run.folder)
    assert read.finished_before and read.scores == run.scores and read.summary == run.summary
    assert read.recipe == run.recipe


def test_every_setting_says_where_it_comes_from(photos):
    recipe = plan(photos, steps=3, set={"optim.lr": 0.5})
    assert recipe.origins.keys() == recipe.flat().keys()
    assert recipe.origins["steps"] == "--steps 3" and recipe.origins["optim.lr"] == "set"
    assert recipe.origins["input.channels"] == "every picture looked at is grey"


def test_the_users_word_stands_against_every_choice_of_the_house(photos):
    chosen = plan(photos)
    others = {"input.size": [12, 20], "batch": 7, "optim.name": "sgd", "augment.flip": 0.25, "model.name": "cnn"}
    mine = plan(photos, set=others)
    for key, value in others.items():
        assert mine.flat()[key] == value != chosen.flat()[key]


def test_what_is_asked_for_in_a_file_is_overridden_by_what_is_asked_for_now(photos, tmp_path):
    (tmp_path / "mine.yaml").write_text("batch: 11\noptim: {lr: 0.25}\nsteps: 4\n")
    recipe = plan(photos, recipe=tmp_path / "mine.yaml", set={"batch": 12})
    assert (recipe.batch, recipe.optim.lr, recipe.steps) == (12, 0.25, 4)


def test_a_run_has_one_length(photos):
    with pytest.raises(UsageError, match="epochs and steps are given"):
        plan(photos, epochs=2, steps=3)


def test_a_task_that_does_not_exist_is_answered_with_the_nearest(photos):
    with pytest.raises(UsageError) as caught:
        plan(photos, task="clasify")
    assert caught.value.fix == "did you mean 'classify'?"


def test_a_task_that_reads_something_else_says_what_the_data_has(photos):
    with pytest.raises(UsageError) as caught:
        plan(photos, task="regress")
    assert caught.value.where == "it reads numbers; the data has label" and caught.value.fix == "--task classify"


def test_a_schedule_that_does_not_exist_is_answered_with_the_nearest(photos):
    with pytest.raises(UsageError, match="no schedule named 'cosin'"):
        plan(photos, set={"schedule.name": "cosin"})


@pytest.mark.parametrize("settings", [{"input.size": 16_000, "batch": 4096}, {"batch": 10**10}])
def test_a_batch_that_cannot_fit_in_memory_is_refused_before_anything_is_built(photos, tmp_path, settings):
    with pytest.raises(UsageError, match="do not fit in memory") as caught:
        train(photos, tmp_path / "run", settings={"model.options.flatten": True, **settings})
    assert caught.value.exit == 2 and "GB are free" in caught.value.where and not (tmp_path / "run").exists()
    assert "--batch" in caught.value.fix and "--size" in caught.value.fix


def test_a_batch_larger_than_the_training_part_is_refused_before_anything_is_built(photos, tmp_path):
    with pytest.raises(UsageError, match="1,000 pictures a step are more than the 180") as caught:
        train(photos, tmp_path / "run", settings={"batch": 1000})
    assert "--batch 180" in caught.value.fix and not (tmp_path / "run").exists()
    assert plan(photos, set={"batch": 180}).batch == 180


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_recipe_gives_the_same_bits_however_the_data_is_read(run, photos, tmp_path, workers):
    again = train(photos, tmp_path / "again", settings={"data.workers": workers, "data.cache": "memory"})
    assert same_bits(run.folder, again.folder)
    assert again.scores == run.scores


def test_another_seed_gives_another_model(run, photos, tmp_path):
    assert not same_bits(run.folder, train(photos, tmp_path / "other", seed=1).folder)


def test_what_is_in_the_test_part_changes_nothing_of_the_model(run, photos, tmp_path):
    """It is read once, by the final evaluation; with other pictures in it, the weights are the same bits."""
    write_splits(tmp_path / "photos", train=60, val=20, test=30)
    for file in (tmp_path / "photos" / "test").rglob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    other = train(tmp_path / "photos", tmp_path / "other")
    assert same_bits(run.folder, other.folder)
    assert other.scores != run.scores


def test_the_best_weights_are_those_of_the_best_validation(photos, tmp_path):
    settings = {"evaluate_every": 0.25, "optim.lr": 0.05, "augment.erase": 1.0}
    found = train(photos, tmp_path / "run", steps=30, settings=settings)
    judged = {row["step"]: row["validation"]["accuracy"] for row in found.log() if "validation" in row}
    assert len(judged) > 5
    assert judged[read_card(found.best).step] == max(judged.values())
    assert read_card(found.folder / "last.safetensors").step == 30


def test_patience_ends_a_run_that_no_longer_gets_better(photos, tmp_path):
    settings = {"evaluate_every": 0.1, "patience": 2, "optim.lr": 1e-9}
    found = train(photos, tmp_path / "run", settings=settings)
    judged = [row for row in found.log() if "validation" in row]
    assert len(judged) == 3 and found.steps == judged[-1]["step"] < 30


def test_a_folder_that_holds_a_run_is_not_written_to(run, photos):
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.name != ".lock"}
    with pytest.raises(UsageError) as caught:
        train(photos, run.folder)
    assert caught.value.code == "RUN-003" and f"visus resume {run.folder}" in caught.value.fix
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.name != ".lock"} == before


def test_a_folder_in_which_a_run_goes_on_names_the_process_that_holds_it(run, photos):
    import os

    from visus.engine.folder import RunFolder

    with RunFolder(run.folder), pytest.raises(LockedError) as caught:
        train(photos, run.folder)
    assert caught.value.exit == 5 and f"process {os.getpid()}" in caught.value.where


def test_runs_without_a_name_of_their_own_are_numbered(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(train(photos, None, steps=1).folder) for _ in range(2)] == ["runs/photos-1", "runs/photos-2"]


def test_validation_and_test_are_carved_where_there_are_none_and_it_is_said(tmp_path):
    said = []
    found = train(write_classes(tmp_path / "photos"), tmp_path / "run", steps=2, watch=said.append)
    notes = " ".join(row["note"] for row in said if "note" in row)
    assert found.scores["accuracy"].n == 24 and "carved 24 of 120 training pictures for the test" in notes
    assert "carved 24 of 120" in found.report.read_text(encoding="utf-8")


def test_without_a_test_part_the_validation_part_is_judged_and_named(tmp_path):
    data = write_splits(tmp_path / "photos", train=20, val=10)
    found = train(data, tmp_path / "run", steps=2, settings={"data.test": 0})
    assert found.split == "val" and found.scores["accuracy"].n == 30
    assert read_card(found.best).split == "val"


def test_a_class_that_validation_lacks_is_learned_and_judged_all_the_same(tmp_path):
    data = write_splits(tmp_path / "photos", train=40, val=10, test=10)
    for file in (data / "val" / "six").iterdir():
        file.unlink()
    (data / "val" / "six").rmdir()
    found = train(data, tmp_path / "run", steps=90)
    assert found.scores["accuracy"].n == 30 and found.scores["accuracy"].low > 1 / 3  # better than chance
    json.loads((found.folder / "result.json").read_text(), parse_constant=pytest.fail)


def test_a_picture_in_two_splits_stops_before_anything_is_trained(tmp_path):
    data = write_splits(tmp_path / "photos", train=10, val=5, test=5)
    (data / "test" / "one" / "twin.png").write_bytes(next((data / "train" / "one").iterdir()).read_bytes())
    with pytest.raises(DataError) as caught:
        train(data, tmp_path / "run")
    assert "test/one/twin.png is the same as train/one" in caught.value.where
    assert not (tmp_path / "run").exists()
    assert train(data, tmp_path / "run", steps=1, allow_leak=True).steps == 1


def test_a_group_that_the_data_states_and_tears_stops_before_anything_is_trained(tmp_path):
    images, _ = digits()
    rows = [(images[i], i // 2 % 2, ("train", "test")[i % 2], f"person {i // 4}") for i in range(40)]
    data = write_table(tmp_path / "data", rows, ["label", "split", "group"])
    with pytest.raises(DataError) as caught:
        train(data, tmp_path / "run")
    assert caught.value.code == "DATA-310" and "10 groups are in two splits" in caught.value.what
    assert "0001.png belongs to one group with 0000.png" in caught.value.where
    assert not (tmp_path / "run").exists()
    assert train(data, tmp_path / "run", steps=1, allow_leak=True).steps == 1


# Kinds of data


@pytest.fixture(scope="module")
def weighed(tmp_path_factory):
    """Return a run on a table of how much ink pictures show, in two units; some are unknown."""
    images, _ = digits()
    rows = [(p, p.mean() * 3 + 100, "" if i % 9 == 0 else f"{p.mean() / 1000:.6f}") for i, p in enumerate(images[:200])]
    data = write_table(tmp_path_factory.mktemp("ink") / "data", rows, ["grammes", "tonnes"])
    settings = {"model.options.normalisation": "none", "optim.lr": 0.001}
    return train(data, data.parent / "run", steps=360, settings=settings)


def test_numbers_are_learned_from_a_table(weighed):
    assert weighed.recipe.task == "regress" and read_card(weighed.best).classes == ("grammes", "tonnes")
    assert weighed.scores["r2"].value > 0.9


def test_numbers_are_learned_standardised_and_come_back_in_the_users_units(weighed):
    images, _ = digits()
    (said,) = visus.load(weighed.best).predict([images[150]])
    assert weighed.recipe.target.std[0] > 3 and weighed.recipe.target.std[1] < 0.1
    assert said.values["grammes"] == pytest.approx(images[150].mean() * 3 + 100, rel=0.1)


def test_several_classes_a_picture_are_learned_from_a_table(tmp_path):
    images, labels = digits()
    chosen = np.flatnonzero(np.isin(labels, [1, 2, 6]))[:150]
    tags = {1: "thin", 2: "curved;open", 6: "curved;closed"}
    data = write_table(tmp_path / "data", [(images[i], tags[labels[i]]) for i in chosen], ["tags"])
    found = train(data, tmp_path / "run", steps=60)
    assert found.recipe.loss.name == "binary_cross_entropy"
    assert found.scores["average_precision_macro"].value > 0.95
    (said,) = visus.load(found.best).predict([images[chosen[0]]])
    assert set(said.shown) == set(tags[labels[chosen[0]]].split(";"))


@pytest.mark.parametrize(
    ("mode", "channels"),
    [
        (lambda pixels: Image.fromarray(pixels.astype(np.uint16) * 257), 1),
        (lambda pixels: Image.fromarray(np.dstack([pixels] * 3 + [255 - pixels // 2]), "RGBA"), 3),
        (lambda pixels: Image.fromarray(pixels).convert("P"), 3),
    ],
    ids=["16-bit grey", "RGBA", "palette"],
)
def test_pictures_of_every_mode_are_learned(tmp_path, mode, channels):
    data = write_classes(tmp_path / "photos", mode=mode)
    found = train(data, tmp_path / "run")
    assert found.recipe.input.channels == channels and found.scores["accuracy"].value > 0.8
    file = next((data / "one").iterdir())
    assert visus.predict(found.best, file).predictions[0].label == "one"


def test_pictures_may_be_wider_than_high(photos, tmp_path):
    found = train(photos, tmp_path / "run", settings={"input.size": "24x40"})
    assert read_card(found.best).input.size == (24, 40)
    assert visus.evaluate(found.best, photos).scores == found.scores


def test_a_collection_that_is_not_here_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataError) as caught:
        visus.train("torchvision:CIFAR10")
    assert "cifar-10-batches-py" in caught.value.looked and "--download" in caught.value.fix
    assert not any(tmp_path.iterdir())


def test_names_that_are_no_utf_8_go_all_the_way(tmp_path):
    data = write_classes(tmp_path / "photos", each=20)
    import os

    odd = os.fsdecode(b"caf\xe9.png")
    next((data / "one").iterdir()).rename(data / "one" / odd)
    (data / "six").rename(data / os.fsdecode(b"s\xefx"))
    found = train(data, tmp_path / "run")
    assert len(found.scores) and found.report.stat().st_size > 10_000
    said = visus.predict(found.best, data / "one" / odd, out=tmp_path / "said")
    json.loads(json.dumps(said.json()))
    assert len(said.drawn) == 1


# Networks and how they are trained


class Net(nn.Module):
    """A network of somebody else."""

    def __init__(self, classes: int = 3, hidden: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.LazyLinear(hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def forward(self, images):
        return self.body(images)


def module():
    torch.default_generator.manual_seed(3)
    net = Net()
    net(torch.zeros(1, 1, 16, 16))
    return net


MINE = {key: value for key, value in TINY.items() if not key.startswith("model.")}


@pytest.fixture(scope="module")
def given(photos, tmp_path_factory):
    """Return a run of a module that was given in Python."""
    return visus.train(photos, model=module(), out=tmp_path_factory.mktemp("given") / "run", steps=30, set=MINE)


def test_a_module_of_ones_own_is_trained(given):
    assert given.scores["accuracy"].value > 0.9
    assert given.recipe.model.name == "given:Net"


def test_a_module_of_ones_own_is_asked_for_when_its_weights_are_loaded(given, photos):
    with pytest.raises(UsageError, match=r"a module of your own \(Net\)"):
        visus.load(given.best)
    assert visus.evaluate(given.best, photos, network=module()).scores == given.scores
    (said,) = visus.predict(given.best, next((photos / "test" / "two").iterdir()), network=module()).predictions
    assert said.label == "two"


def test_a_module_that_is_not_the_one_is_refused(given):
    other = Net(hidden=8)
    other(torch.zeros(1, 1, 16, 16))
    with pytest.raises(UsageError) as caught:
        visus.load(given.best, model=other)
    assert "does not fit" in caught.value.what


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    file = tmp_path_factory.mktemp("code") / "mine.py"
    file.write_text(
        "from torch import nn\n\n\n"
        "class Mine(nn.Sequential):\n"
        "    def __init__(self, classes, channels, size, hidden=16):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(channels * size[0] * size[1], hidden), nn.ReLU(),\n"
        "                         nn.Linear(hidden, classes))\n"
    )
    return f"{file}:Mine"


def test_a_class_in_a_file_of_ones_own_is_trained_and_named_again_to_be_used(code, photos, tmp_path):
    found = visus.train(photos, model=code, out=tmp_path / "run", steps=30, set={**MINE, "model.options.hidden": 24})
    assert found.scores["accuracy"].value > 0.9
    with pytest.raises(UsageError, match="code of its author's own"):
        visus.load(found.best)
    assert visus.evaluate(found.best, photos, network=code).scores == found.scores


RATES = {"sgd": 0.1, "momentum": 0.01, "nesterov": 0.01, "rmsprop": 0.001, "adam": 0.003, "adamw": 0.003, "muon": 0.01,
         "lamb": 0.01}  # fmt: skip


@pytest.mark.parametrize("name", RATES)
def test_every_optimiser_lets_the_loss_fall(photos, tmp_path, name):
    found = train(photos, tmp_path / "run", steps=12, settings={"optim.name": name, "optim.lr": RATES[name]})
    losses = [row["loss"] for row in found.log() if "loss" in row]
    assert np.mean(losses[-4:]) < 0.8 * losses[0]


def test_gradient_descent_takes_every_picture_at_each_step(photos, tmp_path):
    settings = {key: value for key, value in TINY.items() if key != "batch"} | {"optim.name": "gd", "optim.lr": 0.01}
    found = visus.train(photos, out=tmp_path / "run", steps=12, set=settings)
    losses = [row["loss"] for row in found.log() if "loss" in row]
    assert found.recipe.batch == 180
    assert losses == sorted(losses, reverse=True)


def test_a_range_test_finds_a_rate_and_says_why(photos, tmp_path):
    found = train(photos, tmp_path / "run", settings={"optim.lr": "auto"})
    assert 1e-5 < found.recipe.optim.lr < 1
    assert "the loss fell fastest at" in found.recipe.origins["optim.lr"]
    assert found.scores["accuracy"].value > 0.7


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """Return a folder of 48-pixel colour pictures: red on the left or on the right."""
    root = tmp_path_factory.mktemp("coloured")
    generator = np.random.default_rng(0)
    for name, side in {"here": 0, "there": 1}.items():
        (root / name).mkdir()
        for i in range(14):
            pixels = generator.integers(0, 80, (48, 48, 3), np.uint8)
            pixels[:, 24 * side : 24 * side + 24, 0] = 250
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


PRETRAINED = {"model.name": "efficientnet_lite0", "input.size": 32, "batch": 4, "resamples": 20, "augment.flip": 0.0,
              "evaluate_every": 100}  # fmt: skip


def backbone(run):
    from visus.models.heads import below, head_prefixes

    model = visus.load(run.best).network
    heads = head_prefixes(model)
    return {k: v for k, v in model.state_dict().items() if not any(below(k, head) for head in heads)}


def test_a_frozen_backbone_stays_as_it_came_and_its_head_learns(coloured, tmp_path):
    frozen = visus.train(coloured, out=tmp_path / "a", steps=3, set={**PRETRAINED, "model.freeze": ["backbone"]})
    longer = visus.train(coloured, out=tmp_path / "b", steps=5, set={**PRETRAINED, "model.freeze": ["backbone"]})
    one, other = backbone(frozen), backbone(longer)
    assert frozen.recipe.model.weights == "default" and len(one) > 200
    assert all(torch.equal(one[name], other[name]) for name in one)
    whole = tensors(frozen.best), tensors(longer.best)
    assert any(not torch.equal(whole[0][name], whole[1][name]) for name in whole[0])
    assert "the head classifier starts fresh" in frozen.report.read_text()


def test_a_backbone_that_is_freed_half_way_moves_from_then_on(coloured, tmp_path):
    settings = {**PRETRAINED, "model.freeze": ["backbone"], "model.unfreeze": 0.5, "model.layer_decay": 0.5}
    found = visus.train(coloured, out=tmp_path / "run", steps=4, set=settings)
    held = visus.train(coloured, out=tmp_path / "held", steps=2, set={**settings, "model.unfreeze": 1.0})
    moved, still = backbone(found), backbone(held)
    weights = [name for name in moved if moved[name].is_floating_point() and "running" not in name]
    assert any(not torch.equal(moved[name], still[name]) for name in weights)


@pytest.mark.parametrize(("until", "moves"), [(3, True), (4, False)])
def test_a_backbone_can_be_freed_at_a_step(coloured, tmp_path, until, moves):
    """Of four steps numbered 0 to 3, the last one alone may move what is frozen until step 3, and none until step 4."""
    settings = {**PRETRAINED, "model.freeze": ["backbone"]}
    freed = visus.train(coloured, out=tmp_path / "a", steps=4, set={**settings, "model.unfreeze": until})
    held = visus.train(coloured, out=tmp_path / "b", steps=4, set=settings)
    one, other = backbone(freed), backbone(held)
    weights = [name for name in one if one[name].is_floating_point() and "running" not in name]
    assert any(not torch.equal(one[name], other[name]) for name in weights) == moves


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"optim.name": "sgd", "optim.momentum": 0.9}, "USE-038"),
        ({"schedule.name": "one_cycle", "schedule.warmup": 0.1}, "USE-039"),
        ({"optim": {"name": "adam", "momentum": 0.9}}, "USE-038"),
        ({"optim.name": "gd", "batch": 7}, "USE-053"),
        ({"optim.name": "SGD"}, "USE-004"),
    ],
)
def test_a_setting_that_would_be_ignored_is_refused_before_anything_is_started(photos, tmp_path, settings, code):
    with pytest.raises(UsageError) as told:
        visus.train(photos, out=tmp_path / "run", steps=2, set=settings)
    assert told.value.code == code and not (tmp_path / "run").exists()


@pytest.mark.parametrize("setting", ["data.validation", "data.test"])
def test_the_share_of_a_part_that_the_data_brings_is_refused_rather_than_ignored(photos, tmp_path, setting):
    with pytest.raises(UsageError) as told:
        visus.train(photos, out=tmp_path / "run", steps=2, set={setting: 0.3})
    assert told.value.code == "USE-065" and not (tmp_path / "run").exists()


@pytest.mark.parametrize(("wrong", "code"), [({"model": 5}, "USE-054"), ({"model": nn.Linear}, "USE-054"),
                                             ({"set": "batch=3"}, "USE-055")])  # fmt: skip
def test_an_argument_of_another_kind_is_answered_in_words(photos, tmp_path, wrong, code):
    with pytest.raises(UsageError) as told:
        visus.train(photos, out=tmp_path / "run", steps=2, **wrong)
    assert told.value.code == code and not (tmp_path / "run").exists()


def test_a_whole_recipe_is_no_list_of_wishes(photos, tmp_path):
    first = train(photos, tmp_path / "first", steps=2)
    again = visus.train(photos, out=tmp_path / "again", recipe=first.folder / "recipe.yaml", steps=2,
                        set={"optim.name": "sgd"})  # fmt: skip
    assert again.recipe.optim.name == "sgd"


def test_events_are_written_that_tensorboard_reads(photos, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = train(photos, tmp_path / "run", steps=5, settings={"tensorboard": True})
    events = EventAccumulator(str(found.folder / "tensorboard")).Reload()
    logged = [row["loss"] for row in found.log() if "loss" in row]
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [
        (i + 1, pytest.approx(v)) for i, v in enumerate(logged)
    ]
    assert events.Scalars("validation/accuracy")[0].step == 5


def test_remarks_of_the_reader_are_told_with_the_command_that_shows_them(real_data, tmp_path):
    said = []
    data = real_data / "bccd_voc" / "BCCD"
    with pytest.raises(UsageError):  # which does not learn from boxes
        visus.train(data, task="classify", out=tmp_path / "run", watch=said.append)
    assert f"2 remarks on the data: visus check {data} shows them" in [row.get("note") for row in said]
