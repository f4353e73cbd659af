"""Pictures that stand out from the rest by shape, size, channels or depth."""

from __future__ import annotations

from dataclasses import replace

from tests.checks.examples import codes, dataset, only, seen, subject

from visus.checks.shapes import look
from visus.core.recipe import InputSettings


def found(count=40, trained=64, **odd):
    return list(look(subject(dataset(count=count), seen(count, **odd), size=trained)))


def test_pictures_of_one_kind_are_no_finding():
    assert found() == []


def test_one_long_picture_among_squares_is_found_and_a_folder_of_lines_of_text_is_not():
    finding = only(found(size={3: (64, 640)}), "CHECK-006")
    assert [(item.file, item.why) for item in finding.items] == [("3.png", "640 x 64 pixels, 10 to 1")]
    assert found(size={i: (64, 640 + i) for i in range(40)}) == []


def test_a_long_picture_is_three_times_as_long_as_usual():
    wide = dict.fromkeys(range(40), (64, 160))
    assert found(size=wide | {0: (64, 470)}) == []
    assert codes(found(size=wide | {0: (64, 490)})) == ["CHECK-006"]


def test_a_narrow_strip_is_no_thumbnail_where_whole_pictures_are_fitted_into_a_frame():
    of = subject(dataset(count=40), seen(40, size=dict.fromkeys(range(40), (300, 400)) | {7: (50, 20_000)}), size=160)
    padded = replace(of, recipe=of.recipe.model_copy(update={"input": InputSettings(size=(160, 160), fit="pad")}))
    assert codes(list(look(of))) == ["CHECK-006", "CHECK-007"] and codes(list(look(padded))) == ["CHECK-006"]


def test_a_thumbnail_among_photographs_is_found_and_a_folder_of_thumbnails_is_not():
    photographs = dict.fromkeys(range(40), (300, 400))
    finding = only(found(trained=160, size=photographs | {7: (60, 70), 8: (20, 30)}), "CHECK-007")
    assert [item.file for item in finding.items] == ["8.png", "7.png"]
    assert found(trained=160, size=dict.fromkeys(range(40), (32, 32))) == []


def test_grey_among_colours_is_noted_and_the_fewer_are_listed():
    finding = only(found(channels={0: 1, 1: 1}), "CHECK-008")
    assert finding.level == "note" and "38 colour, 2 grey" in finding.title
    assert [item.file for item in finding.items] == ["0.png", "1.png"]


def test_depths_that_differ_are_a_warning():
    finding = only(found(depth={9: 16}), "CHECK-009")
    assert finding.level == "warning" and [item.why for item in finding.items] == ["of 16 bits"]


def test_what_could_not_be_read_has_no_shape():
    assert list(look(subject(dataset(count=2), seen(2, reasons={0: "damaged", 1: "damaged"})))) == []
    assert list(look(subject(dataset(count=3), seen(3, reasons={0: "damaged"}, channels={0: 0}, depth={0: 0})))) == []
