"""``visus check --labels`` on boxes: mistakes that are put into generated data are found by detectors trained on it."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
from tests.verbs.detecting import TINY, write_rectangles

import visus
from visus.verbs.check import Checked

LENGTH = {"epochs": 14.0, "batch": 4, "optim.lr": 0.003}
EACH = 4
"""Mistakes of each kind."""


class Mistaken(NamedTuple):
    """What was checked, and the files on which there is a mistake of each kind."""

    checked: Checked
    files: dict[str, set[str]]


def mislabel(path):
    """Put mistakes of each kind into a COCO file, each on a picture of its own; return on which."""
    page = json.loads(path.read_text())
    names = {image["id"]: image["file_name"] for image in page["images"]}
    objects = {image: [o for o in page["annotations"] if o["image_id"] == image] for image in names}
    single = [of[0] for of in objects.values() if len(of) == 1]
    empty = [image for image, of in objects.items() if not of]
    wrong, gone, moved = single[:EACH], single[EACH : 2 * EACH], single[2 * EACH : 3 * EACH]
    for one in wrong:
        one["category_id"] = 1 - one["category_id"]
    for one in moved:
        x, y, wide, high = one["bbox"]
        one["bbox"] = [x + (wide / 2 if x + 1.5 * wide < 64 else -wide / 2), y, wide, high]
    drawn = [{"id": 10_000 + i, "image_id": image, "category_id": i % 2, "bbox": [11 * i, 40 - 12 * i, 20 + i, 24 - i],
              "area": (20 + i) * (24 - i), "iscrowd": 0} for i, image in enumerate(empty[:EACH])]  # fmt: skip
    page["annotations"] = [one for one in page["annotations"] if one not in gone] + drawn
    path.write_text(json.dumps(page))
    kinds = {"CHECK-060": wrong, "CHECK-061": gone, "CHECK-062": drawn, "CHECK-063": moved}
    return {code: {names[one["image_id"]] for one in found} for code, found in kinds.items()}


@pytest.fixture(scope="module")
def mistaken(tmp_path_factory):
    root = tmp_path_factory.mktemp("boxes")
    data = write_rectangles(root / "data", train=96)
    files = mislabel(data / "annotations/instances_train.json")
    found = visus.check(data, labels=True, out=root / "found", set={**TINY, **LENGTH})
    return Mistaken(found, files)


def test_mistakes_of_every_kind_are_found_and_most_of_what_is_found_is_one(mistaken):
    hits = {}
    for finding in mistaken.checked.findings:
        if finding.code in mistaken.files:
            hits[finding.code] = [item.file in mistaken.files[finding.code] for item in finding.items]
    assert all(any(hits.get(code, ())) for code in mistaken.files)
    every = [hit for of_kind in hits.values() for hit in of_kind]
    assert sum(every) >= 0.4 * EACH * len(mistaken.files) and sum(every) >= 0.5 * len(every)


def test_the_page_shows_doubtful_boxes_with_a_legend_of_the_two_colours(mistaken):
    page = mistaken.checked.page.read_text()
    assert '<li class="stated">the box as the data has it</li>' in page
    assert '<li class="suspected">where a detector sees the object</li>' in page


def test_the_list_of_fixes_holds_every_doubt_and_mends_a_copy(mistaken, tmp_path):
    doubts = [item for finding in mistaken.checked.findings if finding.code in mistaken.files for item in finding.items]
    told = json.loads(mistaken.checked.fixes.read_text())
    assert len(told["items"]) == len(doubts) and not any(item["apply"] for item in told["items"])
    for item in told["items"]:
        item["apply"] = True
    (tmp_path / "fixes.json").write_text(json.dumps(told))
    done = visus.fix(mistaken.checked.data, tmp_path / "fixes.json", out=tmp_path / "copy")
    assert len(done.applied) == len(doubts) and done.lost == ()


def test_too_few_pictures_are_answered_in_words_and_nothing_is_trained(tmp_path):
    data = write_rectangles(tmp_path / "data", train=16)
    notes = []
    found = visus.check(data, labels=True, out=tmp_path / "found", watch=notes.append)
    (told,) = [finding for finding in found.findings if finding.code == "CHECK-064"]
    assert told.title == "boxes were not examined" and "it takes 20 to learn from" in told.why
    assert found.fixes is None and not any("training network" in note.get("note", "") for note in notes)
