"""Tables of boxes: a row a box, pictures gathered from them, and everything else kept beside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.drawings import SIZE, boxes, drawing, edited, read_or_refuse, refused
from tests.data.examples import EXAMPLES, write_picture

from visus.core.recipe import DataSettings
from visus.data.converting import differences
from visus.data.dataset import Dataset
from visus.data.formats import FORMATS
from visus.data.objects import Mark
from visus.data.reading import open_data

BOXES = FORMATS["boxes_csv"]
EDITS, MANY = 200, 20_000
HEADER = "path,label,xmin,ymin,xmax,ymax"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for i, name in enumerate(("a.png", "b.png")):
        write_picture(tmp_path / name, i, SIZE)
    return tmp_path


def table(root: Path, *lines: str, name: str = "labels.csv") -> Path:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("\n".join(lines) + "\n")
    return root


def read(path: Path, **chosen: object) -> Dataset:
    return BOXES.read(path, DataSettings(**chosen))


def drawn(dataset: Dataset, i: int = 0) -> list[Mark]:
    assert dataset.objects is not None
    return dataset.objects[i]


def test_rows_of_one_picture_are_gathered_in_the_order_of_the_pictures(root: Path):
    dataset = read(table(root, HEADER, "b.png,dog,1,2,3,4", "a.png,cat,0,0,64,48", "b.png,cat,5.5,6,7,8"))
    assert list(dataset.ids) == ["b.png", "a.png"] and dataset.classes == ("cat", "dog")
    assert [mark.box for mark in drawn(dataset)] == [(1, 2, 3, 4), (5.5, 6, 7, 8)]
    assert [mark.label for mark in drawn(dataset)] == [1, 0] and drawn(dataset, 1)[0].box == (0, 0, 64, 48)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("filename,width,height,class,xmin,ymin,xmax,ymax", "a.png,64,48,cat,1,2,5,8"),  # TensorFlow
        ("image,x1,y1,x2,y2,label", "a.png,1,2,5,8,cat"), ("image_path,x,y,w,h,class", "a.png,1,2,4,6,cat"),
        ("file,label,bbox_x,bbox_y,bbox_width,bbox_height", "a.png,cat,1,2,4,6"),
        ("Path,Class,X_min,Y_min,X_max,Y_max", "a.png,cat,1,2,5,8"),
        ("file,class,left,top,width,height", "a.png,cat,1,2,4,6"),
        ("file,class,x,y,width,height,image_width,image_height", "a.png,cat,1,2,4,6,64,48"),
        ("file;class;xmin;ymin;xmax;ymax", "a.png;cat;1,0;2;5;8"), ("a.png,1,2,5,8,cat", "b.png,,,,,"),
    ],
)  # fmt: skip
def test_headers_say_how_a_box_is_written(header: str, row: str, root: Path):
    dataset = open_data(table(root, header, row), DataSettings(), carve=False)
    assert dataset.format == "boxes_csv" and dataset.classes == ("cat",)
    assert [(mark.box, mark.more) for mark in drawn(dataset)] == [((1, 2, 5, 8), "")] and not dataset.remarks


def test_a_row_without_box_and_label_is_a_picture_without_objects(root: Path):
    dataset = read(table(root, HEADER, "a.png,,,,,", "b.png,cat,1,2,3,4"))
    assert not drawn(dataset) and len(drawn(dataset, 1)) == 1


def test_every_other_column_is_kept_with_its_box_or_its_picture(root: Path):
    dataset = read(table(root, f"{HEADER},pose,Note", "a.png,cat,1,2,3,4,left,", "b.png,,,,,,,empty street"))
    assert json.loads(drawn(dataset)[0].more) == {"pose": "left"}
    assert dataset.original is not None and dataset.original.records is not None
    assert list(dataset.original.records) == ["", '{"Note": "empty street"}']


def test_split_and_group_columns_are_taken(root: Path):
    dataset = read(table(root, f"{HEADER},split,person", "a.png,cat,1,2,3,4,val,ann", "b.png,cat,1,2,3,4,Train,bob"))
    assert dataset.split.tolist() == [1, 0] and dataset.groups is not None and dataset.groups.tolist() == [0, 1]


def test_tables_named_as_splits_and_labels_are_read_together(root: Path):
    table(root, HEADER, "a.png,cat,1,2,3,4", name="train_labels.csv")
    table(root, HEADER, "b.png,cat,1,2,3,4", name="test_labels.csv")
    assert open_data(root, DataSettings(), carve=False).split.tolist() == [0, 2]


def test_one_table_in_each_folder_of_a_split_is_read_beside_its_pictures(tmp_path: Path):
    for part in ("train", "valid"):
        write_picture(tmp_path / part / "a.png", len(part), SIZE)
        table(tmp_path, HEADER, "a.png,cat,1,2,3,4", name=f"{part}/_annotations.csv")
    dataset = open_data(tmp_path, DataSettings(), carve=False)
    assert dataset.format == "boxes_csv" and list(dataset.ids) == ["a.png", "a.png"]
    assert list(dataset.images.paths) == ["train/a.png", "valid/a.png"] and dataset.split.tolist() == [0, 1]


def test_classes_stand_in_the_order_of_their_list(root: Path):
    (root / "classes.txt").write_text("owl\ndog\ncat\n")
    assert read(table(root, HEADER, "a.png,cat,1,2,3,4")).classes == ("owl", "dog", "cat")
    error = refused(lambda: read(table(root, HEADER, "a.png,catt,1,2,3,4")))
    assert error.code == "DATA-266" and "labels.csv, row 2" in error.what and "'cat'" in error.fix


def test_boxes_are_cut_at_the_edge_and_left_out_beyond_it(root: Path):
    dataset = read(table(root, HEADER, "a.png,cat,60,40,70,44", "a.png,cat,70,1,80,9", "a.png,cat,5,5,5,9"))
    assert [mark.box for mark in drawn(dataset)] == [(60, 40, 64, 44)]
    assert [(r.file, r.status, r.where) for r in dataset.remarks] == [
        ("labels.csv", "clipped", "row 2"), ("labels.csv", "skipped", "row 3"), ("labels.csv", "skipped", "row 4"),
    ]  # fmt: skip


def test_a_repeated_row_and_a_wrong_size_are_told(root: Path):
    dataset = read(table(root, f"{HEADER},width,height", *["a.png,cat,1,1,5,5,32,32"] * 2))
    assert sorted(r.code for r in dataset.remarks) == ["DATA-267", "DATA-268"] and len(drawn(dataset)) == 2


@pytest.mark.parametrize(
    ("lines", "code", "told"),
    [
        ((HEADER, "a.png,cat,1,nan,5,5"), "DATA-142", "row 2, column 'ymin': 'nan' is not a number"),
        ((HEADER, "a.png,cat,1,,5,5"), "DATA-142", "row 2, column 'ymin': it is empty, but"),
        ((HEADER, "a.png,cat,1,1e999,5,5"), "DATA-142", "'1e999' is not a number"),
        ((HEADER, "a.png,,1,1,5,5"), "DATA-142", "column 'label': the label is empty"),
        ((HEADER, "a.png,cat,,,,"), "DATA-142", "column 'label': a label without a box"),
        ((f"{HEADER},split", "a.png,cat,1,1,5,5,trian"), "DATA-142", "'trian' is not a split"),
        ((f"{HEADER},split", "a.png,cat,1,1,5,5,val", "a.png,cat,1,1,5,5,test"), "DATA-264", "row 3: 'a.png'"),
        ((HEADER, "a.png,cat,0.1,0.1,0.5,0.5"), "DATA-265", "fractions, not pixels"),
        ((HEADER, "../a.png,cat,1,1,5,5"), "DATA-110", "holds '..'"),
        ((HEADER, ",cat,1,1,5,5"), "DATA-110", "is empty"),
        ((HEADER, "z.png,cat,1,1,5,5"), "DATA-111", "none of the 1 listed files"), ((HEADER,), "DATA-140", "no row"),
        (("path,label,xmin,ymin", "a.png,cat,1,1"), "DATA-141", "the columns of boxes are not there"),
        ((HEADER, "a.png,cat,1,1,5"), "DATA-140", "row 2 has 5 fields"), ((HEADER, '"a.png'), "DATA-140", "row 2"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_row_and_column(lines: tuple[str, ...], code: str, told: str, root: Path):
    error = refused(lambda: read(table(root, *lines)))
    assert error.code == code and told in error.what


def test_missing_pictures_are_bad_up_to_a_share(root: Path):
    dataset = read(table(root, HEADER, "a.png,cat,1,2,3,4", "z.png,cat,1,2,3,4"), max_bad=0.5)
    assert dataset.bad == (("z.png", "labels.csv, row 3: there is no such file"),) and list(dataset.ids) == ["a.png"]


def test_a_table_may_lie_beside_the_folder_of_its_pictures(tmp_path: Path):
    write_picture(tmp_path / "images/a.png", 0, SIZE)
    dataset = read(table(tmp_path, HEADER, "a.png,cat,1,2,3,4"))
    assert list(dataset.ids) == ["a.png"] and dataset.images.read(0).shape == (*SIZE, 3)


def test_what_is_written_comes_back_formulas_and_all(tmp_path: Path):
    ids = ["a/b.png", 'größe, "x".png', "=c.png", "-d.png", "e.png"]
    classes = ("=cmd|'/c calc'!A1", "'=x", "b, c", "unused")
    more = '{"pose": "+left", "=note": "@a\\"", "number": 3}'
    records = [[Mark((1.000001, 2, 30.25, 40), i, more=more if not i else "")] for i in range(3)]
    dataset = drawing(tmp_path, "boxes_csv", [*records, [], []], ids=ids, classes=classes, splits=[1, 0, 0, 2, 0],
                      groups=np.array([4, 4, 1, 2, 3]))  # fmt: skip
    BOXES.write(dataset, tmp_path)
    assert differences(dataset, read(tmp_path)) == ["what is said of objects: number"]
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    assert not any(field.startswith(("=", "+", "@")) for line in lines for field in line.split(","))


def test_data_without_boxes_is_not_written(tmp_path: Path):
    dataset = open_data(EXAMPLES["folder"](tmp_path / "data"), DataSettings(), carve=False)
    assert refused(lambda: BOXES.write(dataset, tmp_path)).code == "DATA-237"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose pictures stay while its table changes."""
    root = tmp_path_factory.mktemp("boxes")
    drawing(root, "boxes_csv", [[], []])
    return root


