"""Training with a teacher: what is learned from it, and a run that is killed and goes on with the same one."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import pytest
import torch
from tests.verbs import detecting, segmenting
from tests.verbs.examples import TINY, same_bits, train, write_classes
from tests.verbs.test_resume import steps_seen

import visus
from visus.core.errors import DataError, IntegrityError, UsageError
from visus.core.modelfile import read_card
from visus.core.recipe import DistillSettings, Recipe
from visus.core.task import Batch
from visus.tasks import TASKS
from visus.tasks._taught import UNIT, teacher_of, with_teacher
from visus.verbs.load import load
from visus.verbs.train import plan

STEPS = 40
STUDENT = {**TINY, "model.options.widths": [8, 8], "augment.rotate": 0.2, "model.options.dropout": 0.2}

CHILD = f"""
import sys, visus
settings = {{**{STUDENT!r}, "distill.teacher": sys.argv[3], "save_every": 0.1}}
visus.train(sys.argv[1], out=sys.argv[2], steps={STEPS}, set=settings)
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("photos") / "digits")


@pytest.fixture(scope="module")
def teacher(photos, tmp_path_factory):
    """Return the model file of a network that knows the digits."""
    return train(photos, tmp_path_factory.mktemp("teacher") / "run", steps=60).best


def distilled(photos, out, teacher, **settings):
    return visus.train(photos, out=out, steps=STEPS, set={**STUDENT, "distill.teacher": str(teacher), **settings})


@pytest.fixture(scope="module")
def uninterrupted(photos, teacher, tmp_path_factory):
    return distilled(photos, tmp_path_factory.mktemp("whole") / "run", teacher)


def test_a_student_learns_from_the_teacher_alone(photos, teacher, tmp_path):
    ended = distilled(photos, tmp_path / "run", teacher, **{"distill.share": 1.0})
    assert ended.scores["accuracy"].value > 0.8


def test_the_file_of_a_student_holds_no_teacher_and_no_folder_of_the_user(uninterrupted, teacher):
    card = read_card(uninterrupted.best)
    assert card.recipe["distill.teacher"] == teacher.name
    assert len(card.recipe["distill.sha256"]) == 64
    assert uninterrupted.best.stat().st_size < teacher.stat().st_size
    assert load(uninterrupted.best).predict([torch.zeros(16, 16, dtype=torch.uint8).numpy()])


def test_a_run_with_a_teacher_that_is_killed_is_resumed_bit_for_bit(photos, teacher, uninterrupted, tmp_path):
    folder = tmp_path / "run"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(photos), str(folder), str(teacher)],
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    steps_seen(child, folder, 12)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    assert not (folder / "result.json").exists()
    ended = visus.resume(folder)
    assert same_bits(uninterrupted.folder, folder) and ended.scores == uninterrupted.scores


def test_a_run_does_not_go_on_with_another_teacher(photos, teacher, uninterrupted, tmp_path):
    mine = tmp_path / "teacher.safetensors"
    shutil.copy(teacher, mine)
    folder = tmp_path / "run"
    shutil.copytree(distilled(photos, tmp_path / "first", mine).folder, folder)
    (folder / "result.json").unlink()
    shutil.copy(uninterrupted.best, mine)
    with pytest.raises(IntegrityError, match="COMPRESS-032"):
        visus.resume(folder)


def test_a_teacher_that_is_not_there_is_told_before_anything_begins(photos, tmp_path):
    with pytest.raises(DataError, match="MODEL-001"):
        distilled(photos, tmp_path / "run", tmp_path / "none.safetensors")
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_classes_is_refused(teacher, tmp_path):
    photos = write_classes(tmp_path / "digits", names={"one": 1, "seven": 7})
    with pytest.raises(UsageError, match="COMPRESS-030"):
        distilled(photos, tmp_path / "run", teacher)
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_reads_other_pictures_is_refused_and_without_a_word_the_student_reads_its(
    photos, teacher, tmp_path
):
    with pytest.raises(UsageError, match="COMPRESS-031"):
        distilled(photos, tmp_path / "run", teacher, **{"input.size": 24})
    planned = plan(photos, set={**STUDENT, "distill.teacher": str(teacher)})
    assert planned.input == load(teacher).recipe.input


@pytest.mark.parametrize(("module", "write", "task"), [
    (segmenting, "write_scenes", "segment"), (detecting, "write_rectangles", "detect")])  # fmt: skip
def test_pixels_and_places_are_taught(module, write, task, tmp_path):
    getattr(module, write)(tmp_path / "data", train=24, val=8)
    teacher = visus.train(tmp_path / "data", out=tmp_path / "teacher", steps=2, set=module.TINY)
    settings = {**module.TINY, "seed": 3, "distill.teacher": str(teacher.best), "distill.share": 1.0}
    ended = visus.train(tmp_path / "data", out=tmp_path / "run", steps=12, set=settings)
    rows = [row for row in ended.log() if "loss" in row]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert visus.evaluate(visus.load(ended.best), tmp_path / "data") is not None


def labelled(model, *labels):
    """Return random pictures as a model reads them, with their classes."""
    images, count = torch.rand(len(labels), model.card.input.channels, *model.card.input.size), len(labels)
    truth, names = {"label": torch.tensor(labels)}, tuple(map(str, range(count)))
    return Batch((images,), truth, names, torch.arange(count), torch.eye(3).expand(count, 3, 3))


def test_a_network_that_is_its_own_teacher_has_nothing_to_learn_from_it(teacher):
    model = load(teacher)
    taught = with_teacher(model.task, model.network, DistillSettings(share=1.0))
    terms = taught.losses(model.network, labelled(model, 0, 1, 2), "model", 0)
    assert abs(terms[UNIT].sum.item()) < 1e-5
    assert terms["cross_entropy"].sum.item() == 0


def test_pictures_of_an_unknown_class_are_taught_too(teacher):
    model = load(teacher)
    counts = with_teacher(model.task, model.network, DistillSettings()).counts(labelled(model, 0, -1, 2))
    assert (counts["image"].item(), counts[UNIT].item()) == (2, 3)


def test_the_truth_and_the_teacher_have_their_shares(teacher):
    model = load(teacher)
    taught, batch = with_teacher(model.task, model.network, DistillSettings(share=0.25)), labelled(model, 0, 1, 2)
    mine, alone = (each.losses(model.network, batch, "model", 0) for each in (taught, model.task))
    torch.testing.assert_close(mine["cross_entropy"].sum, 0.75 * alone["cross_entropy"].sum)


def test_a_detector_that_does_not_answer_place_by_place_cannot_be_imitated():
    settings = {"task": "detect", "model": {"name": "faster_rcnn"}, "loss": {"name": "cross_entropy"}}
    task = TASKS["detect"](Recipe.model_validate(settings), ("a",))
    with pytest.raises(UsageError, match="COMPRESS-033"):
        with_teacher(task, torch.nn.Identity(), DistillSettings())


def test_a_frozen_teacher_has_no_weights_to_train(teacher):
    model = load(teacher)
    network = teacher_of(DistillSettings(teacher=str(teacher)), model.recipe, model.task)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
