"""Segmentation through the verbs: it learns, is resumed, split, healed and spread as exactly as every task."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.verbs import segmenting
from tests.verbs.examples import losses, same_bits, tensors
from tests.verbs.segmenting import CLASSES, FALL, PALETTE, RICH, train, write_scenes
from tests.verbs.test_resume import steps_seen

import visus
from visus.core.errors import DataError, UsageError
from visus.core.modelfile import read_card
from visus.core.recipe import DataSettings
from visus.core.task import Term
from visus.data.mask_door import read_map
from visus.data.reading import open_data
from visus.tasks import TASKS
from visus.tasks.segment.regions import Regions
from visus.verbs import choosing
from visus.verbs.predict import Told


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Return a folder of pictures with red and blue rectangles, and their masks; nothing may write into it."""
    return write_scenes(tmp_path_factory.mktemp("scenes") / "scenes", train=48, val=8, test=12)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Return fewer of them: three steps are an epoch."""
    return write_scenes(tmp_path_factory.mktemp("scenes") / "few", train=24, val=4, test=8)


@pytest.fixture(scope="module")
def learned(scenes, tmp_path_factory):
    """Return a run that had time to learn."""
    return train(scenes, tmp_path_factory.mktemp("learned") / "run", steps=100)


@pytest.fixture(scope="module")
def uninterrupted(few, tmp_path_factory):
    """Return a run of RICH that nothing disturbed."""
    return train(few, tmp_path_factory.mktemp("whole") / "run", **RICH)


@pytest.fixture(scope="module")
def fallen(few, tmp_path_factory):
    """Return the weights before a step along the gradient, and the folder of a run of that one step."""
    run = train(few, tmp_path_factory.mktemp("fallen") / "run", steps=1, **FALL)
    return TASKS["segment"](run.recipe, CLASSES).model().state_dict(), run.folder


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


def test_the_task_follows_from_the_masks_and_its_network_and_colours_from_the_data(scenes, tmp_path):
    run = visus.train(scenes, out=tmp_path / "run", steps=1,
                      set={"batch": 2, "resamples": 10, "evaluate_every": 1000, "data.leaks": False})  # fmt: skip
    recipe = run.recipe
    assert (recipe.task, recipe.model.name, recipe.loss.name) == ("segment", "fast:efficientnet_lite0", "cross_entropy")
    assert recipe.input.size == (64, 64) or recipe.input.size == (48 // 32 * 32, 64)
    assert recipe.segment.palette == ("#5a5a5a", "#dc2828", "#3250e6")
    assert recipe.input.mean == (0.5, 0.5, 0.5) and recipe.augment.flip == 0.5


def test_a_tiny_network_learns_which_pixels_are_red_and_which_blue(learned):
    assert learned.split == "test" and learned.scores["miou"].n == 12
    assert learned.scores["miou"].value >= 0.8 and learned.scores["pixel_accuracy"].value >= 0.9


def test_the_scores_of_a_model_file_are_those_of_its_run(learned, scenes):
    assert visus.evaluate(learned.best, scenes).scores == learned.scores


def test_an_answer_is_a_class_of_every_pixel_of_the_picture_itself(learned, scenes, tmp_path):
    file = scenes / "images" / "test" / "00.png"
    found = visus.predict(learned.best, file, out=tmp_path / "said")
    held = Image.open(found.maps[0])
    truth = np.asarray(Image.open(scenes / "masks" / "test" / "00.png"))
    assert held.mode == "P" and held.size == (64, 48)
    assert tuple(held.getpalette()[: 3 * len(PALETTE)]) == tuple(level for colour in PALETTE for level in colour)
    assert (np.asarray(held) == truth).mean() > 0.9
    assert len(found.drawn) == 1 and Image.open(found.drawn[0]).mode == "RGB"


def test_areas_are_the_shares_of_the_class_map_in_json_and_in_rows(learned, scenes, tmp_path):
    file = scenes / "images" / "test" / "02.png"
    found = visus.predict(learned.best, file, out=tmp_path / "said")
    counts = np.bincount(np.asarray(Image.open(found.maps[0])).reshape(-1), minlength=3)
    said = found.json()["predictions"][0]
    assert (said["height"], said["width"]) == (48, 64)
    assert said["areas"] == pytest.approx({CLASSES[k]: counts[k] / (48 * 64) for k in range(3) if counts[k]}, abs=1e-6)
    rows = list(csv.DictReader(io.StringIO(found.csv())))
    assert {row["label"]: int(row["pixels"]) for row in rows} == {CLASSES[k]: counts[k] for k in range(3) if counts[k]}
    assert said["classes"] == [row["label"] for row in rows]


def test_what_was_said_can_be_read_as_data_again(learned, scenes, tmp_path):
    found = visus.predict(learned.best, scenes / "images" / "test", out=tmp_path / "said")
    (tmp_path / "new" / "images").mkdir(parents=True)
    (tmp_path / "new" / "masks").mkdir()
    for file, said in zip(found.files, found.maps, strict=True):
        Path(tmp_path, "new", "images", Path(file).name).write_bytes(Path(file).read_bytes())
        Path(tmp_path, "new", "masks", Path(file).name).write_bytes(Path(said).read_bytes())
    (tmp_path / "new" / "classes.txt").write_text("\n".join(CLASSES))
    scores = visus.evaluate(learned.best, tmp_path / "new", split="all").scores
    assert scores["miou"].value == scores["pixel_accuracy"].value == 1


def test_regions_of_what_was_said_are_read_back_as_the_same_maps_with_their_colours(learned, scenes, tmp_path):
    found = visus.predict(learned.best, scenes / "images" / "test", out=tmp_path / "said", to="coco")
    assert found.data == str(tmp_path / "said" / "coco") and not found.notes
    data = open_data(found.data, DataSettings(), carve=False)
    assert data.classes == CLASSES and data.objects is not None and len(data) == 12
    visus.convert(found.data, to="masks", out=tmp_path / "masks", lossy=True)
    back = open_data(tmp_path / "masks", DataSettings(), carve=False)
    assert back.classes == CLASSES and tuple(map(tuple, back.maps.palette.tolist())) == PALETTE
    place = {Path(name).name: i for i, name in enumerate(back.ids)}
    for (file, said), png in zip(found, found.maps, strict=True):
        here = read_map(back.maps, place[Path(file).name])
        assert np.array_equal(here, said.class_map.numpy()) and np.array_equal(here, np.asarray(Image.open(png)))


def test_regions_bear_the_numbers_of_the_users_own_data(learned, scenes, tmp_path):
    visus.convert(scenes, to="coco", out=tmp_path / "own")
    truth = tmp_path / "own" / "annotations" / "instances_test.json"
    document = json.loads(truth.read_text())
    for image in document["images"]:
        image["id"] += 70
    for annotation in document["annotations"]:
        annotation["image_id"] += 70
    truth.write_text(json.dumps(document))
    pictures = tmp_path / "own" / "images" / "test"
    visus.predict(learned.best, pictures, out=tmp_path / "said", to="coco", numbers=truth)
    said = json.loads((tmp_path / "said" / "coco" / "annotations" / "instances_train.json").read_text())
    assert {image["id"] for image in said["images"]} == {image["id"] for image in document["images"]}
    assert [each["name"] for each in said["categories"]] == list(CLASSES)


def test_other_formats_have_no_place_for_regions(learned, scenes, tmp_path):
    with pytest.raises(UsageError, match="these predictions are written as coco"):
        visus.predict(learned.best, scenes / "images" / "test", out=tmp_path / "said", to="yolo")
    assert not (tmp_path / "said").exists()


def test_of_many_pictures_no_more_maps_are_held_than_are_looked_at_at_once(learned, scenes, tmp_path):
    model, alive, written = visus.load(learned.best), weakref.WeakSet(), []
    decode, draw = model.task.decode, model.task.draw

    def decoding(raw):
        alive.update(maps := [Watched(**vars(said)) for said in decode(raw)])
        return maps

    def drawing(sample, prediction):
        alive.add(prediction)
        written.append(len(list((tmp_path / "said").glob("*.classes.png"))))
        assert len(alive) <= 2 * 3 + 1, "as they came and brought home, and one from before"
        return draw(sample, prediction)

    model.task.decode, model.task.draw = decoding, drawing
    found = visus.predict(model, scenes / "images" / "test", out=tmp_path / "said", batch=3, keep=False)
    assert written == list(range(12)), "written as they come"
    assert all(isinstance(said, Told) for said in found.predictions) and not alive
    kept = visus.predict(learned.best, scenes / "images" / "test", batch=3)
    assert [said.json() for said in kept.predictions] == [said.json() for said in found.predictions]


class Watched(Regions):
    """A class map of which it can be told whether it is still held: each is itself, and like no other."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def test_a_model_is_asked_in_tiles_mirrored_and_at_other_scales_and_it_is_told(learned, scenes):
    asked = {"flips": True, "input.tiles": 64, "segment.scales": [0.75, 1.0]}
    plain, other = visus.evaluate(learned.best, scenes), visus.evaluate(learned.best, scenes, set=asked)
    told = "pictures were looked at in tiles 64 pixels wide, at 0.75 and 1 times the size, as they are and mirrored"
    assert told in other.notes and told not in plain.notes
    assert other.scores["miou"].value > 0.7 and other.scores != plain.scores
    (said,) = visus.predict(learned.best, scenes / "images" / "test" / "00.png", set=asked).predictions
    assert said.class_map.shape == (48, 64)


