"""Pascal VOC: pixels counted from 1, pictures found, and everything else kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.data.drawings import SIZE, answer, boxes, drawing, edited, read_or_refuse, refused
from tests.data.examples import EXAMPLES, write_picture

from visus.core.recipe import DataSettings
from visus.data.converting import differences
from visus.data.dataset import Dataset
from visus.data.formats import FORMATS
from visus.data.objects import Mark
from visus.data.reading import open_data

VOC = FORMATS["voc"]
EDITS, MANY = 200, 20_000


def drawn(name: str, *sides: object, more: str = "") -> str:
    inner = "".join(f"<{tag}>{side}</{tag}>" for tag, side in zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{inner}</bndbox></object>"


def sheet(root: Path, stem: str = "a", *objects: str, filename: str = "", size: tuple[int, int] = SIZE) -> Path:
    """Write one XML file and its picture."""
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    named = f"<filename>{filename or f'{stem}.png'}</filename>"
    stated = f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>"
    (root / f"Annotations/{stem}.xml").write_text(f"<annotation>{named}{stated}{''.join(objects)}</annotation>")
    if not (root / f"JPEGImages/{stem}.png").exists():
        write_picture(root / f"JPEGImages/{stem}.png", len(stem) + ord(stem[0]), SIZE)
    return root


def lists(root: Path, **parts: str) -> Path:
    (root / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
    for name, lines in parts.items():
        (root / f"ImageSets/Main/{name}.txt").write_text(lines)
    return root


def read(path: Path, **chosen: object) -> Dataset:
    return VOC.read(path, DataSettings(**chosen))


def test_a_box_holds_its_last_pixels_and_begins_at_1(tmp_path: Path):
    dataset = read(sheet(tmp_path, "a", drawn("cat", 1, 1, 64, 48), drawn("dog", 5.5, 5, 25, 25.25)))
    assert dataset.objects is not None
    assert dataset.objects.boxes.tolist() == [[0, 0, 64, 48], [4.5, 4, 25, 25.25]]
    assert dataset.classes == ("cat", "dog") and dataset.objects.labels.tolist() == [0, 1]


def test_what_is_said_beyond_boxes_is_kept(tmp_path: Path):
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    more = f"<pose>Left</pose><difficult>1</difficult>{part}{part}"
    dataset = read(sheet(tmp_path, "a", drawn("cat", 1, 1, 9, 9, more=more)))
    assert dataset.objects is not None and dataset.original is not None and dataset.original.records is not None
    said = json.loads(dataset.objects[0][0].more)
    assert said["pose"] == "Left" and said["difficult"] == "1" and len(said["part"]) == 2
    assert json.loads(dataset.original.records[0]) == {"size": {"depth": "3"}}
    assert dataset.original.sizes.tolist() == [list(SIZE)]


def test_lists_give_the_splits_and_trainval_adds_only_what_is_in_no_other(tmp_path: Path):
    for stem in "abcdefg":
        sheet(tmp_path, stem)
    lists(tmp_path, train="b\na\n", val="c -1\n\n", test="d.png\r\n", trainval="a\nb\nc\ne\n", cat_train="a  1\n")
    dataset = read(tmp_path)
    assert list(dataset.ids) == ["b.png", "a.png", "c.png", "d.png", "e.png"]
    assert sorted(zip(dataset.ids, dataset.split.tolist(), strict=True)) == [
        ("a.png", 0), ("b.png", 0), ("c.png", 1), ("d.png", 2), ("e.png", 0),
    ]  # fmt: skip
    assert any("left out 2 annotations" in note for note in dataset.notes)


def test_without_lists_all_are_train_in_natural_order(tmp_path: Path):
    for stem in ("s10", "s2", "s1"):
        sheet(tmp_path, stem)
    dataset = read(tmp_path)
    assert list(dataset.ids) == ["s1.png", "s2.png", "s10.png"] and not dataset.split.any()


def test_a_picture_in_two_lists_is_in_both_and_twice_in_one_is_once(tmp_path: Path):
    dataset = read(lists(sheet(tmp_path), train="a\na\n", val="a\n"))
    assert list(dataset.ids) == ["a.png", "a.png"] and dataset.split.tolist() == [0, 1]
    assert [(r.file, r.where, r.status) for r in dataset.remarks] == [("ImageSets/Main/train.txt", "line 2", "skipped")]


def test_the_data_may_lie_one_folder_further_down(tmp_path: Path):
    sheet(tmp_path / "BCCD")
    found = VOC.sniff(tmp_path)
    assert found is not None and "BCCD/Annotations" in found.phrase
    assert list(read(tmp_path).images.paths) == ["JPEGImages/a.png"]


def test_of_two_folders_with_annotations_one_must_be_named(tmp_path: Path):
    sheet(tmp_path / "VOC2007")
    sheet(tmp_path / "VOC2012")
    found = VOC.sniff(tmp_path)
    assert found is not None and found.score == 0 and "VOC2007, VOC2012: name one" in found.phrase
    assert refused(lambda: read(tmp_path)).code == "DATA-002"


def test_xml_may_lie_beside_its_pictures_in_folders_of_splits(tmp_path: Path):
    for part in ("train", "valid"):
        sheet(tmp_path / "x")
        shutil.copytree(tmp_path / "x/JPEGImages", tmp_path / part)
        shutil.copy(tmp_path / "x/Annotations/a.xml", tmp_path / part)
    shutil.rmtree(tmp_path / "x")
    dataset = open_data(tmp_path, DataSettings(), carve=False)
    assert dataset.format == "voc" and dataset.split.tolist() == [0, 1] and list(dataset.ids) == ["a.png", "a.png"]
    assert list(dataset.images.paths) == ["train/a.png", "valid/a.png"]


def test_folders_named_annotations_and_images_are_known(tmp_path: Path):
    sheet(tmp_path)
    (tmp_path / "Annotations").rename(tmp_path / "annotations")
    (tmp_path / "JPEGImages").rename(tmp_path / "images")
    assert list(open_data(tmp_path, DataSettings(), carve=False).images.paths) == ["images/a.png"]


def test_other_xml_is_not_taken_for_annotations(tmp_path: Path):
    (tmp_path / "annotations.xml").write_text("<annotations><image/></annotations>")
    (tmp_path / "list.xml").write_text("<!DOCTYPE plist><plist/>")
    assert VOC.sniff(tmp_path) is None


def test_classes_stand_in_the_order_of_their_list(tmp_path: Path):
    sheet(tmp_path, "a", drawn("cat", 1, 1, 9, 9))
    (tmp_path / "classes.txt").write_text("dog\ncat\nowl\n")
    dataset = read(tmp_path)
    assert dataset.classes == ("dog", "cat", "owl") and dataset.objects is not None
    assert dataset.objects.labels.tolist() == [1]


def test_a_class_that_is_not_listed_is_refused_with_the_nearest(tmp_path: Path):
    sheet(tmp_path, "a", drawn("cat", 1, 1, 9, 9), drawn("catt", 1, 1, 9, 9))
    (tmp_path / "labels.txt").write_text("cat\n")
    error = refused(lambda: read(tmp_path))
    assert error.code == "DATA-235" and "object[1], line 1" in error.where and "'cat'" in error.fix


def test_the_picture_that_is_there_decides_where_names_disagree(tmp_path: Path):
    sheet(tmp_path, "a", filename="b.png")  # a.png is there, b.png not
    sheet(tmp_path, "c", filename="d.png")
    (tmp_path / "JPEGImages/c.png").rename(tmp_path / "JPEGImages/d.png")
    dataset = read(tmp_path)
    assert list(dataset.ids) == ["a.png", "d.png"]
    assert [(r.file, r.code, r.status) for r in dataset.remarks] == [
        ("Annotations/a.xml", "DATA-243", "warned"), ("Annotations/c.xml", "DATA-243", "warned"),
    ]  # fmt: skip


def test_the_name_of_the_file_goes_first_where_both_pictures_are_there(tmp_path: Path):
    sheet(tmp_path, "a", filename="b.png")
    sheet(tmp_path, "b")
    assert list(read(tmp_path).ids) == ["a.png", "b.png"]


def test_a_file_name_without_its_ending_is_no_disagreement(tmp_path: Path):
    assert read(sheet(tmp_path, "a", filename="a")).remarks == ()


def test_of_two_files_about_one_picture_the_second_is_left_out(tmp_path: Path):
    sheet(tmp_path, "a", filename="d.png")
    sheet(tmp_path, "b", filename="d.png")
    for stem in "ab":
        (tmp_path / f"JPEGImages/{stem}.png").rename(tmp_path / "JPEGImages/d.png")
    dataset = read(tmp_path)
    assert list(dataset.ids) == ["d.png"]
    assert ("Annotations/b.xml", "skipped") in [(r.file, r.status) for r in dataset.remarks]


def test_attributes_such_as_labelimgs_verified_come_back(tmp_path: Path):
    sheet(tmp_path, "a", drawn("cat", 1, 1, 9, 9))
    file = tmp_path / "Annotations/a.xml"
    file.write_text(file.read_text().replace("<annotation>", '<annotation verified="yes">'))
    dataset = read(tmp_path)
    VOC.write(dataset, tmp_path)
    assert 'verified="yes"' in file.read_text() and differences(dataset, read(tmp_path)) == []


def test_missing_pictures_and_annotations_are_bad_up_to_a_share(tmp_path: Path):
    for stem in "abc":
        sheet(tmp_path, stem)
    (tmp_path / "JPEGImages/b.png").unlink()
    lists(tmp_path, train="a\nb\nc\nz\n")
    dataset = read(tmp_path, max_bad=0.5)
    assert list(dataset.ids) == ["a.png", "c.png"]
    assert dataset.bad == (
        ("z", "ImageSets/Main/train.txt, line 4: there is no annotation of this name"),
        ("b.png", "Annotations/b.xml: there is no picture of this name"),
    )
    assert refused(lambda: read(tmp_path)).code == "DATA-112"


def test_pictures_that_no_annotation_speaks_of_are_noted(tmp_path: Path):
    write_picture(sheet(tmp_path) / "JPEGImages/z.png")
    assert any("left out 1 pictures" in note for note in read(tmp_path).notes)


def test_a_list_may_not_lead_out_of_the_folder(tmp_path: Path):
    error = refused(lambda: read(lists(sheet(tmp_path), train="a\n../b\n")))
    assert error.code == "DATA-110" and "train.txt, line 2" in error.where


def test_a_wrong_size_gives_way_to_the_pictures_own(tmp_path: Path):
    dataset = read(sheet(tmp_path, "a", drawn("cat", 50, 1, 64, 48), size=(32, 32)))
    assert dataset.objects is not None and dataset.objects.boxes.tolist() == [[49, 0, 64, 48]]
    assert [(r.code, r.status) for r in dataset.remarks] == [("DATA-244", "warned")]


def test_a_size_of_a_picture_not_yet_turned_upright_is_told(tmp_path: Path):
    sheet(tmp_path, "a", size=SIZE[::-1])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE).save(tmp_path / "JPEGImages/a.png", exif=exif)  # stored (width 48), upright 64 wide
    assert "before it was turned upright" in read(tmp_path).remarks[0].why


def test_a_single_point_is_left_out_and_a_line_is_a_pixel_wide(tmp_path: Path):
    dataset = read(sheet(tmp_path, "a", drawn("cat", 5, 5, 5, 5), drawn("cat", 5, 5, 5, 9)))
    assert dataset.objects is not None and dataset.objects.boxes.tolist() == [[4, 4, 5, 9]]
    assert [(r.code, r.status, r.where) for r in dataset.remarks] == [("DATA-245", "skipped", "object[0], line 1")]


def test_sides_at_0_are_cut_and_noted_for_all(tmp_path: Path):
    dataset = read(sheet(tmp_path, "a", drawn("cat", 0, 0, 9, 9)))
    assert dataset.objects is not None and dataset.objects.boxes.tolist() == [[0, 0, 9, 9]]
    assert dataset.remarks[0].status == "clipped" and any("2 sides of boxes lie at 0" in n for n in dataset.notes)


@pytest.mark.parametrize(
    ("objects", "told"),
    [
        ("<object><bndbox/></object>", "object[0] has no name"),
        (drawn("cat", 1, 1, 9, ""), "object[0].bndbox has no ymax"),
        (drawn("cat", 1, "1e999", 9, 9), "object[0].bndbox.ymin: '1e999' is not a number"),
        ("<object><name>cat</name><robndbox/></object>", "object[0] (cat) has no bndbox"),
    ],
)
def test_what_is_missing_in_an_object_is_told_with_file_place_and_line(objects: str, told: str, tmp_path: Path):
    error = refused(lambda: read(sheet(tmp_path, "a", objects)))
    assert error.code == "DATA-234" and told in error.what and "a.xml" in error.what and error.where == "line 1"


def test_every_odd_file_gets_the_answer_it_should(bad_inputs: Path, tmp_path: Path):
    expected = json.loads((bad_inputs / "annotations_expect.json").read_text())
    write_picture(tmp_path / "JPEGImages/a.jpg", 0, SIZE)
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "classes.txt").write_text("cat\n")
    wrong = {}
    for path in sorted((bad_inputs / "annotations/voc").iterdir()):
        shutil.copyfile(path, tmp_path / "Annotations/a.xml")
        given, wanted = answer("voc", tmp_path, "a.xml"), expected[f"voc/{path.name}"]["expect"]
        if given != wanted:
            wrong[path.name] = (wanted, given)
    assert wrong == {}


def test_real_annotations_agree_with_their_coco_twins(real_data: Path):
    """The two were counted from 1 and from 0, and the two boxes that are points are in one of them alone."""
    root = real_data / "bccd_voc"
    dataset = read(root)
    assert dataset.objects is not None and len(dataset) == 364 and not dataset.bad
    assert [len(dataset.indices(part)) for part in ("train", "val", "test")] == [205, 87, 72]
    assert [(r.status, r.code) for r in dataset.remarks if r.status == "skipped"] == [("skipped", "DATA-245")] * 2
    ours = {(part, dataset.ids[i]): [(dataset.classes[mark.label], *mark.box) for mark in dataset.objects[i]]
            for part in ("train", "val", "test") for i in dataset.indices(part).tolist()}  # fmt: skip
    theirs: dict[tuple[str, str], list[tuple[object, ...]]] = {}
    for part in ("train", "val", "test"):
        document = json.loads((root / f"coco/instances_{part}.json").read_text())
        names = {category["id"]: category["name"] for category in document["categories"]}
        files = {image["id"]: (part, image["file_name"]) for image in document["images"]}
        theirs |= {key: [] for key in files.values()}
        for told in document["annotations"]:
            x, y, w, h = told["bbox"]
            theirs[files[told["image_id"]]].append((names[told["category_id"]], x - 1, y - 1, x + w, y + h))
    clipped = {key: [(n, max(0, a), max(0, b), min(640, c), min(480, d)) for n, a, b, c, d in held]
               for key, held in theirs.items()}  # fmt: skip
    assert ours == clipped and sum(map(len, ours.values())) == 4886


def test_real_annotations_are_written_and_read_back_without_a_loss(real_data: Path, tmp_path: Path):
    dataset = read(real_data / "bccd_voc")
    shutil.copytree(real_data / "bccd_voc/BCCD/JPEGImages", tmp_path / "JPEGImages")
    VOC.write(dataset, tmp_path)
    assert all("what reading clipped" in phrase for phrase in differences(dataset, read(tmp_path)))


def test_ids_with_folders_dots_and_odd_letters_come_back(tmp_path: Path):
    ids = ["a/b.c.png", "größe & <x>.png", " blank .png", "a'b\"c.png", "z.jpg.png"]
    records = [[Mark((1, 2, 30, 40.25), 0, more='{"pose": "a & b", "note": {"x": "1"}}')], [], [], [], []]
    dataset = drawing(tmp_path, "voc", records, ids=ids, splits=[0, 0, 1, 2, 2])
    VOC.write(dataset, tmp_path)
    assert differences(dataset, read(tmp_path)) == []


def test_two_pictures_that_differ_in_their_ending_alone_cannot_be_written(tmp_path: Path):
    dataset = drawing(tmp_path, "voc", [[], []], ids=["a.png", "a.jpg"])
    error = refused(lambda: VOC.write(dataset, tmp_path))
    assert error.code == "DATA-236" and error.where == "Annotations/a.xml"


def test_data_without_boxes_is_not_written(tmp_path: Path):
    dataset = open_data(EXAMPLES["folder"](tmp_path / "data"), DataSettings(), carve=False)
    assert refused(lambda: VOC.write(dataset, tmp_path)).code == "DATA-237"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose pictures stay while its annotations change."""
    root = tmp_path_factory.mktemp("voc")
    drawing(root, "voc", [[], [], []])
    return root


