"""``visus compress``: what is kept is smaller and says nearly the same, and what cannot be is said."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from tests.verbs.examples import NAMES, train, train_detector, write_boxes, write_splits
from tests.verbs.segmenting import TINY as SCENES
from tests.verbs.segmenting import write_scenes

import visus
from visus.cli.app import run as command
from visus.compressors import Candidate, weight_only
from visus.compressors._graph import of_network
from visus.core import files
from visus.core.errors import DataError, Interrupted, ResourceError, UsageError, VisusError
from visus.core.modelfile import read_model
from visus.core.recipe import LossSettings, ModelSettings
from visus.core.scores import Score
from visus.metrics.compare import Difference
from visus.report import compress_page
from visus.tasks import TASKS
from visus.verbs.compress import Compressed, Tried, chance_of, too_few
from visus.verbs.compressing import Bench


@pytest.fixture(scope="session")
def digits(photos, tmp_path_factory):
    """Return a run of a network on grey digits that is large enough to be made smaller."""
    wide = {"model.options.widths": [32, 64], "input.size": [16, 20]}
    return train(photos, tmp_path_factory.mktemp("runs") / "digits", settings=wide)


@pytest.fixture(scope="session")
def whole_numbers(digits, tmp_path_factory):
    """Return what ``int8`` made of it; nothing may write to its file."""
    out = tmp_path_factory.mktemp("small") / "digits.onnx"
    return visus.compress(digits.folder, method="int8", target="size", max_drop=10, out=out)


def computed_in_whole_numbers(file):
    """Return whether the weights of each convolution are in 8 bits, by the node's name."""
    graph = onnx.load(file).graph
    made = {node.output[0]: node for node in graph.node}
    network = {node.name for node in of_network(graph)}
    return {
        (node.name in network): made.get(node.input[1], node).op_type == "DequantizeLinear"
        for node in graph.node
        if node.op_type in ("Conv", "Gemm")
    }


def test_whole_numbers_take_far_less_room(whole_numbers):
    assert whole_numbers.path.stat().st_size == pytest.approx(whole_numbers.kept.bytes, rel=0.02)  # but for its card
    assert whole_numbers.kept.bytes < 0.6 * whole_numbers.whole.bytes


def test_the_drop_of_what_is_kept_is_shown_to_be_within_the_promise(whole_numbers):
    drop, low, high = whole_numbers.kept.drop
    assert low <= drop <= high <= 10
    assert drop == pytest.approx(100 * (whole_numbers.whole.score.value - whole_numbers.kept.score.value))
    assert whole_numbers.whole.score.n == whole_numbers.kept.score.n == 60  # the validation part


def test_the_network_is_computed_in_whole_numbers(whole_numbers):
    assert computed_in_whole_numbers(whole_numbers.path) == {True: True}


def test_the_file_predicts_and_is_judged_like_any_other(whole_numbers, digits, photos):
    weights = visus.evaluate(visus.load(digits.folder, precision="float32"), photos)
    file = visus.evaluate(whole_numbers.path, photos)
    assert file.scores["accuracy"].value == pytest.approx(weights.scores["accuracy"].value, abs=0.05)
    assert len(visus.predict(whole_numbers.path, photos / "test")) == 90


def test_its_card_tells_what_it_is_and_what_was_measured(whole_numbers):
    card = visus.load(whole_numbers.path).card
    assert card.compressed["method"] == "int8"
    assert card.compressed["settings"] == whole_numbers.kept.settings
    assert card.scores["accuracy"] == whole_numbers.kept.score.json()
    assert card.split == "val"


def test_a_page_shows_score_against_cost(whole_numbers):
    page = whole_numbers.page.read_text(encoding="utf-8")
    assert whole_numbers.page == whole_numbers.path.with_suffix(".html")
    assert page.count("<svg") == 2
    assert "keeps the promise" in page


def test_weights_alone_are_kept_as_whole_numbers(digits, photos, tmp_path):
    made = visus.compress(digits.folder, method="weight_only", target="size", max_drop=10, out=tmp_path / "a.onnx")
    assert made.kept.bytes < 0.6 * made.whole.bytes
    assert visus.evaluate(made.path, photos).scores["accuracy"].value > 0.8