@settings(max_examples=50)
@given(records=st.lists(st.lists(boxes(), max_size=3), min_size=2, max_size=2))
def test_any_boxes_come_back(records: list, home: Path):
    dataset = drawing(home, "boxes_csv", [[Mark(box, i) for box in record] for i, record in enumerate(records)])
    BOXES.write(dataset, home)
    back = read(home)
    assert differences(dataset, back) == []
    assert [m.box for i in (0, 1) for m in drawn(back, i)] == [box for record in records for box in record]


def damage(home: Path, data: st.DataObject) -> None:
    whole = f"{HEADER},split,pose\n0.png,cat,1,2,30.5,40,train,left\n1.png,,,,,,val,\n0.png,dog,0,0,64,48,train,\n"
    (home / "classes.txt").write_text("cat\ndog\n")
    (home / "labels.csv").write_bytes(edited(whole.encode(), data))
    read_or_refuse("boxes_csv", home)


@settings(max_examples=EDITS)
@given(data=st.data())
def test_no_damage_is_a_traceback_or_a_box_beyond_its_picture(data: st.DataObject, home: Path):
    damage(home, data)


@pytest.mark.slow
@settings(max_examples=MANY)
@given(data=st.data())
def test_no_damage_of_very_many_is_either(data: st.DataObject, home: Path):
    damage(home, data)
