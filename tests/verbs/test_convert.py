"""``visus convert``: another format with everything in it, or a list of what is missing, and the original untouched."""

import json

import numpy as np
import pytest
from tests.data.examples import EXAMPLES

import visus
from visus.cli.app import run as give
from visus.core.errors import DataError, UsageError
from visus.core.recipe import DataSettings
from visus.data.reading import open_data


def files_of(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize(("name", "to"), [("folder", "csv"), ("coco", "yolo"), ("yolo", "voc"), ("voc", "coco"),
                                          ("boxes_csv", "coco"), ("masks", "coco")])  # fmt: skip
def test_a_data_set_in_another_format_is_recognised_as_such_and_the_original_is_untouched(tmp_path, name, to):
    data = EXAMPLES[name](tmp_path / "data")
    before = files_of(tmp_path / "data")
    done = visus.convert(data, to=to, out=tmp_path / "out", lossy=True)
    assert (done.format, done.to) == (name, to) and done.pictures >= 12
    assert open_data(tmp_path / "out", DataSettings(), carve=False).format == to
    assert files_of(tmp_path / "data") == before


def test_the_command_prints_one_document_and_the_losses(tmp_path, capsys):
    EXAMPLES["coco"](tmp_path / "data")
    assert give(["convert", str(tmp_path / "data"), "--to", "csv", str(tmp_path / "out"), "--lossy", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["to"] == "csv"


def test_what_reading_left_out_is_said(tmp_path, capsys):
    data = EXAMPLES["folder"](tmp_path / "data")
    (data / "train/cat/words.txt").write_text("mine")
    assert give(["convert", str(data), "--to", "csv", str(tmp_path / "out")]) == 0
    assert "left out 1 file that is no picture (.txt 1): train/cat/words.txt" in capsys.readouterr().err


def test_without_a_format_or_a_place_nothing_is_done(tmp_path, capsys):
    EXAMPLES["folder"](tmp_path / "data")
    assert give(["convert", str(tmp_path / "data"), str(tmp_path / "out")]) == 2
    assert "USE-052" in capsys.readouterr().err


def test_the_new_folder_may_not_lie_in_the_data(tmp_path):
    EXAMPLES["folder"](tmp_path / "data")
    with pytest.raises(UsageError) as told:
        visus.convert(tmp_path / "data", to="csv", out=tmp_path / "data" / "out")
    assert told.value.code == "RUN-010"


def test_classes_are_no_boxes(tmp_path):
    EXAMPLES["folder"](tmp_path / "data")
    with pytest.raises(DataError):
        visus.convert(tmp_path / "data", to="voc", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_real_boxes_go_through_every_format_and_come_back(real_data, tmp_path):
    """Blood cells: Pascal VOC to COCO, and from there through YOLO and a table, with every box where it was."""
    data = real_data / "bccd_voc"
    visus.convert(data, to="coco", out=tmp_path / "coco", lossy=True)  # two boxes without area are left out
    for to in ("yolo", "csv"):
        done = visus.convert(tmp_path / "coco", to=to, out=tmp_path / to, lossy=True)
        assert done.objects == 4886
        visus.convert(tmp_path / to, to="coco", out=tmp_path / f"{to}_back", lossy=True)
    there, *back = (boxes(tmp_path / name) for name in ("coco", "yolo_back", "csv_back"))
    for found in back:
        assert found.keys() == there.keys()
        assert all(np.allclose(found[name], there[name], atol=1e-6) for name in there)


def boxes(folder):
    found = {}
    for split in ("train", "val", "test"):
        held = json.loads((folder / f"annotations/instances_{split}.json").read_text())
        names = {image["id"]: image["file_name"] for image in held["images"]}
        for mark in held["annotations"]:
            found.setdefault(names[mark["image_id"]], []).append(mark["bbox"])
    return {name: sorted(listed) for name, listed in found.items()}