def test_colours_of_another_shape_asked_with_their_mirror_images(painter, colours, tmp_path):
    made = visus.compress(painter.folder, method="int8", target="size", max_drop=100, out=tmp_path / "a.onnx")
    weights = visus.evaluate(visus.load(painter.folder, precision="float32"), colours)
    assert made.tried[0].score.value == pytest.approx(made.whole.score.value, abs=0.1)
    assert weights.n == 30


def test_training_with_rounding_gives_a_file_in_whole_numbers(digits, photos, tmp_path):
    made = visus.compress(
        digits.folder, method="qat", target="size", max_drop=10, steps=6, out=tmp_path / "a.onnx", data=photos
    )
    assert computed_in_whole_numbers(made.path) == {True: True}
    assert made.kept.bytes < 0.6 * made.whole.bytes


@pytest.mark.slow
def test_detectors_are_computed_in_whole_numbers_and_read_in_floats(tmp_path):
    squares = write_boxes(tmp_path / "squares", splits=("train",) * 16 + ("val",) * 10 + ("test",) * 3)
    run = train_detector(squares, tmp_path / "run", steps=20)
    made = visus.compress(run.folder, method="int8", max_drop=100, target="size", out=tmp_path / "a.onnx")
    assert made.score == "map"
    assert made.best.score.value == pytest.approx(made.whole.score.value, abs=0.1)
    assert computed_in_whole_numbers(made.path)[True]
    file = visus.load(made.path)
    known, shown = file.card.calibration, file.network.runtime(torch.full((1, 60, 80, 3), 120, dtype=torch.uint8))
    least = torch.tensor([known.get(f"threshold/{name}", known["threshold"]) for name in file.classes])
    wanted = shown["scores"] >= least[shown["labels"].clamp(min=0)]
    assert torch.equal(shown["shown"], wanted & (shown["scores"] >= 0))


