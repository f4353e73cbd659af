"""YOLO: fractions become pixels, data.yaml is believed as far as it may be, and every line has its answer."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.drawings import SIZE, answer, boxes, drawing, edited, read_or_refuse, refused
from tests.data.examples import EXAMPLES, write_picture

from visus.core.recipe import DataSettings
from visus.data.converting import differences
from visus.data.dataset import Dataset
from visus.data.formats import FORMATS
from visus.data.objects import Mark, Original
from visus.data.reading import open_data

YOLO = FORMATS["yolo"]
EDITS, MANY = 200, 20_000
TOLD = "train: images/train\nnames: [cat, dog]\n"


def picture(root: Path, path: str, lines: str | None = None, label: str = "") -> Path:
    """Write a picture of 64 x 48, and its labels where they belong."""
    write_picture(root / path, len(path), SIZE)
    if lines is not None:
        file = root / (label or path.replace("images/", "labels/").rpartition(".")[0] + ".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(lines)
    return root


def described(root: Path, lines: str = "0 0.5 0.5 0.25 0.5\n", told: str = TOLD) -> Path:
    """Write one labelled picture and a data.yaml."""
    picture(root, "images/train/a.png", lines)
    (root / "data.yaml").write_text(told)
    return root


def read(path: Path, **chosen: object) -> Dataset:
    return YOLO.read(path, DataSettings(**chosen))


def drawn(dataset: Dataset, i: int = 0) -> list[Mark]:
    assert dataset.objects is not None
    return dataset.objects[i]


def test_a_box_is_its_middle_and_extent_in_fractions(tmp_path: Path):
    dataset = read(described(tmp_path, "1 0.5 0.5 0.25 0.5\n0 0.1 0.2 0.1 0.2\n"))
    assert [(mark.label, mark.box) for mark in drawn(dataset)] == [(1, (24, 12, 40, 36)), (0, (3.2, 4.8, 9.6, 14.4))]
    assert dataset.classes == ("cat", "dog") and list(dataset.ids) == ["a.png"]
    assert dataset.original is not None and dataset.original.sizes.tolist() == [list(SIZE)]


def test_an_outline_is_pairs_of_fractions_and_its_box_is_tight(tmp_path: Path):
    mark = drawn(read(described(tmp_path, "0 0.25 0.25 0.5 0.25 0.5 0.75\n")))[0]
    assert mark.box == (16, 12, 32, 36)
    assert [part.tolist() for part in mark.polygons] == [[[16, 12], [32, 12], [32, 36]]]


def test_key_points_are_kept_as_they_are_written(tmp_path: Path):
    told = TOLD + "kpt_shape: [2, 3]\nflip_idx: [1, 0]\n"
    dataset = read(described(tmp_path, "0 0.5 0.5 0.25 0.5 0.1 0.2 2 0.30 0.4 0\n", told))
    mark = drawn(dataset)[0]
    assert mark.box == (24, 12, 40, 36) and json.loads(mark.more) == {"keypoints": "0.1 0.2 2 0.30 0.4 0"}
    assert dataset.original is not None
    assert json.loads(dataset.original.whole["train"]) == {"kpt_shape": ["2", "3"], "flip_idx": ["1", "0"]}
    assert "a box and its key points have 10" in refused(lambda: read(described(tmp_path, "0 1 1 1 1 1", told))).what


def test_a_picture_without_labels_is_background(tmp_path: Path):
    picture(described(tmp_path), "images/train/b.png")
    dataset = read(tmp_path)
    assert len(drawn(dataset, 1)) == 0 and any("1 pictures have no file of labels" in n for n in dataset.notes)


def test_training_pictures_all_without_labels_are_refused(tmp_path: Path):
    described(tmp_path)
    shutil.move(tmp_path / "labels", tmp_path / "label")
    error = refused(lambda: read(tmp_path))
    assert error.code == "DATA-254" and error.looked == "labels/train/a.txt for images/train/a.png"


def test_labels_without_a_picture_are_told(tmp_path: Path):
    described(tmp_path)
    (tmp_path / "labels/train/z.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "labels/train/classes.txt").write_text("cat\n")
    told = [(r.file, r.status, r.code) for r in read(tmp_path).remarks]
    assert told == [("labels/train/z.txt", "skipped", "DATA-259")]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("0 0.5 0.5 0.2\n", "line 1: it has 3 numbers"), ("\n0 0.5 0.5 0.2 0.2 0.9\n", "line 2: it has 5 numbers"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4\n", "pairs of numbers; here are 7"), ("cat 0.5 0.5 0.2 0.2", "the class 'cat'"),
        ("1.5 0.5 0.5 0.2 0.2", "the class '1.5'"), ("0 32 24 10 10", "32 is no fraction"),
        ("0 0.5 0.5 0.2 1e999", "'1e999' is not a number"), ("0;0.5;0.5;0.2;0.2", "the class '0;0.5"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_one_is_told_with_file_and_line(lines: str, told: str, tmp_path: Path):
    error = refused(lambda: read(described(tmp_path, lines)))
    assert error.code == "DATA-252" and told in error.what and "labels/train/a.txt" in error.what and error.fix


def test_a_number_of_a_million_digits_is_told_at_once(tmp_path: Path):
    began = time.perf_counter()
    error = refused(lambda: read(described(tmp_path, f"0 0.5 0.5 0.2 {'1' * 1_000_000}x\n")))
    assert error.code == "DATA-252" and "is not a number" in error.what and time.perf_counter() - began < 2


def test_a_class_without_a_name_is_refused(tmp_path: Path):
    error = refused(lambda: read(described(tmp_path, "0 0.5 0.5 0.2 0.2\n2 0.5 0.5 0.2 0.2\n")))
    assert error.code == "DATA-253" and "line 2: class 2" in error.what and "2 names, 0 to 1" in error.looked


def test_a_class_written_as_a_whole_float_is_read(tmp_path: Path):
    assert drawn(read(described(tmp_path, "1.000 0.5 0.5 0.2 0.2")))[0].label == 1


def test_what_sticks_out_by_rounding_is_cut_in_silence_and_more_is_told(tmp_path: Path):
    assert read(described(tmp_path, "0 0.5 0.5 1.000001 1\n")).remarks == ()
    dataset = read(described(tmp_path, "0 0.9 0.5 0.4 0.5\n"))
    assert drawn(dataset)[0].box == (44.8, 12, 64, 36)
    assert [(r.status, r.code, r.where) for r in dataset.remarks] == [("clipped", "DATA-263", "line 1")]


def test_names_may_be_a_mapping_in_any_order_and_words_that_yaml_would_change(tmp_path: Path):
    dataset = read(described(tmp_path, told="names: {1: no, 0: 1e3}\nnc: 2\ntrain: images/train\n"))
    assert dataset.classes == ("1e3", "no")


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ("names: [cat]\nval: images/train\n", "it names no train"), ("train:\nnames: [cat]\n", "it names no train"),
        ("train: images/train\nnc: 1\n", "it names no classes"), (TOLD + "nc: 3\n", "nc is 3, but names has 2"),
        ("train: images/train\nnames: {0: cat, 2: dog}\n", "names has no class 1"), (TOLD + "nc: many\n", "nc is not"),
        ("train: images/train\nnames: [cat, cat]\n", "'cat' is there twice"), (TOLD + "kpt_shape: 3\n", "kpt_shape"),
        ("train: images/train\nnames: [[cat]]\n", "not a text"),
        ("train: {a: b}\nnames: [cat]\n", "train is not a text"),
        (TOLD + "val: images/train\nvalid: images/train\n", "valid: names a split"),
        ("- train\n- names\n", "no mapping"),
    ],
)  # fmt: skip
def test_a_description_that_does_not_say_what_is_needed_is_refused(told: str, what: str, tmp_path: Path):
    described(tmp_path, told=told)
    error = refused(lambda: read(tmp_path / "data.yaml"))
    assert error.code == "DATA-250" and what in error.what and "data.yaml" in error.what


def test_a_broken_description_is_told_rather_than_passed_over(tmp_path: Path):
    described(tmp_path, told="path: .\n\ttrain: images/train\n")
    assert refused(lambda: open_data(tmp_path, DataSettings())).code == "DATA-233"


def test_splits_may_be_lists_of_folders_and_texts(tmp_path: Path):
    described(tmp_path)
    picture(tmp_path, "images/more/b.png", "0 0.5 0.5 1 1")
    picture(tmp_path, "images/val/c.png", "0 0.5 0.5 1 1")
    (tmp_path / "val.txt").write_text("./images/val/c.png\r\n")
    (tmp_path / "data.yaml").write_text("train: [images/train, images/more]\nval: val.txt\nnames: [cat]\n")
    dataset = read(tmp_path)
    assert list(dataset.ids) == ["a.png", "b.png", "c.png"] and dataset.split.tolist() == [0, 0, 1]
    assert list(dataset.images.paths)[2] == "images/val/c.png" and len(drawn(dataset, 2)) == 1


def test_ids_are_whole_paths_where_shorter_ones_would_be_the_same(tmp_path: Path):
    described(tmp_path)
    picture(tmp_path, "images/more/a.png", "0 0.5 0.5 1 1")
    (tmp_path / "data.yaml").write_text("train: [images/train, images/more]\nnames: [cat]\n")
    assert list(read(tmp_path).ids) == ["a.png", "images/more/a.png"]


def test_a_list_as_darknet_writes_it_begins_above_the_data(tmp_path: Path):
    described(tmp_path, told="train: train.txt\nnames: [cat, dog]\n")
    (tmp_path / "train.txt").write_text("data/images/train/a.png\n")
    assert list(read(tmp_path).ids) == ["a.png"]


def test_listed_pictures_that_are_missing_are_bad_up_to_a_share(tmp_path: Path):
    described(tmp_path, told="train: train.txt\nnames: [cat, dog]\n")
    (tmp_path / "train.txt").write_text("images/train/a.png\nimages/train/z.png\n")
    assert read(tmp_path, max_bad=0.5).bad == (("images/train/z.png", "train.txt, line 2: there is no such file"),)
    (tmp_path / "train.txt").write_text("images/train/y.png\nimages/train/z.png\n")
    assert refused(lambda: read(tmp_path)).code == "DATA-111"


@pytest.mark.parametrize("line", ["../a.png", "/etc/passwd", "a/../../b.png", "http://x/a.png"])
def test_a_line_of_a_list_may_not_lead_out(line: str, tmp_path: Path):
    described(tmp_path, told="train: train.txt\nnames: [cat, dog]\n")
    (tmp_path / "train.txt").write_text(f"images/train/a.png\n{line}\n")
    error = refused(lambda: read(tmp_path))
    assert error.code == "DATA-110" and "train.txt, line 2" in error.where


@pytest.mark.parametrize("train", ["/etc", "../../etc", "images/../../x", "C:\\x", "https://x/y"])
def test_a_split_may_not_lead_out(train: str, tmp_path: Path):
    error = refused(lambda: read(described(tmp_path, told=f"train: {train}\nnames: [cat]\n")))
    assert error.code == "DATA-110" and "data.yaml, train" in error.where


def test_a_link_out_of_the_data_is_not_followed_by_a_split(tmp_path: Path):
    described(tmp_path / "data", told="train: linked\nnames: [cat, dog]\n")
    picture(tmp_path / "else", "images/a.png", "0 0.5 0.5 1 1")
    (tmp_path / "data/linked").symlink_to(tmp_path / "else")
    assert refused(lambda: read(tmp_path / "data")).code == "DATA-110"


def test_the_form_of_roboflow_is_read_within_the_folder_and_told(tmp_path: Path):
    for part in ("train", "valid"):
        picture(tmp_path, f"{part}/images/a.png", "0 0.5 0.5 1 1")
    (tmp_path / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: [x]\n"
    )
    dataset = read(tmp_path)
    assert list(dataset.images.paths) == ["train/images/a.png", "valid/images/a.png"] and len(drawn(dataset, 1)) == 1
    assert [r.where for r in dataset.remarks] == ["train", "val", "test"]


@pytest.mark.parametrize("path", ["/", "..", "/datasets/coco8", "../elsewhere", "not-there"])
def test_a_path_that_leads_out_or_is_not_there_gives_way_to_the_folder_of_the_description(path: str, tmp_path: Path):
    dataset = read(described(tmp_path, told=f"path: {path}\n{TOLD}"))
    assert len(dataset) == 1 and [(r.code, r.where) for r in dataset.remarks] == [("DATA-257", "path")]


def test_a_path_that_comes_back_to_the_data_is_no_fault(tmp_path: Path):
    described(tmp_path / "mine")
    for path in (".", "../mine", str(tmp_path / "mine")):
        (tmp_path / "mine/data.yaml").write_text(f"path: {path}\n{TOLD}")
        assert read(tmp_path / "mine").remarks == ()


def test_nothing_is_downloaded(tmp_path: Path):
    told = f"{TOLD}download: |\n  import os\n  os.system('touch {tmp_path}/gone')\n"
    dataset = read(described(tmp_path, told=told))
    assert [r.code for r in dataset.remarks] == ["DATA-255"] and not (tmp_path / "gone").exists()


def test_validating_on_the_training_part_is_told(tmp_path: Path):
    dataset = read(described(tmp_path, told=TOLD + "val: images/train\n"))
    assert dataset.split.tolist() == [0, 1] and [r.code for r in dataset.remarks] == ["DATA-256"]


def test_a_test_part_that_is_not_there_is_told_and_any_other_refused(tmp_path: Path):
    assert [r.code for r in read(described(tmp_path, told=TOLD + "test: images/test\n")).remarks] == ["DATA-258"]
    error = refused(lambda: read(described(tmp_path, told=TOLD + "val: images/val\n")))
    assert error.code == "DATA-251" and "val: images/val is not there" in error.what


LAYOUTS = {
    "images/train and labels/train": ("images/train/a.png", "images/val2017/b.png"),
    "train/images and train/labels": ("train/images/a.png", "valid/images/b.png"),
    "beside their pictures": ("train/a.png", "val/b.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_are_known_without_a_description(layout: str, tmp_path: Path):
    for path in LAYOUTS[layout]:
        picture(tmp_path, path, "1 0.5 0.5 1 1\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    dataset = open_data(tmp_path, DataSettings(), carve=False)
    assert dataset.format == "yolo" and dataset.classes == ("cat", "dog")
    assert list(dataset.ids) == ["a.png", "b.png"] and dataset.split.tolist() == [0, 1]
    assert [len(drawn(dataset, i)) for i in (0, 1)] == [1, 1] and not dataset.remarks


@pytest.mark.parametrize(("path", "names"), [("images/a.png", "labels/classes.txt"), ("a.png", "obj.names")])
def test_one_folder_is_train_and_its_names_may_lie_with_the_labels(path: str, names: str, tmp_path: Path):
    picture(tmp_path, path, "1 0.5 0.5 1 1\n")
    (tmp_path / names).write_text("cat\ndog\n")
    dataset = open_data(tmp_path, DataSettings(), carve=False)
    assert dataset.classes == ("cat", "dog") and dataset.split.tolist() == [0] and len(drawn(dataset)) == 1


def test_without_names_classes_are_called_by_their_numbers(tmp_path: Path):
    dataset = read(picture(tmp_path, "images/a.png", "2 0.5 0.5 1 1\n"))
    assert dataset.classes == ("0", "1", "2") and any("called by their numbers" in note for note in dataset.notes)


def test_texts_beside_pictures_that_are_no_labels_are_not_taken_for_them(tmp_path: Path):
    picture(tmp_path, "train/a.png", "a photo of a cat\n")
    assert YOLO.sniff(tmp_path) is None


def test_data_yaml_itself_can_be_opened(tmp_path: Path):
    described(tmp_path)
    by_file, by_folder = (open_data(p, DataSettings(), carve=False) for p in (tmp_path / "data.yaml", tmp_path))
    assert by_file.fingerprint() == by_folder.fingerprint()


def test_labels_of_a_picture_that_cannot_be_read_are_left_out(tmp_path: Path):
    described(tmp_path)
    (tmp_path / "images/train/a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    dataset = read(tmp_path)
    assert not drawn(dataset) and [(r.code, r.status) for r in dataset.remarks] == [("DATA-261", "skipped")]


def test_every_odd_file_of_labels_gets_the_answer_it_should(bad_inputs: Path, tmp_path: Path):
    expected = json.loads((bad_inputs / "annotations_expect.json").read_text())
    described(tmp_path)
    wrong = {}
    for path in sorted((bad_inputs / "annotations/yolo").iterdir()):
        shutil.copyfile(path, tmp_path / "labels/train/a.txt")
        given, wanted = answer("yolo", tmp_path, "a.txt"), expected[f"yolo/{path.name}"]["expect"]
        if given != wanted:
            wrong[path.name] = (wanted, given)
    assert wrong == {}


def test_every_odd_description_gets_the_answer_it_should(bad_inputs: Path, tmp_path: Path, monkeypatch):
    expected = json.loads((bad_inputs / "annotations_expect.json").read_text())
    for folder in ("images", "etc"):
        picture(tmp_path, f"{folder}/a.png", "0 0.5 0.5 0.2 0.2")
    (tmp_path / "labels").mkdir(exist_ok=True)
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.2 0.2")
    monkeypatch.chdir(tmp_path)
    wrong = {}
    for path in sorted((bad_inputs / "annotations/yaml").iterdir()):
        shutil.copyfile(path, tmp_path / "data.yaml")
        given = answer("yolo", tmp_path / "data.yaml", "data.yaml")
        if given != expected[f"yaml/{path.name}"]["expect"]:
            wrong[path.name] = (expected[f"yaml/{path.name}"]["expect"], given)
    assert wrong == {} and not (tmp_path / "PWNED_YAML").exists()


def test_the_largest_part_of_an_outline_and_the_corners_of_a_box_are_written(tmp_path: Path):
    small, large = np.array([(0.0, 0), (2, 0), (2, 2)]), np.array([(4.0, 4), (20, 4), (20, 20)])
    marks = [Mark((0, 0, 20, 20), 0, polygons=[small, large]), Mark((1, 2, 30, 40), 1), Mark((1, 1, 9, 9), -1)]
    dataset = drawing(tmp_path, "yolo", [marks])
    YOLO.write(dataset, tmp_path)
    first, second = drawn(read(tmp_path))
    assert [part.tolist() for part in first.polygons] == [large.tolist()] and first.box == (4, 4, 20, 20)
    assert [part.tolist() for part in second.polygons] == [[[1, 2], [30, 2], [30, 40], [1, 40]]]
    assert "objects of 1 picture" in differences(dataset, read(tmp_path))[0]


def test_key_points_and_what_else_the_description_says_come_back(tmp_path: Path):
    told = TOLD + "kpt_shape: [1, 2]\nroboflow: {version: 03, public: true, share: 0.5, big: 1e3}\n"
    dataset = read(described(tmp_path / "a", "0 0.5 0.5 0.25 0.5 0.1 0.2\n", told))
    shutil.copytree(tmp_path / "a/images", tmp_path / "b/images")
    YOLO.write(dataset, tmp_path / "b")
    written = yaml.safe_load((tmp_path / "b/data.yaml").read_text())
    assert written["kpt_shape"] == [1, 2] and written["roboflow"]["public"] is True
    assert differences(dataset, read(tmp_path / "b")) == []


def test_ids_with_folders_and_odd_letters_and_names_that_yaml_would_change_come_back(tmp_path: Path):
    ids = ["images/b.c.png", "größe.png", "sub/images/x.png", "a.b.png", "a.c.png"]
    classes = ["no", "1e3", "a: b", "größe", "# x", "~", " "]
    dataset = drawing(tmp_path, "yolo", [[Mark((1, 2, 30, 40.25), i)] for i in range(5)], ids=ids, classes=classes,
                      splits=[0, 0, 1, 2, 2])  # fmt: skip
    YOLO.write(dataset, tmp_path)
    assert differences(dataset, read(tmp_path)) == []


def test_numbers_of_another_formats_own_are_not_written_into_the_description(tmp_path: Path):
    original = Original(np.zeros((1, 2), np.int64), whole={"train": '{"info": {"year": 2017}, "note": "mine"}'})
    dataset = drawing(tmp_path, "yolo", [[]], original=original)
    YOLO.write(dataset, tmp_path)
    assert differences(dataset, read(tmp_path)) == ["what is said of the data: info"]


def test_two_pictures_that_differ_in_their_ending_alone_cannot_be_written(tmp_path: Path):
    dataset = drawing(tmp_path, "yolo", [[], []], ids=["a.png", "a.jpg"])
    assert refused(lambda: YOLO.write(dataset, tmp_path)).code == "DATA-236"


def test_data_without_boxes_is_not_written(tmp_path: Path):
    dataset = open_data(EXAMPLES["folder"](tmp_path / "data"), DataSettings(), carve=False)
    assert refused(lambda: YOLO.write(dataset, tmp_path)).code == "DATA-237"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose pictures stay while its labels change."""
    root = tmp_path_factory.mktemp("yolo")
    drawing(root, "yolo", [[], []])
    return root


