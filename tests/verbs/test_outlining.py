"""Instance masks through the verbs: from outlines and masks with holes to a run, a report, predictions and results."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.verbs import detecting, outlining
from tests.verbs.examples import same_bits
from tests.verbs.outlining import train, write_shapes
from tests.verbs.test_resume import steps_seen

import visus
from visus.core.errors import UsageError
from visus.core.recipe import DataSettings
from visus.data.reading import open_data


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Return a folder of pictures with rings and pairs of rectangles; nothing may write into it."""
    return write_shapes(tmp_path_factory.mktemp("masks") / "shapes", train=18, val=4, test=6)


@pytest.fixture(scope="module")
def run(shapes, tmp_path_factory):
    """Return a short run that nothing disturbed."""
    return train(shapes, tmp_path_factory.mktemp("outlined") / "run")


def test_boxes_and_masks_are_judged_side_by_side_and_masks_pick_the_best(run):
    assert run.recipe.score in ("", "mask_map")
    assert {"map", "mask_map", "mask_map50", "mask_mar_100"} <= set(run.scores)
    assert "mask" in run.report.read_text(encoding="utf-8").lower()


def test_predictions_carry_masks_in_every_output(run, shapes, tmp_path):
    found = visus.predict(run.best, shapes / "test", out=tmp_path / "said", to="coco", least=0.011)
    said = json.loads((tmp_path / "said" / "predictions.json").read_text())["predictions"]
    results = json.loads((tmp_path / "said" / "results.json").read_text())
    assert sum(len(one["masks"]) for one in said) == len(results) > 0
    assert all(one["segmentation"]["size"] == [64, 64] for one in results)
    data = open_data(found.data, DataSettings(), carve=False)
    for i, name in enumerate(data.ids):
        (one,) = [each for each in said if Path(each["file"]).name == Path(name).name]
        assert [mark.mask for mark in data.objects[i]] == [mask["counts"] for mask in one["masks"]]


def test_results_judge_as_the_model_does(run, shapes, tmp_path):
    truth = shapes / "annotations" / "instances_test.json"
    visus.predict(run.best, shapes / "test", out=tmp_path, to="coco", numbers=truth, least=0.01)
    judged = visus.evaluate(predictions=tmp_path / "results.json", data=truth).scores
    for name in ("map", "mask_map", "mask_map50", "mask_mar_100"):
        assert judged[name].value == pytest.approx(run.scores[name].value, abs=2e-3), name


def test_a_run_killed_in_mid_epoch_ends_as_if_it_had_not_been(run, shapes, tmp_path):
    folder = tmp_path / "run"
    words = [sys.executable, outlining.__file__, str(shapes), str(folder)]
    child = subprocess.Popen(words, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    steps_seen(child, folder, 5)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    ended = visus.resume(folder)
    assert same_bits(run.folder, folder) and ended.scores == run.scores


def test_data_without_masks_is_refused_before_training_and_named(tmp_path):
    boxes = detecting.write_rectangles(tmp_path / "boxes", train=4, val=2, test=2)
    with pytest.raises(UsageError, match="learns the pixels of each object") as caught:
        train(boxes, tmp_path / "run", steps=1)
    assert caught.value.code == "USE-068" and not (tmp_path / "run").exists()


def test_a_suppression_that_moves_boxes_is_refused(shapes, tmp_path):
    with pytest.raises(UsageError, match="changes what it keeps"):
        train(shapes, tmp_path / "run", steps=1, **{"detect.suppression": "fusion"})
