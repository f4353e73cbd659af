"""Every odd and broken file there is, one at a time: within the limits, and refused by name and place."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.data.examples import write_picture

SECONDS, BYTES = 2.0, 512 << 20

PROGRAM = """
import json, sys, time
from pathlib import Path
from visus.core.errors import DataError
from visus.core.recipe import DataSettings
from visus.data.decode import decode
from visus.data.formats import FORMATS
from visus.data.mask_door import read_map

def read(door, path):
    if door == "image":
        return decode(path)
    dataset = FORMATS[door].read(path, DataSettings())
    return read_map(dataset.maps, 0) if door == "masks" else dataset

for line in sys.stdin:
    door, path = json.loads(line)
    Path("/proc/self/clear_refs").write_text("5")
    began, told = time.process_time(), ""
    try:
        read(door, Path(path))
    except DataError as error:
        told = str(error)
    took = time.process_time() - began
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
    print(json.dumps([told, took, int(peak) << 10]), flush=True)
assert "torch" not in sys.modules, "a door loads it"
"""
"""Reads what it is given through a door, and says what was refused, the seconds of its processor, and its peak."""

PICTURES = {
    "coco": ("images/a.jpg", "images/b.jpg", "images/c.jpg", "images/sub/a.jpg", "images/cafe\u0301.jpg"),
    "voc": ("JPEGImages/a.jpg",), "yolo": ("images/train/a.png",), "yaml": ("images/a.png",),
    "csv": ("a.jpg", "b.jpg"), "mask": ("images/a.png",),
}  # fmt: skip
"""Folder of odd annotations -> the pictures that they are about."""

BESIDE = {
    "coco": ("coco", "annotations/instances_train.json", {}),
    "voc": ("voc", "Annotations/a.xml", {"classes.txt": "cat\n"}),
    "yolo": ("yolo", "labels/train/a.txt", {"data.yaml": "train: images/train\nnames: [cat, dog]\n"}),
    "yaml": ("yolo", "data.yaml", {"labels/a.txt": "0 0.5 0.5 0.2 0.2\n"}),
    "csv": ("csv", "labels.csv", {}),
    "mask": ("masks", "masks/a.png", {"classes.txt": "background\nthing\n"}),
}
"""Folder of odd annotations -> the door, where such a file lies, and what lies beside it."""


PLACES = {
    **{f"coco/{name}.json": "images[0].file_name" for name in (
        "absolute", "file_url", "name_int", "name_long", "nul_in_name", "traversal")},
    **{f"coco/bbox_{name}.json": "annotations[0].bbox" for name in (
        "1e999", "3", "5", "inf", "nan", "nested", "null", "str")},
    "coco/bigint.json": "images[0]", "coco/id_huge.json": "images[0].id", "coco/dup_image_id.json": "images[2].id",
    "coco/dup_ann_id.json": "annotations[2].id", "coco/dup_category_id.json": "categories[2].id",
    "coco/dup_keys.json": "the key 'images'", "coco/no_images.json": "list images",
    "coco/no_annotations.json": "list annotations",
    "coco/image_id_str.json": "annotations[0].image_id", "coco/unknown_image.json": "annotations[0].image_id",
    "coco/unknown_category.json": "annotations[0].category_id", "coco/kp_bad.json": "annotations[0].keypoints",
    "coco/rle_garbage_str.json": "annotations[0].segmentation.counts", "coco/latin1.json": "line 1",
    "coco/rle_negative.json": "annotations[0].segmentation.counts", "coco/trailing_comma.json": "line 1",
    "coco/rle_huge.json": "annotations[0].segmentation.size",
    "csv/dup_conflict.csv": "row 3", "csv/empty_label.csv": "row 2, column 'label'", "csv/nul.csv": "row 2",
    "csv/quote.csv": "row 2", "csv/missing_col.csv": "no column names a label",
    "mask/i16.png": "the value 300", "mask/rgb.png": "3 channels", "mask/rgba.png": "4 channels",
    "mask/wrong_size.png": "32 x 24",
    "voc/bad_encoding.xml": "line 1", "voc/unclosed.xml": "line 1", "voc/billion_laughs.xml": "line 1",
    "voc/quadratic.xml": "line 1", "voc/xxe.xml": "line 1", "voc/xxe_param.xml": "line 1",
    "voc/empty_coord.xml": "object[0].bndbox has no xmin", "voc/nan.xml": "object[0].bndbox.xmin",
    "voc/no_bndbox.xml": "object[0] (cat) has no bndbox", "voc/traversal.xml": "line 1, filename",
    "voc/unknown_class.xml": "object[0]",
    "yaml/anchors_bomb.yaml": "line 2", "yaml/py_object.yaml": "line 1", "yaml/tabs.yaml": "line 2",
    "yaml/missing_train.yaml": "train", "yaml/names_gap.yaml": "names", "yaml/nc_mismatch.yaml": "nc",
    **{f"yolo/{name}.txt": "line 1" for name in (
        "class_float", "class_neg", "comma", "four", "inf", "nan", "pixel_coords", "poly_odd", "text")},
    "yolo/mixed.txt": "line 2",
}  # fmt: skip
"""Odd annotations that are refused for one of their records -> where, as the message must say."""


def laid(file: Path, root: Path) -> tuple[str, Path]:
    """Lay a data set around an odd annotation; return the door and what to read."""
    door, place, beside = BESIDE[file.parent.name]
    for i, picture in enumerate(PICTURES[file.parent.name]):
        write_picture(root / picture, i, (48, 64))
    for name, text in beside.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, root / place)
    return door, root / "data.yaml" if place == "data.yaml" else root


@pytest.fixture(scope="module")
def answers(bad_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, float, int]]:
    """Return what each file was refused with, the seconds, and the peak of memory, by its place below the folder."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of memory is read in Linux's /proc")
    asked = {f"images/{file.name}": ("image", file) for file in sorted((bad_inputs / "images").iterdir())}
    for file in sorted((bad_inputs / "annotations").rglob("*.*")):
        door, place = laid(file, tmp_path_factory.mktemp(file.parent.name))
        asked[file.relative_to(bad_inputs).as_posix()] = (door, place)
    lines = "".join(json.dumps([door, str(place)]) + "\n" for door, place in asked.values())
    done = subprocess.run([sys.executable, "-c", PROGRAM], input=lines, capture_output=True, text=True, check=True)
    return dict(zip(asked, map(json.loads, done.stdout.splitlines()), strict=True))


def test_every_file_is_tried(answers, bad_inputs: Path):
    listed = {
        f"{kind}/{name}" for kind in ("images", "annotations")
        for name in json.loads((bad_inputs / f"{kind}_expect.json").read_text())
    }  # fmt: skip
    assert listed == answers.keys() and len(listed) > 250


def test_none_takes_more_memory_or_time_than_promised(answers):
    over = {file: told for file, told in answers.items() if told[1] > SECONDS or told[2] > BYTES}
    assert not over


@pytest.mark.parametrize("file", PLACES)
def test_a_bad_record_is_told_with_its_file_its_place_and_its_key(file: str, answers, bad_inputs: Path):
    told = answers[f"annotations/{file}"][0]
    name = Path(BESIDE[file.partition("/")[0]][1]).name
    assert name in told and PLACES[file] in told, told


def test_every_refusal_of_annotations_names_the_file(answers):
    nameless = {
        file: told for file, (told, *_) in answers.items()
        if told and file.startswith("annotations/") and Path(BESIDE[file.split("/")[1]][1]).name not in told
    }  # fmt: skip
    assert not nameless