def test_segmenters_are_computed_in_whole_numbers(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", train=12, val=12, test=2)
    run = visus.train(scenes, out=tmp_path / "run", steps=12, set=SCENES)
    made = visus.compress(run.folder, method="int8", max_drop=100, target="size", out=tmp_path / "a.onnx")
    assert made.score == "miou"
    assert made.best.score.value == pytest.approx(made.whole.score.value, abs=0.1)
    assert made.kept is None or computed_in_whole_numbers(made.path)[True]


@pytest.mark.usefixtures("exported_once")
def test_the_command_ends_with_1_where_nothing_keeps_the_promise(photos, tmp_path, capsys):
    tiny = {"model.options.widths": [2], "model.options.flatten": False}
    run = train(photos, tmp_path / "run", steps=2, settings=tiny)
    words = f"compress {run.folder} --method weight_only --target size --out {tmp_path / 'a.onnx'}".split()
    assert command([*words, "--json"]) == 1  # so few weights are left as they are
    told = json.loads(capsys.readouterr().out)
    assert told["kept"] is None
    assert not (tmp_path / "a.onnx").exists()
    assert "No smaller model keeps the promise" in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert command(words) == 1  # its page is written anew


def tried(drop, most, *, size=50, latency=0.5, fastest=0.5, slowest=0.6, keeps=True):
    """Return a candidate whose accuracy fell by ``drop`` points, by ``most`` at the upper end of the interval."""
    score = Score(0.9 - drop / 100, 0.8, 0.95, 200)
    change = Difference("accuracy", 0.9, score.value, -drop / 100, -most / 100, (most - 2 * drop) / 100, 200)
    return Tried("int8", {}, score, size, 0.001, None, change, latency, fastest, slowest, keeps)


WHOLE = Tried("float32", {}, Score(0.9, 0.85, 0.95, 200), 100, 0.002, None)


def test_a_drop_is_told_in_points_with_its_interval():
    assert tried(1.0, 1.5).drop == (pytest.approx(1.0), pytest.approx(0.5), pytest.approx(1.5))


@pytest.mark.parametrize("methods", [1, 2, 6])
def test_the_intervals_of_any_number_of_candidates_miss_by_a_twentieth_at_most(methods):
    assert 0.0499 < sum(methods * chance_of(k, methods) for k in range(1, 1001)) < 0.05


def test_the_table_tells_that_its_intervals_hold_for_all_that_were_tried(whole_numbers):
    assert "at 95 %, for the form that was tried" in whole_numbers.table().note
    three = replace(whole_numbers, tried=whole_numbers.tried * 3)
    assert "at 95 %, for all 3 forms that were tried" in three.table().note
    assert [one["level"] for one in three.json()["candidates"]] == pytest.approx([0.975] * 3)


@pytest.mark.usefixtures("exported_once")
def test_what_a_form_may_miss_by_depends_on_its_place_in_its_method_and_on_no_verdict(digits, tmp_path):
    made = visus.compress(digits.folder, max_drop=0, target="size", out=tmp_path / "a.onnx")
    of_methods = [[one.chance for one in made.tried if one.method == name] for name in ("int8", "weight_only")]
    assert of_methods == [[0.05 / (2 * k * (k + 1)) for k in range(1, len(each) + 1)] for each in of_methods]
    assert (len(of_methods[0]) >= 3, len(of_methods[1])) == (True, 1)


@pytest.mark.usefixtures("exported_once")
def test_a_method_that_fails_after_some_of_its_forms_were_measured_is_not_said_to_be_left_out(
    run, tmp_path, monkeypatch
):
    def propose(subject):
        yield from (candidate for _ in range(2) for candidate in proposing(subject))
        raise UsageError("COMPRESS-009", "there is no more of it")

    proposing = weight_only.COMPRESSOR.propose
    monkeypatch.setattr(weight_only, "COMPRESSOR", replace(weight_only.COMPRESSOR, propose=propose))
    made = visus.compress(run.folder, method="weight_only", target="size", pictures=8, out=tmp_path / "a.onnx")
    assert "weight_only ended after 2 forms: there is no more of it" in made.notes
    assert len(made.tried) == 2


def test_of_an_error_a_rise_is_a_drop():
    change = Difference("rmse", 2.0, 2.5, 0.5, 0.25, 0.75, 200)
    one = Tried("int8", {}, Score(2.5, 2, 3, 200), 50, 0.001, None, change)
    assert one.drop == (0.5, 0.25, 0.75)


@pytest.mark.parametrize(
    ("kept", "best", "words"),
    [
        (True, tried(0.1, 0.4), "within 0.5; 2.00x as fast (1.67 to 2.00), 0.50 of the size"),
        (False, tried(1.0, 1.5, keeps=False), "nothing is shown to lose at most 0.5 points; nearest is int8"),
        (
            False,
            tried(0.1, 0.4, slowest=1.1),
            "nothing that loses at most 0.5 points is shown to be faster; best is int8",
        ),
        (False, tried(0.1, 0.4, fastest=0, slowest=math.inf), "2.00x as fast (timed too few times to tell how sure"),
    ],
)
def test_the_verdict_says_whether_the_promise_is_kept(kept, best, words, tmp_path):
    found = Compressed(
        tmp_path if kept else None, tmp_path, "m", "d", "accuracy", 0.5, "latency", WHOLE, (best,),
        best if kept else None, best,
    )  # fmt: skip
    assert words in found.verdict


@pytest.mark.parametrize(("methods", "least", "enough"), [(1, 7.0, "875"), (2, 8.1, "1,013"), (6, 9.8, "1,232")])
def test_too_few_pictures_to_show_anything_kept_are_said_to_be(methods, least, enough, tmp_path):
    """By hand: 1 - (0.05 / (4 M)) ** (1 / n), and the n for which that is 0.005."""
    best = tried(0.0, 9.0, keeps=False)
    whole = replace(WHOLE, score=Score(0.9, 0.8, 1.0, 60))
    found = Compressed(None, tmp_path, "m", "d", "accuracy", 0.5, "latency", whole, (best,), None, best)
    said = f"of 60 pictures no drop below {least:g} points could be shown, were every answer the same"
    together = np.array([[60.0]])
    assert too_few(found, methods, together) == [f"{said}: 0.5 takes {enough} like them at least"]
    assert too_few(replace(found, max_drop=0), methods, together) == [said]
    assert too_few(replace(found, max_drop=10), methods, together) == []
    assert too_few(replace(found, score="rmse", max_drop=0.1), methods, together) == []


def test_of_a_mean_over_classes_the_pictures_of_the_rarest_are_too_few(tmp_path):
    """By hand: half of the score hangs on 10 of 1,000, so (1 - 0.0125 ** (1 / 10)) / 2, and for 0.01 n = 21,691."""
    best, whole = tried(0.0, 9.0, keeps=False), replace(WHOLE, score=Score(0.9, 0.8, 1.0, 1000))
    found = Compressed(None, tmp_path, "m", "d", "miou", 1, "latency", whole, (best,), None, best)
    rare = np.array([[10.0, np.inf], [np.inf, 990.0]])
    said = "of 1,000 pictures no drop below 18 points could be shown, were every answer the same"
    assert too_few(found, 1, rare) == [f"{said}: 1 takes 21,691 like them at least"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"max_drop": -1}, "COMPRESS-002"),
        ({"max_drop": math.nan}, "COMPRESS-002"),
        ({"target": "memory"}, "COMPRESS-002"),
        ({"minutes": 0}, "COMPRESS-003"),
        ({"minutes": math.inf}, "COMPRESS-003"),
        ({"minutes": 1, "steps": 1}, "COMPRESS-003"),
        ({"method": "qat"}, "COMPRESS-004"),
        ({"method": "int8", "minutes": 5}, "COMPRESS-004"),
        ({"method": "int8", "out": "a.safetensors"}, "COMPRESS-005"),
        ({"out": "a.bin"}, "COMPRESS-005"),
        ({"method": "int9"}, "USE-004"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(arguments, code, run):
    with pytest.raises(UsageError, match=code):
        visus.compress(run.folder, **arguments)


def terminated():
    os.kill(os.getpid(), signal.SIGTERM)


def out_of_memory():
    raise MemoryError


@pytest.mark.usefixtures("exported_once")
@pytest.mark.parametrize(
    ("happens", "error", "exit"), [(terminated, Interrupted, 143), (out_of_memory, ResourceError, 4)]
)
def test_a_search_that_is_cut_short_keeps_the_best_it_had_found(happens, error, exit, digits, tmp_path):
    def watch(row):
        if row.get("note", "").startswith("int8"):
            happens()

    with pytest.raises(error, match=r"interrupted|memory") as caught:
        visus.compress(digits.folder, max_drop=30, target="size", out=tmp_path / "a.onnx", watch=watch)
    assert caught.value.exit == exit
    assert "1 tried until then: int8" in caught.value.done
    assert visus.load(tmp_path / "a.onnx").card.compressed["method"] == "int8"
    assert "The search was cut short: " in (tmp_path / "a.html").read_text(encoding="utf-8")


def interrupted():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("exported_once")
def test_a_signal_that_comes_while_the_page_is_made_is_heard_once_both_are_written(digits, tmp_path, monkeypatch):
    def render(page, make=compress_page.render):
        interrupted()
        interrupted()
        return make(page)

    monkeypatch.setattr(compress_page, "render", render)
    with pytest.raises(Interrupted) as caught:
        visus.compress(digits.folder, method="weight_only", target="size", max_drop=10, out=tmp_path / "a.onnx")
    assert (caught.value.exit, caught.value.done.endswith(f"; see {tmp_path / 'a.onnx'}")) == (130, True)
    assert {file.name for file in tmp_path.iterdir()} == {"a.onnx", "a.html"}
    assert visus.load(tmp_path / "a.onnx").card.compressed["method"] == "weight_only"


@pytest.mark.usefixtures("exported_once")
def test_a_signal_that_comes_while_the_card_is_written_loses_nothing(digits, tmp_path, monkeypatch):
    def describe(self, *told, write=Bench.describe):
        interrupted()
        write(self, *told)

    monkeypatch.setattr(Bench, "describe", describe)
    with pytest.raises(Interrupted) as caught:
        visus.compress(digits.folder, method="weight_only", target="size", max_drop=10, out=tmp_path / "a.onnx")
    assert (caught.value.exit, caught.value.done.endswith(f"; see {tmp_path / 'a.onnx'}")) == (130, True)
    assert visus.load(tmp_path / "a.onnx").card.compressed["method"] == "weight_only"


@pytest.mark.usefixtures("exported_once")
def test_a_file_that_was_written_during_the_search_is_left_alone(digits, tmp_path):
    def watch(row):
        if row.get("note", "").startswith("weight_only"):
            (tmp_path / "a.html").write_text("mine")
            (tmp_path / "a-2.onnx").write_text("mine, too")

    found = visus.compress(digits.folder, method="weight_only", target="size", max_drop=10, out=tmp_path / "a.onnx",
                           watch=watch)  # fmt: skip
    assert (found.path, found.page) == (tmp_path / "a-3.onnx", tmp_path / "a-3.html")
    assert (tmp_path / "a.html").read_text() == "mine"
    assert (tmp_path / "a-2.onnx").read_text() == "mine, too"
    assert found.notes == (f"{tmp_path / 'a.html'} was written meanwhile by something else, so this is a-3",)
    assert visus.load(found.path).card.compressed["method"] == "weight_only"
    assert not (tmp_path / "a.onnx").exists()


def stopped_at_the_page(page):
    raise KeyboardInterrupt


def full_at_the_model(path, needed=0, write=files.replacing):
    if path.suffix == ".onnx" and path.name == "a.onnx":
        raise ResourceError("RUN-004", "the disk is full")
    return write(path, needed)


@pytest.mark.usefixtures("exported_once")
@pytest.mark.parametrize(
    ("room", "name", "happens", "error"),
    [
        (compress_page, "render", stopped_at_the_page, Interrupted),
        (files, "replacing", full_at_the_model, ResourceError),
    ],
)
def test_of_model_and_page_both_are_written_or_none(room, name, happens, error, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(room, name, happens)
    with pytest.raises(error):
        visus.compress(digits.folder, method="weight_only", target="size", max_drop=10, out=tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def without_weights(file):
    model = onnx.load(file)
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4:
            tensor.raw_data = bytes(len(tensor.raw_data))
    return model.SerializeToString()


def stopped(file):
    interrupted()
    return file.read_bytes()


@pytest.mark.usefixtures("exported_once")
@pytest.mark.parametrize(
    ("second", "error", "exit"), [(without_weights, "COMPRESS-029", 6), (stopped, "interrupted while", 130)]
)
def test_a_file_that_is_made_anew_with_its_decoder_is_judged_again_or_what_was_measured_is_kept(
    second, error, exit, digits, photos, tmp_path, monkeypatch
):
    asked = []

    def rewritten(file):
        asked.append(file)
        return weight_only._rewritten(file) if len(asked) == 1 else second(file)

    def propose(subject):
        yield Candidate({}, subject.network, rewritten)

    monkeypatch.setattr(weight_only, "COMPRESSOR", replace(weight_only.COMPRESSOR, propose=propose))
    with pytest.raises(VisusError, match=error) as caught:
        visus.compress(digits.folder, method="weight_only", target="size", max_drop=10, out=tmp_path / "a.onnx")
    assert (caught.value.exit, len(asked)) == (exit, 2)
    assert caught.value.done.endswith(f"; its decoder is that of the float32 model; see {tmp_path / 'a.onnx'}")
    kept = visus.load(tmp_path / "a.onnx").card
    known = read_model(digits.folder / "best.safetensors")[1].calibration
    assert kept.calibration == known  # as in the graph that was measured
    judged = visus.evaluate(tmp_path / "a.onnx", photos, split="val").scores["accuracy"]
    assert judged.value == kept.scores["accuracy"]["value"]
    assert "its decoder is that of the float32 model" in (tmp_path / "a.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("exported_once")
def test_a_search_that_is_cut_short_before_it_found_anything_leaves_nothing(digits, tmp_path):
    with pytest.raises(Interrupted) as caught:
        visus.compress(digits.folder, method="qat", steps=50, out=tmp_path / "a.onnx", watch=lambda row: terminated())
    assert (caught.value.exit, caught.value.done) == (143, "nothing was written")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_not_written_over(run, tmp_path):
    (tmp_path / "a.onnx").write_text("mine")
    with pytest.raises(UsageError, match="COMPRESS-006"):
        visus.compress(run.folder, out=tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_text() == "mine"


@pytest.mark.usefixtures("exported_once")
def test_a_method_that_proposes_nothing_is_told(run, tmp_path, monkeypatch):
    def propose(subject):
        yield from ()

    monkeypatch.setattr(weight_only, "COMPRESSOR", replace(weight_only.COMPRESSOR, propose=propose))
    with pytest.raises(UsageError, match="COMPRESS-009"):
        visus.compress(run.folder, method="weight_only", out=tmp_path / "a.onnx")


def test_a_page_of_the_users_own_is_not_written_over(run, tmp_path):
    (tmp_path / "a.html").write_text('<meta name="generator" content="visus">')
    with pytest.raises(UsageError, match="COMPRESS-006"):
        visus.compress(run.folder, out=tmp_path / "a.onnx")


def test_data_without_enough_pictures_to_judge_is_answered_with_what_this_verb_takes(run, photos, tmp_path):
    for name in NAMES:
        (tmp_path / "few" / name).mkdir(parents=True)
        shutil.copy(next((photos / "test" / name).iterdir()), tmp_path / "few" / name)
    with pytest.raises(DataError, match="part can be carved") as caught:
        visus.compress(run.folder, data=tmp_path / "few")
    assert caught.value.fix.endswith("; --data DATA with more pictures")


def test_a_detector_whose_answers_no_student_can_imitate_is_refused_before_anything_is_measured(detector):
    model, told = visus.load(detector.folder), []
    two_stages = {"model": ModelSettings(name="faster_rcnn"), "loss": LossSettings(name="cross_entropy")}
    model.task = TASKS["detect"](model.recipe.model_copy(update=two_stages), model.classes)
    with pytest.raises(UsageError, match=r"COMPRESS-033.*place by place") as caught:
        visus.compress(model, method="distill", steps=1, watch=told.append)
    assert (caught.value.fix, told) == ("another method: visus list compressors", [])


def test_an_exported_file_is_refused(whole_numbers):
    with pytest.raises(UsageError, match="COMPRESS-001"):
        visus.compress(whole_numbers.path)


def test_without_the_training_data_the_user_is_asked_for_some(run, tmp_path):
    alone = shutil.copy(run.folder / "best.safetensors", tmp_path / "alone.safetensors")
    with pytest.raises(UsageError, match="EXP-011"):
        visus.compress(alone)


def test_too_few_validation_pictures_are_refused(tmp_path):
    few = write_splits(tmp_path / "few", train=8, val=2, test=4)
    run = train(few, tmp_path / "run", steps=1)
    with pytest.raises(DataError, match="6 validation pictures"):
        visus.compress(run.folder)


def test_a_missing_library_is_named_with_the_line_that_installs_it(run, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(UsageError) as caught:
        visus.compress(run.folder, out=tmp_path / "a.onnx")
    assert "pip install" in caught.value.fix


def test_what_cannot_be_exported_is_refused_with_its_reason(detector, tmp_path):
    squares = write_boxes(tmp_path / "squares", splits=("train",) * 16 + ("val",) * 8)
    model = visus.load(detector.folder)
    model.task.detect = model.task.detect.model_copy(update={"suppression": "soft_nms"})
    with pytest.raises(UsageError, match="soft_nms"):
        visus.compress(model, data=squares, out=tmp_path / "a.onnx")


def test_weights_are_as_they_were(digits, whole_numbers):
    tensors, card = read_model(digits.folder / "best.safetensors")
    assert card.compressed == {}
    assert all(tensor.dtype.is_floating_point for tensor in tensors.values())
