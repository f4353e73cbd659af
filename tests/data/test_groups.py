"""What names tell of groups, and how groups are joined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.examples import write_picture

from visus.core.errors import UsageError
from visus.core.recipe import DataSettings
from visus.data.dataset import Strings
from visus.data.groups import guess, joined, likeness, neighbours, stated
from visus.data.objects import Original
from visus.data.reading import open_data


def alike(groups: np.ndarray, noise: float) -> np.ndarray:
    """Return (N, 32, 32) pictures, those of one group more alike the less noise there is."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(int(groups.max()) + 1, 8, 8))[groups]
    coarse = shared + noise * rng.normal(size=shared.shape)
    return np.rint(128 + 30 * coarse).clip(0, 255).astype(np.uint8).repeat(4, 1).repeat(4, 2)


NAMED = {
    "people": [f"s{person:02d}_{i}.pgm" for person in range(12) for i in range(5)],
    "frames of clips": [f"train/clip{clip}-frame-{i:06d}.jpg" for clip in range(12) for i in range(8)],
    "folders of clips": [f"test/{clip:04d}/{i:03d}.png" for clip in range(15) for i in range(6)],
    "no separator": [f"vid{clip}f{i:03d}.png" for clip in range(12) for i in range(6)],
    "plates": [f"AB{plate:03d}CD ({i}).jpg" for plate in range(20) for i in range(3)],
    "copies of one source": [f"{i:06d}_jpg.rf.{'abc'[k]}{i * 77}f.jpg" for i in range(20) for k in range(3)],
    "both eyes": [f"{patient}_{side}.jpeg" for patient in range(30) for side in ("left", "right")],
}
WANTED = {"people": 12, "frames of clips": 12, "folders of clips": 15, "no separator": 12, "plates": 20,
          "copies of one source": 20, "both eyes": 30}  # fmt: skip


@pytest.mark.parametrize("kind", NAMED)
def test_names_that_divide_the_data_are_recognised(kind):
    told = guess(NAMED[kind])
    assert told is not None and len(told.names) == WANTED[kind] == len(np.unique(told.groups))
    assert f"{WANTED[kind]} groups of about" in told.evidence


@pytest.mark.parametrize("names", [
    [f"{i:05d}.jpg" for i in range(100)],
    [f"BloodImage_{i:05d}.jpg" for i in range(100)],
    [f"COCO_val2014_{i:012d}.jpg" for i in range(100)],
    [f"{(i * 7919) % 65521:08x}-{i:04x}.jpg" for i in range(100)],
    [],
    ["a_1.png"],
], ids=["counted", "one prefix", "two prefixes", "hashes", "none", "one"])  # fmt: skip
def test_names_that_only_count_tell_of_no_groups(names):
    assert guess(names) is None


