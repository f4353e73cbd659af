"""Clips as folders of frames: frames in order, clips whole."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.data.examples import clips, write_picture, write_tree

from visus.core.errors import DataError
from visus.core.recipe import DataSettings
from visus.data.dataset import Dataset
from visus.data.formats import FORMATS
from visus.data.reading import open_data


def read(path: Path) -> Dataset:
    return FORMATS["clips"].read(path, DataSettings())


@pytest.mark.parametrize("name", ["{}.png", "{:04}.png", "frame_{:03}.jpg", "20240101_{:05}.png"])
def test_folders_of_numbered_frames_are_recognised(name: str, tmp_path: Path):
    for clip in ("run/a", "run/b", "sit/c"):
        for frame in range(5, 9):
            write_picture(tmp_path / clip / name.format(frame), frame)
    dataset = open_data(tmp_path, DataSettings(), carve=False)
    assert dataset.format == "clips" and dataset.classes == ("run", "sit")
    assert dataset.groups.tolist() == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize("names", [
    ("run/1.png", "run/2.png", "sit/1.png"),
    ("run/a/1.png", "run/a/2.png", "sit/1.png"),
    ("run/a/1.png", "run/a/7.png", "sit/b/1.png", "sit/b/2.png"),
    ("run/a/x1.png", "run/a/y2.png"),
    ("run/a/1.png", "sit/b/1.png"),
    ("run/a/deeper/1.png", "run/a/deeper/2.png"),
])  # fmt: skip
def test_other_folders_are_not(names: tuple[str, ...], tmp_path: Path):
    for i, name in enumerate(names):
        write_picture(tmp_path / name, i)
    assert FORMATS["clips"].sniff(tmp_path) is None


def test_frames_stand_in_the_order_of_their_numbers(tmp_path: Path):
    write_tree(tmp_path, {"run/a": 12, "sit/b": 2})
    assert [Path(name).stem for name in read(tmp_path).ids][:12] == [str(i) for i in range(12)]


def test_a_frame_has_the_class_of_its_clip_and_its_own_pixels(tmp_path: Path):
    write_tree(tmp_path, {"train/run/a": 2, "train/sit/b": 2, "test/run/c": 2})
    dataset = read(tmp_path)
    assert dataset.columns["label"].tolist() == [0, 0, 1, 1, 0, 0] and dataset.split.tolist() == [0] * 4 + [2] * 2
    expected = cv2.imread(str(tmp_path / "train/sit/b/1.png"))[..., ::-1]
    np.testing.assert_array_equal(dataset.images.read(3), expected)


def test_no_clip_is_torn_when_splits_are_carved(tmp_path: Path):
    dataset = open_data(clips(tmp_path), DataSettings())
    assert len(np.unique(dataset.groups * 3 + dataset.split)) == len(np.unique(dataset.groups)) == 12


def test_a_gap_between_frames_is_remarked(tmp_path: Path):
    for frame in (1, 2, 5, 6, 999_999_999):
        write_picture(tmp_path / f"run/a/{frame}.png", frame)
    write_picture(tmp_path / "sit/b/1.png", 0)
    (remark,) = read(tmp_path).remarks
    assert (remark.file, remark.code) == ("run/a", "DATA-291")
    assert remark.why.startswith("999,999,994 frames are missing") and remark.why.endswith("after 2")


def test_a_picture_beside_the_clips_is_a_clip_of_its_own_and_noted(tmp_path: Path):
    write_tree(tmp_path, {"run/a": 2, "run": 2, "sit/b": 2})
    dataset = read(tmp_path)
    assert len(np.unique(dataset.groups)) == 4 and any("2 pictures lie in no clip's folder" in n for n in dataset.notes)


def test_class_folders_alone_are_no_clips(tmp_path: Path):
    with pytest.raises(DataError) as caught:
        read(write_tree(tmp_path, {"run": 2, "sit": 2}))
    assert caught.value.code == "DATA-292"


def test_video_files_are_told_how_to_become_frames(real_data: Path):
    with pytest.raises(DataError) as caught:
        open_data(real_data / "action_survfight_a", DataSettings())
    assert "video files (.mp4)" in caught.value.looked and "ffmpeg" in caught.value.looked


def test_real_clips_as_frames_open_with_their_splits_and_classes(real_data: Path, tmp_path: Path):
    lengths = []
    for split in ("train", "val"):
        for name in ("fight", "noFight"):
            for video in sorted((real_data / "action_survfight_a" / split / name).iterdir())[:2]:
                (tmp_path / split / name / video.stem).mkdir(parents=True)
                film, count = cv2.VideoCapture(str(video)), 0
                while (frame := film.read())[0]:
                    count += 1
                    cv2.imwrite(str(tmp_path / split / name / video.stem / f"{count:04}.jpg"), frame[1])
                lengths.append(count)
    dataset = open_data(tmp_path, DataSettings(), carve=False)
    assert dataset.format == "clips" and dataset.classes == ("fight", "noFight") and not dataset.remarks
    assert np.bincount(dataset.groups).tolist() == lengths and min(lengths) > 10
