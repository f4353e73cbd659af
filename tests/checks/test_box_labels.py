"""Doubts on boxes that are put together by hand, and what the check says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.checks.examples import codes, dataset, only, seen, subject

from visus.checks import CHECKS, Detections, Finding
from visus.checks._box_doubts import KINDS, Doubts, doubts
from visus.data.objects import Mark, Objects

HERE, APART, BESIDE, LOOSE = (10, 10, 30, 30), (40, 40, 60, 60), (18, 18, 38, 38), (14, 10, 34, 30)
"""Boxes of 20 x 20; the last two overlap the first by 144/656 and 320/480."""

Found = tuple[int, Sequence[float], int, float]
"""A detection: record, box, class, score."""

COUNT = 20


def usual(**more: list[Mark]) -> list[list[Mark]]:
    """Return 20 pictures with one box of alternating class each; ``p3=[...]``: what else is stated on picture 3."""
    return [[Mark(HERE, i % 2), *more.get(f"p{i}", [])] for i in range(COUNT)]


def seen_as_stated(but: Sequence[int] = ()) -> list[Found]:
    """Return detections with a score of 0.8 of every usual box, except on some pictures."""
    return [(i, HERE, i % 2, 0.8) for i in range(COUNT) if i not in but]


def detections(found: Sequence[Found], count: int = COUNT) -> Detections:
    record, box, label, score = zip(*found, strict=True) if found else ((), np.zeros((0, 4)), (), ())
    return Detections(
        np.array(record, np.int64), np.array(label, np.int64), np.array(score, np.float64),
        np.array(box, np.float64).reshape(-1, 4), np.ones(count, np.bool_),
    )  # fmt: skip


def asked(marks: list[list[Mark]], found: Sequence[Found]) -> Doubts:
    return doubts(Objects.of(marks), detections(found, len(marks)), 2)


def listed(found: Doubts) -> dict[str, list[int]]:
    """Return the records that are doubted, by kind, without the kinds of which none is."""
    return {kind: [doubt.record for doubt in of] for kind, of in found.of.items() if of}


def test_boxes_that_detectors_find_as_they_are_stated_are_not_doubted():
    found = asked(usual(), seen_as_stated())
    assert listed(found) == {} and found.thresholds.tolist() == pytest.approx([0.8, 0.8]) and found.asked.all()


def test_a_box_on_which_another_class_is_seen_and_its_own_is_not_is_of_a_wrong_class():
    found = asked(usual(), [*seen_as_stated(but=[4]), (4, LOOSE, 1, 0.9)])
    assert listed(found) == {"class": [4]}
    (doubt,) = found.of["class"]
    assert (doubt.object, doubt.found, doubt.rank) == (4, 19, 0.9) and doubt.overlap == pytest.approx(320 / 480)


def test_the_rank_of_a_wrong_class_falls_with_what_speaks_for_the_stated_one():
    found = asked(usual(), [*seen_as_stated(but=[4]), (4, HERE, 1, 0.9), (4, HERE, 0, 0.3)])
    assert [round(doubt.rank, 6) for doubt in found.of["class"]] == [round(0.9 * 0.7, 6)]


@pytest.mark.parametrize(
    "found",
    [
        [*seen_as_stated(), (4, HERE, 1, 0.8)],  # its own class is seen as surely
        [*seen_as_stated(but=[4]), (4, HERE, 1, 0.7)],  # less sure than that class usually is
        [*seen_as_stated(), (4, APART, 1, 0.7), (5, APART, 0, 0.2)],
    ],
)
def test_what_detectors_are_not_sure_of_is_no_doubt(found):
    assert listed(asked(usual(), found)) == {}


def test_what_is_surely_seen_where_no_box_is_lacks_one():
    found = asked(usual(), [*seen_as_stated(), (3, APART, 0, 0.85), (6, APART, 1, 0.95)])
    assert listed(found) == {"missing": [6, 3]}
    assert [(doubt.object, doubt.found, doubt.rank) for doubt in found.of["missing"]] == [
        (-1, 21, 0.95),
        (-1, 20, 0.85),
    ]


def test_one_object_that_is_seen_as_two_classes_lacks_one_box():
    found = asked(usual(), [*seen_as_stated(), (3, APART, 0, 0.85), (3, (41, 41, 61, 61), 1, 0.9)])
    assert [(doubt.record, doubt.found) for doubt in found.of["missing"]] == [(3, 21)]


@pytest.mark.parametrize("region", [Mark((35, 35, 64, 64), 0, crowd=True), Mark((35, 35, 64, 64), -1)])
def test_what_is_seen_in_a_region_of_many_or_of_an_unknown_class_lacks_no_box(region):
    found = asked(usual(p3=[region]), [*seen_as_stated(), (3, APART, 0, 0.9), (3, APART, 1, 0.9)])
    assert listed(found) == {} and found.asked.sum() == COUNT


def test_a_box_near_which_nothing_is_seen_is_on_nothing():
    found = asked(usual(p7=[Mark(APART, 1)]), [*seen_as_stated(), (7, APART, 0, 0.02)])
    assert listed(found) == {"extra": [7]}
    (doubt,) = found.of["extra"]
    assert (doubt.object, doubt.found, doubt.sure) == (8, -1, 0.02) and doubt.rank == pytest.approx(1 - 0.02 / 0.8)


def test_a_neighbour_that_overlaps_a_box_a_little_does_not_speak_for_it():
    found = asked(usual(p7=[Mark((25, 10, 45, 30), 1)]), seen_as_stated())  # the IoU of the two is 100/700
    assert listed(found) == {"extra": [7]}
    assert found.of["extra"][0].sure == pytest.approx(0.8 / 7)


def test_a_box_that_is_seen_faintly_is_not_doubted():
    assert listed(asked(usual(), [*seen_as_stated(but=[4]), (4, HERE, 0, 0.2)])) == {}


def test_of_boxes_on_nothing_that_are_ranked_alike_the_largest_comes_first():
    small, large = Mark((40, 40, 50, 50), 1), Mark((36, 36, 64, 64), 1)
    found = asked(usual(p2=[small], p9=[large]), seen_as_stated())
    assert listed(found) == {"extra": [9, 2]}


def test_in_a_class_that_is_often_overlooked_no_box_is_said_to_be_on_nothing():
    found = asked(usual(), seen_as_stated(but=[1, 3, 5, 6]))  # three of ten, and one of ten
    assert listed(found) == {"extra": [6]} and found.unseen == (1,)


def test_a_class_that_is_never_found_is_asked_nothing():
    found = asked(usual(), [f for f in seen_as_stated() if f[2] == 0] + [(1, HERE, 0, 0.5)])
    assert listed(found) == {} and found.thresholds[1] == np.inf and found.unseen == ()


def test_a_class_that_is_seen_as_surely_where_it_is_not_is_asked_nothing():
    nonsense = [(i, box, 1, 0.8) for i in range(8) for box in (APART, (40, 5, 60, 25))]  # 16, and 10 that are right
    found = asked(usual(), [*seen_as_stated(but=[4]), (4, HERE, 1, 0.9), *nonsense])
    assert listed(found) == {}
    assert found.thresholds.tolist() == [pytest.approx(0.8), np.inf]


def test_a_box_that_is_seen_beside_where_it_stands_is_badly_placed():
    found = asked(usual(), [*seen_as_stated(but=[4]), (4, BESIDE, 0, 0.9)])
    assert listed(found) == {"place": [4]}
    (doubt,) = found.of["place"]
    assert (doubt.object, doubt.found) == (4, 19) and doubt.overlap == pytest.approx(144 / 656)
    assert doubt.rank == pytest.approx(0.9 * (1 - 144 / 656))


def test_where_boxes_usually_fit_loosely_a_loose_one_is_not_badly_placed():
    spread = [(10 + i % 5 * 1.5, 10, 30 + i % 5 * 1.5, 30) for i in range(COUNT)]  # IoU from 1 down to 0.54
    assert listed(asked(usual(), [(i, spread[i], i % 2, 0.8) for i in range(COUNT)])) == {}
    tight = [*seen_as_stated(but=[4]), (4, (16, 10, 36, 30), 0, 0.8)]
    assert listed(asked(usual(), tight)) == {"place": [4]}  # the same IoU, where all others fit


def test_another_object_beside_a_box_that_is_seen_where_it_stands_does_not_move_it():
    found = asked(usual(), [*seen_as_stated(but=[4]), (4, HERE, 0, 0.4), (4, BESIDE, 0, 0.9)])
    assert listed(found) == {"missing": [4]}


def test_a_box_is_doubted_once_though_two_things_speak_against_it():
    found = asked(usual(), [*seen_as_stated(but=[4]), (4, LOOSE, 1, 0.9), (4, BESIDE, 0, 0.85)])
    assert listed(found) == {"class": [4]} or listed(found) == {"class": [4], "missing": [4]}
    assert [doubt.object for kind in KINDS for doubt in found.of[kind]].count(4) == 1


def test_a_detection_speaks_against_one_box():
    beside = Mark((24, 10, 44, 30), 1)  # which the detection overlaps by a third, and the usual box by two
    assert listed(asked(usual(p4=[beside]), [*seen_as_stated(but=[4]), (4, LOOSE, 1, 0.9)])) == {"class": [4]}


def test_boxes_without_area_and_pictures_that_were_not_judged_are_not_asked_about():
    said = detections(seen_as_stated(but=[0, 5]))
    said.judged[5] = False
    found = doubts(Objects.of(usual(p0=[Mark((5, 5, 5, 9), 0)])), said, 2)
    assert listed(found) == {"extra": [0]} and np.flatnonzero(~found.asked).tolist() == [1, 6]


def test_the_surest_detections_are_a_twentieth_of_each_class_and_those_that_contradict_are_counted():
    marks = [[Mark(HERE, i % 2)] for i in range(80)]  # 40 of each class: the two surest of each
    found = [(i, HERE, i % 2, 0.8) for i in range(80) if i != 4]
    found += [(4, HERE, 1, 0.95), (6, APART, 0, 0.99), (8, APART, 0, 0.81)]
    of, counts = doubts(Objects.of(marks), detections(found, 80), 2).surest
    assert (of, counts) == (4, {"class": 1, "missing": 2, "extra": 0, "place": 0})


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_object_and_no_detection_is_told_twice_and_the_order_of_detections_does_not_matter(seed):
    random = np.random.default_rng(seed)

    def box() -> tuple[float, float, float, float]:
        x, y, w, h = random.uniform([0, 0, 8, 8], [40, 40, 24, 24]).tolist()
        return x, y, x + w, y + h

    marks = [[Mark(box(), int(random.integers(-1, 2)), crowd=bool(random.random() < 0.1)) for _ in range(i % 4)]
             for i in range(30)]  # fmt: skip
    found = [(i, np.array(mark.box) + random.normal(0, 2, 4), max(0, mark.label), float(random.random()))
             for i, stated in enumerate(marks) for mark in stated]  # fmt: skip
    found += [(int(random.integers(30)), box(), int(random.integers(2)), float(random.random())) for _ in range(30)]
    told = asked(marks, found)
    every = [doubt for kind in KINDS for doubt in told.of[kind]]
    objects, rows = ([getattr(doubt, part) for doubt in every] for part in ("object", "found"))
    for numbers in (objects, rows):
        held = [number for number in numbers if number >= 0]
        assert len(held) == len(set(held))
    assert all(0 <= doubt.rank <= 1 for doubt in every)
    turned = asked(marks, found[::-1])
    for kind in KINDS:
        again = [(d.record, d.object, len(found) - 1 - d.found if d.found >= 0 else -1) for d in turned.of[kind]]
        assert sorted(again) == sorted((d.record, d.object, d.found) for d in told.of[kind])


def looked(marks: list[list[Mark]], found: Sequence[Found] | None, **more: object) -> list[Finding]:
    data = dataset(marks=marks, classes=more.pop("classes", ("cat", "dog")))
    about = replace(subject(data, more.pop("seen", None)), **more)
    said = None if found is None else lambda: detections(found, len(marks))
    return list(CHECKS["box_labels"].look(replace(about, detections=said)))


def test_nothing_is_said_where_boxes_are_not_to_be_examined():
    assert looked(usual(), None) == []


def test_each_kind_is_a_finding_with_file_box_and_classes_the_worst_first():
    found = looked(
        usual(p7=[Mark(APART, 1)]),
        [*seen_as_stated(but=[4, 6]), (4, HERE, 1, 0.9), (6, BESIDE, 0, 0.9), (2, APART, 1, 0.95), (3, APART, 0, 0.85)],
    )
    assert codes(found) == ["CHECK-060", "CHECK-061", "CHECK-062", "CHECK-063"]
    assert only(found, "CHECK-060").title.startswith(
        "1 box seems to be of another class than labelled: too few objects"
    )
    (wrong,) = only(found, "CHECK-060").json()["items"]
    assert {key: wrong[key] for key in ("file", "record", "where", "label", "suggested", "stated", "suspected")} == {
        "file": "4.png", "record": 4, "where": "box 1", "label": "cat", "suggested": "dog",
        "stated": list(HERE), "suspected": list(HERE),
    }  # fmt: skip
    first, second = only(found, "CHECK-061").json()["items"]
    assert (first["file"], first["suggested"], first["suspected"]) == ("2.png", "dog", list(APART))
    assert first["rank"] > second["rank"] and "stated" not in first and "where" not in first
    (extra,) = only(found, "CHECK-062").json()["items"]
    assert (extra["file"], extra["where"], extra["label"]) == ("7.png", "box 2", "dog") and "suspected" not in extra
    (beside,) = only(found, "CHECK-063").items
    assert (beside.file, beside.why) == ("6.png", "cat, found elsewhere (0.90): the boxes overlap by 22%")


def test_a_share_of_mistakes_is_estimated_where_enough_detections_are_sure():
    marks = [[Mark(HERE, i % 2)] for i in range(2000)]
    found = [(i, HERE, i % 2, 0.8) for i in range(2000) if i != 4] + [(4, HERE, 1, 0.95)]
    (told,) = looked(marks, found)
    assert told.title.endswith("; by estimate 1.0% of all objects are (0.2% to 5.4%)")


def test_few_pictures_are_answered_in_words_and_no_detector_is_trained():
    (told,) = looked(usual()[:19], [])
    assert (told.code, told.level) == ("CHECK-064", "note")
    assert told.why == "19 readable pictures show objects of a known class, and it takes 20 to learn from"
    (told,) = looked([*usual()[:10], *[[] for _ in range(30)]], [])
    assert told.why.startswith("10 readable pictures")
    (told,) = looked(usual(), [], seen=seen(COUNT, reasons={3: "the file ends early"}))
    assert told.why.startswith("19 readable pictures")


def test_pictures_of_a_single_group_are_answered_in_words():
    data = dataset(marks=usual())
    nobody = replace(detections([]), judged=np.zeros(COUNT, np.bool_))
    (told,) = CHECKS["box_labels"].look(replace(subject(data), detections=lambda: nobody))
    assert (told.code, told.why) == ("CHECK-064", "all pictures belong to one group, and groups stay whole")


def test_data_that_training_would_not_begin_on_is_answered_in_words():
    (told,) = looked(usual(), [], recipe=None)
    assert (told.code, told.why) == ("CHECK-064", "training would not begin on this data")


def test_of_a_single_class_everything_but_wrong_classes_is_asked():
    marks = [[Mark(HERE, 0)] for _ in range(COUNT)]
    found = looked(marks, [(i, HERE, 0, 0.8) for i in range(COUNT)] + [(3, APART, 0, 0.9)], classes=("cell",))
    assert codes(found) == ["CHECK-061", "CHECK-064"] and "one class" in only(found, "CHECK-064").title


def test_pictures_without_objects_are_examined_too():
    found = looked([*usual(), []], [*seen_as_stated(), (20, APART, 1, 0.9)])
    assert [item.file for item in only(found, "CHECK-061").items] == ["20.png"]


def test_a_class_that_detectors_did_not_learn_to_know_is_told():
    marks, found = usual(), [f for f in seen_as_stated() if f[2] == 0]
    (told,) = looked(marks, found)
    assert told.code == "CHECK-064" and told.title.startswith("of dog nothing was asked: ")


def test_regions_and_classes_that_cannot_be_asked_about_are_told():
    crowd = Mark((35, 35, 64, 64), 0, crowd=True)
    found = looked(usual(p3=[crowd]), seen_as_stated(but=[1, 3, 5]))
    assert codes(found) == ["CHECK-064", "CHECK-064"]
    assert [finding.title for finding in found] == [
        "1 region of many objects or of unknown class was not examined",
        "boxes on nothing were not looked for among dog",
    ]
