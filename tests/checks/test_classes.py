"""Counts of classes, and sizes of the parts that judge."""

from __future__ import annotations

import numpy as np
import pytest
from tests.checks.examples import codes, dataset, only, subject

from visus.checks.classes import look, needed
from visus.core.errors import DataError
from visus.data.dataset import Fault
from visus.data.objects import Mark, Objects


def found(train, val=(1000, 1000), test=(1000, 1000), **more):
    """Return the findings on so many pictures of each class in each part."""
    labels = [k for part in (train, val, test) for k, n in enumerate(part) for _ in range(n)]
    split = [s for s, part in enumerate((train, val, test)) for n in part for _ in range(n)]
    return list(look(subject(dataset(labels, split=split, **more))))


def test_even_classes_in_large_parts_are_no_finding():
    assert found((500, 500)) == []


def test_classes_of_fewer_than_ten_training_pictures_are_rare_the_rarest_first():
    finding = only(found((9, 3, 50), (1000,) * 3, (1000,) * 3, classes=("ant", "bee", "cow")), "CHECK-015")
    assert [(item.file, item.why) for item in finding.items] == [
        ("bee", "3 training pictures"), ("ant", "9 training pictures")]  # fmt: skip


def test_a_class_a_tenth_as_frequent_as_another_is_easily_ignored():
    assert codes(found((500, 51))) == []
    finding = only(found((500, 50)), "CHECK-014")
    assert "'cat' has 10 times as many training pictures as 'dog'" in finding.title


@pytest.mark.parametrize(("part", "level"), [("train", "error"), ("val", "warning"), ("test", "warning")])
def test_a_class_that_a_part_does_not_show_is_named(part, level):
    counts = {"train": (500, 500), "val": (1000, 1000), "test": (1000, 1000), part: (1000, 0)}
    finding = only(found(**counts), "CHECK-016")
    assert finding.level == level and [item.file for item in finding.items] == ["dog"]


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_part_that_is_to_judge_boxes_and_has_none_is_an_error(part):
    marks = {"train": [Mark((0, 0, 9, 9), k) for k in (0, 1)], "val": [Mark((0, 0, 9, 9), 0), Mark((0, 0, 9, 9), 1)]}
    marks |= {"test": marks["val"], part: []}
    data = dataset(marks=[marks[each] for each in ("train", "val", "test")], split=[0, 1, 2])
    finding = only(list(look(subject(data))), "CHECK-016")
    assert finding.level == "error" and finding.consequence == "mislead" and "measures nothing" in finding.why


def test_a_part_that_is_not_there_misses_no_class():
    assert codes(found((500, 500), val=(0, 0))) == []


def test_a_small_part_is_told_with_the_number_that_is_needed():
    finding = only(found((500, 500), val=(50, 50)), "CHECK-017")
    assert finding.level == "note" and "validation has 100 (±5.9 points)" in finding.title
    assert finding.fix == "collect more: 865 give ±2 points" and "±5.9 points" in finding.items[0].why


@pytest.mark.parametrize(("count", "carved", "advised"), [
    (20_000, ("val",), "; or --set data.validation=0.05"), (500, ("val",), ""), (20_000, (), ""),
])  # fmt: skip
def test_more_is_to_be_carved_only_where_visus_carves_and_the_data_has_enough(count, carved, advised):
    data = dataset([0, 1] * (count // 2), split=[1] * 100 + [0] * (count - 100), carved=carved)
    assert only(list(look(subject(data))), "CHECK-017").fix == f"collect more: 865 give ±2 points{advised}"


def test_a_class_that_training_stops_at_is_told_once():
    fault = Fault(DataError("DATA-131", "test/dog: not in train"), "test/dog", range(600, 1600))
    data = dataset([0] * 600 + [1] * 1000, split=[0] * 600 + [2] * 1000, faults=(fault,))
    assert "training" not in only(list(look(subject(data))), "CHECK-016").title


def test_the_number_needed_gives_the_interval_asked_for():
    """By simulation: the share of 865 coins of 0.9 lies within 2 points of 0.9 in 95 % of all draws."""
    draws = np.random.Generator(np.random.Philox(0)).binomial(needed(0.02), 0.9, 200_000) / needed(0.02)
    assert (np.abs(draws - 0.9) <= 0.02).mean() == pytest.approx(0.95, abs=0.006)


def test_pictures_without_a_class_are_noted():
    labels = [0, 1] * 1000 + [-1]
    finding = only(list(look(subject(dataset(labels)))), "CHECK-018")
    assert [item.file for item in finding.items] == ["2000.png"] and finding.level == "note"


def test_several_classes_a_picture_are_counted_each():
    shown = np.tile(np.array([[1, 1], [1, 0]], np.uint8), (1000, 1))
    shown[5:, 1] = 0
    data = dataset(count=2000).with_(columns={"labels": shown})
    assert codes(list(look(subject(data)))) == ["CHECK-014", "CHECK-015"]


def test_data_without_classes_is_no_finding():
    assert list(look(subject(dataset(count=3, classes=())))) == []


def test_classes_of_boxes_are_counted_by_the_pictures_that_show_them():
    cat, dog, owl = (Mark((0, 0, 9, 9), k) for k in range(3))
    marks = [[cat, cat]] * 500 + [[cat, dog]] * 20 + [[dog]] + [[cat]] * 50 + [[]]
    data = dataset(marks=marks, split=[0] * 521 + [1] * 51, classes=("cat", "dog", "owl", "ape"))
    data = data.with_(objects=Objects.of([*marks[:-1], [owl]]))
    found = list(look(subject(data)))
    told = {(one.code, one.level): [item.file for item in one.items] for one in found if one.code != "CHECK-016"}
    assert told == {("CHECK-014", "warning"): ["dog"]} and "'cat' has 25 times" in only(found[2:], "CHECK-014").title
    assert [(one.level, [item.file for item in one.items]) for one in found if one.code == "CHECK-016"] == [
        ("warning", ["owl", "ape"]), ("warning", ["dog", "ape"]),
    ]  # fmt: skip
