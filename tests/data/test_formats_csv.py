"""Tables: columns by their headers, and every error with its row and column."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.examples import write_picture

from visus.core.errors import BadDataLimit, DataError
from visus.core.recipe import DataSettings
from visus.data.converting import differences
from visus.data.dataset import Dataset
from visus.data.formats import FORMATS
from visus.data.reading import open_data

NAMES = ("a.png", "b.png", "c.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for i, name in enumerate(NAMES):
        write_picture(tmp_path / name, i)
    return tmp_path


def table(root: Path, *lines: str, name: str = "labels.csv") -> Path:
    (root / name).write_text("\n".join(lines) + "\n")
    return root


def read(path: Path, **chosen: object) -> Dataset:
    return FORMATS["csv"].read(path, DataSettings(**chosen))


def refused(path: Path, **chosen: object) -> DataError:
    with pytest.raises((DataError, BadDataLimit)) as caught:
        read(path, **chosen)
    return caught.value


def test_a_label_column_gives_classes_in_order(root: Path):
    dataset = read(table(root, "path,label", "a.png,owl", "b.png,cat", "c.png,owl"))
    assert dataset.classes == ("cat", "owl") and dataset.columns["label"].tolist() == [1, 0, 1]
    assert list(dataset.ids) == list(NAMES) and dataset.images.read(0).shape == (8, 8, 3)


@pytest.mark.parametrize(
    "header", ["file,class", "Filename,Category", "image path,Label", "IMG,target", "file-path,class name"]
)
def test_headers_are_known_by_their_usual_names(header: str, root: Path):
    assert read(table(root, header, "a.png,x", "b.png,y")).columns["label"].tolist() == [0, 1]


def test_a_table_as_excel_writes_it_in_many_languages_is_read(root: Path):
    dataset = read(table(root, '\ufeffpath;labels;"note"', "a.png;cat,dog;x, y", "b.png;;", 'c.png;"owl,cat";z\r'))
    assert dataset.classes == ("cat", "dog", "owl")
    assert dataset.columns["labels"].tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 1]]
    assert dataset.evidence == "labels.csv with the columns path, labels, note between semicolons"


@pytest.mark.parametrize(("delimiter", "between"), [(";", "|"), (";", ","), ("\t", ","), ("\t", ";"), (",", ";")])
def test_the_classes_of_a_row_stand_between_something_else_than_the_columns(delimiter: str, between: str, root: Path):
    rows = (("path", "tags"), ("a.png", f"cat{between}dog"), ("b.png", "dog"))
    assert read(table(root, *map(delimiter.join, rows))).columns["labels"].tolist() == [[1, 1], [0, 1]]


def test_a_comma_is_part_of_a_class_where_others_stand_between_bars(root: Path):
    assert read(table(root, "path\ttags", "a.png\tlion, king|cat", "b.png\tcat")).classes == ("cat", "lion, king")


def test_numbers_have_decimal_commas_where_columns_stand_between_semicolons(root: Path):
    dataset = read(table(root, "path;age;mass", "a.png;3;1,5", "b.png;4;-,25", "c.png;;2"))
    np.testing.assert_array_equal(dataset.columns["numbers"], [[3, 1.5], [4, -0.25], [np.nan, 2]])
    assert dataset.notes == ("decimal commas are read in mass of labels.csv",)


def test_targets_with_decimal_commas_are_numbers(root: Path):
    dataset = read(table(root, "path;target", "a.png;3", "b.png;1,5", "c.png;2"))
    assert dataset.numbers == ("target",) and dataset.columns["numbers"].ravel().tolist() == [3, 1.5, 2]


def test_decimal_commas_and_points_in_one_column_are_refused(root: Path):
    error = refused(table(root, "path;age", "a.png;1.234", "b.png;1,5"))
    assert error.code == "DATA-142" and error.where == "1,5 and 1.234" and "'age'" in error.what


def test_a_decimal_comma_between_commas_is_a_field_too_many(root: Path):
    error = refused(table(root, "path,age", "a.png,1,5"))
    assert "row 2 has 3 fields, the header has 2" in error.what and "between commas" in error.fix


def test_a_tsv_is_separated_by_tabs(root: Path):
    dataset = read(table(root, "path\tlabel", "a.png\tx, y", name="labels.tsv"))
    assert dataset.classes == ("x, y",)


def test_several_labels_stand_between_semicolons_or_bars(root: Path):
    dataset = read(table(root, "path,tags", "a.png,cat;dog", "b.png,", "c.png,owl | cat"))
    assert dataset.classes == ("cat", "dog", "owl")
    assert dataset.columns["labels"].tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 1]]


def test_a_labels_column_that_never_holds_several_is_a_column_of_classes(root: Path):
    assert read(table(root, "path,labels", "a.png,cat", "b.png,dog")).column() == "label"


def test_columns_of_zeros_and_ones_are_several_labels(root: Path):
    dataset = read(table(root, "path,cat,dog", "a.png,1,0", "b.png,1,1"))
    assert dataset.classes == ("cat", "dog") and dataset.columns["labels"].tolist() == [[1, 0], [1, 1]]
    assert any("only 0 and 1" in note for note in dataset.notes)


def test_number_columns_are_numbers_and_an_empty_field_is_unknown(root: Path):
    dataset = read(table(root, "path,x,y", "a.png,1.5,-2e3", "b.png,,7"))
    assert dataset.numbers == ("x", "y") and dataset.classes == ()
    np.testing.assert_array_equal(dataset.columns["numbers"], np.array([[1.5, -2000], [np.nan, 7]], np.float32))


def test_a_target_with_fractions_is_a_number(root: Path):
    dataset = read(table(root, "path,target", "a.png,1.5", "b.png,2"))
    assert dataset.numbers == ("target",) and dataset.columns["numbers"].ravel().tolist() == [1.5, 2]


def test_a_label_of_whole_numbers_is_a_class(root: Path):
    assert read(table(root, "path,label", "a.png,10", "b.png,9")).classes == ("9", "10")


def test_split_and_group_columns_are_taken(root: Path):
    dataset = read(
        table(root, "path,label,split,person", "a.png,x,Train,ann", "b.png,y,validation,bob", "c.png,x,test,ann")
    )
    assert dataset.split.tolist() == [0, 1, 2] and dataset.groups.tolist() == [0, 1, 0]


def test_train_and_test_tables_are_splits(root: Path):
    table(root, "path,label", "a.png,x", "b.png,y", name="train.csv")
    dataset = read(table(root, "path,label", "c.png,y", name="test.csv"))
    assert dataset.split.tolist() == [0, 0, 2] and "test.csv" in dataset.evidence


def test_what_a_column_holds_is_decided_over_all_tables(root: Path):
    table(root, "path,tags", "a.png,cat;dog", name="train.csv")
    assert read(table(root, "path,tags", "b.png,cat", name="test.csv")).columns["labels"].tolist() == [[1, 1], [1, 0]]
    table(root, "path,target", "a.png,1.5", name="train.csv")
    assert read(table(root, "target,path", "2,b.png", name="test.csv")).columns["numbers"].ravel().tolist() == [1.5, 2]


def test_columns_that_are_not_used_are_noted(root: Path):
    dataset = read(table(root, "path,label,weight,photographer", "a.png,x,1.5,ann"))
    assert any("weight, photographer" in note for note in dataset.notes) and dataset.numbers == ()


def test_paths_may_be_relative_to_one_folder_below(root: Path):
    write_picture(root / "images/z.png")
    dataset = read(table(root, "path,label", "z.png,x"))
    assert dataset.images.read(0).shape == (8, 8, 3) and any("relative to images/" in note for note in dataset.notes)


def test_a_repeated_row_is_dropped_with_a_note(root: Path):
    dataset = read(table(root, "path,label", "a.png,x", "b.png,y", "a.png,x"))
    assert len(dataset) == 2 and any("1 rows repeat" in note for note in dataset.notes)


def test_a_byte_order_mark_and_windows_lines_change_nothing(root: Path):
    (root / "labels.csv").write_bytes(b"\xef\xbb\xbfpath,label\r\na.png,x\r\n\r\nb.png,y\r\n")
    assert read(root).columns["label"].tolist() == [0, 1]


def test_a_path_of_any_bytes_is_found(root: Path):
    name = os.fsdecode(b"caf\xe9.png")
    write_picture(root / "x.png").rename(root / name)
    (root / "labels.csv").write_bytes(b"path,label\ncaf\xe9.png,x\n")
    dataset = read(root)
    assert dataset.ids[0] == name and dataset.images.read(0).shape == (8, 8, 3)


def test_one_file_with_two_labels_names_both_rows(root: Path):
    error = refused(table(root, "path,label", "a.png,cat", "b.png,dog", "a.png,dog"))
    assert error.code == "DATA-143" and "row 4" in error.what and "row 2: cat" in error.where and "dog" in error.where


@pytest.mark.parametrize(("lines", "code", "told"), [
    (("path,label", "a.png,x", "b.png,"), "DATA-142", "row 3, column 'label': the label is empty"),
    (("path,x", "a.png,1.5", "b.png,many"), "DATA-142", "row 3, column 'x': 'many' is not a number"),
    (("path,x", "a.png,1.5", "b.png,inf"), "DATA-142", "row 3, column 'x': inf is too large"),
    (("path,label,split", "a.png,x,trian"), "DATA-142", "row 2, column 'split': 'trian' is not a split"),
    (("path,label,group", "a.png,x, "), "DATA-142", "row 2, column 'group': the group is empty"),
    (("path,label", "a.png,x,extra"), "DATA-140", "row 2 has 3 fields, the header has 2"),
    (("path,label", '"a.png,x'), "DATA-140", "row 2: unexpected end of data"),
    (("path,label",), "DATA-140", "no row below the header"),
    (("",), "DATA-140", "the table is empty"),
    (("path",  "a.png"), "DATA-141", "no column names a label"),
    (("label", "x"), "DATA-141", "no column names a path"),
    (("path:label", "a.png:x"), "DATA-141", "no column names a path"),
    (("path,file,label", "a.png,b.png,x"), "DATA-141", "both name a path"),
    (("path,x,x", "a.png,1.5,2"), "DATA-141", "the column 'x' is there twice"),
    (("path,label,tags", "a.png,x,y;z"), "DATA-141", "a label column and a labels column"),
    (("path,label", "../a.png,x"), "DATA-110", "holds '..'"),
    (("path,label", "/etc/passwd,x"), "DATA-110", "is not relative"),
    (("path,label", ",x"), "DATA-110", "is empty"),
])  # fmt: skip
def test_a_fault_is_told_with_its_row_and_column(lines: tuple[str, ...], code: str, told: str, root: Path):
    error = refused(table(root, *lines))
    assert error.code == code and told in error.what
    assert "labels.csv" in str(error)


def test_a_misspelt_split_is_answered_with_the_nearest(root: Path):
    assert "'train'" in refused(table(root, "path,label,split", "a.png,x,trian")).fix


def test_a_misspelt_header_is_answered_with_the_nearest(root: Path):
    assert refused(table(root, "path,lable", "a.png,x")).fix == "rename 'lable' to 'label'"


@pytest.mark.parametrize(("data", "told"), [
    (b"path,label\na\0.png,x\n", "row 2 holds a NUL byte"), ("path,label\na.png,x\n".encode("utf-16"), "UTF-16"),
    (b"path,label\na.png,caf\xe9\n", "row 2, column 'label': the text is not UTF-8"),
])  # fmt: skip
def test_bytes_that_are_no_text_are_told(data: bytes, told: str, root: Path):
    (root / "labels.csv").write_bytes(data)
    assert told in refused(root).what


def test_a_few_missing_files_are_listed_and_the_rest_is_read(root: Path):
    dataset = read(table(root, "path,label", "a.png,x", "gone.png,y", "b.png,y"), max_bad=0.5)
    assert list(dataset.ids) == ["a.png", "b.png"]
    assert dataset.bad == (("gone.png", "labels.csv, row 3: there is no such file"),)


def test_more_missing_files_than_may_be_stop_with_exit_3(root: Path):
    error = refused(table(root, "path,label", "a.png,x", "gone.png,y", "lost.png,y"))
    assert (
        isinstance(error, BadDataLimit)
        and (error.code, error.exit) == ("DATA-112", 3)
        and "row 3 gone.png" in error.where
    )


def test_a_table_none_of_whose_files_is_there_says_what_paths_are_relative_to(root: Path):
    error = refused(table(root, "path,label", "x/a.png,x"), max_bad=1)
    assert error.code == "DATA-111" and "relative to the table's folder" in error.fix


def test_a_link_out_of_the_folder_is_not_followed(root: Path, tmp_path_factory: pytest.TempPathFactory):
    outside = write_picture(tmp_path_factory.mktemp("outside") / "secret.png")
    (root / "link.png").symlink_to(outside)
    dataset = read(table(root, "path,label", "a.png,x", "link.png,y"), max_bad=0.5)
    assert [path for path, _ in dataset.bad] == ["link.png"]


def test_a_train_table_and_a_test_table_must_tell_the_same(root: Path):
    table(root, "path,label", "a.png,x", name="train.csv")
    error = refused(table(root, "path,height", "b.png,1.5", name="test.csv"))
    assert error.code == "DATA-141" and "height" in error.what


def test_a_folder_with_a_table_of_something_else_is_not_taken_for_it(root: Path):
    found = FORMATS["csv"].sniff(table(root, "epoch,loss", "1,0.5", name="log.csv"))
    assert found is not None and found.score == 0 and "no path column" in found.phrase


def test_the_odd_tables_get_the_answers_they_should(bad_inputs: Path, tmp_path: Path):
    expected = json.loads((bad_inputs / "annotations_expect.json").read_text())
    wrong = {}
    for name in ("a.jpg", "b.jpg"):
        write_picture(tmp_path / name)
    for path in sorted((bad_inputs / "annotations/csv").iterdir()):
        shutil.copyfile(path, tmp_path / path.name)
        try:
            read(tmp_path / path.name)
            answer = "ok"
        except DataError as error:
            answer = "refuse"
            assert path.name in str(error)
        wanted = expected[f"csv/{path.name}"]["expect"]
        if path.name == "semicolon.csv":  # refused by readers that know only commas; here its separator is recognised
            wanted = "ok"
        if answer != {"escape": "ok"}.get(wanted, wanted):  # escaping is for whoever writes a table
            wrong[path.name] = (wanted, answer)
    assert wrong == {}


words = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\x85\u2028\u2029"), min_size=1, max_size=6
)
labels = words.map(str.strip).filter(bool)


@settings(max_examples=200)
@given(
    known=st.lists(labels, min_size=1, max_size=8),
    tabs=st.booleans(),
    quoted=st.booleans(),
    lines=st.sampled_from(["\n", "\r\n"]),
)
def test_any_labels_come_back(
    known: list[str], tabs: bool, quoted: bool, lines: str, tmp_path_factory: pytest.TempPathFactory
):
    root = tmp_path_factory.mktemp("table")
    separator = "\t" if tabs else ","

    def field(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if quoted or separator in text or '"' in text else text

    rows = [separator.join(("path", "category"))]
    for i, label in enumerate(known):
        (root / f"{i}.png").touch()
        rows.append(separator.join((f"{i}.png", field(label))))
    path = root / f"labels.{'tsv' if tabs else 'csv'}"
    path.write_bytes(lines.join(rows).encode() + lines.encode())
    dataset = read(root)
    if dataset.column() == "numbers":  # all of them happen to be numbers, one with a fraction
        assert [float(label) for label in known] == pytest.approx(dataset.columns["numbers"].ravel().tolist())
    else:
        assert [dataset.classes[i] for i in dataset.columns["label"]] == known


@settings(max_examples=200)
@given(data=st.data())
def test_no_damage_crashes_the_reader(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("table")
    for name in NAMES:
        (root / name).touch()
    whole = bytearray(b'path,label,split,group\na.png,cat,train,1\nb.png,dog,val,2\nc.png,"owl, grey",test,3\n')
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        whole = whole or bytearray(b",")
    (root / "labels.csv").write_bytes(whole)
    try:
        dataset = read(root, max_bad=1)
    except (DataError, BadDataLimit) as error:
        assert error.code.startswith("DATA-1") and "labels.csv" in str(error) + str(root)
    else:
        assert len(dataset.columns[dataset.column()]) == len(dataset)


def test_a_table_is_opened_by_its_own_path_and_by_its_folder(root: Path):
    table(root, "path,label", "a.png,x", "b.png,y")
    by_file, by_folder = (open_data(path, DataSettings(), carve=False) for path in (root / "labels.csv", root))
    assert by_file.fingerprint() == by_folder.fingerprint()


def test_classes_called_nan_and_inf_are_classes(root: Path):
    assert read(table(root, "path,label", "a.png,inf", "b.png,nan")).classes == ("inf", "nan")


def test_a_number_beyond_what_a_network_computes_with_is_refused(root: Path):
    error = refused(table(root, "path,age", "a.png,1", "b.png,1e39"))
    assert error.code == "DATA-142" and "row 3, column 'age': 1e39 is too large a number" in error.what


@pytest.mark.parametrize("header", ["path,größe", "path,größe,alter"])
def test_names_of_columns_that_are_no_utf_8_are_refused(header: str, root: Path):
    rows = "\n".join(name + ",1" * header.count(",") for name in NAMES)
    (root / "labels.csv").write_bytes(f"{header}\n{rows}\n".encode("latin-1"))
    error = refused(root)
    assert error.code == "DATA-141" and "the name of column 2 is not UTF-8" in error.what


def test_a_space_behind_each_comma_belongs_to_no_field(root: Path):
    write_picture(root / "d, e.png", 3)
    dataset = read(table(root, "label, path", "owl, a.png", 'cat, "d, e.png"'))
    assert list(dataset.ids) == ["a.png", "d, e.png"] and dataset.classes == ("cat", "owl")


def test_paths_as_windows_writes_them_are_answered_with_what_to_write(root: Path):
    error = refused(table(root, "path,label", "one\\a.png,x", "one\\b.png,y"))
    assert error.code == "DATA-111" and error.fix.endswith("write / between folders, not \\")


def test_a_table_with_the_columns_of_boxes_is_left_to_their_reader(root: Path):
    found = FORMATS["csv"].sniff(table(root, "path,label,xmin,ymin,xmax,ymax", "a.png,x,1,1,5,5"))
    assert found is not None and found.score == 0 and "columns of boxes" in found.phrase
    assert open_data(root, DataSettings(), carve=False).format == "boxes_csv"


def test_numbers_named_as_sides_are_numbers_where_no_column_names_a_class(root: Path):
    dataset = open_data(table(root, "path,x,y,width,height", "a.png,1.5,1,5,5"), DataSettings(), carve=False)
    assert dataset.numbers == ("x", "y", "width", "height")


def test_a_formula_is_guarded_where_it_is_written_and_comes_back(root: Path):
    names = ("=cmd|'/c calc'!A1", "'=x", "@home", "-1", "+a", "''-b", "'x", "cat")
    label = np.arange(len(NAMES)) % len(names)
    for shift in range(0, len(names), len(NAMES)):
        dataset = read(table(root, "path,label", *(f"{name},{i}" for i, name in enumerate(NAMES))))
        dataset = dataset.with_(classes=names, columns={"label": (label + shift) % len(names)})
        written(dataset, root / f"{shift}")
        text = (root / f"{shift}/labels.csv").read_text()
        assert not any(field.startswith(("=", "+", "@")) for line in text.splitlines() for field in line.split(","))
        back = read(root / f"{shift}")
        known = [back.classes[i] for i in back.columns["label"]]
        assert known == [names[i] for i in dataset.columns["label"]]


@pytest.mark.parametrize("header", ["path,label,split", "path,tags,person", "path,x,y", "path,cat,dog"])
def test_what_is_written_comes_back(header: str, root: Path):
    rows = {
        "label": ("cat,val", "dog,train", "cat,test"), "tags": ("cat;dog,1", ",2", "cat,1"),
        "x": ("1.5,0.1", ",1e30", "-3,7"), "cat": ("1,0", "1,1", "0,0"),
    }[header.split(",")[1]]  # fmt: skip
    dataset = read(table(root, header, *(f"{name},{row}" for name, row in zip(NAMES, rows, strict=True))))
    written(dataset, root / "copy")
    assert differences(dataset, read(root / "copy")) == []


def test_several_classes_that_a_list_would_not_tell_apart_are_written_as_columns(root: Path):
    dataset = read(table(root, "path,a;b,c|d", "a.png,1,0", "b.png,0,1", "c.png,1,1"))
    assert dataset.classes == ("a;b", "c|d") and dataset.column() == "labels"
    written(dataset, root / "copy")
    assert differences(dataset, read(root / "copy")) == []


def written(dataset: Dataset, folder: Path) -> None:
    """Write a data set's table and, beside it, its pictures."""
    folder.mkdir()
    for name in NAMES:
        shutil.copyfile(folder.parent / name, folder / name)
    FORMATS["csv"].write(dataset, folder)


def test_numbers_named_as_sides_are_noted_as_such(root: Path):
    (note,) = read(table(root, "path,xmin,ymin,xmax,ymax", "a.png,1,2,5,6")).notes
    assert note == "xmin, ymin, xmax, ymax: read as numbers to predict; boxes need a label column beside them"
