"""MOTChallenge text: lines that become objects of frames, and lines that do not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.examples import mot, write_picture
from tests.data.soundness import REFUSALS, check_refusal, check_sound

from visus.core.errors import BadDataLimit, DataError
from visus.core.recipe import DataSettings
from visus.data.dataset import Dataset
from visus.data.formats import FORMATS
from visus.data.formats.mot import read_rows
from visus.data.reading import open_data

EDITS = 300
LINES = "1,1,11,21,5,6.5,1,1,0.25\n1,2,1,1,4,4,0,8,1\n2,1,12,21,5,6.5,1,1,-1\n"


def lay(root: Path, lines: str = LINES, frames: int = 3, name: str = "SEQ", info: str = "") -> Path:
    """Write a sequence of frames and its ground truth."""
    (root / name / "gt").mkdir(parents=True)
    (root / name / "gt/gt.txt").write_text(lines)
    for frame in range(1, frames + 1):
        write_picture(root / name / f"img1/{frame:06}.png", frame, (48, 64))
    if info:
        (root / name / "seqinfo.ini").write_text(f"[Sequence]\n{info}\n")
    return root


def read(root: Path, **changes: object) -> Dataset:
    return FORMATS["mot"].read(root, DataSettings(**changes))


def test_a_line_is_an_object_of_its_frame_counted_from_1(tmp_path: Path):
    dataset = read(lay(tmp_path))
    assert list(dataset.ids) == [f"SEQ/img1/{frame:06}.png" for frame in (1, 2, 3)]
    first, second = dataset.objects[0]
    assert first.box == (10, 20, 15, 26.5) and first.id == 1 and dataset.classes[first.label] == "pedestrian"
    assert json.loads(first.more) == {"track": 1, "visibility": 0.25} and not first.crowd
    assert dataset.classes[second.label] == "distractor" and second.crowd
    assert [len(dataset.objects[i]) for i in range(3)] == [2, 1, 0]
    assert json.loads(dataset.objects[1][0].more) == {"track": 1}


def test_a_box_beyond_its_picture_is_kept_whole(tmp_path: Path):
    dataset = read(lay(tmp_path, "1,1,-9,1,200,20,1,1,1\n"))
    assert dataset.objects[0][0].box == (-10, 0, 190, 20) and not dataset.remarks


def test_ten_columns_end_in_a_place_in_the_world(tmp_path: Path):
    dataset = read(lay(tmp_path, "1,1,2,2,3,3,1,4.5,5.5,0\n1,2,2,2,3,3,1,-1,-1,-1\n"))
    assert [json.loads(mark.more) for mark in dataset.objects[0]] == [
        {"track": 1, "world": [4.5, 5.5, 0.0]}, {"track": 2}
    ]  # fmt: skip
    assert dataset.classes == ("pedestrian",)


def test_a_sequence_is_a_group_and_its_copies_for_other_detectors_are_in_it(tmp_path: Path):
    for name in ("MOT17-02-DPM", "MOT17-02-FRCNN", "MOT17-04-DPM"):
        lay(tmp_path / "train", name=name)
    assert read(tmp_path).groups.tolist() == [0] * 6 + [1] * 3


def test_splits_are_folders_and_sequences_without_truth_are_left_out_with_a_note(tmp_path: Path):
    lay(tmp_path / "train")
    lay(tmp_path / "test", name="OTHER")
    (tmp_path / "test/OTHER/gt").rename(tmp_path / "test/OTHER/det")
    (tmp_path / "test/OTHER/det/gt.txt").rename(tmp_path / "test/OTHER/det/det.txt")
    dataset = read(tmp_path)
    assert dataset.split.tolist() == [0, 0, 0]
    assert dataset.notes == ("left out sequences without gt/gt.txt: test/OTHER",)


def test_a_sequence_may_be_named_itself(tmp_path: Path):
    dataset = open_data(lay(tmp_path) / "SEQ", DataSettings(), carve=False)
    assert dataset.format == "mot" and dataset.ids[0] == "img1/000001.png"


def test_what_seqinfo_says_is_used_and_kept(tmp_path: Path):
    lay(tmp_path, info="imDir=frames\nframeRate=25\nimWidth=64\nimHeight=48")
    (tmp_path / "SEQ/img1").rename(tmp_path / "SEQ/frames")
    dataset = read(tmp_path)
    assert dataset.ids[0] == "SEQ/frames/000001.png" and dataset.original.sizes.tolist() == [[48, 64]] * 3
    assert json.loads(dataset.original.whole["train"])["sequences"]["SEQ"]["frameRate"] == "25"
    assert json.loads(dataset.original.records[2]) == {"sequence": "SEQ", "frame": 3}


def test_a_sequence_without_its_frames_is_read_for_judging_trackers_with_a_remark(tmp_path: Path):
    dataset = read(lay(tmp_path, frames=0, info="seqLength=4\nimExt=.jpg"))
    assert list(dataset.ids) == [f"SEQ/img1/{frame:06}.jpg" for frame in (1, 2, 3, 4)]
    assert [remark.code for remark in dataset.remarks] == ["DATA-289"]


def test_a_folder_whose_name_is_no_text_is_told_in_letters(tmp_path: Path):
    lay(tmp_path, frames=0)
    (tmp_path / "SEQ/seqinfo.ini").write_bytes(b"[Sequence]\nimDir=\xffimg\n")
    (remark,) = read(tmp_path).remarks
    assert "are not there (\\xffimg/)" in remark.why


def test_a_listed_frame_that_is_not_there_is_bad_and_too_many_stop(tmp_path: Path):
    dataset = read(lay(tmp_path, LINES + "9,1,1,1,5,5,1,1,1\n9,2,1,1,5,5,1,1,1\n"))
    assert dataset.bad == (("SEQ/img1/000009.jpg", "SEQ/gt/gt.txt, line 4: there is no such frame"),)
    with pytest.raises(BadDataLimit) as caught:
        read(lay(tmp_path / "more", LINES + "8,1,1,1,5,5,1,1,1\n9,2,1,1,5,5,1,1,1\n"))
    assert caught.value.code == "DATA-112"


def test_a_box_without_area_is_skipped_with_its_line(tmp_path: Path):
    dataset = read(lay(tmp_path, LINES + "2,5,1,1,0,5,1,1,1\n"))
    assert [(r.file, r.status, r.code, r.where) for r in dataset.remarks] == [
        ("SEQ/gt/gt.txt", "skipped", "DATA-287", "line 4")
    ]
    assert len(dataset.objects.boxes) == 3


@pytest.mark.parametrize(("line", "told"), [
    ("1,1,2,2,3", "line 2: it has 5 columns"),
    ("1,1,2,2,3,4,1,1,1,1", "line 2: it has 10 columns, the first has 9"),
    ("1,1,x,2,3,4,1,1,1", "line 2: left: 'x' is no number"),
    ("1,1,nan,2,3,4,1,1,1", "line 2: left: 'nan' is no number"),
    ("1,1,1,2,1e999,4,1,1,1", "line 2: width: '1e999' is no number, or too large"),
    ("1,1,1_0,2,3,4,1,1,1", "line 2: left: '1_0' is no number"),
    ("0,1,1,2,3,4,1,1,1", "line 2: frame: 0 is no whole number from 1 on"),
    ("1.5,1,1,2,3,4,1,1,1", "line 2: frame: 1.5 is no whole number"),
    ("1,1.5,1,2,3,4,1,1,1", "line 2: id: 1.5 is no whole number"),
    ("1,2,1,2,3,4,1,1.5,1", "line 2: class: 1.5 is no whole number"),
    ("1,1,1,2,3,4,1,1,\u0661", "line 2: byte 41 is no ASCII text"),
    ("1,1,2,2,3,4,1,1,1", r"line 2: the object 1 is in frame 1 already \(line 1\)"),
])  # fmt: skip
def test_a_line_that_cannot_be_what_it_should_is_refused_with_its_place(line: str, told: str, tmp_path: Path):
    with pytest.raises(DataError, match=told) as caught:
        read(lay(tmp_path, f"1,1,11,21,5,6.5,1,1,0.25\n{line}\n"))
    assert caught.value.code == "DATA-286" and "SEQ/gt/gt.txt" in caught.value.what


@pytest.mark.parametrize(("info", "code", "told"), [
    ("seqLength=many", "DATA-285", "seqLength: 'many' is no whole number"),
    ("imExt=/../x", "DATA-285", "imExt"),
    ("imDir=../../elsewhere", "DATA-110", r"holds '\.\.'"),
    ("imDir=a\nimDir=b", "DATA-285", "seqinfo.ini"),
    ("no key", "DATA-285", "seqinfo.ini"),
])  # fmt: skip
def test_a_seqinfo_that_makes_no_sense_is_refused(info: str, code: str, told: str, tmp_path: Path):
    with pytest.raises(DataError, match=told) as caught:
        read(lay(tmp_path, info=info))
    assert caught.value.code == code


def test_two_pictures_of_one_frame_are_refused(tmp_path: Path):
    write_picture(lay(tmp_path) / "SEQ/img1/2.png", 0)
    with pytest.raises(DataError, match="another picture of frame 2") as caught:
        read(tmp_path)
    assert caught.value.code == "DATA-288"


def test_detections_alone_are_no_labels(tmp_path: Path):
    (tmp_path / "SEQ/det").mkdir(parents=True)
    (tmp_path / "SEQ/det/det.txt").write_text("1,-1,1,1,5,5,0.9,-1,-1,-1\n")
    assert FORMATS["mot"].sniff(tmp_path).score == 0
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert caught.value.code == "DATA-290"


@pytest.mark.parametrize("length", [999_999_999, 1_000_000])
def test_a_length_beyond_reason_takes_no_memory(length: int, tmp_path: Path):
    with pytest.raises(DataError, match=f"{length:,} frames, of which none is there"):
        read(lay(tmp_path, frames=0, info=f"seqLength={length}"))


def test_real_ground_truth_and_detections_are_read_as_numpy_reads_them(real_data: Path):
    root = real_data / "tracking_mot"
    dataset = open_data(root, DataSettings(), carve=False)
    assert (dataset.format, len(dataset), dataset.classes) == ("mot", 179, ("pedestrian",))
    table = np.loadtxt(root / "TUD-Stadtmitte/gt/gt.txt", delimiter=",")
    assert len(dataset.objects.boxes) == len(table) and set(dataset.objects.ids.tolist()) == set(table[:, 1])
    expected = np.concatenate([table[:, 2:4] - 1, table[:, 2:4] - 1 + table[:, 4:6]], 1)
    np.testing.assert_allclose(dataset.objects.boxes, expected[np.argsort(table[:, 0], kind="stable")], atol=1e-6)
    assert np.diff(dataset.objects.starts).tolist() == np.bincount(table[:, 0].astype(int), minlength=180)[1:].tolist()
    detections = read_rows(root / "TUD-Stadtmitte/det/det.txt")
    theirs = np.loadtxt(root / "TUD-Stadtmitte/det/det.txt", delimiter=",")
    np.testing.assert_allclose(detections.confidence, theirs[:, 6])
    assert len(detections) == len(theirs) and (detections.id == -1).all() and np.isnan(detections.world).all()


def check_an_edit(data: st.DataObject, root: Path) -> None:
    """Read a sequence of which the ground truth has a few bytes changed."""
    text = bytearray(LINES.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.sampled_from([0, 1, 1, 9]))] = data.draw(st.binary(max_size=4))
    (root / "SEQ/gt/gt.txt").write_bytes(text)
    try:
        dataset = read(root, max_bad=1.0)
    except REFUSALS as error:
        check_refusal(error, "SEQ", "gt.txt")
        return
    check_sound(dataset)


@pytest.fixture(scope="module")
def sequence(tmp_path_factory) -> Path:
    return lay(tmp_path_factory.mktemp("edited"))


@given(data=st.data())
@settings(max_examples=EDITS)
def test_edited_lines_are_refused_by_name_or_sound(sequence: Path, data: st.DataObject):
    check_an_edit(data, sequence)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=20_000)
def test_edited_lines_are_refused_by_name_or_sound_in_20_000_cases(sequence: Path, data: st.DataObject):
    check_an_edit(data, sequence)


def test_the_example_opens_with_whole_sequences_in_each_split(tmp_path: Path):
    dataset = open_data(mot(tmp_path), DataSettings())
    assert len(np.unique(dataset.groups * 3 + dataset.split)) == len(np.unique(dataset.groups)) == 4
