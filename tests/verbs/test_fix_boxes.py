"""Fixes of boxes: a list, a copy in every format that visus writes, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.verbs.detecting import write_rectangles

import visus
from visus.checks import Finding, Item
from visus.core.errors import DataError, UsageError
from visus.core.recipe import DataSettings
from visus.data.fixes import NEW, Fix, read, write
from visus.data.formats import FORMATS
from visus.data.reading import open_data
from visus.verbs.fix import write_fixes

WRITERS = ("coco", "voc", "yolo", "boxes_csv")


@pytest.fixture(scope="module")
def rectangles(tmp_path_factory):
    """Return COCO data of 12 pictures with up to three boxes each."""
    return write_rectangles(tmp_path_factory.mktemp("data") / "boxes", train=12)


def opened(path, name="auto"):
    return open_data(path, DataSettings(format=name), carve=False)


def busiest(dataset) -> int:
    """Return the picture with most boxes."""
    return int(np.diff(dataset.objects.starts).argmax())


def said(dataset, file):
    """Return class and box of each object of a picture."""
    i = list(dataset.ids).index(file)
    return [(dataset.classes[mark.label], mark.box) for mark in dataset.objects[i]]


@pytest.mark.parametrize("name", WRITERS)
def test_boxes_are_relabelled_moved_removed_and_added_in_a_copy_of_every_format(rectangles, tmp_path, name):
    data = tmp_path / "data"
    visus.convert(rectangles, to="csv" if name == "boxes_csv" else name, out=data, lossy=True)
    dataset = opened(data)
    assert dataset.format == name
    counts = np.diff(dataset.objects.starts)
    first, second, empty = (*np.flatnonzero(counts >= 2)[:2].tolist(), int(np.flatnonzero(counts == 0)[0]))
    ids, files = list(dataset.ids), {}
    (a, at_a), (b, _), *_ = files[first] = said(dataset, ids[first])
    (c, _), (d, _), *_ = files[second] = said(dataset, ids[second])
    other = {"red": "blue", "blue": "red"}
    write(tmp_path / "fixes.json", dataset, [
        Fix(ids[first], a, other[a], box=1), Fix(ids[first], b, None, box=2),
        Fix(ids[second], c, c, box=1, at=(1.0, 2.0, 20.0, 30.0)), Fix(ids[second], d, None, box=2, apply=False),
        Fix(ids[empty], "", "red", box=NEW, at=(5.0, 6.0, 25.0, 31.0)),
    ])  # fmt: skip
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    done = visus.fix(data, tmp_path / "fixes.json", out=tmp_path / "copy")
    assert (len(done.applied), done.listed, done.undoable, done.lost) == (4, 5, False, ())
    copy = opened(done.data)
    assert copy.format == name
    wanted = {
        ids[first]: [(other[a], at_a), *files[first][2:]],
        ids[second]: [(c, (1, 2, 20, 30)), *files[second][1:]],
        ids[empty]: [("red", (5, 6, 25, 31))],
    }
    for file in ids:
        found, expected = said(copy, file), wanted.get(file, said(dataset, file))
        assert [label for label, _ in found] == [label for label, _ in expected]
        np.testing.assert_allclose([box for _, box in found], [box for _, box in expected], atol=1e-6)
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before
    with pytest.raises(UsageError) as raised:
        visus.fix(undo=tmp_path / "copy")
    assert raised.value.code == "USE-049"


def test_a_finding_of_each_kind_becomes_a_fix_that_nobody_means_yet(rectangles, tmp_path):
    dataset = opened(rectangles)
    stated, suspected = [1.0, 2.0, 20.0, 30.0], [3.0, 2.0, 22.0, 30.0]
    kinds = {
        "class": {"box": 1, "label": "red", "stated": stated, "suggested": "blue", "suspected": suspected},
        "missing": {"suggested": "blue", "suspected": suspected},
        "extra": {"box": 2, "label": "red", "stated": stated},
        "place": {"box": 1, "label": "red", "stated": stated, "suggested": "red", "suspected": suspected},
    }
    findings = [
        Finding("CHECK-06x", "warning", "", "", "", (Item("x", "warned", kind, index=3, more={"kind": kind, **more}),),
                consequence="mislead")
        for kind, more in kinds.items()
    ]  # fmt: skip
    write_fixes(dataset, findings, tmp_path / "fixes.json")
    told = json.loads((tmp_path / "fixes.json").read_text())["items"]
    assert [item["apply"] for item in told] == [False] * 4 and {item["file"] for item in told} == {dataset.ids[3]}
    assert [(item["box"], item["from"], item["to"], item["at"]) for item in told] == [
        (1, "red", "blue", None), (None, "", "blue", suspected), (2, "red", None, None), (1, "red", "red", suspected),
    ]  # fmt: skip
    assert [fix.reason for fix in read(tmp_path / "fixes.json").items] == list(kinds)


@pytest.mark.parametrize(
    ("change", "code", "place"),
    [
        ({"box": 9}, "DATA-333", "box"),
        ({"box": 0}, "DATA-331", "box"),
        ({"box": True}, "DATA-331", "box"),
        ({"box": None}, "DATA-334", "from"),
        ({"box": None, "from": ""}, "DATA-343", "at"),
        ({"box": None, "from": "", "to": None, "at": [1, 1, 9, 9]}, "DATA-343", "to"),
        ({"at": [1, 2, 3]}, "DATA-331", "at"),
        ({"at": [1, 2, 3, float("nan")]}, "DATA-331", "at"),
        ({"at": [10, 2, 3, 9]}, "DATA-343", "at"),
        ({"at": [10, 2, 65, 9]}, "DATA-343", "at"),
        ({"to": "green"}, "DATA-334", "to"),
        ({"file": "train/none.png"}, "DATA-333", "file"),
        ({"place": 3}, "DATA-331", "'place'"),
        ({"apply": False}, "DATA-335", ""),
    ],
)
def test_every_fault_is_named_by_its_item_and_key_and_nothing_is_written(rectangles, tmp_path, change, code, place):
    dataset = opened(rectangles)
    i = busiest(dataset)
    label = said(dataset, dataset.ids[i])[0][0]
    write(tmp_path / "fixes.json", dataset, [Fix(dataset.ids[i], label, label, box=1)])
    told = json.loads((tmp_path / "fixes.json").read_text())
    told["items"][0] |= change
    (tmp_path / "fixes.json").write_text(json.dumps(told))
    with pytest.raises(DataError) as raised:
        visus.fix(rectangles, tmp_path / "fixes.json", out=tmp_path / "copy")
    assert raised.value.code == code and raised.value.done == "nothing was written"
    assert (f"items[0].{place}:" in raised.value.what) if place else True
    assert not (tmp_path / "copy").exists()


def test_two_fixes_of_one_box_are_refused(rectangles, tmp_path):
    dataset = opened(rectangles)
    i = busiest(dataset)
    label = said(dataset, dataset.ids[i])[0][0]
    write(tmp_path / "fixes.json", dataset, [Fix(dataset.ids[i], label, None, box=1)] * 2)
    with pytest.raises(DataError, match=r"items\[1\].box: box 1 has another fix already"):
        visus.fix(rectangles, tmp_path / "fixes.json", out=tmp_path / "copy")


def test_a_fix_of_a_whole_picture_is_refused_for_boxes(rectangles, tmp_path):
    dataset = opened(rectangles)
    i = busiest(dataset)
    write(tmp_path / "fixes.json", dataset, [Fix(dataset.ids[i], "red", "blue")])
    with pytest.raises(DataError) as raised:
        visus.fix(rectangles, tmp_path / "fixes.json", out=tmp_path / "copy")
    assert raised.value.code == "DATA-333"


def test_an_object_with_an_outline_does_not_move_without_it(rectangles, tmp_path):
    page = rectangles / "annotations/instances_train.json"
    data = tmp_path / "data"
    visus.convert(rectangles, to="coco", out=data)
    page = next(data.rglob("*.json"))
    told = json.loads(page.read_text())
    x, y, wide, high = told["annotations"][0]["bbox"]
    told["annotations"][0]["segmentation"] = [[x, y, x + wide, y, x + wide, y + high, x, y + high]]
    page.write_text(json.dumps(told))
    dataset = opened(data)
    i = int(dataset.objects.records[0])
    label, _ = said(dataset, dataset.ids[i])[0]
    write(tmp_path / "fixes.json", dataset, [Fix(dataset.ids[i], label, label, box=1, at=(1.0, 1.0, 9.0, 9.0))])
    with pytest.raises(DataError) as raised:
        visus.fix(data, tmp_path / "fixes.json", out=tmp_path / "copy")
    assert raised.value.code == "DATA-343" and "outline" in raised.value.what


def test_a_format_that_visus_does_not_write_is_said_so(tmp_path):
    assert FORMATS["mot"].write is None
    root = tmp_path / "set/train/MOT-01"
    (root / "img1").mkdir(parents=True)
    (root / "gt").mkdir()
    from PIL import Image

    for i in range(1, 4):
        Image.fromarray(np.full((40, 60, 3), 9 * i, np.uint8)).save(root / f"img1/{i:06}.jpg")
    (root / "gt/gt.txt").write_text("".join(f"{i},1,5,6,20,22,1,1,1\n" for i in range(1, 4)))
    (root / "seqinfo.ini").write_text(
        "[Sequence]\nname=MOT-01\nimDir=img1\nframeRate=10\nseqLength=3\nimWidth=60\nimHeight=40\nimExt=.jpg\n"
    )
    dataset = opened(tmp_path / "set", "mot")
    write(tmp_path / "fixes.json", dataset, [Fix(dataset.ids[0], dataset.classes[0], None, box=1)])
    with pytest.raises(DataError) as raised:
        visus.fix(tmp_path / "set", tmp_path / "fixes.json", out=tmp_path / "copy")
    assert raised.value.code == "DATA-336" and "visus convert" in raised.value.fix
