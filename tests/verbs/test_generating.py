"""Generation through the verbs: from a folder to pictures; killed and resumed, it makes the very same ones."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.verbs.examples import tensors, write_classes, write_splits

import visus
from visus.core.errors import UsageError
from visus.core.modelfile import read_card, read_model
from visus.models.generators import GENERATORS
from visus.verbs.train import plan

TINY = {
    "task": "generate", "input.size": 16, "batch": 8, "resamples": 10, "evaluate_every": 1000, "generate.shown": 3,
    "model.options": {"width": 4, "latent": 8}, "generate.r1": 0.5, "optim.lr": 0.002,
}  # fmt: skip
"""A run that takes a second."""


def train(data: Path, out: Path, steps: int = 6, **settings: object) -> visus.Run:
    return visus.train(data, out=out, steps=steps, set={**TINY, **settings})


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Return a folder with parts of three digits; nothing may write into it."""
    return write_splits(tmp_path_factory.mktemp("data") / "digits", train=20, val=6, test=8)


@pytest.fixture(scope="module")
def loose(tmp_path_factory):
    """Return a folder of pictures of which nothing is said; nothing may write into it."""
    classes = write_classes(tmp_path_factory.mktemp("data") / "classes", each=15)
    folder = classes.parent / "loose"
    folder.mkdir()
    for place in sorted(classes.rglob("*.png")):
        place.rename(folder / place.name)
    return folder


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    """Return a finished run on the digits; nothing may write into its folder."""
    return train(digits, tmp_path_factory.mktemp("runs") / "run")


# From a folder to a report


def test_classes_are_made_when_asked_for_and_the_run_says_how_well(run):
    card = read_card(run.best)
    assert card.task == "generate" and card.classes == ("one", "six", "two") and card.architecture.name == "dcgan"
    names = {name.partition(" ")[0] for name in run.scores}
    kinds = {"fid", "kid", "precision", "recall", "density", "coverage", "class_coverage"}
    assert kinds <= names
    assert all(score.n == 24 for score in run.scores.values())
    page = Path(run.report).read_text(encoding="utf-8")
    assert "What the discriminator says" in page and "On the way from one picture to the next" in page


def test_the_run_folder_keeps_sheets_of_what_was_made(run):
    (sheet,) = (run.folder / "samples").glob("*.png")
    with Image.open(sheet) as image:
        assert sheet.stem == "0000000006" and image.size == (3 * 18 - 2, 3 * 18 - 2)


def test_both_players_and_what_they_say_are_logged(run):
    row = json.loads((run.folder / "log.jsonl").read_text().splitlines()[0])
    assert {
        "loss/generator",
        "gradient_norm/discriminator",
        "gradient_norm/generator",
        "told/real",
        "told/fake",
    } <= row.keys()
    parts = [row[f"loss/discriminator/{name}"] for name in ("r1", "r2", "relativistic")]
    assert row["loss/discriminator"] == pytest.approx(sum(parts), rel=1e-5)


def test_pictures_of_which_nothing_is_said_are_enough(loose, tmp_path):
    run = train(loose, tmp_path / "run", steps=2)
    assert run.recipe.data.format == "pictures" and read_card(run.best).classes == ()
    compared = visus.compare(run.folder, run.folder, loose)
    assert "fake_logits" in compared.scores_a and "fake_logits" not in compared.differences  # each in a unit of its own
    made = visus.generate(run.folder, count=2)
    assert made.labels == ("", "") and made.pictures[0].shape == (16, 16, 1)
    with pytest.raises(UsageError, match="knows no classes"):
        visus.generate(run.folder, label=1)


def test_classes_left_aside_are_not_asked_for(digits, tmp_path):
    run = train(digits, tmp_path / "run", steps=1, **{"generate.conditional": "no"})
    assert read_card(run.best).classes == ()
    assert visus.evaluate(run.best, digits).scores.keys() == run.scores.keys()


