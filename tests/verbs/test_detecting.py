"""Detection through the verbs: it learns, is resumed, split, healed, averaged and spread as exactly as every task."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.verbs import detecting
from tests.verbs.detecting import FALL, RICH, TINY, train, write_rectangles
from tests.verbs.examples import losses, same_bits, tensors
from tests.verbs.test_resume import steps_seen

import visus
from visus.core.errors import UsageError
from visus.core.modelfile import read_card
from visus.core.task import Term
from visus.tasks import TASKS


@pytest.fixture(scope="module")
def rectangles(tmp_path_factory):
    """Return a folder of pictures with red and blue rectangles, and boxes about them; nothing may write into it."""
    return write_rectangles(tmp_path_factory.mktemp("boxes") / "rectangles", train=48, val=8, test=16)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Return fewer of them: three steps are an epoch."""
    return write_rectangles(tmp_path_factory.mktemp("boxes") / "few", train=24, val=4, test=8)


@pytest.fixture(scope="module")
def learned(rectangles, tmp_path_factory):
    """Return a run that had time to learn."""
    return train(rectangles, tmp_path_factory.mktemp("learned") / "run", steps=180)


@pytest.fixture(scope="module")
def uninterrupted(few, tmp_path_factory):
    """Return a run of RICH that nothing disturbed."""
    return train(few, tmp_path_factory.mktemp("whole") / "run", **RICH)


@pytest.fixture(scope="module")
def fallen(few, tmp_path_factory):
    """Return the weights before a step along the gradient, and the folder of a run of that one step."""
    run = train(few, tmp_path_factory.mktemp("fallen") / "run", steps=1, **FALL)
    before = TASKS["detect"](run.recipe, ("red", "blue")).model().state_dict()
    return before, run.folder


