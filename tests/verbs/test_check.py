"""``visus.check``: what is told of good, broken and odd data, and that nothing is changed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.verbs.examples import write_classes, write_splits, write_table

import visus
from visus.checks import LEVELS
from visus.core.errors import DataError, UsageError


def everything(folder):
    """Return the bytes and the time of change of every file below a folder."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def truncated(data, count):
    """Cut the files of some pictures off in the middle; return their names below the data."""
    files = sorted(data.rglob("*.png"))[:: max(1, len(list(data.rglob("*.png"))) // count)][:count]
    for file in files:
        file.write_bytes(file.read_bytes()[:70])
    return sorted(str(file.relative_to(data)) for file in files)


@pytest.fixture(scope="module")
def good(photos):
    """Return what is found in a folder of digits."""
    return visus.check(photos)


def test_good_data_has_no_error_and_ends_with_0(good):
    assert good.exit == 0 and "error" not in {finding.level for finding in good.findings}
    assert sum(good.files.values()) == 330 and good.files["skipped"] == good.files["refused"] == 0
    assert good.splits == {"train": 180, "val": 60, "test": 90}


def test_the_summary_counts_pictures_by_what_becomes_of_them(good):
    told = replace(good, files={"ok": 320, "warned": 7, "clipped": 0, "skipped": 3, "refused": 0}).summary()
    assert told == "photos: 330 pictures, 320 fine, 7 with a warning, 3 left out"


def test_a_terminal_shows_a_screen_at_most_and_says_what_is_left(good):
    many = replace(good, findings=good.findings[:1] * 30)
    assert len(many.table().rows) == 8 and many.table().note.startswith("and 22 more")


def test_small_parts_are_told_with_what_would_be_needed(good):
    assert any(finding.fix.startswith("collect more: 865 give ±2 points") for finding in good.findings)


def test_a_few_broken_pictures_are_a_warning_and_more_than_training_leaves_out_end_with_3(tmp_path):
    data = write_splits(tmp_path / "photos", train=40, val=20, test=20)
    names = truncated(data, 4)
    found = visus.check(data)
    assert found.exit == 3 and found.findings[0].code == "CHECK-002" and found.files["refused"] == 4
    assert sorted(item.file for item in found.findings[0].items) == names
    allowed = visus.check(data, set={"data.max_bad": 0.02})
    assert allowed.exit == 0 and allowed.files["skipped"] == 4


def test_findings_stand_worst_first_and_the_gravest_status_of_a_file_counts(tmp_path):
    data = write_splits(tmp_path / "photos", train=60, val=20, test=20)
    truncated(data, 1)
    odd = sorted((data / "train" / "six").iterdir())[5]
    Image.open(odd).save(odd, "GIF")  # under the name of a PNG
    found = visus.check(data)
    levels = [LEVELS.index(finding.level) for finding in found.findings]
    assert levels == sorted(levels) and found.files["skipped"] == 1 and found.files["warned"] >= 1
    assert found.json()["files"] == found.files and found.exit == 0


def test_leaks_stand_before_all_other_warnings_however_many_files_those_name(tmp_path):
    data = write_splits(tmp_path / "photos", train=60, val=20, test=20)
    names = sorted((data / "train" / "six").iterdir())
    Image.open(names[0]).resize((40, 40)).save(data / "test" / "six" / "again.png")
    for name in names[5:9]:
        Image.fromarray(np.zeros((16, 16), np.uint8)).save(name)
    warnings = [finding for finding in visus.check(data).findings if finding.level == "warning"]
    assert warnings[0].code == "CHECK-033" and len(warnings) > 1
    assert len(warnings[0].items) < max(len(finding.items) for finding in warnings[1:])


def test_all_that_training_stops_at_is_told_in_one_run_beside_everything_else(tmp_path):
    data = write_splits(tmp_path / "photos", train=60, val=20, test=20)
    (data / "train" / "frog").mkdir()
    (data / "test" / "horse").mkdir()
    next((data / "test" / "six").iterdir()).rename(data / "test" / "horse" / "1.png")
    names = truncated(data / "train", 1)
    found = visus.check(data)
    assert found.exit == 1 and [finding.code for finding in found.findings[:2]] == ["DATA-130", "DATA-131"]
    assert {item.status for finding in found.findings[:2] for item in finding.items} == {"refused"}
    assert [f"train/{name}" for name in names] == [
        item.file for finding in found.findings for item in finding.items if finding.code == "CHECK-001"]  # fmt: skip
    with pytest.raises(DataError) as caught:
        visus.train(data, out=tmp_path / "run", set={"epochs": 1})
    assert caught.value.code == "DATA-130"


def test_the_document_lists_every_finding_with_file_status_code_and_why(tmp_path):
    data = write_splits(tmp_path / "photos", train=60, val=20, test=20)
    (name,) = truncated(data, 1)
    told = json.loads(json.dumps(visus.check(data).json()))
    (item,) = [item for finding in told["findings"] for item in finding["items"] if item["file"] == name]
    assert item["status"] == "skipped" and item["code"] == "CHECK-001" and "ends early" in item["why"]
    assert {"findings", "files", "exit"} <= told.keys()
    assert all({"code", "level", "title", "why", "fix", "count", "items"} <= f.keys() for f in told["findings"])


def test_nothing_of_the_data_is_changed_and_the_page_and_the_document_are_written(photos, tmp_path):
    before = everything(photos)
    found = visus.check(photos, out=tmp_path / "checked")
    assert everything(photos) == before
    assert found.page == tmp_path / "checked" / "check.html" and found.page.is_file()
    assert json.loads((tmp_path / "checked" / "check.json").read_text())["files"] == found.files


def test_the_page_shows_the_pictures_it_speaks_of(tmp_path):
    data = write_splits(tmp_path / "photos", train=60, val=20, test=20)
    black = sorted((data / "train" / "one").iterdir())[3]
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(black)
    found = visus.check(data, out=tmp_path / "checked")
    page = found.page.read_text(encoding="utf-8")
    name = str(black.relative_to(data))
    assert name in page and f'alt="{name}" class="pixels"' in page and "data:image/png;base64," in page


def test_the_page_is_not_written_into_the_data(photos):
    with pytest.raises(UsageError):
        visus.check(photos, out=photos / "checked")


def test_nothing_is_written_beside_a_table_into_the_folder_of_its_pictures(tmp_path):
    folder = write_table(tmp_path / "photos", [(np.zeros((8, 8, 3), np.uint8), "cat")], ["label"])
    before = everything(tmp_path)
    with pytest.raises(UsageError) as caught:
        visus.check(folder / "labels.csv", out=folder)
    assert caught.value.code == "RUN-010" and everything(tmp_path) == before


def test_data_that_cannot_be_read_leaves_no_folder_behind(tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError):
        visus.check(tmp_path / "nothing", out=tmp_path / "new/page")
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_way_of_the_page_is_told(photos, tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(UsageError) as caught:
        visus.check(photos, out=tmp_path / "taken")
    assert caught.value.code == "USE-041" and (tmp_path / "taken").read_text() == "mine"


def test_what_is_no_data_set_is_the_error_itself(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        visus.check(tmp_path / "empty")
    assert caught.value.exit == 2


def test_what_training_would_stop_at_is_an_error_and_all_else_is_looked_at(tmp_path):
    data = write_classes(tmp_path / "photos", names={"one": 1})
    names = truncated(data, 1)
    found = visus.check(data)
    assert found.exit == 1
    assert found.findings[0].code == "CHECK-029" and "one class" in found.findings[0].title
    assert names == [item.file for finding in found.findings for item in finding.items if item.status == "skipped"]


def test_numbers_are_checked_as_well_as_classes(tmp_path):
    rows = [(np.full((9, 9), 3 * i, np.uint8), i / 10) for i in range(60)]
    found = visus.check(write_table(tmp_path / "table", rows, ["age"]))
    assert found.exit == 0 and sum(found.files.values()) == 60


def test_labels_of_data_without_classes_are_said_not_to_be_examined(tmp_path):
    rows = [(np.full((9, 9), 3 * i, np.uint8), i / 10) for i in range(60)]
    found = visus.check(write_table(tmp_path / "table", rows, ["age"]), labels=True)
    assert [finding.level for finding in found.findings if "labels were not examined" in finding.title] == ["note"]


def test_boxes_of_real_data_are_checked_and_drawn(real_data, tmp_path):
    found = visus.check(real_data / "bccd_voc" / "BCCD", out=tmp_path / "checked")
    (left_out,) = [finding for finding in found.findings if finding.items[0].status == "skipped"]
    assert sum(found.files.values()) == 364 and found.files["skipped"] == 0
    assert found.files["warned"] >= len({item.index for item in left_out.items}) == 2  # of which all else is read
    assert f'alt="{left_out.items[0].file}"' in found.page.read_text(encoding="utf-8")


def test_a_misspelt_setting_is_told_before_a_picture_is_read(tmp_path):
    with pytest.raises(UsageError):
        visus.check(tmp_path / "nowhere", set={"data.max_badd": 0.1})


def test_every_odd_file_in_a_class_folder_gets_its_answer(bad_inputs, tmp_path):
    data = write_classes(tmp_path / "photos", each=60)
    expected = json.loads((bad_inputs / "images_expect.json").read_text())
    for name in expected:
        shutil.copyfile(bad_inputs / "images" / name, data / "one" / f"odd-{name}")
    found = visus.check(data, out=tmp_path / "checked", set={"data.max_bad": 1.0})
    (left_out,) = [note for note in found.notes if note.startswith("left out")]
    status = {}
    for finding in found.findings:
        for item in finding.items:
            if finding.code in ("CHECK-001", "CHECK-004", "CHECK-005"):
                status[item.file.partition("odd-")[2]] = item.status
    for name, entry in expected.items():
        if entry["expect"] == "refuse":
            assert status.get(name) == "skipped" or f"odd-{name}" in left_out, name
        if entry["expect"] in ("ok", "ok_warn"):
            assert status.get(name, "ok") == {"ok": "ok", "ok_warn": "warned"}[entry["expect"]], name
    assert found.page.is_file()


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10_jpg_subset"])
def test_real_data_is_found_to_be_good(real_data, name):
    found = visus.check(real_data / name)
    errors = [finding.title for finding in found.findings if finding.level == "error"]
    assert not errors and found.files["ok"] >= 0.98 * sum(found.files.values())


def test_a_wrong_label_is_found_listed_and_mended(tmp_path):
    photos = write_classes(tmp_path / "photos", each=40)
    wrong = sorted((photos / "six").iterdir())[5]
    wrong.rename(photos / "one" / wrong.name)
    found = visus.check(photos, labels=True, out=tmp_path / "found")
    (finding,) = [finding for finding in found.findings if finding.code == "CHECK-050"]
    assert finding.items[0].file == f"one/{wrong.name}" and finding.items[0].more["suggested"] == "six"
    assert found.fixes == tmp_path / "found/fixes.json" and found.json()["fixes"] == str(found.fixes)
    told = json.loads(found.fixes.read_text())
    told["items"] = [item | {"apply": True} for item in told["items"][:1]]
    found.fixes.write_text(json.dumps(told))
    visus.fix(photos, found.fixes, out=tmp_path / "mended")
    assert (tmp_path / "mended/six" / wrong.name).is_file()