def test_without_a_task_pictures_of_which_nothing_is_said_are_refused(loose, tmp_path):
    with pytest.raises(visus.VisusError) as caught:
        visus.train(loose, out=tmp_path / "run")
    assert caught.value.code == "DATA-006"


def test_a_sample_of_many_pictures_is_judged_and_the_report_says_so(digits, tmp_path, monkeypatch):
    from visus.tasks.generate import task

    monkeypatch.setattr(task, "MOST_AGAIN", 10)
    monkeypatch.setattr(task, "MOST_ONCE", 11)
    run = train(digits, tmp_path / "run", steps=1)
    assert {score.n for name, score in run.scores.items() if "authenticity" not in name} == {11}
    page = Path(run.report).read_text(encoding="utf-8")
    assert "11 of 24 pictures of the test part were judged" in page
    assert "10 of 18 pictures of the validation part were judged" in page
    again = visus.evaluate(run.best, digits)
    assert again.n == 11 and "11 of 24 pictures of the test part were judged" in " ".join(again.notes)
    assert visus.evaluate(run.best, digits, split="val").n == 10


def test_judging_again_repeats_what_the_run_measured(run, digits):
    again = visus.evaluate(run.best, digits)
    assert {name: score.value for name, score in again.scores.items()} == pytest.approx(
        {name: score.value for name, score in run.scores.items()}
    )


SMALL = {
    "dcgan": {"width": 4, "latent": 8},
    "r3gan": {"width": 8, "widest": 16, "group": 4, "latent": 8},
    "stylegan2": {"latent": 16, "style": 16, "width": 8, "widest": 16, "depth": 2},
}


@pytest.mark.parametrize("name", GENERATORS)
def test_every_network_learns_under_every_penalty_and_augmentation_and_makes_pictures(digits, tmp_path, name):
    settings = {
        "model.name": name, "model.options": SMALL.get(name, {}), "loss.name": "non_saturating", "generate.r2": 0.1,
        "generate.augment": "ada", "generate.p": 0.5, "generate.path_length": 2.0, "generate.path_every": 1,
        "generate.mixing": 0.9 if GENERATORS[name].layered else 0.0,
    }  # fmt: skip
    run = train(digits, tmp_path / "run", steps=6, **settings)
    rows = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    chances = [row["told/p"] for row in rows if "told/p" in row]
    assert len(chances) == 6 and chances[0] == 0.5 and chances[-1] != 0.5
    assert len(visus.generate(run.folder, count=3).pictures) == 3


@pytest.mark.parametrize("name", GENERATORS)
def test_a_network_is_layered_where_a_picture_has_several_styles(name):
    pair = GENERATORS[name].build(0, 1, (16, 16), **SMALL.get(name, {})).eval()
    latents, labels = pair.example(1)
    assert (pair.generator.styles(latents, labels).shape[1] > 1) is GENERATORS[name].layered