def decisions(folder):
    path = Path(folder, "decisions.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def apart(fallen, other):
    """Return how far the gradients that moved two runs lie from each other, as a share of the first one's length."""
    before, folder = fallen
    one, two = tensors(folder / "last.safetensors"), tensors(Path(other) / "last.safetensors")
    difference = torch.cat([(two[name] - one[name]).flatten() for name in before])
    gradient = torch.cat([(one[name] - before[name]).flatten() for name in before])
    return (torch.linalg.vector_norm(difference) / torch.linalg.vector_norm(gradient)).item()


# From a folder to a report


def test_a_tiny_network_learns_where_rectangles_are_and_which_colour_they_have(learned):
    assert learned.split == "test" and learned.scores["map50"].n == 16
    assert learned.scores["map50"].value >= 0.9 and learned.scores["f1"].value >= 0.8


def test_the_scores_of_a_model_file_are_those_of_its_run(learned, rectangles):
    assert visus.evaluate(learned.best, rectangles).scores == learned.scores


def test_a_picture_is_answered_with_boxes_in_its_own_pixels(learned, rectangles, tmp_path):
    page = json.loads((rectangles / "annotations" / "instances_test.json").read_text())
    file = rectangles / "test" / "test_01.png"  # of one rectangle
    (stated,) = [a for a in page["annotations"] if a["image_id"] == 1]
    found = visus.predict(learned.best, file, out=tmp_path / "said")
    said = found.predictions[0].json()
    x, y, wide, high = stated["bbox"]
    assert said["labels"][0] == ("red", "blue")[stated["category_id"]]
    assert said["boxes"][0] == pytest.approx([x, y, x + wide, y + high], abs=6)
    assert said["scores"] == sorted(said["scores"], reverse=True) and len(found.drawn) == 1


def test_a_model_file_tells_its_classes_its_scores_and_the_score_from_which_objects_are_shown(learned):
    card = read_card(learned.best)
    assert card.task == "detect" and card.classes == ("red", "blue") and 0 < card.calibration["threshold"] < 1
    told = dict(visus.info(learned.best).sections)
    assert dict(told["What it is"])["network"] == "anchor_free"


def test_a_model_that_learned_is_better_than_one_that_did_not(learned, uninterrupted, rectangles):
    found = visus.compare(uninterrupted.best, learned.best, rectangles)
    assert found.score == "map" and found.verdict.partition(" (")[0].endswith("B is better")


def test_the_report_shows_curves_kinds_of_mistakes_and_pictures_with_what_their_colours_mean(learned):
    page = learned.report.read_text(encoding="utf-8")
    for shown in ("Precision and recall at IoU 0.5", "Kinds of mistakes", "Confusion matrix", "best", "dashed",
                  "Pictures of each class"):  # fmt: skip
        assert shown in page
    assert page.count("data:image/") > 8


# Exactness


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_in_mid_epoch_ends_as_if_it_had_not_been_whatever_reads_its_data(
    few, tmp_path, uninterrupted, workers
):
    folder = tmp_path / "run"
    words = [sys.executable, detecting.__file__, "killed", str(few), str(folder), str(workers)]
    child = subprocess.Popen(words, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    steps_seen(child, folder, 8)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL and not (folder / "result.json").exists()
    ended = visus.resume(folder)
    assert same_bits(uninterrupted.folder, folder) and ended.scores == uninterrupted.scores


@pytest.mark.parametrize("size", [5, [64, 31]])
def test_pictures_smaller_than_a_place_of_the_coarsest_map_are_refused(few, tmp_path, size):
    with pytest.raises(UsageError, match="too small for a detector") as caught:
        train(few, tmp_path / "run", steps=1, **{"input.size": size})
    assert caught.value.code == "USE-067" and caught.value.fix == "--size 32 or more"


def test_splitting_a_batch_does_not_change_its_gradient(few, tmp_path, fallen):
    train(few, tmp_path / "run", steps=1, **FALL, micro=3)
    assert 0 < apart(fallen, tmp_path / "run") <= 1e-5


def test_two_ranks_give_the_gradient_of_one_process(few, tmp_path, fallen):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = [*torchrun, detecting.__file__, "ranks", str(few), str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 0 < apart(fallen, tmp_path / "run") <= 1e-5


def test_where_memory_runs_out_a_run_ends_as_if_its_batches_had_been_split_from_the_start(few, tmp_path, monkeypatch):
    split = train(few, tmp_path / "split", steps=6, **{**RICH, "micro": 4})
    whole = TASKS["detect"].losses

    def scarce(task, model, batch, player, step):
        found = whole(task, model, batch, player, step)
        if len(batch) > 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return found

    monkeypatch.setattr(TASKS["detect"], "losses", scarce)
    healed = train(few, tmp_path / "healed", steps=6, **RICH)
    assert [d["micro"] for d in decisions(healed.folder) if d["kind"] == "micro"] == [4]
    assert same_bits(split.folder, healed.folder) and healed.scores == split.scores


def test_a_loss_that_is_no_number_names_its_term_and_its_picture_which_is_then_left_out(few, tmp_path, monkeypatch):
    sound = TASKS["detect"].losses

    def sick(task, model, batch, player, step):
        found = sound(task, model, batch, player, step)
        ill = any(name.endswith("train_05.png") for name in batch.ids)
        return {**found, "giou": Term(found["giou"].sum * (float("nan") if ill else 1), "object")}

    monkeypatch.setattr(TASKS["detect"], "losses", sick)
    run = train(few, tmp_path / "run", steps=12, **RICH)
    told = decisions(run.folder)
    skipped = [d for d in told if d["kind"] == "skipped"]
    assert [(d["term"], d["ids"]) for d in skipped] == [("giou", ["train/train_05.png"])] * 2
    assert [d["id"] for d in told if d["kind"] == "quarantined"] == ["train/train_05.png"]
    again = dict(dict(visus.info(run.folder / skipped[0]["bundle"], replay=True).sections)["replayed here"])
    assert again["result"] == "the same" and again["samples"] == "train/train_05.png"
    assert all(bool(tensor.isfinite().all()) for tensor in tensors(run.best).values())
    assert len(losses(run.folder)) == 10


def test_averaged_weights_are_the_average_of_those_of_each_step(few, tmp_path):
    steady = {**TINY, "schedule.name": "constant", "schedule.warmup": 0}
    first, second = (train(few, tmp_path / f"{steps}", steps=steps, **steady) for steps in (1, 2))
    averaged = train(few, tmp_path / "averaged", steps=2, **{**steady, "ema": 0.9})
    before = TASKS["detect"](first.recipe, ("red", "blue")).model().state_dict()
    one, two, found = (tensors(run.folder / "last.safetensors") for run in (first, second, averaged))
    for name, start in before.items():
        early = one[name].lerp(start, 1 / 10)  # the average follows fast at first: (1 + step) / (10 + step)
        torch.testing.assert_close(found[name], two[name].lerp(early, 2 / 11), rtol=1e-5, atol=1e-6)
