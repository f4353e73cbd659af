"""What the reader of the format mended, cut or left out."""

from __future__ import annotations

from tests.checks.examples import dataset, only, subject

from visus.checks.remarks import look
from visus.core.errors import DataError
from visus.data.dataset import Fault, Strings
from visus.data.objects import Remark


def found(*remarks, **more):
    return list(look(subject(dataset(count=3, remarks=remarks, **more))))


def test_a_reader_that_had_nothing_to_remark_is_no_finding():
    assert found() == []


def test_remarks_are_gathered_by_their_code_and_name_file_place_and_status():
    said = found(
        Remark("1.png", "clipped", "DATA-213", "the box reaches 3 pixels out", "annotations[7].bbox"),
        Remark("2.png", "clipped", "DATA-213", "the box reaches 9 pixels out", "annotations[9].bbox"),
        Remark("labels.csv", "skipped", "DATA-214", "the box has no area", "line 4"),
    )
    assert [(finding.code, finding.level, len(finding.items)) for finding in said] == [
        ("DATA-213", "warning", 2), ("DATA-214", "warning", 1)]  # fmt: skip
    first = said[0].items[0]
    assert (first.file, first.status, first.where, first.index) == ("1.png", "clipped", "annotations[7].bbox", 1)
    assert said[1].items[0].index == -1 and said[0].title.startswith("2 places in the files are cut")


def test_a_remark_on_one_file_about_another_picture_is_drawn_with_that_picture():
    (finding,) = found(Remark("a.json", "clipped", "DATA-220", "the box", "annotations[7].bbox", picture="2.png"))
    assert (finding.items[0].file, finding.items[0].index) == ("a.json", 2)


def test_a_remark_on_a_whole_file_counts_files_and_says_what_to_do():
    (finding,) = found(Remark("cat/a", "skipped", "DATA-132", "a link that leads nowhere", fix="remove the link"))
    assert (finding.title, finding.fix) == ("1 file is left out: a link that leads nowhere", "remove the link")


def test_faults_are_errors_that_refuse_what_they_concern():
    faults = (
        Fault(DataError("DATA-130", "pets/train/frog: no picture", fix="remove it"), "train/frog"),
        Fault(DataError("DATA-131", "pets/test/cow: not in train", where="train has 2"), "test/cow", range(1, 3)),
        Fault(DataError("DATA-130", "pets/train/newt: no picture"), "train/newt"),
    )
    empty, untrained = found(faults=faults)
    assert (empty.level, empty.title) == ("error", "no picture: train/frog, and 1 more")
    assert [(item.file, item.status) for item in empty.items] == [
        ("train/frog", "refused"), ("train/newt", "refused")]  # fmt: skip
    assert [(item.file, item.index) for item in untrained.items] == [("1.png", 1), ("2.png", 2)]
    assert untrained.why == "training stops at it: train has 2"


def test_pictures_that_are_listed_but_missing_are_skipped():
    finding = only(found(bad=(("gone.png", "there is no such file"),)), "CHECK-020")
    assert [(item.file, item.status) for item in finding.items] == [("gone.png", "skipped")]


def test_an_annotation_file_speaks_of_the_picture_of_its_name_where_there_is_one_alone():
    said = found(
        Remark("Annotations/1.xml", "clipped", "DATA-213", "out"), Remark("9.xml", "skipped", "DATA-214", "no")
    )
    assert {finding.items[0].file: finding.items[0].index for finding in said} == {"Annotations/1.xml": 1, "9.xml": -1}
    twice = dataset(count=2, remarks=(Remark("a.xml", "clipped", "DATA-213", "out"),)).with_(
        ids=Strings(["a.png", "b/a.png"])
    )
    assert [finding.items[0].index for finding in look(subject(twice))] == [-1]
