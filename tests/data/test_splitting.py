"""Carving: stratified, groups whole, the same for the same names, and said aloud."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visus.core.errors import DataError
from visus.data.dataset import ArrayImages, Dataset, Strings
from visus.data.objects import ClassMaps, Mark, Objects
from visus.data.splitting import carve_missing

TRAIN, VAL, TEST = range(3)


def made(labels: list[int], split: list[int] | None = None, groups: list[int] | None = None,
         ids: list[str] | None = None, column: str = "label", classes: int | None = None) -> Dataset:  # fmt: skip
    values = np.asarray(labels, {"label": np.int64, "labels": np.uint8, "numbers": np.float32}[column])
    count = classes or (values.max() + 1 if column == "label" else values.shape[1])
    return Dataset(
        name="made", root=Path("made"), format="folder", evidence="",
        ids=Strings(ids or [f"{i:05d}.png" for i in range(len(labels))]),
        images=ArrayImages(np.zeros((len(labels), 1, 1), np.uint8)),
        columns={column: values},
        split=np.asarray(split if split is not None else [TRAIN] * len(labels), np.uint8),
        classes=tuple("abcdefghijklmnopqrstuvwxyz"[: int(count)]),
        groups=None if groups is None else np.asarray(groups, np.int64),
    )  # fmt: skip


def carve(dataset: Dataset, validation: float = 0.1, test: float = 0.2, seed: int = 0) -> Dataset:
    return carve_missing(dataset, validation=validation, test=test, seed=seed)


def by_class(dataset: Dataset, split: int) -> list[int]:
    return np.bincount(dataset.columns["label"][dataset.split == split], minlength=len(dataset.classes)).tolist()


@given(
    st.lists(st.integers(1, 60), min_size=2, max_size=6), st.floats(0.05, 0.6), st.floats(0, 0.6), st.integers(0, 99)
)
def test_each_class_gives_its_share_and_keeps_one_for_training(
    counts: list[int], validation: float, test: float, seed: int
):
    dataset = made(np.repeat(np.arange(len(counts)), counts).tolist(), classes=len(counts))
    if max(counts) < (3 if test else 2):
        with pytest.raises(DataError):
            carve(dataset, validation, test, seed)
        return
    carved = carve(dataset, validation, test, seed)
    for n, train, val, held in zip(counts, *(by_class(carved, split) for split in range(3)), strict=True):
        assert train >= 1 and train + val + held == n
        wanted = int(test * n + 0.5)
        assert held == (min(max(wanted, 1), n - 2) if test and n > 2 else 0)
        left = n - held
        assert val == (min(max(int(validation * left + 0.5), 1), left - 1) if left > 1 else 0)


def test_what_the_data_brings_is_kept():
    dataset = made([0, 1] * 20, split=[TRAIN] * 20 + [VAL] * 10 + [TEST] * 10)
    carved = carve(dataset)
    assert carved.split.tolist() == dataset.split.tolist() and carved.carved == () and carved.notes == ()


@pytest.mark.parametrize(("split", "carved"), [
    ([TRAIN] * 40, ("test", "val")), ([TRAIN] * 30 + [TEST] * 10, ("val",)), ([TRAIN] * 30 + [VAL] * 10, ("test",)),
])  # fmt: skip
def test_what_is_missing_is_carved_from_training_alone_and_written_down(split: list[int], carved: tuple[str, ...]):
    dataset = made([0, 1] * 20, split=split)
    result = carve(dataset)
    assert result.carved == carved and sum("carved" in note for note in result.notes) == len(carved)
    moved = result.split != dataset.split
    assert moved.any() and (dataset.split[moved] == TRAIN).all()


def test_a_test_share_of_nothing_carves_none_and_says_so():
    result = carve(made([0, 1] * 20), test=0)
    assert result.carved == ("val",) and not len(result.indices("test"))
    assert any("no test part" in note for note in result.notes)


def test_the_order_of_records_changes_nothing():
    dataset = made([i % 3 for i in range(90)])
    order = np.random.default_rng(0).permutation(90)
    shuffled = made([int(i) % 3 for i in order], ids=[f"{i:05d}.png" for i in order])
    first, second = carve(dataset), carve(shuffled)
    assert dict(zip(first.ids, first.split, strict=True)) == dict(zip(second.ids, second.split, strict=True))


def test_another_seed_carves_others():
    dataset = made([i % 3 for i in range(90)])
    assert carve(dataset, seed=0).split.tolist() != carve(dataset, seed=1).split.tolist()


@given(st.integers(20, 120), st.integers(0, 10**6))
def test_one_file_more_moves_at_most_one_other_into_or_out_of_each_part(n: int, name: int):
    before = carve(made([0] * n + [1] * n))
    names = [*before.ids, f"new {name}"]
    after = carve(made([0] * n + [1] * n + [0], ids=names))
    moved = (after.split[: 2 * n] != before.split).sum()
    assert moved <= 3 and (after.split[n : 2 * n] == before.split[n:]).all()


@given(st.data())
def test_groups_stay_whole_and_no_class_leaves_training(data: st.DataObject):
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=6, max_size=40))
    groups = np.repeat(np.arange(len(sizes)), sizes).tolist()
    labels = data.draw(st.lists(st.integers(0, 2), min_size=len(groups), max_size=len(groups)))
    dataset = made(labels, groups=groups, classes=3)
    try:
        carved = carve(dataset, 0.2, 0.2)
    except DataError as error:
        assert error.code == "DATA-182"
        return
    for group in set(groups):
        assert len(set(carved.split[np.asarray(groups) == group].tolist())) == 1
    assert set(np.asarray(labels)[carved.split == TRAIN].tolist()) == set(labels)


def test_many_groups_come_near_the_wanted_share_of_each_class():
    rng = np.random.default_rng(0)
    groups = np.sort(rng.integers(0, 300, 3000)).tolist()
    labels = rng.choice(3, 3000, p=[0.7, 0.25, 0.05])
    carved = carve(made(labels.tolist(), groups=groups), validation=0.1, test=0.2)
    share = np.array(by_class(carved, TEST)) / np.bincount(labels)
    np.testing.assert_allclose(share, 0.2, atol=0.04)


def test_the_number_a_group_bears_changes_nothing():
    labels, groups = [i % 2 for i in range(60)], [i // 4 for i in range(60)]
    first = carve(made(labels, groups=groups))
    second = carve(made(labels, groups=[100 - group for group in groups]))
    assert first.split.tolist() == second.split.tolist()


def test_a_class_for_each_group_cannot_be_carved_and_it_is_said_why():
    with pytest.raises(DataError, match="no test part can be carved") as caught:
        carve(made([0] * 5 + [1] * 5, groups=[0] * 5 + [1] * 5))
    assert caught.value.code == "DATA-182" and "2 groups stay whole" in caught.value.where


def test_of_one_picture_with_a_mask_nothing_can_be_carved_and_it_is_said_of_masks(tmp_path: Path):
    maps = ClassMaps(tmp_path, Strings(["mask.png"]), np.arange(2))
    with pytest.raises(DataError, match=r"from 1 training picture\n") as caught:
        carve(made([0], classes=2).with_(columns={}, maps=maps))
    assert caught.value.where == "training keeps one and validation another"
    assert caught.value.fix == "put at least 3 pictures with their masks there, or give a test part"


def test_of_one_picture_with_boxes_nothing_can_be_carved_and_it_is_said_in_the_singular():
    alone = made([0], classes=2).with_(columns={}, objects=Objects.of([[Mark((0.0, 0.0, 4.0, 4.0), 0)]]))
    with pytest.raises(DataError, match=r"from 1 training picture\n") as caught:
        carve(alone)
    assert caught.value.fix == "put at least 3 pictures that show each class, or give a test part"


def test_objects_are_stratified_by_the_rarest_class_of_a_picture():
    box = (0.0, 0.0, 4.0, 4.0)
    records = [[Mark(box, 0), *([Mark(box, 1)] if i >= 80 else [])] for i in range(100)]
    dataset = made([0] * 100, classes=2).with_(columns={}, objects=Objects.of(records))
    carved = carve(dataset, test=0.2)
    assert (carved.split[80:] == TEST).sum() == 4 and (carved.split[:80] == TEST).sum() == 16
    assert "stratified by the rarest class of a picture" in carved.notes[0]


def test_several_labels_are_stratified_by_the_rarest():
    shown = [[1, 0, 0]] * 80 + [[1, 1, 0]] * 15 + [[1, 0, 1]] * 5
    carved = carve(made(shown, column="labels"), test=0.2)
    held = np.asarray(shown)[carved.split == TEST]
    assert held.sum(0).tolist() == [20, 3, 1]


def test_numbers_are_stratified_over_their_range():
    carved = carve(made([[float(i)] for i in range(200)], column="numbers"), test=0.2)
    values = np.flatnonzero(carved.split == TEST)
    assert np.histogram(values, bins=10, range=(0, 200))[0].tolist() == [4] * 10


def test_unknown_numbers_and_unlabelled_records_can_be_carved():
    carve(made([[float("nan")]] * 10, column="numbers"))
    carve(made([-1] * 10 + [0, 1] * 5))


def test_a_class_that_is_missing_in_validation_is_named():
    result = carve(made([0] * 30 + [1] * 30 + [2] * 2), test=0)
    assert not any("val has no picture" in note for note in result.notes)
    brought = carve(made([0, 1, 2, 0, 1], split=[TRAIN, TRAIN, TRAIN, VAL, VAL]), test=0)
    assert any(note == "val has no picture of 1 of 3 classes: c" for note in brought.notes)


def test_a_class_of_which_a_split_shows_no_object_is_named():
    box = (0.0, 0.0, 4.0, 4.0)
    records = [[Mark(box, 0), *([Mark(box, 1)] if i < 20 else [])] for i in range(40)]
    split = [TRAIN] * 30 + [VAL] * 5 + [TEST] * 5
    dataset = made([0] * 40, split=split, classes=2).with_(columns={}, objects=Objects.of(records))
    assert carve(dataset).notes == tuple(f"{name} has no picture of 1 of 2 classes: b" for name in ("val", "test"))


def test_groups_torn_by_the_datas_own_splits_are_noted():
    dataset = made([0, 1] * 10, split=[TRAIN] * 14 + [VAL] * 3 + [TEST] * 3, groups=[i // 5 for i in range(20)])
    assert any("2 groups lie in more than one split" in note for note in carve(dataset).notes)


def test_data_without_a_training_part_is_refused():
    with pytest.raises(DataError, match="no training part") as caught:
        carve(made([0, 1], split=[TEST, TEST]))
    assert caught.value.code == "DATA-180"
