"""Groups in more than one split: an error where they are stated, a warning where they are guessed."""

from __future__ import annotations

import numpy as np
from tests.checks.test_duplicates import TEST, TRAIN, findings, made
from tests.data.test_groups import alike

from visus.data.dataset import Dataset, Strings


def named(names: list[str], split: list[int], pictures: np.ndarray, **rest: object) -> Dataset:
    return made(pictures, split, **rest).with_(ids=Strings(names))


PEOPLE = [f"p{person:02d}_{i}.png" for person in range(15) for i in range(6)]
PERSON = np.arange(90) // 6


def test_a_stated_group_that_is_torn_is_an_error_with_every_picture_of_the_later_part():
    split = [TRAIN] * 60 + [TEST] * 30
    split[60], split[61] = TRAIN, TRAIN
    told = findings(named(PEOPLE, split, alike(PERSON, 1.0), groups=PERSON), "groups")
    (found,) = told.values()
    assert (found.code, found.level) == ("CHECK-040", "error") and found.title.startswith("1 group ")
    assert [(item.index, item.beside, item.status) for item in found.items] == [
        (i, 60, "refused") for i in range(62, 66)
    ]


def test_whole_groups_are_nothing_to_speak_of():
    split = [TRAIN] * 60 + [TEST] * 30
    assert findings(named(PEOPLE, split, alike(PERSON, 1.0), groups=PERSON), "groups") == {}
    assert findings(named(PEOPLE, split, alike(PERSON, 1.0)), "groups") == {}


def test_a_guessed_group_that_is_torn_is_a_warning_with_its_evidence():
    told = findings(named(PEOPLE, [TRAIN, TEST] * 45, alike(PERSON, 0.3)), "groups")
    (found,) = told.values()
    assert (found.code, found.level, len(found.items)) == ("CHECK-041", "warning", 45)
    assert "15 groups of about 6 pictures by the beginning of their names: p00, p01, p02" in found.title
    assert "times as alike" in found.title


def film(noise: float) -> np.ndarray:
    """Return frames that drift from one picture to another."""
    rng = np.random.default_rng(0)
    ends = rng.normal(size=(11, 8, 8))
    at = np.linspace(0, 9.99, 120)
    share = (at % 1)[:, None, None]
    frames = (
        ends[at.astype(int)] * (1 - share) + ends[at.astype(int) + 1] * share + noise * rng.normal(size=(120, 8, 8))
    )
    return np.rint(128 + 30 * frames).clip(0, 255).astype(np.uint8).repeat(4, 1).repeat(4, 2)


def test_frames_of_one_video_in_two_splits_are_a_warning():
    names = [f"{'train' if i % 3 else 'test'}/frame_{i:05d}.png" for i in range(120)]
    split = [TRAIN if i % 3 else TEST for i in range(120)]
    told = findings(named(names, split, film(0.1)), "groups")
    (found,) = told.values()
    assert (found.code, found.level, len(found.items)) == ("CHECK-042", "warning", 79)
    assert found.items[0].why == "follows on test/frame_00000.png of test"


def test_pictures_that_are_merely_numbered_are_no_video():
    names = [f"{i:05d}.png" for i in range(120)]
    assert findings(named(names, [TRAIN, TEST] * 60, film(30.0)), "groups") == {}
