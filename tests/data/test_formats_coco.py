"""COCO files: what they say is read, kept and written back, and what is wrong in them is answered as it should be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.data.examples import write_picture
from tests.data.soundness import REFUSALS, check_refusal, check_sound

from visus.core import run_lengths
from visus.core.errors import BadDataLimit, DataError
from visus.core.recipe import DataSettings
from visus.data.converting import convert, differences
from visus.data.dataset import Dataset
from visus.data.formats import FORMATS
from visus.data.reading import open_data

EDITS = 200
"""Random edits of a valid file that are tried in every run; the proof tries 20,000."""

SQUARE = [5, 5, 25, 5, 25, 25, 5, 25]


def document(**changes: Any) -> dict[str, Any]:
    """Return a valid file of two pictures of 64 x 48 with an object each."""
    return {
        "images": [image(1, "a.png"), image(2, "b.png")],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [annotation(1, 1), annotation(2, 2, category_id=2)],
        **changes,
    }


def image(number: int, name: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": 64, "height": 48, **more}


def annotation(number: int, of: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": of, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0,
            "segmentation": [SQUARE], **more}  # fmt: skip


def place(root: Path, held: dict[str, Any], name: str = "annotations/instances_train.json", at: str = "images") -> Path:
    """Write a COCO file and its pictures; return the file."""
    for i, one in enumerate(held.get("images", [])):
        write_picture(root / at / one["file_name"], i, (48, 64))
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(held))
    return file


def read(path: Path, **chosen: object) -> Dataset:
    return FORMATS["coco"].read(path, DataSettings(**chosen))


def refused(root: Path, held: dict[str, Any], code: str, told: str) -> None:
    file = root / "a.json"
    file.write_text(json.dumps(held))
    with pytest.raises(DataError) as caught:
        read(file)
    assert caught.value.code == code and str(file) in caught.value.what + caught.value.where
    assert told in caught.value.what + caught.value.where, str(caught.value)


# What is read.


def test_boxes_are_corners_and_numbers_of_everything_survive(tmp_path):
    held = document(categories=[{"id": 90, "name": "dog"}, {"id": 7, "name": "cat"}, {"id": 0, "name": "owl"}])
    held["images"] = [image(500, "b.png"), image(20, "a.png")]
    held["annotations"] = [annotation(9, 20, category_id=7), annotation(3, 500, category_id=90, bbox=[1.5, 2, 3, 4.25])]
    place(tmp_path, held)
    dataset = open_data(tmp_path, DataSettings(), carve=False)
    assert dataset.format == "coco" and dataset.evidence == "annotations/instances_train.json"
    assert dataset.classes == ("dog", "cat", "owl") and list(dataset.ids) == ["b.png", "a.png"]
    assert dataset.objects.boxes.tolist() == [[1.5, 2, 4.5, 6.25], [5, 5, 25, 25]]
    assert dataset.objects.labels.tolist() == [0, 1] and dataset.objects.ids.tolist() == [3, 9]
    assert dataset.original.image_ids.tolist() == [500, 20] and dataset.original.class_ids.tolist() == [90, 7, 0]
    assert dataset.original.sizes.tolist() == [[48, 64], [48, 64]] and dataset.remarks == ()
    assert dataset.images.read(1).shape == (48, 64, 3)


def test_decimals_come_back_as_they_are_written(tmp_path):
    place(tmp_path, document(annotations=[annotation(1, 1, bbox=[0.1, 12.34, 0.2, 0.7])]))
    assert read(tmp_path).objects.boxes.tolist() == [[0.1, 12.34, 0.3, 13.04]]


def test_what_has_no_place_of_its_own_is_kept_as_json(tmp_path):
    held = document(info={"year": 2017}, licenses=[{"id": 1}], videos=[])
    held["images"][1] |= {"license": 3, "date_captured": "now"}
    held["categories"][0]["supercategory"] = "animal"
    held["annotations"][0] |= {"keypoints": [1, 2, 2], "num_keypoints": 1, "attributes": {"hidden": True}}
    place(tmp_path, held)
    dataset = read(tmp_path)
    assert json.loads(dataset.original.whole["train"]) == {
        "info": {"year": 2017},
        "licenses": [{"id": 1}],
        "videos": [],
    }
    assert [json.loads(text or "{}") for text in dataset.original.records] == [
        {},
        {"license": 3, "date_captured": "now"},
    ]
    assert dataset.original.classes == ('{"supercategory": "animal"}', "")
    assert json.loads(dataset.objects.more[0]) == {
        "keypoints": [1, 2, 2], "num_keypoints": 1, "attributes": {"hidden": True},
    }  # fmt: skip


def test_crowds_and_masks_are_read_compressed_and_plain(tmp_path):
    mask = np.zeros((48, 64), np.bool_)
    mask[5:25, 5:25] = True
    lengths = run_lengths.encode(mask)
    plain = {"size": [48, 64], "counts": lengths.tolist()}
    compressed = {"size": [48, 64], "counts": run_lengths.compress(lengths)}
    place(tmp_path, document(annotations=[
        annotation(1, 1, iscrowd=1, segmentation=plain), annotation(2, 1, segmentation=compressed), annotation(3, 2),
    ]))  # fmt: skip
    objects = read(tmp_path).objects
    assert objects.crowd.tolist() == [True, False, False]
    assert list(objects.masks) == [run_lengths.compress(lengths)] * 2 + [""]
    assert [len(objects.outlines[m]) for m in range(3)] == [0, 0, 1]


def test_several_polygons_are_the_parts_of_one_object(tmp_path):
    place(tmp_path, document(annotations=[annotation(1, 2, segmentation=[SQUARE, [30, 5, 40.5, 5, 40, 9]])]))
    objects = read(tmp_path).objects
    assert [part.tolist() for part in objects.outlines[0]][1] == [[30, 5], [40.5, 5], [40, 9]]
    assert objects.starts.tolist() == [0, 0, 1]


def test_optional_keys_may_be_absent(tmp_path):
    held = document(annotations=[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}])
    for one in held["images"]:
        del one["width"]
    place(tmp_path, held)
    dataset = read(tmp_path)
    (mark,) = dataset.objects[0]
    assert mark.id == -1 and np.isnan(mark.area) and not mark.crowd and dataset.remarks == ()
    assert dataset.original.sizes.tolist() == [[0, 0], [0, 0]]


def test_a_box_that_is_absent_is_that_of_the_outline_or_mask(tmp_path):
    mask = {"size": [48, 64], "counts": [48 * 3 + 4, 7, 48 * 61 - 11]}
    held = document(annotations=[annotation(1, 1), annotation(2, 2, segmentation=mask)])
    for one in held["annotations"]:
        del one["bbox"]
    place(tmp_path, held)
    assert read(tmp_path).objects.boxes.tolist() == [[5, 5, 25, 25], [3, 4, 4, 11]]


def test_edges_are_those_of_the_picture_itself_where_no_size_is_stated(tmp_path):
    held = document(annotations=[annotation(1, 1, bbox=[60, 40, 20, 20], segmentation=[])])
    for one in held["images"]:
        del one["height"]
    place(tmp_path, held)
    dataset = read(tmp_path)
    assert dataset.objects.boxes.tolist() == [[60, 40, 64, 48]]
    (remark,) = dataset.remarks
    assert (remark.status, remark.code, remark.where) == ("clipped", "DATA-220", "annotations[0].bbox")
    assert (remark.file, remark.picture) == ("annotations/instances_train.json", "a.png")


def test_a_file_listed_twice_is_one_picture_with_the_annotations_of_both(tmp_path):
    held = document(annotations=[annotation(1, 3), annotation(2, 1, category_id=2), annotation(4, 2)])
    held["images"].append(image(3, "a.png"))
    place(tmp_path, held)
    dataset = read(tmp_path)
    assert list(dataset.ids) == ["a.png", "b.png"] and dataset.objects.ids.tolist() == [1, 2, 4]
    assert [(r.status, r.where) for r in dataset.remarks] == [("warned", "images[2].file_name")]


def test_categories_of_one_name_are_told_apart_and_written_back(tmp_path):
    held = document(categories=[{"id": 0, "name": "cat"}, {"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}])
    place(tmp_path, held)
    dataset = read(tmp_path)
    assert dataset.classes == ("cat (0)", "cat", "dog")  # the empty one steps back
    convert(dataset, "coco", tmp_path / "copy")
    written = json.loads((tmp_path / "copy/annotations/instances_train.json").read_text())
    assert [(one["id"], one["name"]) for one in written["categories"]] == [(0, "cat"), (1, "cat"), (2, "dog")]


def test_a_name_that_is_given_to_tell_categories_apart_is_nobody_elses(tmp_path):
    names = ("cat", "cat", "cat (2)", "cat")
    place(tmp_path, document(categories=[{"id": i + 1, "name": name} for i, name in enumerate(names)], annotations=[]))
    assert read(tmp_path).classes == ("cat", "cat (2)'", "cat (2)", "cat (4)")


def test_a_mask_tells_the_size_that_a_picture_does_not_state(tmp_path):
    held = document(annotations=[annotation(1, 1, segmentation={"size": [48, 64], "counts": [5, 48 * 64 - 5]})])
    del held["images"][0]["width"]
    place(tmp_path, held)
    assert read(tmp_path).original.sizes[0].tolist() == [48, 64]


# Where files and pictures are found.


@pytest.mark.parametrize(
    ("file", "pictures"),
    [
        ("annotations/instances_train2017.json", "train2017"),
        ("annotations/instances_train2017.json", "images/train2017"),
        ("annotations/instances_train.json", "images/train"),
        ("annotations/instances_train.json", "train"),
        ("annotations/train.json", "train/images"),
        ("annotations/instances_default.json", "images"),
        ("annotations/instances_default.json", "images/default"),
        ("train/_annotations.coco.json", "train"),
        ("_annotations.coco.json", ""),
        ("result.json", "images"),
        ("annotations/train.json", "deep/JPEGImages"),
        ("coco/instances_train.json", "pictures/all"),
    ],
)
def test_pictures_are_found_in_the_usual_places(tmp_path, file, pictures):
    root = tmp_path / "data"
    path = place(root, document(), file, pictures)
    for named in (path, path.parent if file.startswith("coco/") else root):
        dataset = open_data(named, DataSettings(), carve=False)
        assert dataset.format == "coco" and len(dataset) == 2 and dataset.images.read(1).shape == (48, 64, 3)
        assert {*dataset.split.tolist()} == {0}


def test_names_may_hold_the_folder_themselves(tmp_path):
    place(tmp_path, document(images=[image(1, "images/a.png"), image(2, "images/x/b.png")]), "result.json", "")
    assert list(read(tmp_path).ids) == ["images/a.png", "images/x/b.png"]


def test_splits_are_found_with_their_own_pictures_of_the_same_names(tmp_path):
    for i, part in enumerate(("train", "valid", "test")):
        place(tmp_path, document(), f"{part}/_annotations.coco.json", part)
        write_picture(tmp_path / part / "a.png", 10 + i, (48, 64))
    dataset = open_data(tmp_path, DataSettings(), carve=False)
    assert dataset.split.tolist() == [0, 0, 1, 1, 2, 2] and list(dataset.ids) == ["a.png", "b.png"] * 3
    assert len({dataset.images.read(i).tobytes() for i in (0, 2, 4)}) == 3
    assert dataset.objects.starts.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_pictures_of_one_split_are_not_taken_for_those_of_another(tmp_path):
    place(tmp_path, document(), "annotations/instances_train.json", "train")
    (tmp_path / "annotations/instances_val.json").write_text(json.dumps(document()))
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert caught.value.code == "DATA-211" and "instances_val.json" in caught.value.what


def test_other_kinds_of_annotations_are_left_out_with_a_note(tmp_path):
    place(tmp_path, document())
    for name in ("captions_train.json", "person_keypoints_train.json"):
        shutil.copy(tmp_path / "annotations/instances_train.json", tmp_path / "annotations" / name)
    assert read(tmp_path).notes == ("left out the files captions_train.json, person_keypoints_train.json",)


def test_two_files_for_one_split_are_refused(tmp_path):
    place(tmp_path, document(), "annotations/instances_train2014.json")
    place(tmp_path, document(), "annotations/instances_train2017.json")
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert caught.value.code == "DATA-214" and "train2014.json and instances_train2017.json" in caught.value.what


def test_the_split_of_a_file_is_said_by_its_name_alone(tmp_path):
    for name, part in (("instances_val2014_100.json", 1), ("instances_minitest.json", 0), ("latest.json", 0)):
        place(tmp_path / "test_run", document(), name)
        assert {*read(tmp_path / "test_run" / name).split.tolist()} == {part}


def test_a_file_whose_pictures_are_nowhere_is_read_where_it_is_named_itself(tmp_path):
    file = tmp_path / "data" / "instances_val.json"
    file.parent.mkdir()
    file.write_text(json.dumps(document()))
    dataset = open_data(file, DataSettings(), carve=False)
    assert len(dataset.objects.labels) == 2 and dataset.bad == ()
    assert dataset.notes == ("none of the 2 pictures is there: they cannot be looked at",)
    with pytest.raises(DataError):
        dataset.images.read(0)
    with pytest.raises(DataError) as caught:
        read(file.parent)
    assert caught.value.code == "DATA-211" and str(file) in caught.value.fix


def test_a_missing_picture_is_bad_up_to_the_share_that_may_be(tmp_path):
    place(tmp_path, document())
    (tmp_path / "images/a.png").unlink()
    dataset = read(tmp_path)
    assert dataset.bad == (("a.png", "annotations/instances_train.json, images[0]: there is no such file"),)
    assert list(dataset.ids) == ["b.png"] and dataset.objects.ids.tolist() == [2]
    assert dataset.original.image_ids.tolist() == [2]
    with pytest.raises(BadDataLimit) as caught:
        read(tmp_path, max_bad=0)
    assert caught.value.code == "DATA-112" and "1 of 2 listed files are missing" in caught.value.what


def test_a_name_with_accents_is_found_however_they_are_written(tmp_path):
    place(tmp_path, document(images=[image(1, "caf\u00e9.png"), image(2, "b.png")]))
    held = document(images=[image(1, "cafe\u0301.png"), image(2, "b.png")])
    (tmp_path / "annotations/instances_train.json").write_text(json.dumps(held))
    dataset = read(tmp_path)
    assert dataset.ids[0] == "cafe\u0301.png" and dataset.images.read(0).shape == (48, 64, 3)


def test_a_folder_of_pictures_that_is_a_link_is_followed_but_no_link_in_it_leads_out(tmp_path):
    place(tmp_path / "elsewhere", document())
    root = tmp_path / "data"
    (root / "annotations").mkdir(parents=True)
    shutil.copy(tmp_path / "elsewhere/annotations/instances_train.json", root / "annotations")
    (root / "train").symlink_to(tmp_path / "elsewhere/images")
    assert len(read(root)) == 2
    (tmp_path / "elsewhere/images/a.png").unlink()
    (tmp_path / "elsewhere/images/a.png").symlink_to(tmp_path / "elsewhere/annotations/instances_train.json")
    assert read(root).bad[0][0] == "a.png"


def test_sizes_that_are_not_those_of_the_pictures_are_told(tmp_path):
    held = document()
    held["images"][0] |= {"width": 48, "height": 64}
    held["images"][1] |= {"width": 640, "height": 480}
    place(tmp_path, held)
    assert [(r.code, r.where, r.why) for r in read(tmp_path).remarks] == [
        ("DATA-218", "images[0].width", "a.png is 64 x 48, not 48 x 64, as if it were not turned upright"),
        ("DATA-218", "images[1].width", "b.png is 64 x 48, not 640 x 480"),
    ]


def test_boxes_drawn_on_a_picture_as_it_lies_are_not_cut_at_the_edges_of_the_upright_one(tmp_path):
    held = document(annotations=[annotation(1, 1, bbox=[2, 30, 20, 30], segmentation=[])])
    held["images"][0] |= {"width": 48, "height": 64}
    place(tmp_path, held)
    dataset = read(tmp_path)
    assert dataset.objects.boxes.tolist() == [[2, 30, 22, 60]]
    assert [(r.status, r.code, r.picture) for r in dataset.remarks] == [("warned", "DATA-218", "a.png")]


def test_splits_may_have_other_lists_of_categories_as_long_as_they_agree(tmp_path):
    place(tmp_path, document())
    held = document(categories=[{"id": 9, "name": "owl"}, {"id": 2, "name": "dog"}, {"id": 1, "name": "cat"}])
    held["annotations"][0]["category_id"] = 9
    place(tmp_path, held, "annotations/instances_val.json")
    dataset = read(tmp_path)
    assert dataset.classes == ("cat", "dog", "owl") and dataset.objects.labels.tolist() == [0, 1, 2, 1]
    for wrong in (
        [{"id": 1, "name": "dog"}, {"id": 2, "name": "dog"}],
        [{"id": 2, "name": "dog"}, {"id": 5, "name": "cat"}],
    ):
        place(tmp_path, document(categories=wrong, annotations=[]), "annotations/instances_val.json")
        with pytest.raises(DataError) as caught:
            read(tmp_path)
        assert caught.value.code == "DATA-213" and "instances_val.json" in caught.value.what


# What is refused, with file, record and key.


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"images": {}}, "DATA-204", "images: an object is no list"),
        ({"categories": None}, "DATA-204", "categories: null is no list"),
        ({"images": [], "annotations": []}, "DATA-205", "it lists no image"),
        ({"images": [5]}, "DATA-206", "images[0]: 5 is no object"),
        ({"annotations": ["x" * 99]}, "DATA-206", "annotations[0]: 'xxxx"),
    ],
)
def test_lists_that_are_none_are_refused(tmp_path, changes, code, told):
    if code == "DATA-205":
        (tmp_path / "a.json").write_text(json.dumps(document(**changes)))
        with pytest.raises(DataError) as caught:
            read(tmp_path / "a.json")
        assert caught.value.code == code and told in caught.value.what
    else:
        refused(tmp_path, document(**changes), code, told)


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_a_list_that_is_absent_is_refused(tmp_path, key):
    held = document()
    del held[key]
    refused(tmp_path, held, "DATA-204", f"there is no list {key}")


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"id": None}, "DATA-206", "images[1].id: is missing"),
        ({"id": "2"}, "DATA-206", "images[1].id: '2' is no whole number"),
        ({"id": True}, "DATA-206", "images[1].id: true is no whole number"),
        ({"id": 1.5}, "DATA-206", "images[1].id: 1.5 is no whole number"),
        ({"id": 1 << 70}, "DATA-206", "images[1].id: a number of more than 64 bits"),
        ({"id": 1}, "DATA-207", "images[1].id: 1 is the number of images[0] too"),
        ({"file_name": 5}, "DATA-209", "images[1].file_name: 5 is no text"),
        ({"file_name": "x" * 256}, "DATA-209", "images[1].file_name: 256 bytes"),
        ({"file_name": "\ud800.png"}, "DATA-209", "images[1].file_name: it holds half a character"),
        ({"file_name": ""}, "DATA-110", "images[1].file_name"),
        ({"file_name": "../a.png"}, "DATA-110", "images[1].file_name"),
        ({"file_name": "..\\a.png"}, "DATA-110", "images[1].file_name"),
        ({"file_name": "C:\\a.png"}, "DATA-110", "images[1].file_name"),
        ({"width": "64"}, "DATA-206", "images[1].width: '64' is no whole number"),
        ({"height": 1 << 40}, "DATA-206", "images[1].height: 1,099,511,627,776 is more"),
        ({"note": float("1e308") * 10}, "DATA-202", "images[1].note: Infinity"),
    ],
)
def test_an_image_that_cannot_be_read_is_refused(tmp_path, changes, code, told):
    held = document()
    held["images"][1] |= changes
    refused(tmp_path, held, code, told)


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"name": 5}, "DATA-206", "categories[1].name: 5 names no class"),
        ({"name": ""}, "DATA-206", "categories[1].name: '' names no class"),
        ({"name": "a\0b"}, "DATA-206", "categories[1].name"),
        ({"name": "\udc80"}, "DATA-206", "categories[1].name"),
        ({"id": 1}, "DATA-207", "categories[1].id: 1 is there twice"),
        ({"id": []}, "DATA-206", "categories[1].id: [] is no whole number"),
    ],
)
def test_a_category_that_cannot_be_read_is_refused(tmp_path, changes, code, told):
    held = document()
    held["categories"][1] |= changes
    refused(tmp_path, held, code, told)


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"id": 1}, "DATA-207", "annotations[1].id: 1 is the number of annotations[0] too"),
        ({"image_id": 99}, "DATA-208", "annotations[1].image_id: 99 is no image"),
        ({"image_id": None}, "DATA-206", "annotations[1].image_id: is missing"),
        ({"category_id": 77}, "DATA-208", "annotations[1].category_id: 77 is no category"),
        ({"bbox": None}, "DATA-206", "annotations[1].bbox: null is not x, y, width, height"),
        ({"bbox": [[1, 2, 3, 4]]}, "DATA-206", "annotations[1].bbox: [[...]] is not"),
        ({"bbox": [1, 2, 3, True]}, "DATA-206", "annotations[1].bbox: [1, 2, 3, true] is not"),
        ({"bbox": [1, 2, 3, 10**400]}, "DATA-206", "annotations[1]: a number is larger"),
        ({"area": "12"}, "DATA-206", "annotations[1].area: '12' is no number"),
        ({"iscrowd": 2}, "DATA-206", "annotations[1].iscrowd: 2 is neither 0 nor 1"),
        ({"iscrowd": [0]}, "DATA-206", "annotations[1].iscrowd: [0] is neither 0 nor 1"),
        ({"keypoints": [1, 2]}, "DATA-206", "annotations[1].keypoints: [1, 2] is not"),
        ({"keypoints": None}, "DATA-206", "annotations[1].keypoints: null is not"),
        ({"segmentation": SQUARE}, "DATA-206", "annotations[1].segmentation[0]: 5 is not x, y, x, y"),
        ({"segmentation": [["1"] * 6]}, "DATA-206", "annotations[1].segmentation[0]: ['1', "),
        ({"segmentation": "x"}, "DATA-206", "annotations[1].segmentation: 'x' is neither"),
        ({"segmentation": {}}, "DATA-210", "annotations[1].segmentation.size: null is not height, width"),
        ({"segmentation": {"size": [48.0, 64], "counts": "x"}}, "DATA-210", "annotations[1].segmentation.size"),
        ({"segmentation": {"size": [48, -64], "counts": "x"}}, "DATA-210", "annotations[1].segmentation.size"),
        ({"segmentation": {"size": [1 << 31, 1 << 31], "counts": [1 << 62]}}, "DATA-210", "segmentation.size"),
        ({"segmentation": {"size": [64, 48], "counts": [3072]}}, "DATA-210", "the mask is 48 x 64, its picture 64"),
        ({"segmentation": {"size": [48, 64], "counts": [3071]}}, "DATA-210", "[1].segmentation.counts: the runs"),
        ({"segmentation": {"size": [48, 64], "counts": [3073, -1]}}, "DATA-210", "a run has a negative length"),
        ({"segmentation": {"size": [48, 64], "counts": []}}, "DATA-210", "[1].segmentation.counts: []"),
        ({"segmentation": {"size": [48, 64], "counts": [True]}}, "DATA-210", "[1].segmentation.counts: [true]"),
        ({"segmentation": {"size": [48, 64], "counts": ""}}, "DATA-210", "[1].segmentation.counts: ''"),
        ({"segmentation": {"size": [48, 64], "counts": "12"}}, "DATA-210", "[1].segmentation.counts: the runs"),
        ({"segmentation": {"size": [48, 64], "counts": "~"}}, "DATA-210", "[1].segmentation.counts: '~'"),
    ],
)  # fmt: skip
def test_an_annotation_that_cannot_be_read_is_refused(tmp_path, changes, code, told):
    held = document()
    held["annotations"][1] |= changes
    refused(tmp_path, held, code, told)


@pytest.mark.parametrize(("key", "listed"), [("image_id", "images"), ("category_id", "categories")])
def test_annotations_of_what_is_not_listed_are_counted_and_it_is_said_where_to_list_it(tmp_path, key, listed):
    held = document()
    for annotation in held["annotations"]:
        annotation[key] = 77
    (tmp_path / "a.json").write_text(json.dumps(held))
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.json")
    many = len(held["annotations"])
    assert caught.value.where == f"and {many - 1} more of its {many} annotations"
    assert caught.value.fix == f"list it under {listed}, or remove its annotations"


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("bbox", [1, 2, 3, "INF"], "annotations[1].bbox: a number is not finite"),
        ("area", "INF", "annotations[1].area: a number is not finite"),
        ("segmentation", [[*SQUARE, "INF", 7]], "annotations[1].segmentation: a number is not finite"),
        ("attributes", {"depth": "INF"}, "annotations[1]: it holds a number that is not finite"),
    ],
)
def test_a_number_beyond_all_floats_is_refused_wherever_it_stands(tmp_path, key, value, told):
    held = document()
    held["annotations"][1][key] = value
    (tmp_path / "a.json").write_text(json.dumps(held).replace('"INF"', "1e999"))
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.json")
    assert caught.value.code == "DATA-202" and told in caught.value.what


def test_nan_is_refused_with_its_place_and_what_to_do(tmp_path):
    held = document()
    held["annotations"][1]["bbox"] = [1, 2, float("nan"), 4]
    (tmp_path / "a.json").write_text(json.dumps(held))
    with pytest.raises(DataError, match=r"annotations\[1\]\.bbox: NaN is no number that JSON has") as caught:
        read(tmp_path / "a.json")
    assert caught.value.fix == "write a finite number, or remove what holds it"


def test_an_annotation_without_box_and_outline_is_refused(tmp_path):
    held = document()
    del held["annotations"][1]["bbox"], held["annotations"][1]["segmentation"]
    refused(tmp_path, held, "DATA-206", "annotations[1].bbox: is missing, and so is an outline")


def test_a_folder_that_holds_no_coco_file_is_refused(tmp_path):
    (tmp_path / "package.json").write_text('{"name": "x"}')
    assert FORMATS["coco"].sniff(tmp_path) is None
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert caught.value.code == "DATA-214"


def test_a_list_of_results_is_named_for_what_it_is(tmp_path):
    (tmp_path / "results.json").write_text('[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]')
    with pytest.raises(DataError) as caught:
        open_data(tmp_path / "results.json", DataSettings())
    assert caught.value.code == "DATA-203" and "holds a list" in caught.value.what


# Odd files, each with the answer it should get.


def odd_folder(bad_inputs: Path, name: str, root: Path) -> Path:
    """Put an odd file where a whole data set would have it, with the pictures it should have."""
    for i, picture in enumerate(("a.jpg", "b.jpg", "c.jpg", "sub/a.jpg", "cafe\u0301.jpg")):
        write_picture(root / "images" / picture, i, (48, 64))
    (root / "annotations").mkdir()
    return Path(
        shutil.copyfile(bad_inputs / "annotations" / "coco" / name, root / "annotations" / "instances_train.json")
    )


def test_every_odd_file_gets_the_answer_it_should(bad_inputs: Path, tmp_path: Path):
    expected = json.loads((bad_inputs / "annotations_expect.json").read_text())
    # this file should be a data set without the key iscrowd, but it holds a lone 0
    expected["coco/iscrowd_missing.json"] = {"expect": "refuse"}
    wrong = []
    for name, label in expected.items():
        if not name.startswith("coco/"):
            continue
        file = odd_folder(bad_inputs, name[5:], tmp_path / Path(name).stem)
        try:
            statuses = {remark.status for remark in read(file.parent.parent).remarks}
            answer = "+".join({"warned": "warn", "clipped": "clip", "skipped": "skip"}[s] for s in statuses) or "ok"
        except DataError as error:
            answer = "refuse"
            assert str(file) in error.what + error.where or error.code == "DATA-205", str(error)
        if answer not in {"ok_or_refuse": ("ok", "refuse"), "ok_if_present": ("ok",)}.get(
            label["expect"], (label["expect"],)
        ):
            wrong.append(f"{name}: {answer}, not {label['expect']}")
    assert not wrong, "\n".join(wrong)


# Random edits: none a traceback, none taken for what it is not.


def valid() -> dict[str, Any]:
    """Return a file that shows everything: masks, crowds, parts, points, extras."""
    held = document(info={"year": 1})
    held["annotations"] += [
        annotation(3, 1, iscrowd=1, segmentation={"size": [48, 64], "counts": [100, 50, 3072 - 150]}),
        annotation(4, 2, segmentation={"size": [48, 64], "counts": run_lengths.compress(np.array([100, 50, 2922]))}),
        annotation(5, 1, segmentation=[SQUARE, [1, 1, 9, 1, 9, 9]], keypoints=[3, 4, 2], attributes={"x": [1]}),
    ]
    return held


ODD = st.sampled_from(
    [None, True, "", "1", "\ud800", "../x", -1, 0, 1, 2, 1.0, 1.5, -0.0, 1e300, -1e300, 5e-324, 2**31, 2**63, 10**400,
     [], {}, [[]], [1, 2], [1, 2, 3, 4], [[1, 2, 3, 4, 5, 6]], {"size": [48, 64], "counts": "0"}, {"id": 1},
     {"size": [2**40, 2**40], "counts": [2**80]}, {"size": [48, 64], "counts": [-1, 3073]}]
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value of a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


PLACES = places(valid())[1:]


def edited(data: st.DataObject) -> bytes:
    """Return a valid file with a few values replaced, removed or doubled, or a few bytes changed."""
    held = json.loads(json.dumps(valid()))  # so that no two places are one list
    for _ in range(data.draw(st.integers(0, 2))):
        *way, last = data.draw(st.sampled_from(PLACES))
        parent: Any = held
        try:
            for key in way:
                parent = parent[key]
            kind = data.draw(st.sampled_from(["replace", "remove", "double"]))
            if kind == "replace":
                parent[last] = json.loads(json.dumps(data.draw(ODD)))  # a later edit must not change ODD itself
            elif kind == "remove":
                del parent[last]
            else:
                parent.append(parent[last]) if isinstance(parent, list) else parent.update({f"{last}2": parent[last]})
        except (KeyError, IndexError, TypeError, AttributeError):
            continue  # an earlier edit removed the place
    text = bytearray(json.dumps(held).encode())
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(text) - 1))
        end = min(len(text), at + data.draw(st.integers(0, 3)))
        text[at:end] = data.draw(
            st.sampled_from([b"", b"0", b"9" * 30, b"-", b"]", b'"', b"\\", b"\xff", b"e9", b"{}", b","])
        )
    return bytes(text)


def check_edit(file: Path, data: bytes) -> None:
    """Ask that a file is refused with its name, or that what is read of it holds together and can be written."""
    file.write_bytes(data)
    try:
        dataset = read(file)
    except REFUSALS as error:
        check_refusal(error, str(file.parent))
        return
    check_sound(dataset)
    assert (dataset.objects.boxes >= 0).all() and (dataset.objects.labels >= 0).all()
    copied = file.parent / "copy"
    shutil.rmtree(copied, ignore_errors=True)
    copied.mkdir()
    FORMATS["coco"].write(dataset, copied)
    written = sorted((copied / "annotations").iterdir())
    assert differences(dataset.with_(bad=(), remarks=()), read(written[0])) == []


@pytest.fixture(scope="module")
def edits(tmp_path_factory) -> Path:
    """Return a file to be edited, beside its pictures."""
    return place(tmp_path_factory.mktemp("edits"), valid(), "a.json")


@settings(max_examples=EDITS, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_random_edit_of_a_valid_file_is_refused_or_still_holds_together(edits, data):
    check_edit(edits, edited(data))


@pytest.mark.slow
@settings(max_examples=20_000, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_20_000_random_edits_of_a_valid_file_are_refused_or_still_hold_together(edits, data):
    check_edit(edits, edited(data))


# Writing, and COCO's own code.


@pytest.fixture(scope="module")
def pycocotools():
    return pytest.importorskip("pycocotools", reason="pycocotools, the oracle, is not installed")


def test_everything_is_written_so_that_reading_gives_it_back(tmp_path):
    held = valid()
    held["images"][0] |= {"license": 3}
    held["categories"][1] |= {"supercategory": "animal", "keypoints": ["nose"]}
    held["annotations"][0]["bbox"] = [1 / 3, 0.1 + 0.2, 17.123456789, 3.3]
    place(tmp_path / "a", held)
    place(
        tmp_path / "a",
        document(images=[image(1, "c.png")], annotations=[annotation(1, 1)]),
        "annotations/instances_test.json",
    )
    dataset = open_data(tmp_path / "a", DataSettings(), carve=False)
    assert convert(dataset, "coco", tmp_path / "b") == []
    again = open_data(tmp_path / "b", DataSettings(), carve=False)
    assert differences(dataset, again) == differences(again, dataset) == []
    np.testing.assert_array_equal(again.objects.boxes, dataset.objects.boxes)
    np.testing.assert_array_equal(again.objects.outlines.xy, dataset.objects.outlines.xy)
    convert(again, "coco", tmp_path / "c")
    for split in ("train", "test"):
        name = f"annotations/instances_{split}.json"
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()


@given(st.lists(st.floats(0, 1000, allow_nan=False), min_size=2, max_size=2))
def test_a_box_of_any_floats_is_read_again_where_it_was(ends):
    from visus.data.formats.coco import _side

    start, end = sorted(ends)
    end = round(end, 6)
    assert round(start + _side(start, end), 6) == end


def test_numbers_are_counted_where_there_are_none_or_two_are_alike(tmp_path):
    place(tmp_path / "a", document())
    dataset = read(tmp_path / "a")
    nameless = dataset.with_(original=None, objects=dataset.objects.take(np.array([0, 0])))
    convert(nameless, "coco", tmp_path / "b", lossy=True)
    written = json.loads((tmp_path / "b/annotations/instances_train.json").read_text())
    assert [one["id"] for one in written["images"]] == [1, 2] == [one["id"] for one in written["annotations"]]
    assert [(one["height"], one["width"]) for one in written["images"]] == [(48, 64)] * 2
    assert [one["id"] for one in written["categories"]] == [1, 2]


def test_an_area_that_is_not_stated_is_that_of_the_mask_the_polygons_or_the_box(tmp_path):
    mask = {"size": [48, 64], "counts": [100, 50, 2922]}
    held = document(annotations=[
        annotation(1, 1, segmentation=mask), annotation(2, 1, segmentation=[[5, 5, 25, 5, 25, 15]]),
        annotation(3, 2, segmentation=[]), annotation(4, 2, area=7.5),
    ])  # fmt: skip
    for one in held["annotations"][:3]:
        del one["area"]
    place(tmp_path / "a", held)
    convert(read(tmp_path / "a"), "coco", tmp_path / "b")
    written = json.loads((tmp_path / "b/annotations/instances_train.json").read_text())
    assert [one["area"] for one in written["annotations"]] == [50, 100, 400, 7.5]


def test_a_mask_on_a_picture_of_unknown_size_cannot_be_written(tmp_path):
    held = document(annotations=[annotation(1, 1, segmentation={"size": [48, 64], "counts": [3072]})])
    file = tmp_path / "instances_train.json"
    file.write_text(json.dumps(held))
    dataset = read(file)
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError) as caught:
        FORMATS["coco"].write(dataset.with_(original=None), tmp_path / "out")
    assert caught.value.code == "DATA-229" and "a.png" in caught.value.what


def test_cocos_own_code_loads_what_is_written_with_equal_masks_and_areas(pycocotools, tmp_path, capsys):
    from pycocotools.coco import COCO

    place(tmp_path / "a", valid())
    dataset = read(tmp_path / "a")
    convert(dataset, "coco", tmp_path / "b")
    theirs = COCO(str(tmp_path / "b/annotations/instances_train.json"))
    assert theirs.getCatIds() == [1, 2] and theirs.getImgIds() == [1, 2]
    for i, number in enumerate(dataset.original.image_ids.tolist()):
        marks = dataset.objects[i]
        loaded = theirs.loadAnns(theirs.getAnnIds(imgIds=[number]))
        assert [one["id"] for one in loaded] == [mark.id for mark in marks]
        for one, mark in zip(loaded, marks, strict=True):
            ours = (
                run_lengths.decode(run_lengths.decompress(mark.mask), (48, 64))
                if mark.mask
                else run_lengths.fill(mark.polygons, (48, 64))
            )
            np.testing.assert_array_equal(theirs.annToMask(one), ours)
            assert one["area"] == mark.area


# Real data.


def test_the_splits_of_a_real_data_set_are_read_with_their_pictures(real_data: Path):
    dataset = open_data(real_data / "bccd_voc" / "coco", DataSettings(), carve=False)
    assert dataset.format == "coco" and np.bincount(dataset.split).tolist() == [205, 87, 72]
    assert {*dataset.classes} == {"RBC", "WBC", "Platelets"} and len(dataset.objects.labels) == 4155 + 372 + 361 - 2
    assert dataset.images.read(0).shape == (480, 640, 3) and dataset.bad == ()


def test_cocos_own_annotations_are_read_without_pictures_and_come_back(pycocotools, real_data: Path, tmp_path, capsys):
    from pycocotools.coco import COCO

    file = real_data / "coco_eval" / "instances_val2014_100.json"
    dataset = open_data(file, DataSettings(), carve=False)
    held = json.loads(file.read_text())
    assert len(dataset) == len(held["images"]) and len(dataset.objects.labels) == len(held["annotations"])
    FORMATS["coco"].write(dataset, tmp_path)
    written = tmp_path / "annotations/instances_val.json"
    assert differences(dataset, read(written)) == []
    ours, theirs = COCO(str(written)), COCO(str(file))
    for number, one in theirs.anns.items():
        again = ours.anns[number]
        np.testing.assert_array_equal(ours.annToMask(again), theirs.annToMask(one))
        assert (again["area"], again["category_id"], again["iscrowd"]) == (
            one["area"], one["category_id"], one["iscrowd"],
        )  # fmt: skip
        np.testing.assert_allclose(again["bbox"], one["bbox"], atol=0.02)


def test_masks_of_real_polygons_are_to_the_pixel_those_of_cocos_own_code(pycocotools, real_data: Path):
    from pycocotools import mask

    dataset = read(real_data / "coco_eval" / "instances_val2014_100.json")
    for i in range(0, len(dataset), 5):
        size = tuple(dataset.original.sizes[i].tolist())
        for mark in dataset.objects[i]:
            if mark.polygons:
                theirs = mask.merge(mask.frPyObjects([part.ravel().tolist() for part in mark.polygons], *size))
                np.testing.assert_array_equal(run_lengths.fill(mark.polygons, size), mask.decode(theirs))
