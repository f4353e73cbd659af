"""A split is clean, stratified and whole in its groups, and the user's data is left as it was."""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.data.examples import write_picture
from tests.data.test_near import saved, scenes
from tests.data.test_splitting import by_class, made
from tests.verbs.examples import TINY, write_classes, write_splits

import visus
from visus.core.errors import DataError, UsageError
from visus.core.recipe import DataSettings
from visus.data.reading import open_data
from visus.data.splitting import torn
from visus.verbs.split import divide

NO_LINKS = np.zeros((0, 2), np.int64)


def content(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def people(root: Path, persons: int = 12, each: int = 5) -> Path:
    """Write pictures of people with and without glasses: those of one are alike, but far from the same."""
    shared, own = scenes(persons).repeat(each, 0).astype(float), scenes(persons * each, seed=1)
    for i, picture in enumerate((0.6 * shared + 0.4 * own).astype(np.uint8)):
        person, number = divmod(i, each)
        path = root / ("glasses" if person % 2 else "none") / f"s{person:02d}_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return root


# What is divided, and how


@st.composite
def grouped(draw):
    """Draw labels, groups (or none) and links of 40 to 200 records."""
    count = draw(st.integers(40, 200))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    groups = rng.integers(0, count // draw(st.integers(1, 6)) + 1, count) if draw(st.booleans()) else None
    links = rng.integers(0, count, (draw(st.integers(0, count // 8)), 2))
    return rng.integers(0, draw(st.integers(2, 4)), count), groups, links


@given(grouped(), st.sampled_from([(0.1, 0.2), (0.2, 0.2), (0.0, 0.3), (0.25, 0.0)]), st.integers(0, 99))
@settings(max_examples=150)
def test_no_group_and_no_link_is_torn_and_every_record_is_in_one_part(case, shares, seed):
    labels, groups, links = case
    dataset = made(labels.tolist(), classes=4)
    try:
        divided = divide(dataset, links, groups, validation=shares[0], test=shares[1], seed=seed)
    except DataError as error:
        assert error.code == "DATA-182"
        return
    assert len(divided) == len(dataset) and list(divided.ids) == list(dataset.ids) and (divided.split <= 2).all()
    assert (divided.split[links[:, 0]] == divided.split[links[:, 1]]).all()
    assert groups is None or not len(torn(groups, divided.split))
    again = divide(dataset, links, groups, validation=shares[0], test=shares[1], seed=seed)
    assert again.split.tolist() == divided.split.tolist()


@given(st.integers(0, 10**6), st.integers(1, 5))
@settings(max_examples=50)
def test_class_shares_come_near_the_wanted_ones_in_whole_groups(seed, size):
    rng = np.random.default_rng(seed)
    labels, groups = rng.choice(3, 900, p=[0.6, 0.3, 0.1]), rng.permutation(900) // size
    divided = divide(made(labels.tolist()), NO_LINKS, groups, validation=0.1, test=0.2, seed=0)
    counts = np.bincount(labels)
    for part, share in enumerate((0.7, 0.1, 0.2)):
        assert (np.abs(np.array(by_class(divided, part)) / counts - share) <= 0.03 + 3 * size / counts).all()


@given(st.integers(0, 10**6))
@settings(max_examples=50)
def test_one_picture_more_moves_few_others(seed):
    rng = np.random.default_rng(seed)
    labels, groups = rng.integers(0, 3, 300), np.arange(300) // 3
    before = divide(made(labels.tolist()), NO_LINKS, groups, validation=0.1, test=0.2, seed=0)
    ids = [*before.ids, f"new {rng.integers(1000)}.png"]
    more = made([*labels.tolist(), 0], ids=ids)
    after = divide(more, NO_LINKS, np.append(groups, 999), validation=0.1, test=0.2, seed=0)
    assert (after.split[:300] != before.split).sum() <= 30


def test_the_parts_the_data_has_are_not_looked_at():
    labels = [0, 1] * 50
    old = made(labels, split=[0] * 50 + [2] * 50)
    fresh = divide(old, NO_LINKS, None, validation=0.1, test=0.2, seed=0)
    assert fresh.split.tolist() == divide(made(labels), NO_LINKS, None, validation=0.1, test=0.2, seed=0).split.tolist()
    assert [by_class(fresh, part) for part in range(3)] == [[35, 35], [5, 5], [10, 10]]


# What is written


def test_what_is_written_is_trained_on_at_once_and_the_original_is_untouched(tmp_path):
    data = write_splits(tmp_path / "photos", train=40, test=10)
    before = content(data)
    done = visus.split(data, out=tmp_path / "clean")
    assert content(data) == before
    dataset = open_data(tmp_path / "clean", DataSettings(), carve=False)
    assert {name: len(dataset.indices(name)) for name in done.pictures} == done.pictures
    assert sum(done.pictures.values()) == 150 and abs(done.pictures["val"] - 15) + abs(done.pictures["test"] - 30) <= 4
    run = visus.train(tmp_path / "clean", out=tmp_path / "run", steps=2, set=TINY)
    assert run.scores["accuracy"].n == done.pictures["test"]


def test_pictures_keep_their_pixels_and_their_classes(tmp_path):
    data = write_classes(tmp_path / "photos", each=20)
    visus.split(data, out=tmp_path / "clean")
    old, new = (open_data(folder, DataSettings(), carve=False) for folder in (data, tmp_path / "clean"))

    def told(dataset):
        return {dataset.images.read(i).tobytes(): dataset.classes[int(dataset.columns["label"][i])]
                for i in range(len(dataset))}  # fmt: skip

    assert told(old) == told(new)


def test_no_name_in_the_new_folder_speaks_of_an_old_part(tmp_path):
    data = write_splits(tmp_path / "photos", train=20, test=10)
    for picture in sorted((data / "test" / "one").iterdir())[:3]:
        other = sorted((data / "train" / "one").iterdir())[0]
        shutil.move(picture, picture.with_name(other.name)) if not (picture.with_name(other.name)).exists() else None
    visus.split(data, out=tmp_path / "clean")
    dataset = open_data(tmp_path / "clean", DataSettings(), carve=False)
    parts = {name: sorted(dataset.ids[int(i)] for i in dataset.indices(name)) for name in ("train", "val", "test")}
    assert len(dataset) == 90 and all(f"{part}/" in id for part, ids in parts.items() for id in ids)


def test_pictures_are_links_to_the_originals_unless_copies_are_asked_for(tmp_path):
    data = write_classes(tmp_path / "photos", each=12)
    linked, copied = visus.split(data, out=tmp_path / "linked"), visus.split(data, out=tmp_path / "copied", copy=True)
    assert linked.linked and not copied.linked
    assert "hard links" in linked.summary and "hard links" not in copied.summary
    assert {p.stat().st_nlink for p in (tmp_path / "linked").rglob("*.png")} == {2}
    assert {p.stat().st_nlink for p in (tmp_path / "copied").rglob("*.png")} == {1}


def test_where_links_are_impossible_pictures_are_copied(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    done = visus.split(write_classes(tmp_path / "photos", each=12), out=tmp_path / "clean")
    assert not done.linked and done.summary.splitlines()[-2].endswith("copies")


def test_copies_and_near_copies_lie_in_one_part(tmp_path):
    data = people(tmp_path / "photos", persons=30, each=3)
    for i, picture in enumerate(sorted((data / "none").iterdir())[:20]):
        shutil.copyfile(picture, data / "glasses" / f"copy{i}.png")
        Image.fromarray(saved(np.asarray(Image.open(picture)))).save(data / "none" / f"again{i}.png")
    done = visus.split(data, out=tmp_path / "clean", group="none", validation=0.2, test=0.3)
    assert (done.twins, done.near) == (20, 20)
    dataset = open_data(tmp_path / "clean", DataSettings(), carve=False)
    part = {id.rpartition("/")[2]: int(dataset.split[i]) for i, id in enumerate(dataset.ids)}
    originals = [picture.name for picture in sorted((data / "none").iterdir()) if not picture.name.startswith("again")]
    for i, name in enumerate(originals[:20]):
        assert part[name] == part[f"copy{i}.png"] == part[f"again{i}.png"]


def test_people_guessed_from_names_stay_whole_and_it_is_said(tmp_path):
    done = visus.split(people(tmp_path / "photos"), out=tmp_path / "clean", validation=0.2, test=0.2)
    assert done.groups == 12 and "12 groups of about 5 pictures by the beginning of their names" in done.by
    dataset = open_data(tmp_path / "clean", DataSettings(), carve=False)
    person = np.array([id.rpartition("/")[2][:3] for id in dataset.ids])
    assert all(len(set(dataset.split[person == name].tolist())) == 1 for name in set(person))
    torn_apart = visus.split(tmp_path / "photos", out=tmp_path / "torn", group="none")
    assert torn_apart.groups == 0 and torn_apart.by == "none, as asked for"


def test_a_column_names_the_groups(tmp_path):
    data = tmp_path / "table"
    data.mkdir()
    rows = ["path,label,camera"]
    for i, picture in enumerate(scenes(60)):
        Image.fromarray(picture).save(data / f"{i}.png")
        rows.append(f"{i}.png,{('cat', 'dog')[i % 2]},{'abcdefghij'[i // 6]}")
    (data / "labels.csv").write_text("\n".join(rows))
    done = visus.split(data, out=tmp_path / "clean", group="camera", test=0.3)
    assert done.groups == 10 and done.by == "10 by camera, each whole"
    with pytest.raises(UsageError, match="'lens'"):
        visus.split(data, out=tmp_path / "other", group="lens")


def test_the_users_own_groups_and_columns_are_in_the_new_table(tmp_path):
    data = tmp_path / "table"
    data.mkdir()
    rows = ["path,label,patient,age"]
    for i, picture in enumerate(scenes(60)):
        Image.fromarray(picture).save(data / f"{i}.png")
        rows.append(f"{i}.png,{('cat', 'dog')[i % 2]},anna{i // 6},{i}")
    (data / "labels.csv").write_text("\n".join(rows))
    assert visus.split(data, out=tmp_path / "clean", test=0.3).groups == 10
    header, *written = (tmp_path / "clean/labels.csv").read_text().splitlines()
    assert header == "path,label,split,patient,age"
    assert [row.split(",")[3:] for row in written] == [[f"anna{i // 6}", str(i)] for i in range(60)]
    torn_apart = visus.split(data, out=tmp_path / "torn", group="none", test=0.3)
    assert any("the column patient, whose groups the new parts tear apart" in note for note in torn_apart.notes)
    assert "patient" not in (tmp_path / "torn/labels.csv").read_text()


def test_boxes_are_divided_in_their_own_format_and_keep_every_edge(tmp_path):
    from tests.data.examples import EXAMPLES

    EXAMPLES["coco"](tmp_path / "boxes")
    done = visus.split(tmp_path / "boxes", out=tmp_path / "clean", group="none", validation=0.2, test=0.3)
    assert done.format == "coco" and not any("does not hold" in note for note in done.notes), done.notes
    old, new = (
        open_data(tmp_path / "boxes", DataSettings(), carve=False),
        open_data(tmp_path / "clean", DataSettings(), carve=False),
    )

    def boxes(dataset):
        return sorted((dataset.images.read(i).tobytes(), [mark.box for mark in dataset.objects[i]])
                      for i in range(len(dataset)))  # fmt: skip

    assert boxes(old) == boxes(new) and {name: len(new.indices(name)) for name in done.pictures} == done.pictures


def test_an_array_becomes_files_of_the_same_pixels(tmp_path):
    done = visus.split("digits", out=tmp_path / "clean")
    assert not done.linked and sum(done.pictures.values()) == 1797 and set(done.classes) == set("0123456789")
    old, new = (
        open_data("digits", DataSettings(), carve=False),
        open_data(tmp_path / "clean", DataSettings(), carve=False),
    )
    at = [int(id.rpartition("/")[2].removesuffix(".png")) for id in new.ids]
    np.testing.assert_array_equal(new.images.read(7), old.images.read(at[7]))
    assert [new.classes[i] for i in new.columns["label"]] == [old.classes[i] for i in old.columns["label"][at]]


def test_the_same_seed_writes_the_same_and_another_one_does_not(tmp_path):
    data = write_classes(tmp_path / "photos", each=20)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        visus.split(data, out=tmp_path / name, seed=seed)
    assert content(tmp_path / "a") == content(tmp_path / "b") != content(tmp_path / "c")


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.0, 0.0), (-0.1, 0.2), (0.1, 1.2)])
def test_shares_that_leave_nothing_are_refused(tmp_path, shares):
    with pytest.raises(UsageError) as caught:
        visus.split(tmp_path, out=tmp_path / "clean", validation=shares[0], test=shares[1])
    assert caught.value.code == "USE-047"


def test_nothing_is_written_into_the_data_or_over_what_is_there(tmp_path):
    data = write_classes(tmp_path / "photos", each=12)
    with pytest.raises(UsageError) as caught:
        visus.split(data, out=data / "clean")
    assert caught.value.code == "RUN-010"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "words.txt").write_text("mine")
    with pytest.raises(UsageError) as caught:
        visus.split(data, out=tmp_path / "mine")
    assert caught.value.code == "USE-051" and content(tmp_path / "mine").keys() == {"words.txt"}


def test_a_picture_that_cannot_be_read_is_divided_like_any_other_and_it_is_said(tmp_path):
    data = write_classes(tmp_path / "photos", each=12)
    (data / "one" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = visus.split(data, out=tmp_path / "clean")
    assert sum(done.pictures.values()) == 37 and any("1 pictures cannot be read" in note for note in done.notes)


def test_what_only_the_old_parts_lack_is_no_fault_of_the_new_ones(tmp_path):
    data = write_splits(tmp_path / "photos", train=40, val=0, test=20)
    (data / "train" / "frog").mkdir()
    Image.fromarray(scenes(1, seed=7)[0]).save(data / "test" / "six" / "more.png")
    (data / "test" / "horse").mkdir()
    for i, picture in enumerate(scenes(6, seed=9)):
        Image.fromarray(picture).save(data / "test" / "horse" / f"{i}.png")
    notes = []
    found = visus.split(data, out=tmp_path / "new", watch=notes.append)
    assert all(found.classes["horse"]) and "frog" not in found.classes
    assert any("train/frog: this class folder holds no picture" in event.get("note", "") for event in notes)


def test_pictures_whose_names_have_no_ending_are_divided(tmp_path):
    (tmp_path / "boxes").mkdir()
    for i in range(12):
        write_picture(tmp_path / f"boxes/{i}.png", i).rename(tmp_path / f"boxes/{i}")
    (tmp_path / "boxes/instances_train.json").write_text(json.dumps({
        "images": [{"id": i, "file_name": str(i)} for i in range(12)], "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 4, 4]} for i in range(12)],
    }))  # fmt: skip
    done = visus.split(tmp_path / "boxes", out=tmp_path / "clean", group="none", validation=0.2, test=0.3)
    new = open_data(tmp_path / "clean", DataSettings(), carve=False)
    assert sum(done.pictures.values()) == 12 and sorted(new.ids, key=int) == [str(i) for i in range(12)]


def test_what_is_listed_but_not_there_and_what_reading_cut_is_said(tmp_path):
    rows = ["path,label,xmin,ymin,xmax,ymax"]
    for i in range(12):
        write_picture(tmp_path / f"boxes/{i}.png", i)
        rows.append(f"{i}.png,cat,1,1,{4 + 10 * (i == 5)},4")
    (tmp_path / "boxes/labels.csv").write_text("\n".join([*rows, "gone.png,cat,1,1,4,4"]))
    done = visus.split(tmp_path / "boxes", out=tmp_path / "clean", group="none", validation=0.2, test=0.3)
    assert done.notes == (
        "the new folder does not hold 1 picture listed that cannot be read (gone.png)",
        "the new folder does not hold what reading clipped or left out, in 1 places (labels.csv: the box reaches 6 "
        "pixels beyond the picture (8 x 8))",
    )