def test_a_large_picture_is_judged_in_tiles_as_it_is_predicted(learned, tmp_path):
    data = write_scenes(tmp_path / "large", size=(200, 150), train=1, val=1, test=2)
    model = visus.load(learned.best).asking({"input.tiles": 64})
    tiles = visus.evaluate(model, data)
    counts = np.zeros((3, 3), np.int64)
    for file, said in visus.predict(model, data / "images" / "test"):
        truth = np.asarray(Image.open(data / "masks" / "test" / Path(file).name))
        known = truth < len(CLASSES)
        np.add.at(counts, (truth[known], said.class_map.numpy()[known]), 1)
    accuracy = counts.diagonal().sum() / counts.sum()
    assert tiles.scores["pixel_accuracy"].value == pytest.approx(accuracy, abs=1e-3)


def test_a_card_tells_in_which_ways_a_model_looks_at_pictures(few, tmp_path):
    ways = {"flips": True, "input.tiles": 64, "segment.scales": [1.0, 1.5]}
    run = train(few, tmp_path / "run", steps=1, **ways)
    told = dict(dict(visus.info(run.best).sections)["What it reads"])
    assert told["looked at"] == "in tiles 64 pixels wide, at 1 and 1.5 times the size, as they are and mirrored"
    assert visus.evaluate(run.best, few).scores == run.scores
    page = run.report.read_text(encoding="utf-8")
    assert "segment.scales" in page and "input.tiles" in page


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"optim.lr": 1}, "training has settled it"),
        ({"input.size": 32}, "training has settled it"),
        ({"input.tiles": "auto"}, "decided by data"),
        ({"segment.scales": []}, "segment.scales"),
    ],
)
def test_what_cannot_be_asked_of_a_trained_model_is_refused(learned, scenes, asked, why):
    with pytest.raises(UsageError, match=why):
        visus.evaluate(learned.best, scenes, set=asked)


