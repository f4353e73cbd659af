"""The page of a check: well-formed, self-contained, and quiet in a browser whatever files are called."""

from __future__ import annotations

import numpy as np
import pytest

from visus.report.check_page import Group, Page, Picture, outlined, render

HOSTILE = "<img src=http://example.invalid/x onerror=alert(1)>\"'"


def drawn(seed=0, side=40):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def page(**changes):
    """Return a page with an error on pairs, a warning on pictures, and a note without any."""
    pair = Picture("train/a.png", "test/b.png", "the same pixels", [drawn(), drawn()])
    alone = [Picture(f"train/{i}.png", "", "brightness 0.01", [drawn(i, 300)]) for i in range(3)]
    groups = [
        Group("error", "CHECK-030", "1 picture is in two parts", "scores flatter", "remove one", [pair],
              [("train/a.png", "warned", "the same pixels")]),
        Group("warning", "CHECK-010", "3 pictures are nearly black", "they teach nothing", "look at them", alone,
              [(f"train/{i}.png", "warned", "brightness 0.01") for i in range(3)]),
        Group("note", "CHECK-017", "few pictures to judge by", "wide intervals", "collect more", [],
              [(f"file {i}", "warned", "why") for i in range(700)]),
    ]  # fmt: skip
    told = {"name": "pets", "recognised": "folder, 2 class folders", "splits": {"train": 80, "val": 20},
            "files": {"ok": 96, "warned": 4}, "groups": groups, "notes": ["carved 20 of 100"],
            "seconds": 3.0}  # fmt: skip
    return Page(**told | changes)


def test_a_page_is_well_formed_and_loads_nothing(read):
    reader = read(render(page()))
    assert not reader.all("script") and not reader.all("link")
    assert all(image["src"].startswith("data:image/") for image in reader.all("img"))
    assert "default-src 'none'" in next(m for m in reader.all("meta") if "http-equiv" in m)["content"]


def test_it_says_first_how_many_errors_and_warnings_there_are(read):
    reader = read(render(page()))
    assert "1 error and 1 warning in pets" in reader.text
    assert reader.text.index("1 picture is in two parts") < reader.text.index("3 pictures are nearly black")


def test_twins_stand_side_by_side_with_both_names(read):
    reader = read(render(page()))
    assert [div for div in reader.all("div") if div.get("class") == "pair"] and len(reader.all("img")) == 5
    assert "train/a.png · test/b.png" in reader.text


def test_data_without_a_finding_is_told_to_be_good(read):
    reader = read(render(page(groups=[], files={"ok": 100})))
    assert "Nothing speaks against pets" in reader.text and "of 100 pictures are fine" in reader.text


def test_the_key_of_the_page_has_words_before_and_numbers_behind():
    written = render(page())
    for words, number in (("with a warning", 4), ("training part", 80), ("validation part", 20)):
        assert f"<dt>{words}</dt><dd>{number} pictures</dd>" in written


def test_the_other_file_of_a_pair_is_named_once(read):
    pair = Picture("a.png", "b.png", "the same pixels as b.png", [drawn(), drawn()])
    alike = Group("error", "CHECK-030", "", "", "", [pair], [])
    assert "· b.png" not in read(render(page(groups=[alike]))).text


def test_long_lists_are_cut_and_say_so(read):
    reader = read(render(page()))
    assert "200 more are listed in check.json" in reader.text and "file 499" in reader.text
    assert "file 500" not in reader.text


def test_a_page_of_many_pictures_stays_within_its_bytes():
    noise = [Picture(f"{i}.png", "", "noise", [drawn(i, 192)]) for i in range(24)]
    groups = [Group("warning", f"CHECK-{k:03}", "noise", "", "", noise, []) for k in range(30)]
    assert len(render(page(groups=groups))) < 6_000_000


def test_names_of_files_are_text_and_nothing_else(read):
    hostile = Group("error", "CHECK-001", HOSTILE, HOSTILE, HOSTILE, [Picture(HOSTILE, HOSTILE, HOSTILE, [drawn()])],
                    [(HOSTILE, HOSTILE, HOSTILE)])  # fmt: skip
    reader = read(render(page(name=HOSTILE, groups=[hostile], notes=[HOSTILE])))
    assert len(reader.all("img")) == 1 and reader.text.count(HOSTILE) >= 6


def test_boxes_are_outlined_on_a_copy_even_where_they_reach_out_or_are_none():
    pixels = np.zeros((50, 60, 3), np.uint8)
    boxes = np.array(
        [[10, 10, 30, 20], [-40, -40, 200, 200], [5, 5, 5, 5], [9, 9, 2, 2], [np.nan, 0, 1, 1]], np.float64
    )
    shown = outlined(pixels, boxes)
    assert shown[10, 20].any() and not shown[15, 20].any() and not pixels.any()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_a_page_is_quiet_and_fits_the_screen(browser, tmp_path, width, scheme):
    long = Group("error", "CHECK-001", HOSTILE + "x" * 200, "y" * 300, "z" * 300,
                 [Picture("w" * 200, "", "v" * 200, [drawn()])], [("u" * 300, "refused", "t" * 300)])  # fmt: skip
    (tmp_path / "check.html").write_bytes(render(page(groups=[*page().groups, long])).encode())
    shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said, asked = [], []
    shown.on("console", lambda message: said.append(message.text))
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto((tmp_path / "check.html").as_uri())
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert not said and [url for url in asked if not url.startswith(("file:", "data:"))] == []
    shown.close()
