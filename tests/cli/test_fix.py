"""``visus fix`` as a command."""

from __future__ import annotations

import json

import pytest
from tests.verbs.detecting import write_rectangles

from visus.core.recipe import DataSettings
from visus.data.fixes import Fix, write
from visus.data.reading import open_data


@pytest.fixture
def fixes(photos, tmp_path):
    """Return a list with one fix of the photos."""
    dataset = open_data(photos, DataSettings(), carve=False)
    name = dataset.ids[0]
    label = dataset.classes[dataset.columns["label"][0]]
    to = next(other for other in dataset.classes if other != label)
    write(tmp_path / "fixes.json", dataset, [Fix(name, label, to, "by hand")])
    return tmp_path / "fixes.json"


def test_fixing_says_where_the_copy_is_and_what_can_be_done_with_it(visus, photos, fixes, tmp_path):
    said = visus("fix", photos, fixes, "--out", tmp_path / "copy")
    assert said.code == 0 and said.err == ""
    assert said.out.splitlines() == [
        f"{tmp_path / 'copy'}: a copy with 1 fix of 1 applied",
        f"next      visus train {tmp_path / 'copy'}",
        f"undo      visus fix --undo {tmp_path / 'copy'}",
    ]


def test_a_copy_of_boxes_which_is_written_anew_offers_no_undo(visus, tmp_path):
    data = write_rectangles(tmp_path / "boxes", train=4)
    dataset = open_data(data, DataSettings(), carve=False)
    label = dataset.classes[dataset.objects.labels[0]]
    fix = Fix(dataset.ids[dataset.objects.records[0]], label, None, box=1)
    write(tmp_path / "fixes.json", dataset, [fix])
    said = visus("fix", data, tmp_path / "fixes.json", "--out", tmp_path / "copy")
    assert said.code == 0 and said.out.splitlines() == [
        f"{tmp_path / 'copy'}: a copy with 1 fix of 1 applied",
        f"next      visus train {tmp_path / 'copy'}",
    ]


def test_undoing_says_so(visus, photos, fixes, tmp_path):
    visus("fix", photos, fixes, "--out", tmp_path / "copy")
    said = visus("fix", "--undo", tmp_path / "copy")
    assert said.out == f"{tmp_path / 'copy'}: 1 fix taken back; every byte is that of the original\n"


def test_the_document_of_fixing_is_alone_on_stdout(visus, photos, fixes, tmp_path):
    told = visus("fix", photos, fixes, "--out", tmp_path / "copy", "--json").document
    assert told["folder"] == str(tmp_path / "copy") and told["applied"][0]["reason"] == "by hand"


def test_a_bad_list_ends_with_2_and_an_error_of_five_lines_at_most(visus, photos, fixes, tmp_path):
    fixes.write_text(json.dumps(json.loads(fixes.read_text()) | {"items": [{"file": 3}]}))
    said = visus("fix", photos, fixes, "--out", tmp_path / "copy")
    assert said.code == 2 and said.out == "" and len(said.err.splitlines()) <= 5
    assert said.err.startswith("error[DATA-331]: ") and "items[0].from: the key is missing" in said.err