def test_a_model_file_tells_its_classes_and_colours(learned):
    card = read_card(learned.best)
    assert card.task == "segment" and card.classes == CLASSES
    assert card.recipe["segment.palette"] == ["#5a5a5a", "#dc2828", "#3250e6"]
    assert dict(dict(visus.info(learned.best).sections)["What it is"])["network"] == "fast"


def test_the_report_shows_pictures_with_their_classes(learned):
    page = learned.report.read_text(encoding="utf-8")
    for shown in ("Confusion of pixels", "worst", "ground"):
        assert shown in page
    assert page.count("data:image/") > 4


def test_a_mask_that_cannot_be_read_leaves_its_picture_out_and_is_told(few, tmp_path):
    data = tmp_path / "few"
    for file in few.rglob("*.*"):
        target = data / file.relative_to(few)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    mask = data / "masks" / "train" / "19.png"
    Image.fromarray(np.full((48, 64), 77, np.uint8)).save(mask)  # beyond the few that are looked at first
    run = train(data, tmp_path / "run", steps=4, **{"data.max_bad": 0.1})
    ((name, why),) = run.bad
    assert "19.png" in name and "the value 77 stands for no class" in why


def test_two_pictures_of_one_name_in_two_parts_that_cannot_be_read_are_two(tmp_path):
    data = write_scenes(tmp_path / "scenes", train=40, val=2, test=40)
    for split in ("train", "test"):
        (data / "images" / split / "05.png").write_bytes(b"")
        (data / "images" / split / "38.png").write_bytes(b"" if split == "train" else b"none")
    run = train(data, tmp_path / "run", steps=10, **{"data.max_bad": 0.1})
    assert [name for name, _ in run.bad].count("05.png") == [name for name, _ in run.bad].count("38.png") == 2
    told = [json.loads(line) for line in (run.folder / "decisions.jsonl").read_text().splitlines()]
    assert sorted((row["part"], row["id"]) for row in told if row["kind"] == "unreadable") == [
        ("test", "05.png"), ("test", "38.png"), ("train", "05.png"), ("train", "38.png")
    ]  # fmt: skip
    assert run.scores["miou"].n == 38