@settings(max_examples=50)
@given(records=st.lists(st.lists(boxes(), max_size=3), min_size=3, max_size=3), label=st.integers(0, 1))
def test_any_boxes_come_back(records: list, label: int, home: Path):
    dataset = drawing(home, "voc", [[Mark(box, label) for box in record] for record in records])
    VOC.write(dataset, home)
    back = read(home)
    assert differences(dataset, back) == [] and not back.remarks
    assert back.objects is not None
    np.testing.assert_array_equal(back.objects.starts, np.cumsum([0, *map(len, records)]))


def damage(home: Path, data: st.DataObject) -> None:
    for path in (home / "ImageSets").rglob("*.txt"):
        path.unlink()
    sheet(home, "0", drawn("cat", 1, 1, 64, 48, more="<pose>Left</pose>"), drawn("dog", 5.5, 5, 25, 25))
    sheet(home, "1")
    changed = data.draw(st.sampled_from(["Annotations/0.xml", "ImageSets/Main/train.txt", "classes.txt"]))
    (home / "classes.txt").write_text("cat\ndog\n")
    lists(home, train="0\n1\n")
    (home / changed).write_bytes(edited((home / changed).read_bytes(), data))
    read_or_refuse("voc", home)


@settings(max_examples=EDITS)
@given(data=st.data())
def test_no_damage_is_a_traceback_or_a_box_beyond_its_picture(data: st.DataObject, home: Path):
    damage(home, data)


@pytest.mark.slow
@settings(max_examples=MANY)
@given(data=st.data())
def test_no_damage_of_very_many_is_either(data: st.DataObject, home: Path):
    damage(home, data)
