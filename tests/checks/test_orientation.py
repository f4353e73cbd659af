"""Which way up labels were drawn where EXIF turns pictures."""

from __future__ import annotations

from tests.checks.examples import dataset, only, seen, subject

from visus.checks.orientation import look
from visus.data.objects import Mark, Remark

PORTRAIT = (600, 400)
UPRIGHT, LYING, EITHER = (10, 500, 300, 590), (500, 10, 590, 300), (10, 10, 300, 300)


def found(*boxes, orientation=6, remarks=()):
    """Return the findings on portraits turned by EXIF, each with one box or none."""
    marks = [[Mark(box, 0)] if box else [] for box in boxes]
    all_of_them = range(len(boxes))
    turned = seen(
        len(boxes), size=dict.fromkeys(all_of_them, PORTRAIT), orientation=dict.fromkeys(all_of_them, orientation)
    )
    return list(look(subject(dataset(marks=marks, remarks=remarks), turned)))


def told(findings):
    return {finding.code: finding.level for finding in findings}


def test_boxes_that_fit_the_upright_picture_alone_are_no_finding():
    assert found(UPRIGHT, None) == []


def test_boxes_that_fit_the_lying_picture_alone_are_an_error():
    finding = only(found(UPRIGHT, LYING), "CHECK-027")
    assert finding.level == "error" and [item.index for item in finding.items] == [1]
    assert "those of 1 more fit upright" in finding.why


def test_boxes_that_fit_both_ways_are_noted():
    assert told(found(EITHER)) == {"CHECK-028": "note"}


def test_where_others_tell_the_unsure_follow_the_upright_and_are_doubted_beside_the_lying():
    assert found(EITHER, UPRIGHT) == []
    assert told(found(EITHER, LYING, UPRIGHT)) == {"CHECK-027": "error", "CHECK-028": "warning"}


def test_a_box_drawn_in_a_hurry_is_no_evidence():
    assert told(found((10, 10, 407, 300))) == {"CHECK-028": "note"}


def test_boxes_that_the_reader_cut_far_beyond_the_edge_were_drawn_lying():
    cut = Remark(
        "Annotations/0.xml", "clipped", "DATA-246", "the box reaches 190 pixels beyond the picture (400 x 600)"
    )
    assert told(found((300, 10, 400, 300), remarks=(cut,))) == {"CHECK-027": "error"}
    rounding = Remark("Annotations/0.xml", "clipped", "DATA-246", "the box reaches 1 pixels beyond the picture")
    assert told(found(EITHER, remarks=(rounding,))) == {"CHECK-028": "note"}


def test_a_half_turn_and_a_mirror_keep_the_size_and_tell_nothing():
    assert told(found(LYING, orientation=3)) == {"CHECK-028": "note"}
    assert found(LYING, orientation=1) == []