def test_the_paths_of_a_users_files_are_kept_whole_for_a_resume(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    classifier = visus.train(digits, out="classifier", steps=2, set={"model.name": "cnn", "resamples": 10})
    run = train(digits, tmp_path / "run", steps=1, **{"generate.extractor": "classifier"})
    assert Path(run.recipe.generate.extractor) == classifier.folder.resolve()
    assert "class_accuracy" in run.scores


def test_info_tells_the_last_loss_of_each_player_also_of_one_that_rests(digits, tmp_path):
    run = train(digits, tmp_path / "run", steps=3, **{"generate.rival_steps": 2})  # the generator plays in step 2
    rows = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    two, three = (next(row for row in rows if row["step"] == step and "lr" in row) for step in (2, 3))
    told = dict(dict(visus.info(run.folder).sections)["run"])["last loss"]
    assert told == f"discriminator {three['loss/discriminator']:.4g}, generator {two['loss/generator']:.4g}"


# Exactness


LIVELY = {
    "save_every": 0.05, "ema": 0.9, "evaluate_every": 1.5, "generate.augment": "ada", "generate.ramp": 600,
    "generate.p": 0.5,
}  # fmt: skip
"""A run that saves and judges all the time, and whose chance of augmentation moves by half in 40 steps."""

CHILD = f"""
import sys, visus
settings = {{**{TINY!r}, **{LIVELY!r}}}
visus.train(sys.argv[1], out=sys.argv[2], steps=60, set=settings)
"""


def test_a_process_that_is_killed_makes_the_same_networks_optimisers_and_average_when_resumed(digits, tmp_path):
    whole = train(digits, tmp_path / "whole", steps=60, **LIVELY)
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(digits), str(tmp_path / "killed")])
    log = tmp_path / "killed" / "log.jsonl"
    while process.poll() is None and (not log.exists() or log.read_bytes().count(b"\n") < 23):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    resumed = visus.resume(tmp_path / "killed")
    for name in ("best.safetensors", "last.safetensors"):
        one, two = (read_model(run.folder / name)[0] for run in (whole, resumed))
        assert all(torch.equal(one[key], two[key]) for key in one)
    states = [sorted((run.folder / "state").glob("*.safetensors"))[-1] for run in (whole, resumed)]
    one, two = (load_file(state) for state in states)
    assert any(name.startswith("optimiser.generator.") for name in one)
    assert any(name.startswith("optimiser.discriminator.") for name in one)
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert one["buffer.feedback.p"] != LIVELY["generate.p"] and "average" in one


def test_fewer_pictures_at_once_fall_down_the_same_slope(digits, tmp_path):
    flat = {"optim.name": "sgd", "optim.lr": 1.0, "ema": 0.0, "schedule.name": "constant", "generate.r1": 0.1}
    whole = train(digits, tmp_path / "whole", steps=1, **flat)
    parts = train(digits, tmp_path / "parts", steps=1, **flat, micro=3)
    one, two = (tensors(run.folder / "last.safetensors") for run in (whole, parts))
    assert all(torch.allclose(one[name], two[name], rtol=1e-4, atol=1e-6) for name in one)


# Pictures


def test_a_picture_is_the_same_one_however_many_are_made(run):
    few, many = visus.generate(run.folder, count=4, seed=3), visus.generate(run.folder, count=50, seed=3)
    assert few.labels == many.labels[:4] == ("one", "six", "two", "one")
    assert all(np.array_equal(*pair) for pair in zip(few.pictures, many.pictures, strict=False))
    other = visus.generate(run.folder, count=4, seed=4)
    assert not any(np.array_equal(*pair) for pair in zip(few.pictures, other.pictures, strict=True))


def test_pictures_are_files_named_by_number_and_class_and_one_sheet(run, tmp_path):
    made = visus.generate(run.folder, count=5, label=["six", 0], out=tmp_path / "made")
    files = {place.name for place in (tmp_path / "made").iterdir()}
    assert files == {"0000-six.png", "0001-one.png", "0002-six.png", "0003-one.png", "0004-six.png", "grid.png",
                     "generated.json"}  # fmt: skip
    with Image.open(tmp_path / "made" / "0001-one.png") as image:
        assert np.array_equal(np.asarray(image), made.pictures[1][..., 0])
    told = json.loads((tmp_path / "made" / "generated.json").read_text())
    assert told["seed"] == 0 and told["pictures"][0] == {"file": "0000-six.png", "label": "six"}


def test_what_is_there_is_not_overwritten(run, tmp_path):
    visus.generate(run.folder, count=1, out=tmp_path / "made")
    with pytest.raises(UsageError) as caught:
        visus.generate(run.folder, count=1, out=tmp_path / "made")
    assert caught.value.code == "USE-051" and len(list((tmp_path / "made").iterdir())) == 3


def test_truncated_pictures_are_less_varied(run):
    spread = [np.stack(visus.generate(run.folder, count=60, label=0, truncation=psi).pictures).std(0).mean()
              for psi in (0.1, 1.0)]  # fmt: skip
    assert spread[0] < spread[1]


