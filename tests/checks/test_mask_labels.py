"""Doubts on class maps that are put together by hand, and what the check says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from tests.checks.examples import codes, dataset, only, seen, subject

from visus.checks import CHECKS, Finding
from visus.checks._mask_doubts import LEARNED, Doubts, Evidence
from visus.core.run_lengths import decode, decompress
from visus.data.dataset import Strings
from visus.data.objects import ClassMaps

COUNT, SIDE, SURE = 24, 64, 0.9
CLASSES = ("road", "car", "tree")


def scene(i: int) -> np.ndarray:
    """Return a map of class 0 with a block of class 1 and one of class 2, a little elsewhere on each picture."""
    classes = np.zeros((SIDE, SIDE), np.uint8)
    classes[8 + i % 5 : 28 + i % 5, 6:26], classes[34:58, 36 - i % 7 : 60 - i % 7] = 1, 2
    return classes


def said(classes: np.ndarray, sure: float = SURE) -> np.ndarray:
    """Return probabilities of networks that see these classes."""
    shown = np.full((3, *classes.shape), (1 - sure) / 2, np.float32)
    np.put_along_axis(shown, classes[None].astype(np.int64), sure, 0)
    return shown


def asked(wrong: dict[int, np.ndarray], background: int = -1, sure: float = SURE) -> Doubts:
    """Return what is doubted where networks see every scene as it is, and some maps are drawn otherwise."""
    evidence = Evidence(3, background)
    for i in range(COUNT):
        evidence.add(i, wrong.get(i, scene(i)), said(scene(i), sure if i in wrong else SURE), (2 * SIDE, 2 * SIDE))
    return evidence.doubts()


def drawn(i: int, **changes: int) -> np.ndarray:
    """Return a scene in which some classes are called otherwise: ``drawn(3, car=255)``."""
    to = np.arange(3, dtype=np.uint8)
    for name, value in changes.items():
        to[CLASSES.index(name)] = value
    return to[scene(i)]


def listed(found: Doubts) -> dict[str, list[int]]:
    return {kind: [doubt.record for doubt in of] for kind, of in found.of.items() if of}


def test_maps_that_networks_see_as_they_are_drawn_are_not_doubted():
    found = asked({})
    assert listed(found) == {} and found.thresholds == pytest.approx([SURE] * 3) and len(found.judged) == COUNT


def test_a_region_that_looks_like_another_class_is_doubted_with_its_pixels():
    found = asked({4: drawn(4, car=2)})
    (doubt,) = found.of["class"]
    assert listed(found) == {"class": [4]} and (doubt.label, doubt.seen) == (2, 1)
    assert (doubt.sure, doubt.stated) == pytest.approx((SURE, 0.05)) and doubt.rank == pytest.approx(0.85)
    assert doubt.mask is not None and doubt.mask.box == (12, 24, 52, 64) and doubt.mask.share == 400 / SIDE**2
    (where,) = [decode(decompress(doubt.mask.counts), doubt.mask.size)]
    assert (where == (scene(4) == 1)).all()


@pytest.mark.parametrize("least", [0.6, 0.89])
def test_networks_that_are_less_sure_than_they_usually_are_doubt_nothing(least):
    assert listed(asked({4: drawn(4, car=2)}, sure=least)) == {}


def test_a_strip_along_a_contour_is_no_region():
    classes = scene(4)
    classes[12:32, 26] = 1
    assert listed(asked({4: classes})) == {}


def test_what_is_not_labelled_and_looks_like_a_class_is_missing():
    (doubt,) = asked({5: drawn(5, tree=255)}).of["missing"]
    assert (doubt.record, doubt.label, doubt.seen, doubt.stated) == (5, -1, 2, 0)


def test_of_data_with_a_background_what_is_called_so_is_missing_and_what_looks_so_is_extra():
    more = scene(7)
    more[4:24, 40:60] = 1
    assert listed(asked({5: drawn(5, tree=0), 7: more}, background=0)) == {"missing": [5], "extra": [7]}


def test_two_classes_that_are_exchanged_on_a_picture_are_one_doubt():
    found = asked({6: drawn(6, car=2, tree=1)})
    assert listed(found) == {"swapped": [6]}
    assert (found.of["swapped"][0].label, found.of["swapped"][0].seen) == (1, 2)


def test_a_map_beside_its_picture_is_told_by_how_much_it_should_move():
    found = asked({8: np.roll(scene(8), (4, -3), (0, 1))})
    assert found.of["moved"][0].record == 8 and found.of["moved"][0].move == (6, -8)
    assert len(found.of["moved"]) == 1 and not found.of["border"]


def test_a_map_is_not_moved_to_push_what_is_seen_otherwise_off_the_picture():
    evidence = Evidence(3)
    for i in range(COUNT):
        stated, there = scene(i), scene(i)
        if i == 8:
            stated[:], there[:] = 0, 0
            stated[:, 56:] = 1
        evidence.add(i, stated, said(there), (SIDE, SIDE))
    assert not evidence.doubts().of["moved"]


def test_a_contour_of_which_much_more_looks_otherwise_than_usual_is_sloppy():
    sloppy = scene(9)
    sloppy[11:34, 5:28], sloppy[33:60, 33:60] = 1, 2
    assert [doubt.record for doubt in asked({9: sloppy}).of["border"]] == [9]


def test_a_class_of_which_less_than_half_of_what_is_called_so_is_so_says_nothing():
    evidence = Evidence(3)
    for i in range(COUNT):
        evidence.add(i, drawn(i, car=0) if i < 16 else scene(i), said(scene(i)), (SIDE, SIDE))
    assert evidence.doubts().thresholds[1] == np.inf and listed(evidence.doubts()) == {}


def test_labels_of_a_class_that_networks_mostly_overlook_are_not_doubted():
    evidence = Evidence(3)
    for i in range(COUNT):
        evidence.add(i, scene(i), said(drawn(i, car=0) if i < 16 else scene(i)), (SIDE, SIDE))
    found = evidence.doubts()
    assert found.seen.tolist() == [True, False, True] and found.thresholds[1] < 1 and listed(found) == {}


def constant(i: int) -> np.ndarray:
    return np.broadcast_to(np.array([0.7, 0.2, 0.1], np.float32)[:, None, None], (3, SIDE, SIDE))


def noise(i: int) -> np.ndarray:
    return np.random.default_rng(i).dirichlet((0.2, 0.2, 0.2), (SIDE, SIDE)).transpose(2, 0, 1)


def another(i: int) -> np.ndarray:
    return said(scene(i + 1)[::-1, ::-1])


@pytest.mark.parametrize("say", [constant, noise, another])
def test_networks_that_learned_nothing_doubt_nothing_and_the_check_says_so(say):
    evidence = Evidence(3)
    for i in range(COUNT):
        evidence.add(i, scene(i), say(i), (SIDE, SIDE))
    found = evidence.doubts()
    assert found.agreement < LEARNED and listed(found) == {}
    (told,) = look(found)
    assert told.code == "CHECK-071" and "did not learn from them" in told.title and "--set epochs" in told.fix


def test_agreement_beyond_chance_is_that_of_scikit_learn():
    evidence, truths, answers = Evidence(3), [], []
    for i in range(4):
        truth, answer = scene(i), scene(3 * i + 1)
        truth[:5] = 255
        evidence.add(i, truth, said(answer), (SIDE, SIDE))
        truths.append(truth[truth < 3])
        answers.append(answer[truth < 3])
    expected = cohen_kappa_score(np.concatenate(truths), np.concatenate(answers))
    assert evidence.doubts().agreement == pytest.approx(expected)


def test_maps_are_not_moved_where_networks_see_most_pictures_a_little_elsewhere():
    random, evidence = np.random.default_rng(0), Evidence(3)
    for i in range(COUNT):
        evidence.add(i, scene(i), said(np.roll(scene(i), random.integers(-3, 4, 2), (0, 1))), (SIDE, SIDE))
    assert evidence.doubts().agreement > 0.4 and not evidence.doubts().of["moved"]


def look(found: Doubts | None, count: int = COUNT) -> list[Finding]:
    maps = ClassMaps(Path("pets"), Strings([f"{i}.png" for i in range(count)]), np.arange(3))
    data = dataset(count=count, classes=CLASSES, maps=maps)
    return list(CHECKS["mask_labels"].look(replace(subject(data, seen(count)), mask_doubts=lambda: found)))


def test_the_findings_name_classes_share_and_certainty():
    found = look(asked({4: drawn(4, car=2), 5: drawn(5, tree=255), 8: np.roll(scene(8), (4, -3), (0, 1))}))
    assert {"CHECK-065", "CHECK-066", "CHECK-068"} <= set(codes(found))
    (wrong,) = (item for item in only(found, "CHECK-065").items if item.index == 4)
    assert wrong.why == "labelled tree, looks like car (0.90 against 0.05): 9.8% of the picture"
    assert (wrong.more["label"], wrong.more["suggested"], wrong.more["box"]) == ("tree", "car", [12, 24, 52, 64])
    assert only(found, "CHECK-066").items[0].why.startswith("not labelled, looks like tree (0.90): ")
    assert "if it is moved 6 pixels right and 8 up, " in only(found, "CHECK-068").items[0].why


def test_a_class_whose_labels_are_not_doubted_is_named():
    evidence = Evidence(3)
    for i in range(COUNT):
        evidence.add(i, scene(i), said(drawn(i, car=0) if i < 16 else scene(i)), (SIDE, SIDE))
    (told,) = look(evidence.doubts())
    assert told.code == "CHECK-071" and told.title.startswith("no label car was doubted: ")


def test_too_few_maps_are_answered_in_words():
    (told,) = look(None, count=19)
    assert told.code == "CHECK-071" and told.why == "19 readable pictures have masks, and it takes 20 to learn from"
