"""What the decode door says of pictures, by kind; and pictures that EXIF turns."""

from __future__ import annotations

from tests.checks.examples import codes, dataset, only, seen, subject

from visus.checks.odd import kind_of, look


def found(**odd):
    return list(look(subject(dataset(count=6), seen(6, **odd))))


def test_usual_pictures_are_no_finding():
    assert found() == []


def test_warnings_that_differ_in_numbers_alone_are_one_kind():
    said = found(warnings={1: ("its floats reach from -1 to 2.5, not from 0 to 1",), 4: (
        "its floats reach from 0 to 3e+07, not from 0 to 1",)})  # fmt: skip
    assert codes(said) == ["CHECK-004"]
    assert [item.file for item in said[0].items] == ["1.png", "4.png"] and "-1 to 2.5" in said[0].items[0].why


def test_names_that_lie_are_one_note_whatever_the_formats():
    said = found(
        warnings={0: ("the content is png, the name says jpeg",), 1: ("the content is gif, the name says bmp",)}
    )
    assert [(finding.level, len(finding.items)) for finding in said] == [("note", 2)]


def test_several_frames_are_a_finding_of_their_own():
    said = found(warnings={2: ("it holds several frames or pages; the first is read", "its colour profile is damaged")})
    assert codes(said) == ["CHECK-004", "CHECK-005"]


def test_turned_pictures_are_read_as_they_are():
    finding = only(found(orientation={0: 6, 5: 3}), "CHECK-003")
    assert finding.level == "note" and [item.status for item in finding.items] == ["ok", "ok"]
    assert finding.items[0].why == "orientation 6"


def test_a_kind_has_no_numbers():
    assert kind_of("its 32-bit integers, up to 70,000, are read as a share of 2,147,483,647") == (
        "its …-bit integers, up to …, are read as a share of …"
    )
