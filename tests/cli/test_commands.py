"""Every verb as a command: what it prints for people, its JSON document, and that nothing else is on stdout."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.conftest import BRIEFLY
from tests.verbs.examples import train_detector, write_boxes, write_classes

from visus.core.recipe import Recipe
from visus.verbs.runs import Run


def test_training_prints_the_score_where_it_is_and_what_to_do_next(visus, photos, tmp_path):
    said = visus("train", photos, "--steps", 5, "--out", tmp_path / "run", *BRIEFLY)
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].startswith("accuracy") and "95 % interval" in lines[0] and "n = 90" in lines[0]
    assert f"{tmp_path / 'run' / 'report.html'}" in said.out
    assert lines[-1] == f"next      visus predict {tmp_path / 'run'} FILES" and len(lines) <= 7


def test_a_generator_is_trained_and_makes_pictures(visus, photos, tmp_path):
    small = ["--set", "batch=8", "--set", "model.options={width: 4, latent: 8}", "--set", "resamples=10"]
    said = visus("train", photos, "--task", "generate", "--steps", 2, "--out", tmp_path / "run", *small)
    assert said.code == 0 and said.out.splitlines()[0].startswith("coverage")
    assert said.out.splitlines()[-1] == f"next      visus generate {tmp_path / 'run'}"
    words = ["--count", 3, "--seed", 2, "--class", "six", "--class", 1, "--out", tmp_path / "made"]
    told = visus("generate", tmp_path / "run", *words, "--json").document
    assert [picture["label"] for picture in told["pictures"]] == ["six", "six", "six"] and told["seed"] == 2
    assert visus("generate", tmp_path / "run", *words).code == 2


def test_a_style_is_learned_and_many_photos_are_painted_in_it(visus, photos, tmp_path):
    painting = next((photos / "train" / "one").iterdir())
    small = ["--size", 64, "--set", "batch=4", "--set", "model.options={width: 2, blocks: 1}", "--set", "resamples=10"]
    small += ["--set", "stylize.features=random"]
    Image.open(painting).resize((70, 80)).save(tmp_path / "painting.png")
    words = ["--task", "stylize", "--set", f"style={tmp_path / 'painting.png'}", "--steps", 1]
    said = visus("train", photos, *words, "--out", tmp_path / "run", *small)
    assert said.code == 0 and said.out.splitlines()[0].startswith("fidelity")
    assert said.out.splitlines()[-1] == f"next      visus stylize PHOTO --model {tmp_path / 'run'}"
    for i in range(2):
        Image.open(painting).resize((90, 70)).save(tmp_path / f"{i}.png")
    words = [tmp_path / "0.png", tmp_path / "1.png", "--model", tmp_path / "run", "--out", tmp_path / "painted"]
    told = visus("stylize", *words, "--features", "random", "--json").document
    assert [Path(one["drawn"]).name for one in told["pictures"]] == ["0-painting.png", "1-painting.png"]
    assert visus("stylize", tmp_path / "0.png").code == 2


def test_learning_a_style_without_a_painting_is_refused_with_what_to_say(visus, photos, tmp_path):
    said = visus("train", photos, "--task", "stylize", "--out", tmp_path / "run")
    assert said.code == 2 and "--set style=painting.jpg" in said.err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("network", ["{}/hubconf.py:Net", "hub:{}:Net"])
def test_what_to_do_next_with_a_network_of_ones_own_names_its_code(visus, photos, tmp_path, network):
    (tmp_path / "hubconf.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__(nn.Flatten(), nn.LazyLinear(classes))\n"
    )
    named, picture = network.format(tmp_path), next((photos / "test" / "one").iterdir())
    said = visus("train", photos, "--model", named, "--steps", 1, "--size", 16, "--out", tmp_path / "run", "--quiet")
    assert said.out.splitlines()[-1] == f"next      visus predict {tmp_path / 'run'} FILES --network {named}"
    assert visus("predict", tmp_path / "run", picture, "--network", named).code == 0


def test_training_tells_every_choice_with_its_reason_on_stderr(visus, photos, tmp_path):
    said = visus("train", photos, "--steps", 2, "--out", tmp_path / "run", *BRIEFLY)
    assert "photos: folder, 3 class folders" in said.err
    assert "input.channels = 1: every picture looked at is grey" in said.err
    assert "step 2  epoch" in said.err and "validation: accuracy" in said.err


def test_the_document_of_training_is_alone_on_stdout(visus, photos, tmp_path):
    said = visus("train", photos, "--steps", 2, "--out", tmp_path / "run", "--json", *BRIEFLY)
    told = said.document
    assert told["scores"]["accuracy"].keys() == {"value", "low", "high", "n"}
    assert told["run"] == str(tmp_path / "run") and told["steps"] == 2 and said.err


def test_quiet_says_nothing_while_it_works(visus, photos, tmp_path):
    said = visus("train", photos, "--steps", 2, "--out", tmp_path / "run", "--quiet", *BRIEFLY)
    assert said.code == 0 and said.err == "" and said.out.startswith("accuracy")


def test_the_options_that_are_short_for_a_setting_say_so(visus, photos):
    short = ["--lr", "0.5", "--batch", 7, "--size", "24x40", "--cache", "off", "--workers", 1, "--tensorboard"]
    told = visus("train", photos, "--print-recipe", "--json", "--steps", 3, "--seed", 4, *short).document
    assert (told["optim"]["lr"], told["batch"], told["input"]["size"]) == (0.5, 7, [24, 40])
    assert (told["data"]["cache"], told["data"]["workers"], told["tensorboard"], told["seed"]) == ("off", 1, True, 4)
    assert told["origins"]["optim.lr"] == "--lr 0.5" and told["origins"]["input.size"] == "--size 24x40"


def test_the_recipe_is_shown_with_the_origin_of_every_key_and_nothing_is_trained(visus, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = visus("train", photos, "--print-recipe", "--set", "augment.rotate=0.25")
    lines = {line.split()[0]: line for line in said.out.splitlines()}
    assert said.code == 0 and lines.keys() == Recipe().flat().keys()
    assert lines["augment.rotate"].split()[1:] == ["0.25", "--set", "augment.rotate=0.25"]
    assert not any(tmp_path.iterdir())


def test_the_document_of_a_recipe_is_a_recipe(visus, photos):
    told = visus("train", photos, "--print-recipe", "--json").document
    assert told["origins"].keys() == Recipe().flat().keys()
    assert Recipe.model_validate(told).batch == told["batch"]


def test_a_run_that_has_ended_says_so_and_ends_well(visus, trained):
    said = visus("resume", trained)
    assert said.code == 0 and "this run has ended; there is nothing to resume" in said.err
    assert said.out.startswith("accuracy")


def test_the_document_of_a_resumed_run_is_that_of_the_run(visus, trained):
    told = visus("resume", trained, "--json").document
    assert told["scores"] == Run.read(trained).json()["scores"]


def test_evaluating_prints_every_score_with_its_interval(visus, trained, photos):
    said = visus("evaluate", trained, photos)
    assert said.code == 0 and "F1, mean of classes" in said.out and "95 % interval" in said.out
    assert "on the test part of photos" in said.out


def test_the_document_of_an_evaluation_has_the_fields_names(visus, trained, photos):
    told = visus("evaluate", trained / "best.safetensors", photos, "--split", "val", "--json").document
    assert told["scores"]["accuracy"]["n"] == 60 and "f1_macro" in told["scores"]


def test_predicting_prints_a_line_a_file(visus, trained, photos):
    said = visus("predict", trained, photos / "test" / "six")
    lines = said.out.splitlines()
    assert said.code == 0 and lines[0].split() == ["file", "label", "score"] and len(lines) == 31
    assert all(len(line.split()) == 3 for line in lines)


def test_the_document_of_predictions(visus, trained, photos):
    told = visus("predict", trained, photos / "test" / "six", "--json").document
    assert len(told["predictions"]) == 30 and told["problems"] == []
    assert {"file", "label", "score"} <= told["predictions"][0].keys()


def test_explaining_prints_a_line_an_answer_what_was_measured_and_where_the_page_is(visus, trained, photos, tmp_path):
    file = sorted((photos / "test" / "six").iterdir())[0]
    said = visus("explain", trained, file, "--out", tmp_path / "why")
    lines = said.out.splitlines()
    assert said.code == 0 and lines[0].split()[:3] == ["file", "label", "score"] and lines[1].startswith(str(file))
    assert lines[2].startswith("method    grad_cam") and lines[-1] == f"page      {tmp_path / 'why' / 'report.html'}"


def test_the_document_of_explanations(visus, trained, photos, tmp_path):
    file = sorted((photos / "test" / "six").iterdir())[0]
    said = visus("explain", trained, file, "--class", "one", "--no-check", "--out", tmp_path / "why", "--json")
    (one,) = said.document["explanations"]
    assert one["label"] == "one" and said.document["gain"] is None and len(said.document["nearest"][str(file)]) == 5


def test_csv_and_json_at_once_are_refused(visus, trained, photos):
    said = visus("predict", trained, photos / "test", "--csv", "--json")
    assert (said.code, "error[USE-037]" in said.err) == (2, True)


def test_predictions_as_csv_are_alone_on_stdout(visus, trained, photos, tmp_path):
    said = visus("predict", trained, photos / "test" / "six", "--csv", "--out", tmp_path / "drawn")
    assert len(list(csv.DictReader(io.StringIO(said.out)))) == 30
    assert "drawn     30 in" in said.err


def test_pictures_that_cannot_be_read_are_named_and_end_the_command_with_3(visus, trained, photos, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n")
    said = visus("predict", trained, tmp_path / "torn.png", photos / "test" / "one")
    assert said.code == 3 and f"not read  {tmp_path / 'torn.png'}: " in said.err
    assert len(said.out.splitlines()) == 31


def test_one_in_a_hundred_that_cannot_be_read_is_named_and_tolerated(visus, trained, photos, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n")
    said = visus("predict", trained, tmp_path / "torn.png", photos)
    assert said.code == 0 and "torn.png" in said.err and len(said.out.splitlines()) == 331


def test_comparing_a_model_with_itself_shows_no_difference(visus, trained, photos):
    said = visus("compare", trained, trained, photos)
    assert said.code == 0
    assert said.out.splitlines()[-1].startswith("accuracy: +0.0 +- 0.0: no difference shown")
    assert visus("compare", trained, trained, photos, "--json").document["verdict"].startswith("+0.0")


@pytest.mark.parametrize("what", ["run", "model", "data", "picture"])
def test_info_says_what_it_is_shown(visus, trained, photos, what):
    shown = {"run": trained, "model": trained / "best.safetensors", "data": photos,
             "picture": next((photos / "test" / "one").iterdir())}[what]  # fmt: skip
    said = visus("info", shown)
    assert said.code == 0 and said.out.splitlines()[0] == f"{shown}: {what}"
    assert visus("info", shown, "--json").document["kind"] == what


@pytest.mark.parametrize("what", ["", "formats", "losses", "models", "optimisers", "schedules", "settings", "tasks"])
def test_every_list_is_a_table_and_a_document(visus, what):
    words = ["list", what] if what else ["list"]
    assert visus(*words).code == 0
    assert visus(*words, "--json").document[what or "lists"]


def test_weights_of_another_tool_are_adopted(visus, tmp_path):
    from safetensors.torch import save_file

    from visus.core.recipe import ModelSettings
    from visus.models.building import build

    model = build(ModelSettings(name="cnn", options={"widths": [4]}), 2, 3, (16, 16))
    save_file(model.state_dict(), tmp_path / "theirs.safetensors")
    words = ["--model", "cnn", "--set", "widths=[4]", "--classes", "a,b", "--size", "16x24", "--mean", "0.1,0.2,0.3",
             "--std", "0.5,0.5,0.5", "--out", tmp_path / "ours.safetensors", "--json"]  # fmt: skip
    card = visus("adopt", tmp_path / "theirs.safetensors", *words).document["card"]
    assert (
        card["classes"] == ["a", "b"] and card["input"]["size"] == [16, 24] and card["input"]["mean"] == [0.1, 0.2, 0.3]
    )


def test_the_demo_is_a_run_like_any_other(visus, tmp_path):
    said = visus("demo", "--out", tmp_path / "demo", "--minutes", 0.1, "--json")
    assert said.document["scores"]["accuracy"]["n"] == 359 and "decoding" not in said.out


def test_leaks_stop_a_run_unless_they_are_allowed(visus, tmp_path):
    for split in ("train", "test"):
        write_classes(tmp_path / "photos" / split, each=12)
    said = visus("train", tmp_path / "photos", "--steps", 1, "--out", tmp_path / "run", *BRIEFLY)
    assert said.code == 2 and "36 pictures are in two splits at once" in said.err
    said = visus("train", tmp_path / "photos", "--steps", 1, "--out", tmp_path / "run", "--allow-leak", *BRIEFLY)
    assert said.code == 0 and "which --allow-leak allows" in said.err


def test_a_split_is_told_in_a_few_lines_and_as_a_document(visus, tmp_path):
    data = write_classes(tmp_path / "photos", each=20)
    said = visus("split", data, "--out", tmp_path / "clean")
    assert said.code == 0 and said.out.startswith("split     ") and "class folders" in said.err
    assert said.out.splitlines()[-1] == f"next      visus train {tmp_path / 'clean'}"
    words = ["--group", "none", "--seed", 2, "--copy", "--json", "--quiet"]
    said = visus("split", data, "--out", tmp_path / "other", *words)
    assert sum(said.document["pictures"].values()) == 60 and said.document["seed"] == 2 and said.err == ""
    assert sum(said.document["classes"]["one"].values()) == 20 and not said.document["linked"]


def test_unreadable_pictures_are_listed_at_the_end_of_training(visus, tmp_path):
    data = write_classes(tmp_path / "photos", each=50)
    torn = sorted(data.rglob("*.png"))[3]
    torn.write_bytes(torn.read_bytes()[:60])
    said = visus("train", data, "--steps", 30, "--out", tmp_path / "run", *BRIEFLY)
    name = torn.relative_to(data)
    assert said.code == 0 and f"not read  {name}: " in said.out and f"unreadable ({name})" in said.err
    json.loads((tmp_path / "run" / "result.json").read_text())


def test_every_verb_shows_examples_that_name_it(visus):
    verbs = "demo", "check", "split", "train", "resume", "evaluate", "compare", "predict", "adopt", "info", "list"
    for verb in verbs:
        shown = visus(verb, "--help").out.partition("Examples:\n")[2].splitlines()
        assert shown and all(line.startswith(f"    visus {verb}") for line in shown)


def test_a_few_pictures_are_warned_of_in_the_document_and_on_the_terminal(visus, trained, photos, tmp_path):
    few = tmp_path / "few" / "test"
    for name in ("one", "six", "two"):
        (few / name).mkdir(parents=True)
        picture = sorted((photos / "test" / name).iterdir())[0]
        (few / name / picture.name).write_bytes(picture.read_bytes())
    said = visus("evaluate", trained, few.parent, "--split", "all", "--json").document
    assert said["notes"][0].startswith("3 pictures")


def test_no_name_of_a_file_or_class_reaches_the_terminal_as_a_command(visus, trained, photos, tmp_path):
    good = next((photos / "test" / "one").iterdir()).read_bytes()
    data = write_classes(tmp_path / "photos", each=12, names={"one": 1, "t\x1b[31mwo": 2})
    (data / "one" / "a\x1b]0;mine\x07.png").write_bytes(good)
    (data / "one" / "b\x1b[2J.png").write_bytes(good[:60])
    (data / "one" / "c\x1b[2J.txt").write_text("words")
    for words in (["predict", trained, data], ["info", data], ["info", data / "one" / "a\x1b]0;mine\x07.png"],
                  ["train", data, "--steps", 2, "--out", tmp_path / "run", *BRIEFLY],
                  ["train", data, "--print-recipe"]):  # fmt: skip
        said = visus(*words)
        assert "\x1b" not in said.out + said.err and "\x07" not in said.out + said.err, words


def test_a_check_prints_a_summary_a_table_and_where_the_page_is(visus, photos, tmp_path):
    said = visus("check", photos, "--out", tmp_path / "checked")
    lines = said.out.splitlines()
    assert said.code == 0 and lines[0].startswith("photos: 330 pictures, ")
    assert lines[1].split() == ["level", "finding"] and max(map(len, lines[:-1])) <= 120
    assert lines[-1] == f"page      {tmp_path / 'checked' / 'check.html'}" and "looking at 330 pictures" in said.err


def test_the_document_of_a_check_is_alone_on_stdout(visus, photos):
    told = visus("check", photos, "--json").document
    assert told["exit"] == 0 and sum(told["files"].values()) == 330 and told["page"] is None


def test_a_check_ends_with_3_where_training_would_stop_and_with_1_at_errors(visus, tmp_path):
    data = write_classes(tmp_path / "photos", each=20)
    torn = sorted(data.rglob("*.png"))[3]
    torn.write_bytes(torn.read_bytes()[:60])
    assert visus("check", data, "--quiet").code == 0
    said = visus("check", data, "--quiet", "--json", "--set", "data.max_bad=0")
    assert said.code == said.document["exit"] == 3 and said.err == ""
    alone = write_classes(tmp_path / "alone", names={"one": 1})
    assert visus("check", alone).code == 1
    assert visus("check", tmp_path / "nowhere").code == 2


def test_objects_are_printed_one_a_line_in_pixels(visus, tmp_path):
    data = write_boxes(tmp_path / "squares")
    train_detector(data, tmp_path / "run", steps=1)
    said = visus("predict", tmp_path / "run", data / "000.png", data / "001.png", "--least", 0.0)
    header, *lines = said.out.splitlines()
    assert header.split() == ["file", "label", "score", "x0", "y0", "x1", "y1"] and len(lines) > 2
    file, label, score, *box = lines[0].split()
    assert file == str(data / "000.png") and label in ("bright", "dark") and len(score) == 6
    assert all(0 <= float(side) <= 80 and len(side.partition(".")[2]) == 2 for side in box)
    written = visus("predict", tmp_path / "run", data, "--out", tmp_path / "said", "--to", "coco", "--json")
    assert written.document["predictions"][0].keys() == {"file", "boxes", "labels", "scores"}
    assert f"data      {tmp_path / 'said' / 'coco'}" in written.err


def test_evaluate_judges_a_results_file_in_place_of_a_model(visus, tmp_path):
    """Two files of detections, on data that is one COCO file, whose pictures are nowhere."""
    boxes = [{"image_id": i, "category_id": 1, "bbox": [5.0, 5.0, 20.0 + i, 30.0]} for i in range(8)]
    stated = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": 90, "width": 90} for i in range(8)],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{**box, "id": i + 1, "area": 600.0, "iscrowd": 0} for i, box in enumerate(boxes)],
    }
    data, mine, theirs = (tmp_path / name for name in ("instances_val.json", "mine.json", "theirs.json"))
    data.write_text(json.dumps(stated))
    mine.write_text(json.dumps([{**box, "score": 0.5} for box in boxes]))
    theirs.write_text(json.dumps([{**box, "score": 0.5} for box in boxes[:4]]))
    said = visus("evaluate", "--predictions", mine, "--compare", theirs, data)
    assert said.code == 0 and "Kinds of mistakes" in said.out and "A is better" in said.out
    told = visus("evaluate", data, "--predictions", mine, "--json").document
    assert told["scores"]["map"]["value"] == 1 and told["n"] == 8


def test_where_nothing_can_be_measured_no_empty_table_is_printed(visus, tmp_path):
    listed = {"images": [{"id": 1, "file_name": "a.png", "width": 9, "height": 9}], "annotations": [],
              "categories": [{"id": 1, "name": "cat"}]}  # fmt: skip
    (tmp_path / "instances.json").write_text(json.dumps(listed))
    (tmp_path / "results.json").write_text(
        json.dumps([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 1}])
    )
    said = visus("evaluate", "--predictions", tmp_path / "results.json", tmp_path / "instances.json")
    assert said.code == 0 and said.out.splitlines()[0].endswith("nothing was measured")
