"""A conversion loses nothing, or says what it would lose and leaves nothing behind."""

import json
import subprocess
import sys

import numpy as np
import pytest
from tests.data.examples import EXAMPLES, write_mask, write_picture

from visus.core.errors import DataError, UsageError
from visus.core.recipe import DataSettings
from visus.core.run_lengths import compress, encode
from visus.data.converting import convert, differences
from visus.data.dataset import Dataset, FileImages, Strings
from visus.data.mask_door import read_map
from visus.data.objects import ClassMaps, Mark, Objects, Original, Outlines
from visus.data.reading import open_data

SETTINGS = DataSettings()
SQUARE = np.array([[1.0, 1.0], [5.0, 1.0], [5.0, 4.0]])


def marked(root, records, **rest):
    """Return a data set of pictures with the given marks."""
    names = Strings([f"{i}.png" for i in range(len(records))])
    for i, name in enumerate(names):
        write_picture(root / name, i)
    return Dataset(
        name="marked", root=root, format="coco", evidence="", ids=names, images=FileImages(root, names), columns={},
        split=np.zeros(len(records), np.uint8), classes=("cat", "dog"), objects=Objects.of(records), **rest,
    )  # fmt: skip


def mark(**values):
    return Mark(**{"box": (1.0, 1.0, 5.0, 4.0), "label": 0, **values})


def changed(tmp_path, ours, theirs, **rest):
    return differences(marked(tmp_path / "a", [[ours]], **rest), marked(tmp_path / "b", [[theirs]]))


def test_a_data_set_differs_in_nothing_from_itself(tmp_path):
    whole = mark(id=7, crowd=True, area=3.5, polygons=[SQUARE], mask="abc", more='{"pose": "left"}')
    dataset = marked(tmp_path, [[whole, mark()], []])
    assert differences(dataset, dataset) == []


@pytest.mark.parametrize(
    ("ours", "told"),
    [
        (mark(box=(1.0, 1.0, 5.0, 4.1)), "boxes of 1 object"),
        (mark(label=1), "classes of 1 object"),
        (mark(id=9), "numbers of 1 object"),
        (mark(crowd=True), "crowd marks of 1 object"),
        (mark(area=3.0), "stated areas of 1 object"),
        (mark(polygons=[SQUARE]), "outlines of 1 object"),
        (mark(mask="abc"), "masks of 1 object"),
        (mark(more='{"pose": "left", "hidden": 1}'), "what is said of objects: pose, hidden"),
    ],
)
def test_every_part_of_an_object_that_is_lost_is_named(tmp_path, ours, told):
    assert changed(tmp_path, ours, mark()) == [told]


def test_what_follows_from_order_or_box_is_no_loss(tmp_path):
    assert changed(tmp_path, mark(id=1, area=12.0), mark()) == []


def test_what_was_left_open_is_no_loss_whatever_is_said_instead(tmp_path):
    assert changed(tmp_path, mark(), mark(id=4, area=1.0, polygons=[SQUARE], more='{"x": 1}')) == []


def test_a_change_of_an_outline_smaller_than_a_millionth_of_a_pixel_is_none(tmp_path):
    assert changed(tmp_path, mark(polygons=[SQUARE]), mark(polygons=[SQUARE + 5e-7])) == []
    assert changed(tmp_path, mark(polygons=[SQUARE]), mark(polygons=[SQUARE + 5e-6])) == ["outlines of 1 object"]


def test_a_lost_object_and_a_lost_picture_are_named(tmp_path):
    a, b = marked(tmp_path / "a", [[mark(), mark()], []]), marked(tmp_path / "b", [[mark()]])
    assert differences(a, b) == ["1 picture (1.png)", "objects of 1 picture (0.png: 2 become 1)"]