def test_masks_that_say_nothing_of_any_training_pixel_are_refused_before_training(tmp_path):
    data = write_scenes(tmp_path / "scenes", train=3, val=2)
    for file in (data / "masks" / "train").iterdir():
        Image.new("L", (64, 48), 255).save(file)
    with pytest.raises(DataError, match="no pixel of its 2 training pictures has a class"):
        train(data, tmp_path / "run")
    assert "no pixel" in next(found.title for found in visus.check(data).findings if found.code == "CHECK-029")


@pytest.mark.parametrize("rest", [0, 255])
def test_masks_that_show_one_class_alone_are_refused_before_training(rest, tmp_path):
    data = write_scenes(tmp_path / "scenes", train=4, val=2, test=2)
    for file in (data / "masks" / "train").iterdir():
        Image.new("L", (64, 48), rest).save(file)
    mask = np.full((48, 64), rest, np.uint8)
    mask[:20] = 0
    Image.fromarray(mask).save(data / "masks" / "train" / "03.png")
    with pytest.raises(
        DataError, match="all pixels of its 4 training pictures that have a class show 'ground'"
    ) as caught:
        train(data, tmp_path / "run")
    assert caught.value.code == "DATA-181" and "class too, such as background" in caught.value.fix
    assert "show 'ground'" in next(found.title for found in visus.check(data).findings if found.code == "CHECK-029")


def test_a_class_that_one_mask_of_hundreds_shows_is_found_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(choosing, "LOOKED_AT", 2)
    data = write_scenes(tmp_path / "scenes", train=7, val=2, test=2)
    for file in (data / "masks" / "train").iterdir():
        Image.new("L", (64, 48), int(file.name == "04.png")).save(file)
    assert train(data, tmp_path / "run", steps=1, batch=4).steps == 1