@settings(max_examples=50)
@given(records=st.lists(st.lists(boxes(), max_size=3), min_size=2, max_size=2), outlined=st.booleans())
def test_any_boxes_and_outlines_come_back(records: list, outlined: bool, home: Path):
    def outline(box: tuple[float, ...]) -> list[np.ndarray]:
        x0, y0, x1, y1 = box
        return [np.array([(x0, y0), (x1, y0), (x1, y1), (round((x0 + x1) / 2, 6), y1)])] if outlined else []

    dataset = drawing(home, "yolo", [[Mark(box, 0, polygons=outline(box)) for box in record] for record in records])
    YOLO.write(dataset, home)
    back = read(home)
    assert differences(dataset, back) == []
    assert [m.box for i in (0, 1) for m in drawn(back, i)] == [box for record in records for box in record]


def damage(home: Path, data: st.DataObject) -> None:
    (home / "labels/train").mkdir(parents=True, exist_ok=True)
    (home / "labels/train/0.txt").write_text("0 0.5 0.5 0.25 0.5\n1 0.1 0.2 0.1 0.2\n")
    (home / "labels/train/1.txt").write_text("0 0.25 0.25 0.5 0.25 0.5 0.75\n")
    (home / "data.yaml").write_text(
        "path: .\ntrain: images/train\nval: [images/train]\nnc: 2\nnames: {0: cat, 1: dog}\n"
    )
    changed = home / data.draw(st.sampled_from(["labels/train/0.txt", "labels/train/1.txt", "data.yaml"]))
    changed.write_bytes(edited(changed.read_bytes(), data))
    read_or_refuse("yolo", home)


@settings(max_examples=EDITS)
@given(data=st.data())
def test_no_damage_is_a_traceback_or_a_box_beyond_its_picture(data: st.DataObject, home: Path):
    damage(home, data)


@pytest.mark.slow
@settings(max_examples=MANY)
@given(data=st.data())
def test_no_damage_of_very_many_is_either(data: st.DataObject, home: Path):
    damage(home, data)