def test_numbers_of_pictures_and_classes_and_what_else_is_said_of_them_are_compared(tmp_path):
    sizes = np.zeros((1, 2), np.int64)
    told = Original(sizes, np.array([42]), np.array([1, 90]), Strings(['{"date": "x"}']), ('{"super": 1}', ""),
                    {"train": '{"info": 1}'})  # fmt: skip
    found = changed(tmp_path, mark(), mark(), original=told)
    assert found == [
        "numbers of 1 picture", "the numbers of the classes (1, 90)", "what is said of pictures: date",
        "what is said of classes: super", "what is said of the data: info",
    ]  # fmt: skip
    usual = Original(sizes, np.array([1]), np.array([1, 2]))
    assert changed(tmp_path, mark(), mark(), original=usual) == []


def test_groups_are_the_same_under_any_numbering(tmp_path):
    records = [[], [], []]
    a = marked(tmp_path / "a", records, groups=np.array([5, 5, 2]))
    assert differences(a, marked(tmp_path / "b", records, groups=np.array([0, 0, 1]))) == []
    assert differences(a, marked(tmp_path / "c", records, groups=np.array([0, 1, 1])))
    assert differences(a, marked(tmp_path / "d", records))


def test_outlines_of_many_objects_are_those_that_were_put_in():
    given = [[SQUARE], [], [SQUARE + 1, SQUARE + 2]]
    outlines = Outlines.of(given)
    assert len(outlines) == 3
    for m, parts in enumerate(given):
        assert [part.tolist() for part in outlines[m]] == [part.tolist() for part in parts]


def test_an_unknown_format_is_answered_with_the_nearest(tmp_path):
    dataset = open_data(EXAMPLES["folder"](tmp_path / "data"), SETTINGS, carve=False)
    with pytest.raises(UsageError) as told:
        convert(dataset, "cocoo", tmp_path / "out")
    assert told.value.code == "USE-050"