def test_classes_are_weighed_by_their_pixels_where_that_is_asked_for(few, tmp_path):
    run = train(few, tmp_path / "run", steps=1, **{"loss.class_weights": "balanced"})
    counts = np.zeros(256, np.int64)
    for file in (few / "masks" / "train").iterdir():
        counts += np.bincount(np.asarray(Image.open(file)).reshape(-1), minlength=256)
    assert run.recipe.target.counts == tuple(counts[:3].tolist())


def test_where_masks_are_too_many_to_count_it_is_said_on_how_many_weights_rest(few, tmp_path, monkeypatch):
    monkeypatch.setattr(choosing, "COUNTED", 1)
    monkeypatch.setattr(choosing, "LOOKED_AT", 4)
    run = train(few, tmp_path / "run", steps=1, **{"loss.class_weights": "balanced"})
    names = sorted((few / "masks" / "train").iterdir())
    assert run.recipe.origins["target.counts"].startswith(
        f"pixels of each class on 4 of {len(names)} training pictures"
    )


def test_a_network_that_says_nothing_of_pixels_is_refused_before_training(few, tmp_path):
    with pytest.raises(UsageError, match="says nothing of single pixels"):
        train(few, tmp_path / "run", **{"model.name": "resnet_small", "model.options": {}})


# Exactness


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_in_mid_epoch_ends_as_if_it_had_not_been_whatever_reads_its_data(
    few, tmp_path, uninterrupted, workers
):
    folder = tmp_path / "run"
    words = [sys.executable, segmenting.__file__, "killed", str(few), str(folder), str(workers)]
    child = subprocess.Popen(words, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    steps_seen(child, folder, 8)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL and not (folder / "result.json").exists()
    ended = visus.resume(folder)
    assert same_bits(uninterrupted.folder, folder) and ended.scores == uninterrupted.scores


def test_splitting_a_batch_of_different_numbers_of_known_pixels_does_not_change_its_gradient(few, tmp_path, fallen):
    train(few, tmp_path / "run", steps=1, **FALL, micro=3)
    assert 0 < apart(fallen, tmp_path / "run") <= 1e-5


def test_two_ranks_give_the_gradient_of_one_process(few, tmp_path, fallen):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = [*torchrun, segmenting.__file__, "ranks", str(few), str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 0 < apart(fallen, tmp_path / "run") <= 1e-5


def test_where_memory_runs_out_a_run_ends_as_if_its_batches_had_been_split_from_the_start(few, tmp_path, monkeypatch):
    split = train(few, tmp_path / "split", steps=6, **{**RICH, "micro": 4})
    whole = TASKS["segment"].losses

    def scarce(task, model, batch, player, step):
        found = whole(task, model, batch, player, step)
        if len(batch) > 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return found

    monkeypatch.setattr(TASKS["segment"], "losses", scarce)
    healed = train(few, tmp_path / "healed", steps=6, **RICH)
    assert [d["micro"] for d in decisions(healed.folder) if d["kind"] == "micro"] == [4]
    assert same_bits(split.folder, healed.folder) and healed.scores == split.scores


def test_a_loss_that_is_no_number_names_its_term_and_its_picture_which_is_then_left_out(few, tmp_path, monkeypatch):
    sound = TASKS["segment"].losses

    def sick(task, model, batch, player, step):
        found = sound(task, model, batch, player, step)
        ill = any(name.endswith("05.png") for name in batch.ids)
        return {"cross_entropy": Term(found["cross_entropy"].sum * (float("nan") if ill else 1), "pixel")}

    monkeypatch.setattr(TASKS["segment"], "losses", sick)
    run = train(few, tmp_path / "run", steps=12, **RICH)
    told = decisions(run.folder)
    assert {d["term"] for d in told if d["kind"] == "skipped"} == {"cross_entropy"}
    assert [Path(d["id"]).name for d in told if d["kind"] == "quarantined"] == ["05.png"]
    assert all(bool(tensor.isfinite().all()) for tensor in tensors(run.best).values())
    assert len(losses(run.folder)) == 10