@pytest.mark.parametrize(
    "wrong", [{"label": "seven"}, {"label": 3}, {"label": "²"}, {"count": 0}, {"count": 10**9}, {"truncation": -1}]
)
def test_what_cannot_be_made_is_said(run, wrong):
    with pytest.raises(UsageError):
        visus.generate(run.folder, **wrong)


@pytest.mark.parametrize("verb", ["predict", "explain", "export", "serve"])
def test_verbs_that_ask_about_pictures_say_what_does_fit(run, digits, tmp_path, verb):
    with pytest.raises(UsageError, match="makes pictures") as caught:
        match verb:
            case "predict":
                visus.predict(run.folder, digits / "test" / "one")
            case "explain":
                visus.explain(run.folder, digits / "test" / "one", out=tmp_path / "out")
            case "export":
                visus.export(run.folder, to="onnx", out=tmp_path / "model.onnx")
            case "serve":
                visus.serve(run.folder, port=0)
    assert "visus generate" in caught.value.fix


def test_a_model_that_says_something_makes_nothing(photos, tmp_path):
    from tests.verbs.examples import train as train_classifier

    classifier = train_classifier(photos, tmp_path / "run")
    with pytest.raises(UsageError, match="trained to classify"):
        visus.generate(classifier.folder)


def test_a_model_that_makes_pictures_is_not_compressed(run):
    with pytest.raises(UsageError, match="USE-080"):
        visus.compress(run.folder)


@pytest.mark.parametrize(
    ("task", "network", "fix"),
    [("classify", "dcgan", "--task generate"), ("", "stylegan2", "--task generate"), ("generate", "cnn", "dcgan"),
     ("generate", "johnson", "--task stylize"), ("classify", "adain", "--task stylize")],
)  # fmt: skip
def test_a_network_of_another_task_is_refused_before_anything_is_written(digits, tmp_path, task, network, fix):
    with pytest.raises(UsageError) as refused:
        visus.train(digits, task=task or None, model=network, out=tmp_path / "run", steps=1)
    assert refused.value.code == "MODEL-041" and fix in refused.value.fix
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "fix"),
    [({"model.name": "dcgan", "generate.mixing": 0.9}, "stylegan2"), ({"generate.path_every": 2}, "path_length"),
     ({"model.name": "r3gan", "generate.mixing": 0.9}, "stylegan2"), ({"generate.p": 0.5}, "augment=ada"),
     ({"generate.every": 2, "generate.r1": 0.0, "generate.r2": 0.0}, "r1=1"), ({"generate.ramp": 10}, "augment=ada"),
     ({"generate.target": 0.5, "generate.augment": "diffaugment"}, "augment=ada"),
     ({"generate.ramp": 10, "generate.augment": "ada", "generate.target": 0.0}, "target=0.6")],
)  # fmt: skip
def test_a_setting_that_would_change_nothing_is_refused_before_anything_is_written(digits, tmp_path, given, fix):
    with pytest.raises(UsageError, match="changes nothing") as refused:
        visus.train(digits, task="generate", out=tmp_path / "run", steps=1, set=given)
    assert refused.value.code == "GEN-015" and fix in refused.value.fix
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "given",
    [{"model.name": "stylegan2", "generate.mixing": 0.9}, {"generate.mixing": 0.0}, {"generate.every": 2},
     {"generate.path_length": 2.0, "generate.path_every": 2}, {"generate.p": 0.5, "generate.augment": "diffaugment"},
     {"generate.augment": "ada", "generate.target": 0.5, "generate.ramp": 10}],
)  # fmt: skip
def test_a_setting_that_has_an_effect_is_taken(digits, given):
    settings = plan(digits, task="generate", set=given).flat()
    assert all(settings[key] == value for key, value in given.items())


def test_a_whole_recipe_may_hold_what_changes_nothing(digits, run):
    assert plan(digits, recipe=run.folder / "recipe.yaml").generate.path_every == run.recipe.generate.path_every


def test_a_seed_below_zero_is_refused(run):
    with pytest.raises(UsageError) as refused:
        visus.generate(run.best, seed=-1)
    assert refused.value.code == "USE-081"