def test_a_place_that_is_taken_is_left_alone(tmp_path):
    dataset = open_data(EXAMPLES["folder"](tmp_path / "data"), SETTINGS, carve=False)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(UsageError) as told:
        convert(dataset, "csv", tmp_path / "out")
    assert told.value.code == "USE-051"
    assert (tmp_path / "out/mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["folder", "idx", "shards"])
def test_classes_of_pictures_become_a_table_that_holds_all_of_them(tmp_path, name):
    dataset = open_data(EXAMPLES[name](tmp_path / "data"), SETTINGS, carve=False)
    assert convert(dataset, "csv", tmp_path / "out") == []
    back = open_data(tmp_path / "out", SETTINGS, carve=False)
    assert back.format == "csv" and back.classes == dataset.classes
    np.testing.assert_array_equal(back.columns["label"], dataset.columns["label"])
    np.testing.assert_array_equal(back.images.read(3), dataset.images.read(3))


def patients(root):
    """Write a table with a column of groups under their own names, and one that nothing is learned from."""
    ages = ["41", "", "'=7"]
    for i in range(3):
        write_picture(root / f"{i}.png", i)
    rows = [f"{i}.png,{'cat' if i else 'dog'},anna{i // 2},{ages[i]}" for i in range(3)]
    (root / "labels.csv").write_text("\n".join(["path,label,patient,age", *rows]) + "\n")
    return open_data(root, SETTINGS, carve=False)


def test_a_table_keeps_the_names_of_groups_and_every_column(tmp_path):
    assert convert(patients(tmp_path / "data"), "csv", tmp_path / "out") == []
    written = (tmp_path / "out/labels.csv").read_text().splitlines()
    assert written == [
        "path,label,split,patient,age",
        "0.png,dog,train,anna0,41",
        "1.png,cat,train,anna0,",
        "2.png,cat,train,anna1,'=7",
    ]


def test_names_of_groups_and_columns_that_are_lost_are_named(tmp_path):
    whole = patients(tmp_path / "data")
    assert differences(whole, whole.with_(original=None)) == [
        "the names of the groups (patient)",
        "what is said of pictures: age",
    ]
    assert "which pictures belong together (groups)" in differences(whole, whole.with_(original=None, groups=None))


def test_a_row_left_out_for_what_it_says_in_unused_columns_is_told(tmp_path):
    write_picture(tmp_path / "data/a.png", 1)
    (tmp_path / "data/labels.csv").write_text("path,label,age\na.png,cat,4\na.png,cat,4\na.png,cat,5\n")
    with pytest.raises(DataError, match="hold") as told:
        convert(open_data(tmp_path / "data", SETTINGS, carve=False), "csv", tmp_path / "out")
    assert "in 1 places (labels.csv: the row repeats row 2," in told.value.where


@pytest.mark.parametrize(("last", "told"), [("", []), ("a", ["what is said of pictures: age"])])
def test_numbers_that_nothing_is_learned_from_never_take_the_place_of_classes(tmp_path, last, told):
    for i in range(3):
        write_picture(tmp_path / f"data/{i}.png", i)
    (tmp_path / "data/labels.csv").write_text(f"path,labels,age\n0.png,a,3\n1.png,b,4\n2.png,{last},5\n")
    dataset = open_data(tmp_path / "data", SETTINGS, carve=False)
    if last:
        dataset = dataset.with_(columns={"labels": np.eye(3, 2, dtype=np.uint8)}, classes=("a", "b;c"))
    assert convert(dataset, "csv", tmp_path / "out", lossy=True) == told
    assert open_data(tmp_path / "out", SETTINGS, carve=False).column() == "labels"


def test_a_table_of_boxes_keeps_the_names_of_groups(tmp_path):
    write_picture(tmp_path / "data/a.png", 1)
    (tmp_path / "data/labels.csv").write_text("path,label,xmin,ymin,xmax,ymax,Patient\na.png,cat,1,1,5,4,anna0\n")
    assert convert(open_data(tmp_path / "data", SETTINGS, carve=False), "csv", tmp_path / "out") == []
    assert "a.png,cat,1,1,5,4,train,anna0" in (tmp_path / "out/labels.csv").read_text()
    with pytest.raises(DataError, match="hold") as told:
        convert(open_data(tmp_path / "data", SETTINGS, carve=False), "yolo", tmp_path / "yolo")
    assert "the names of the groups (Patient)" in told.value.where


def test_a_conversion_that_would_lose_something_says_what_and_leaves_nothing_behind(tmp_path):
    dataset = marked(tmp_path / "data", [[mark(id=9, more='{"pose": 1}')], []])
    with pytest.raises(DataError) as told:
        convert(dataset, "yolo", tmp_path / "out")
    assert told.value.code == "DATA-350" and "pose" in told.value.where and "numbers" in told.value.where
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    lost = convert(dataset, "yolo", tmp_path / "out", lossy=True)
    assert any("pose" in phrase for phrase in lost)
    assert open_data(tmp_path / "out", SETTINGS, carve=False).objects[0][0].box == (1.0, 1.0, 5.0, 4.0)


@pytest.mark.parametrize("through", ["yolo", "voc", "csv"])
def test_boxes_come_back_from_any_format_as_they_were(tmp_path, through):
    boxes = [(0.25, 1.0, 5.0, 4.125), (1.1, 2.2, 3.3, 4.4), (0.0, 0.0, 8.0, 8.0)]
    dataset = marked(tmp_path / "data", [[mark(box=box, label=i % 2) for i, box in enumerate(boxes)], []])
    assert convert(dataset, through, tmp_path / "there") == []
    there = open_data(tmp_path / "there", SETTINGS, carve=False)
    assert convert(there, "coco", tmp_path / "back") == []
    back = open_data(tmp_path / "back", SETTINGS, carve=False)
    assert [m.box for m in back.objects[0]] == boxes and differences(dataset, back) == []


def test_masks_become_objects_of_the_same_pixels(tmp_path):
    dataset = open_data(EXAMPLES["masks"](tmp_path / "data"), SETTINGS, carve=False)
    assert isinstance(dataset.maps, ClassMaps)
    lost = convert(dataset, "coco", tmp_path / "out", lossy=True)
    back = open_data(tmp_path / "out", SETTINGS, carve=False)
    assert back.objects is not None and back.classes == dataset.classes
    assert not any("class maps" in phrase for phrase in lost), json.dumps(lost)


COLOURS = [[10, 20, 30], [200, 0, 0], [0, 0, 250], [0, 99, 0]]


def odd_maps(root):
    """Write palette masks with a ring, a class in parts, pixels that touch at a corner, and ignored regions."""
    ring = np.zeros((16, 20), np.uint8)
    ring[2:10, 3:13], ring[4:8, 5:11], ring[5, 6], ring[6, 7] = 1, 0, 2, 2
    parts = np.full((16, 20), 3, np.uint8)
    parts[1:4, 1:4] = parts[8:15, 12:19] = parts[0, 19] = parts[15, 0] = 1
    parts[10:13, 13:18], parts[5:7, :] = 255, 255
    nothing = np.full((16, 20), 255, np.uint8)
    for i, values in enumerate((ring, parts, nothing)):
        write_picture(root / f"images/{i}.png", i, (16, 20))
        write_mask(root / f"masks/{i}.png", values, np.array([*COLOURS, *[[0, 0, 0]] * 252]))
    (root / "classes.txt").write_text("ground\nring\ndot\nwall\n")
    return open_data(root, SETTINGS, carve=False)


def test_holes_parts_colours_and_ignored_pixels_of_masks_go_to_coco_and_back(tmp_path):
    ours = odd_maps(tmp_path / "data")
    assert convert(ours, "coco", tmp_path / "coco") == []
    between = open_data(tmp_path / "coco", SETTINGS, carve=False)
    assert not between.objects.crowd.any() and len(between.objects[2]) == 0
    lost = convert(between, "masks", tmp_path / "masks", lossy=True)
    assert all("object" in phrase or "class" in phrase for phrase in lost)
    back = open_data(tmp_path / "masks", SETTINGS, carve=False)
    assert back.classes == ours.classes and back.maps.palette.tolist() == COLOURS
    assert differences(ours, back) == []


def test_outlines_in_parts_and_masks_with_holes_are_painted_and_come_back_as_the_same_pixels(tmp_path):
    ring = np.zeros((16, 20), np.bool_)
    ring[2:10, 3:13], ring[4:8, 5:11] = True, False
    parts = [np.array([[14.0, 1], [18, 1], [18, 5], [14, 5]]), np.array([[14.0, 8], [19, 8], [19, 12], [14, 12]])]
    marks = [Mark((3, 2, 13, 10), 0, mask=compress(encode(ring))), Mark((14, 1, 19, 12), 1, polygons=parts)]
    ours = marked(tmp_path / "own", [marks])
    write_picture(tmp_path / "own" / "0.png", 0, (16, 20))
    convert(ours, "masks", tmp_path / "masks", lossy=True)
    maps = open_data(tmp_path / "masks", SETTINGS, carve=False)
    painted = read_map(maps.maps, 0)
    assert np.array_equal(painted == 1, ring) and (painted == 2).sum() == 16 + 20 and maps.classes[0] == "background"
    assert convert(maps, "coco", tmp_path / "coco") == []
    convert(open_data(tmp_path / "coco", SETTINGS, carve=False), "masks", tmp_path / "back", lossy=True)
    assert np.array_equal(read_map(open_data(tmp_path / "back", SETTINGS, carve=False).maps, 0), painted)


def test_colours_that_are_lost_are_named(tmp_path):
    ours = odd_maps(tmp_path / "data")
    convert(ours, "coco", tmp_path / "coco")
    file = tmp_path / "coco" / "annotations" / "instances_train.json"
    document = json.loads(file.read_text())
    document["categories"][1].pop("color")
    file.write_text(json.dumps(document))
    assert differences(ours, open_data(tmp_path / "coco", SETTINGS, carve=False)) == ["the colours of the classes"]


def test_what_a_killed_conversion_left_behind_is_swept_by_the_next(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    (tmp_path / f".visus-part-{process.pid}-00000000-x" / "images").mkdir(parents=True)
    convert(marked(tmp_path / "data", [[mark()]]), "coco", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]
