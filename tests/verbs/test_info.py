"""Info: what a file or a folder says of itself, and a failed step seen again."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tests.verbs.examples import TINY, digits, write_classes, write_table
from tests.verbs.segmenting import write_scenes

import visus
from visus.core.errors import DataError, IntegrityError, UsageError
from visus.verbs import info as info_verb


def facts(found):
    """Return every section of an Info as one mapping."""
    return {title: dict(rows) for title, rows in found.sections}


def test_a_model_file_tells_its_card(run):
    found = visus.info(run.best)
    assert found.kind == "model" and facts(found)["What it is"]["network"] == "cnn"


def test_a_run_tells_its_state_its_scores_and_every_setting(run):
    found = visus.info(run.folder)
    told = facts(found)
    assert found.kind == "run" and told["run"]["state"] == "ended"
    assert told["scores on the test part"]["accuracy"].startswith(f"{run.scores['accuracy'].value:.4f}")
    assert told["settings"].keys() == run.recipe.flat().keys()


def test_data_tells_its_parts_and_classes(photos):
    told = facts(visus.info(photos))
    assert told["data"]["train"] == "180" and told["classes"] == {"one": "110", "six": "110", "two": "110"}


def test_data_with_boxes_tells_its_objects_and_the_pictures_that_show_them(tmp_path):
    lines = ["path,label,xmin,ymin,xmax,ymax,split", "a.png,cat,1,1,9,9,train", "a.png,cat,5,5,9,9,train",
             "a.png,dog,1,1,9,9,train", "b.png,dog,1,1,9,9,val", "c.png,dog,1,1,9,9,test"]  # fmt: skip
    for name in "abc":
        Image.fromarray(np.full((16, 16), ord(name), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    assert facts(visus.info(tmp_path))["objects"] == {"cat": "2 on 1 picture", "dog": "3 on 3 pictures"}


def test_data_with_masks_tells_the_share_value_and_colour_of_its_classes(tmp_path):
    data = write_scenes(tmp_path / "scenes", train=4, val=2, test=2)
    told = facts(visus.info(data))
    counts = np.zeros(256, np.int64)
    for file in (data / "masks").rglob("*.png"):
        counts += np.bincount(np.asarray(Image.open(file)).reshape(-1), minlength=256)
    share = counts[:3] / counts[:3].sum()  # what is ignored is saved as 3: a palette of three colours has two bits
    assert told["classes of pixels"]["ground"] == f"{share[0]:.2%} of the pixels, on 8 pictures, value 0, #5a5a5a"
    assert told["masks"] == {
        "looked at": "all", "64 x 48 pixels": "8 masks", "ignored values": "3, 255", "colours": "of the data",
        "without a class": f"{counts[3] / counts.sum():.2%} of the pixels",
    }  # fmt: skip


def test_masks_without_a_class_have_nothing_to_share(tmp_path):
    data = write_scenes(tmp_path / "scenes", train=4)
    (data / "classes.txt").unlink()
    for file in (data / "masks").rglob("*.png"):
        Image.new("L", (64, 48), 255).save(file)
    told = facts(visus.info(data))
    assert told["classes of pixels"] == {} and told["masks"]["without a class"] == "100.00% of the pixels"


def test_of_many_masks_some_are_read_and_broken_ones_are_named(tmp_path, monkeypatch):
    data = write_scenes(tmp_path / "scenes", train=40)
    (data / "masks" / "train" / "01.png").write_bytes(b"no picture")
    found = facts(visus.info(data))
    assert "01.png" in found["masks"]["unreadable"]
    monkeypatch.setattr(info_verb, "MASKS", 5)
    assert facts(visus.info(data))["masks"]["looked at"] == "5 of 40, evenly spread"


def test_data_with_a_mask_a_class_tells_how_much_each_covers(tmp_path):
    data, mask = tmp_path / "layers", np.zeros((8, 8), np.uint8)
    mask[:4] = 255
    for name, layer in (("red", mask), ("blue", np.full_like(mask, 255))):
        for path in (data / "images", data / "masks" / name):
            path.mkdir(parents=True, exist_ok=True)
        for i in range(4):
            Image.new("RGB", (8, 8)).save(data / "images" / f"{i}.png")
            Image.fromarray(layer).save(data / "masks" / name / f"{i}.png")
    told = facts(visus.info(data))["classes of pixels"]
    assert told == {"blue": "100.00% of the pixels, on 4 pictures", "red": "50.00% of the pixels, on 4 pictures"}


def test_broken_files_of_data_are_named(photos, tmp_path):
    data = shutil.copytree(photos, tmp_path / "photos")
    assert facts(visus.info(data))["data"]["decoded"] == "all: 0 unreadable"
    torn = sorted((data / "val").rglob("*.png"))[5]
    torn.write_bytes(torn.read_bytes()[:70])
    told = facts(visus.info(data))["data"]
    assert told["decoded"] == "all: 1 unreadable"
    assert told["unreadable"].startswith(f"{torn.relative_to(data)}: the file ends early")


def test_of_much_data_a_part_is_decoded_and_it_is_said(photos, monkeypatch):
    from visus.verbs import info

    size = sum(file.stat().st_size for file in photos.rglob("*.png"))
    monkeypatch.setattr(info, "DECODED", size // 2)
    assert facts(visus.info(photos))["data"]["decoded"].startswith("165 of 330, evenly spread")


def test_a_folder_of_runs_lists_them_with_their_state_and_score(run, tmp_path):
    for name in ("run-10", "run-9"):
        shutil.copytree(run.folder, tmp_path / name)
    (tmp_path / "run-9" / "result.json").unlink()
    found = visus.info(tmp_path)
    told = facts(found)["runs"]
    assert found.kind == "runs" and list(told) == ["run-9", "run-10"]
    assert told["run-9"] == f"not ended; go on with: visus resume {tmp_path}/run-9"
    assert told["run-10"].startswith(f"ended; accuracy {run.scores['accuracy'].value:.4f}")


def test_numbers_and_several_labels_are_told_too(tmp_path):
    pixels = digits()[0]
    rows = [(pixels[i], i, i % 2) for i in range(30)]
    told = facts(visus.info(write_table(tmp_path / "numbers", rows, ["age", "height"])))
    assert told["numbers"]["age"] == "0 to 29, mean 14.5"
    tags = [(pixels[i], "old;tall" if i % 2 else "old") for i in range(30)]
    assert facts(visus.info(write_table(tmp_path / "tags", tags, ["tags"])))["classes"] == {"old": "30", "tall": "15"}


def test_a_name_is_data_too():
    assert facts(visus.info("digits"))["data"]["pictures"] == "1,797"


def test_a_picture_tells_its_pixels(photos):
    told = facts(visus.info(next((photos / "test" / "one").iterdir())))
    assert told["picture"]["format"] == "png" and told["picture"]["pixels"] == "16 x 16"


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError):
        visus.info(tmp_path / "nothing")


def test_everything_is_plain_json(run, photos):
    for path in (run.best, run.folder, photos):
        assert json.loads(json.dumps(visus.info(path).json()))["kind"]


@pytest.fixture(scope="module")
def sick(tmp_path_factory):
    """Return a run one of whose pictures holds a number that is not finite."""
    root = tmp_path_factory.mktemp("sick")
    data = write_classes(root / "photos", each=20)
    values = np.full((16, 16), 0.5, np.float32)
    values[3, 3] = 1e38
    Image.fromarray(values).save(data / "one" / "sick.tiff")
    code = root / "overflow.py"
    code.write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self, classes):\n        super().__init__()\n"
        "        self.square = nn.Flatten()\n        self.last = nn.Linear(256, classes)\n"
        "    def forward(self, images):\n        return self.last(self.square(images) ** 2)\n"
    )
    settings = {key: value for key, value in TINY.items() if not key.startswith("model.")}
    return visus.train(data, model=f"{code}:Net", out=root / "run", steps=24, set={**settings, "data.validation": 0.05})


def test_a_run_lists_the_steps_it_could_not_take_and_how_to_see_them_again(sick):
    told = facts(visus.info(sick.folder))
    assert any("one/sick.tiff" in fact for fact in told["what happened"].values())
    assert next(iter(told["steps that can be replayed"].values())).endswith("--replay")


def test_a_bundle_names_its_cause_and_replays_to_the_same(sick):
    bundle = min((sick.folder / "bundles").iterdir())
    told = facts(visus.info(bundle))
    cause = told["a step that was not finite"]
    assert cause["samples"] == "one/sick.tiff"
    again = facts(visus.info(bundle, replay=True, network=sick.recipe.model.name))["replayed here"]
    assert again["result"] == "the same" and again["samples"] == "one/sick.tiff"


def test_only_a_bundle_can_be_replayed(run):
    with pytest.raises(UsageError) as caught:
        visus.info(run.folder, replay=True)
    assert caught.value.fix == "visus info RUN lists its bundles"


def test_a_damaged_bundle_is_said_to_be_one(sick, tmp_path):
    (tmp_path / "cause.json").write_text('{"step": 3, "cause": {}, "ids": []}')
    with pytest.raises(IntegrityError):
        visus.info(tmp_path)


def test_what_is_odd_about_pictures_of_data_is_told(tmp_path):
    data = write_classes(tmp_path / "photos", each=12)
    for i in range(2):
        Image.fromarray(np.full((16, 16), 200, np.float32)).save(data / "one" / f"bright-{i}.tiff")
    told = facts(visus.info(data))["data"]
    assert told["warning"] == "2 pictures: its floats reach from 200 to 200, not from 0 to 1"
