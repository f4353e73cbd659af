"""What is there twice is told at the level it deserves, beside what it is like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.data.examples import write_mask
from tests.data.test_near import cut, scenes

from visus.checks import CHECKS, Finding, Subject
from visus.data.dataset import ArrayImages, Dataset, Strings
from visus.data.looking import look
from visus.data.objects import ClassMaps, Mark, Objects

TRAIN, VAL, TEST = range(3)


def made(pictures: np.ndarray, split: list[int], label: list[int] | None = None, **rest: object) -> Dataset:
    columns = {} if label is None else {"label": np.array(label, np.int64)}
    return Dataset(
        name="made", root=Path("made"), format="idx", evidence="",
        ids=Strings([f"{i:03d}.png" for i in range(len(split))]), images=ArrayImages(pictures),
        columns=columns, split=np.array(split, np.uint8), classes=("cat", "dog"), **rest,
    )  # fmt: skip


def findings(dataset: Dataset, check: str = "duplicates") -> dict[str, Finding]:
    subject = Subject(dataset, look(dataset), None, lambda: pytest.fail("not needed"), None, lambda sentence: None)
    told = list(CHECKS[check].look(subject))
    assert len({one.code for one in told}) == len(told)
    return {one.code: one for one in told}


def test_different_pictures_are_nothing_to_speak_of():
    assert findings(made(scenes(60), [TRAIN] * 40 + [TEST] * 20, [0, 1] * 30)) == {}


def test_the_same_pixels_in_two_splits_are_an_error_beside_their_first():
    pictures = scenes(60)
    pictures[50] = pictures[3]
    (told,) = findings(made(pictures, [TRAIN] * 40 + [TEST] * 20, [0] * 60)).values()
    assert (told.code, told.level, len(told.items)) == ("CHECK-030", "error", 1)
    (item,) = told.items
    assert (item.index, item.beside, item.status) == (50, 3, "refused")
    assert item.why == "the same pixels as 003.png of train"
    assert told.json()["items"][0]["other"] == "003.png"


def test_the_same_pixels_with_two_labels_contradict_each_other():
    pictures = scenes(60)
    pictures[20] = pictures[3]
    (told,) = findings(made(pictures, [TRAIN] * 60, [0] * 20 + [1] * 40)).values()
    assert (told.code, told.level) == ("CHECK-031", "warning") and told.items[0].index == 20
    assert told.items[0].status == "warned" and "training reads both" in told.why


def test_copies_with_one_label_in_one_split_are_a_note_each_later_one_told_once():
    pictures = scenes(60)
    pictures[20:23] = pictures[3]
    (told,) = findings(made(pictures, [TRAIN] * 60, [0] * 60)).values()
    assert (told.code, told.level, [item.index for item in told.items]) == ("CHECK-032", "note", [20, 21, 22])


@pytest.mark.parametrize(("split", "label", "code", "level"), [
    (TEST, 0, "CHECK-033", "warning"), (TRAIN, 1, "CHECK-034", "warning"), (TRAIN, 0, "CHECK-035", "note"),
])  # fmt: skip
def test_what_is_nearly_the_same_is_told_by_where_it_lies(split, label, code, level):
    pictures = scenes(90)
    pictures[80] = cut(pictures[3])
    told = findings(made(pictures, [TRAIN] * 80 + [split] + [TRAIN] * 9, [0] * 80 + [label] + [0] * 9))
    assert set(told) == {code} and told[code].level == level
    (item,) = told[code].items
    assert (item.index, item.beside) == (80, 3) and "% alike" in item.why and 0.9 < item.score <= 1


def test_a_mirrored_picture_is_told_as_one():
    pictures = scenes(90)
    pictures[80] = pictures[3, :, ::-1]
    (told,) = findings(made(pictures, [TRAIN] * 90, [0] * 90)).values()
    assert told.items[0].why.endswith("mirrored")


def test_unknown_numbers_are_no_contradiction():
    pictures = scenes(40)
    pictures[[20, 21, 22]] = pictures[[3, 4, 5]]
    numbers = np.zeros((40, 2), np.float32)
    numbers[[3, 20]] = np.nan
    numbers[21] = 1
    dataset = made(pictures, [TRAIN] * 40).with_(columns={"numbers": numbers}, numbers=("a", "b"))
    told = findings(dataset)
    assert [item.index for item in told["CHECK-031"].items] == [21]
    assert [item.index for item in told["CHECK-032"].items] == [20, 22]


def test_objects_are_compared_to_the_pixel_in_any_order():
    one, other = Mark((1.0, 1.0, 9.0, 9.0), 0), Mark((3.0, 2.0, 8.0, 7.0), 1)
    pictures = scenes(30)
    pictures[[20, 21]] = pictures[[3, 4]]
    records: list[list[Mark]] = [[] for _ in range(30)]
    records[3], records[20], records[4], records[21] = [one, other], [other, one], [one], [other]
    told = findings(made(pictures, [TRAIN] * 30, objects=Objects.of(records)))
    assert [item.index for item in told["CHECK-031"].items] == [21]
    assert [item.index for item in told["CHECK-032"].items] == [20]


def test_objects_of_nearly_the_same_pictures_are_compared_by_their_classes():
    box, mirrored, other = Mark((1.0, 1.0, 9.0, 9.0), 0), Mark((23.0, 1.0, 31.0, 9.0), 0), Mark((1.0, 1.0, 9.0, 9.0), 1)
    pictures = scenes(90)
    pictures[80], pictures[81] = pictures[3, :, ::-1], cut(pictures[4])
    records: list[list[Mark]] = [[] for _ in range(90)]
    records[3], records[80], records[4], records[81] = [box], [mirrored], [box], [other]
    told = findings(made(pictures, [TRAIN] * 90, objects=Objects.of(records)))
    assert {code: [item.index for item in one.items] for code, one in told.items()} == {
        "CHECK-034": [81], "CHECK-035": [80],
    }  # fmt: skip


def test_the_same_pixels_with_two_class_maps_contradict_each_other(tmp_path):
    pictures = scenes(30)
    pictures[[20, 21]] = pictures[[3, 4]]
    for name, value in (("a.png", 0), ("b.png", 1)):
        write_mask(tmp_path / name, np.full((32, 32), value, np.uint8))
    names = ["a.png"] * 30
    names[21] = "b.png"
    told = findings(made(pictures, [TRAIN] * 30, maps=ClassMaps(tmp_path, Strings(names), np.array([0, 1]))))
    assert [item.index for item in told["CHECK-031"].items] == [21]
    assert [item.index for item in told["CHECK-032"].items] == [20]


def test_pictures_that_cannot_be_read_are_no_twins(tmp_path):
    from tests.data.examples import write_tree

    from visus.core.recipe import DataSettings
    from visus.data.reading import open_data

    write_tree(tmp_path, {"train/cat": 12, "train/dog": 12, "test/cat": 3})
    for name in ("train/cat/torn.png", "test/cat/torn.png"):
        (tmp_path / name).write_bytes((tmp_path / "train/cat/1.png").read_bytes()[:60])
    assert findings(open_data(tmp_path, DataSettings(), carve=False)) == {}


def test_a_name_of_several_lines_is_one_line_in_what_is_said():
    pictures = scenes(60)
    pictures[50] = pictures[3]
    names = Strings([f"{i}\n.png" for i in range(60)])
    (told,) = findings(made(pictures, [TRAIN] * 40 + [TEST] * 20, [0] * 60).with_(ids=names)).values()
    assert told.items[0].why == r"the same pixels as 3\x0a.png of train" and told.items[0].other == "3\n.png"
