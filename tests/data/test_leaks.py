"""What leaks from one part into another is found by kind, whatever the pictures are read from."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from tests.data.test_near import brighter, cut, mirrored, saved, scenes

from visus.core.recipe import DataSettings
from visus.data import cache as caches
from visus.data.leaks import Reading, leaks, seconds
from visus.data.reading import open_data

CHANGES = (saved, cut, brighter, mirrored)


def write(root, part, number, picture):
    """Write a picture under a name that tells neither series nor group."""
    folder = root / part / ("even" if number % 2 == 0 else "odd")
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(picture)).save(folder / f"{number * 7919 % 1009:04}.png")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Return a data set whose first test pictures are changed or, the fifth and sixth, the same as others."""
    root = tmp_path_factory.mktemp("leaks") / "photos"
    pictures = scenes(100)
    for number, picture in enumerate(pictures):
        write(root, "train" if number < 60 else "val" if number < 75 else "test", number, picture)
    for at in range(6):
        original = pictures[10 * at]
        write(root, "test", 200 + at, CHANGES[at](original) if at < len(CHANGES) else original)
    (root / "test" / "odd" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    return open_data(root, DataSettings())


def parts(dataset):
    """Return the records of the test part, and all others."""
    return dataset.indices("test"), np.flatnonzero(dataset.split < 2)


def named(dataset, *numbers):
    """Return the records of pictures by the numbers they were written under."""
    names = {f"{number * 7919 % 1009:04}.png" for number in numbers}
    return [i for i, name in enumerate(dataset.ids) if name.rpartition("/")[2] in names]


@pytest.fixture(scope="module")
def found(photos):
    """Return what leaks into the test part of the photos."""
    return leaks(Reading(photos, 1), *parts(photos))


def test_what_is_the_same_and_what_is_nearly_so_are_told_apart(photos, found):
    told = {kind: records.tolist() for kind, records in found.found.items()}
    assert told == {"same": named(photos, 204, 205), "near": named(photos, 200, 201, 202, 203)}
    assert found.records().tolist() == named(photos, *range(200, 206))


@pytest.mark.parametrize(("mode", "workers"), [("memory", 0), ("disk", 2)])
def test_neither_a_cache_nor_workers_change_what_is_found(photos, found, mode, workers):
    test, others = parts(photos)
    plan = caches.plan(photos, others, mode=mode, stored=0, channels=1, size=(64, 64), passes=9)
    cache, _ = caches.build(plan, photos, others)
    again = leaks(Reading(photos, 1, 0, cache, workers), test, others)
    assert {kind: records.tolist() for kind, records in again.found.items()} == {
        kind: records.tolist() for kind, records in found.found.items()
    }


def test_of_cached_pictures_no_file_is_read_again(photos, tmp_path):
    root = shutil.copytree(photos.root, tmp_path / "photos")
    dataset = open_data(root, DataSettings())
    test, others = parts(dataset)
    plan = caches.plan(dataset, others, mode="memory", stored=0, channels=1, size=(64, 64), passes=9)
    cache, _ = caches.build(plan, dataset, others)
    shutil.rmtree(root / "train")
    assert len(leaks(Reading(dataset, 1, cache=cache), test, others).records()) == 6


def test_stated_groups_that_others_share_leak_and_nothing_is_guessed_beside_them(photos):
    test, others = parts(photos)
    groups = np.arange(len(photos))
    shared = named(photos, 80, 81, 82)
    groups[shared] = groups[others[:3]]
    found = leaks(Reading(photos.with_(groups=groups), 1), test, others).found
    assert found["stated_group"].tolist() == shared and "guessed_group" not in found


def test_groups_guessed_from_names_that_others_share_leak(tmp_path):
    """Of twelve rooms, four are in both parts."""
    rooms, grain = scenes(12), scenes(72, seed=1).astype(int)
    for number in range(72):
        room, shot = divmod(number, 6)
        part = "train" if room < 4 or (room < 8 and shot < 3) else "test"
        folder = tmp_path / "photos" / part / ("even" if number % 2 == 0 else "odd")
        folder.mkdir(parents=True, exist_ok=True)
        mixed = np.clip(rooms[room] * 0.5 + grain[number] * 0.5, 0, 255).astype(np.uint8)
        Image.fromarray(mixed).save(folder / f"room{room:02}_{shot}.png")
    dataset = open_data(tmp_path / "photos", DataSettings(), carve=False)
    found = leaks(Reading(dataset, 1), dataset.indices("test"), dataset.indices("train"))
    names = {name.rpartition("/")[2][:6] for name in dataset.ids.take(found.found["guessed_group"])}
    assert names == {"room04", "room05", "room06", "room07"} and len(found.found["guessed_group"]) == 12
    assert "12 groups of about 6 pictures" in found.guess


def test_a_search_is_abandoned_when_it_gets_late(photos):
    assert leaks(Reading(photos, 1), *parts(photos), lambda: True) is None


def test_where_there_is_nothing_else_nothing_is_given_away(photos):
    assert not len(leaks(Reading(photos, 1), photos.indices("test"), np.zeros(0, np.int64)).records())


def test_the_time_it_takes_grows_with_the_pictures_and_their_pairs():
    told = [seconds(100, 1000, 0.001), seconds(100, 2000, 0.001), seconds(1000, 2000, 0.001), seconds(1000, 2000, 0.1)]
    assert told == sorted(told) and told[1] - told[0] > 1