def test_names_that_repeat_the_class_tell_of_no_groups():
    names = [f"n{c:08d}_{i}.JPEG" for c in range(12) for i in range(10)]
    assert guess(names, np.arange(120) // 10, [f"n{c:08d}" for c in range(12)]) is None
    assert guess(names, np.arange(120) % 2, ["cat", "dog"]) is not None


def test_a_folder_that_is_the_class_or_a_split_is_no_group():
    names = [f"train/kind{c}/{i:04d}.jpg" for c in range(12) for i in range(10)]
    assert guess(names, np.arange(120) // 10, [f"kind{c}" for c in range(12)]) is None


def test_few_groups_are_believed_only_where_the_pictures_agree():
    names, groups = [f"{year}_{i:06d}.jpg" for year in range(2007, 2012) for i in range(60)], np.arange(300) // 60
    assert guess(names) is None
    assert guess(names, small=alike(groups, noise=30.0)) is None
    told = guess(names, small=alike(groups, noise=0.5))
    assert told is not None and told.names == ("2007", "2008", "2009", "2010", "2011")


def test_many_groups_are_not_believed_where_the_pictures_disagree():
    names, groups = [f"airbus{kind}_s_{i:06d}.png" for kind in range(20) for i in range(30)], np.arange(600) // 30
    assert guess(names) is not None
    assert guess(names, small=alike(groups, noise=30.0)) is None


def test_scenes_of_a_real_film_are_recognised(real_data: Path):
    """CamVid's frames are named for four drives; without its split they show three here."""
    from PIL import Image

    from visus.data.looking import SIDE

    files = sorted((real_data / "camvid_trainval").glob("*/*.jpg"))
    small = np.stack([np.asarray(Image.open(f).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)) for f in files])
    told = guess([f"{f.parent.name}/{f.name}" for f in files], small=small)
    assert told is not None and set(told.names) == {"0001TP", "0006R0", "0016E5"}


def test_pictures_of_one_group_are_nearer_by_as_much_as_they_are_alike():
    groups = np.arange(400) // 8
    near, far = (likeness(groups, alike(groups, noise)) for noise in (0.3, 30.0))
    assert near < 0.3 and far == pytest.approx(1, abs=0.15)


def test_numbers_at_the_end_of_names_follow_each_other_across_splits():
    names = ["train/a/f_1.png", "test/a/f_2.png", "train/a/f_10.png", "train/b/f_2.png", "val/a/g_3.png"]
    assert neighbours(names).tolist() == [[0, 1], [1, 2]]


@given(st.integers(1, 40), st.data())
def test_joined_groups_hold_every_group_and_every_link_whole(count: int, data: st.DataObject):
    indices = st.integers(0, count - 1)
    links = np.array(data.draw(st.lists(st.tuples(indices, indices), max_size=30)), np.int64).reshape(-1, 2)
    groups = np.array(data.draw(st.lists(st.integers(0, 9), min_size=count, max_size=count)), np.int64)
    whole = joined(count, links, groups)
    assert (whole[links[:, 0]] == whole[links[:, 1]]).all()
    assert all(len(set(whole[groups == group].tolist())) == 1 for group in set(groups.tolist()))
    together = {i: {i} for i in range(count)}  # by brute force
    for i in range(count):
        for j in (*np.flatnonzero(groups == groups[i]).tolist(), *links[links[:, 0] == i, 1].tolist()):
            united = together[i] | together[j]
            for member in united:
                together[member] = united
    expected = {min(members) for members in together.values()}
    assert len(set(whole.tolist())) == len(expected)
    assert whole[np.sort(np.unique(whole, return_index=True)[1])].tolist() == list(range(len(expected)))


def table(root: Path, header: str, rows: list[str]) -> Path:
    for i in range(len(rows)):
        write_picture(root / f"{i}.png", i)
    (root / "labels.csv").write_text("\n".join([header, *[f"{i}.png,{row}" for i, row in enumerate(rows)]]) + "\n")
    return root


def test_any_column_of_a_table_can_name_the_groups(tmp_path):
    data = table(tmp_path, "path,label,Camera Id", ["a,x", "b,y", "a,x", "b,y"])
    assert stated(open_data(data, DataSettings(), carve=False), data, "camera_id") == ["x", "y", "x", "y"]


@pytest.mark.parametrize(
    ("name", "told"), [("camra", "nothing named 'camra'"), ("camera", "1 pictures have no 'camera'")]
)
def test_a_column_that_is_not_there_or_not_filled_is_told(tmp_path, name, told):
    data = table(tmp_path, "path,label,camera", ["a,x", "b,", "a,x", "b,y"])
    with pytest.raises(UsageError, match=told) as caught:
        stated(open_data(data, DataSettings(), carve=False), data, name)
    assert caught.value.code == "USE-045"


def test_a_column_of_a_table_of_boxes_names_the_groups_of_pictures_without_objects_too(tmp_path):
    data = table(tmp_path, "path,label,x1,y1,x2,y2,camera", ["a,0,0,4,4,x", ",,,,,y", "b,1,1,5,5,x"])
    dataset = open_data(data, DataSettings(), carve=False)
    assert dataset.format == "boxes_csv" and stated(dataset, data, "camera") == ["x", "y", "x"]


def test_a_key_of_the_annotations_can_name_the_groups(tmp_path):
    data = table(tmp_path, "path,label", ["a", "b"])
    records = Strings(['{"video_id": 7}', '{"video_id": 8}'])
    dataset = open_data(data, DataSettings(), carve=False).with_(
        original=Original(np.zeros((2, 2), np.int64), records=records)
    )
    assert stated(dataset, data, "video_id") == ["7", "8"]
