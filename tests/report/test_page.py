"""The page is whole, closed, self-contained, small, and shows whatever there is of a story."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from visus.core.figures import Curve, Line, Matrix, Table
from visus.core.recipe import Choice, Draft
from visus.core.scores import Score
from visus.report.page import MOST_PICTURES, _table, render
from visus.report.story import Finding, Picture, Story

NAN = float("nan")
HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}{% raw %}\udcff\x00\u202e]]>--><!--"


def test_a_full_story_is_one_closed_document(digits, read):
    page = read(render(digits))
    assert page.all("h1") and page.all("main") and page.all("nav")


def test_nothing_is_loaded_and_nothing_is_run(digits, read):
    page = read(render(digits))
    targets = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert all(target.startswith(("#", "data:image/")) for target in targets)
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "url(" not in render(digits) and "@import" not in render(digits)


def test_a_policy_forbids_what_escaping_might_miss(digits, read):
    policies = [meta["content"] for meta in read(render(digits)).all("meta") if "http-equiv" in meta]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_every_link_of_the_navigation_has_its_section(digits, read):
    page = read(render(digits))
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))
    assert {link["href"].removeprefix("#") for link in page.all("a")} <= set(names)


def test_every_picture_and_chart_has_a_text_beside_it(digits, read):
    page = read(render(digits))
    assert page.all("img") and all(image["alt"] for image in page.all("img"))
    assert page.all("svg") and all(chart["role"] == "img" and chart["aria-label"] for chart in page.all("svg"))


def test_headings_descend_one_level_at_a_time(digits, read):
    levels = [int(tag[1]) for tag, _ in read(render(digits)).tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_header_cell_says_what_it_heads(digits, read):
    assert all(cell["scope"] in ("row", "col") for cell in read(render(digits)).all("th"))


def test_what_the_story_says_stands_on_the_page(digits, read):
    text = read(render(replace(digits, findings=[Finding("caution", "mind the gap", "visus check")]))).text
    assert digits.headline is not None
    for said in (
        digits.title, digits.command, "mind the gap", "visus check", "six/0042.png", "the file ends early", "447 items",
        "16 rows a pass from now on", "--set batch=32", "validation was carved", "CC BY 4.0",
    ):  # fmt: skip
        assert said in text


def test_every_setting_is_there_with_its_origin(digits, read):
    text = read(render(digits)).text
    assert all(key in text for key in digits.recipe.flat())


def test_no_folder_of_the_user_stands_among_the_settings(digits, read):
    said = "/srv/secret/net.py:Net"
    recipe = Draft([Choice("model.name", said, f"--model {said}")]).finish()
    card = digits.card.model_copy(update={"recipe": recipe.flat() | {"model.name": "net.py:Net"}})
    text = read(render(replace(digits, recipe=recipe, card=card))).text
    assert "--model net.py:Net" in text and "secret" not in text


@pytest.mark.parametrize("part", ["title", "class", "file", "caption", "event", "environment", "command", "curve"])
def test_hostile_names_stay_text(digits, read, part):
    names = (HOSTILE, "b", "c")
    story = {
        "title": replace(digits, title=HOSTILE, task=HOSTILE, unfinished=HOSTILE),
        "class": replace(digits, figures=[Matrix(HOSTILE, names, names, np.ones((3, 3), np.int64), HOSTILE, HOSTILE),
                                          Table("t", ("class", HOSTILE), [(HOSTILE, 1)], HOSTILE)],
                         data={"counts": {"train": {HOSTILE: 3}, HOSTILE: {HOSTILE: 1}}, "items": {HOSTILE: 1}}),
        "file": replace(digits, data={"name": HOSTILE, "notes": [HOSTILE], "bad": [(HOSTILE, HOSTILE)]}),
        "caption": replace(digits, gallery=[Picture(HOSTILE, HOSTILE, np.zeros((4, 4, 3), np.uint8))]),
        "event": replace(digits, events=[{"step": HOSTILE, "kind": HOSTILE, "what": HOSTILE}]),
        "environment": replace(digits, environment={HOSTILE: HOSTILE}, seconds={HOSTILE: 1.0}),
        "command": replace(digits, command=HOSTILE, findings=[Finding("note", HOSTILE, HOSTILE)]),
        "curve": replace(digits, figures=[Curve(HOSTILE, HOSTILE, HOSTILE, [Line(HOSTILE, [0, 1], [0, 1])])]),
    }[part]  # fmt: skip
    html = render(story)
    page = read(html)
    assert not page.all("script") and "<script" not in html
    assert "alert(1)" in page.text and "{{ 7*7 }}" in page.text and "\\xff" in page.text
    html.encode("utf-8")
    assert "\x00" not in html and "\u202e" not in html


@settings(max_examples=50)
@given(text=st.text(st.characters(codec=None), max_size=30))
def test_no_name_breaks_the_page(read, text):
    names = (text, "b")
    figures = [Table(text, ("class", text), [(text, text)]), Matrix(text, names, names, np.ones((2, 2), np.int64))]
    page = read(render(Story(text, command=text, figures=figures, data={"counts": {"train": {text: 1}}})))
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "object"})


def test_a_matrix_of_many_hostile_classes_stays_text(digits, read):
    names = tuple(f"{HOSTILE}{i}" for i in range(30))
    matrix = Matrix("m", names, names, np.eye(30, dtype=np.int64))
    page = read(render(replace(digits, figures=[matrix], gallery=[])))
    assert not page.all("script")


@pytest.mark.parametrize(
    "missing",
    ["scores", "figures", "log", "gallery", "recipe", "card", "data", "seconds", "events", "environment", "findings"],
)
def test_a_missing_part_is_left_out(digits, read, missing):
    empty = {"recipe": None, "card": None, "scores": {}, "data": {}, "seconds": {}, "environment": {}}
    read(render(replace(digits, **{missing: empty.get(missing, ())})))


def test_a_story_of_a_title_alone_is_a_page(read):
    assert "no score was measured" in read(render(Story("nothing yet"))).text


def test_an_interrupted_run_says_so_first(digits, read):
    text = read(render(replace(digits, scores={}, unfinished="stopped by SIGTERM; visus resume RUN goes on"))).text
    assert text.index("visus resume RUN goes on") < text.index("no score was measured")


def test_undefined_scores_are_dashes(digits, read):
    story = replace(digits, scores={"accuracy": Score(NAN, NAN, NAN, 0)}, score="accuracy",
                    figures=[Table("t", ("class", "F1"), [("a", Score(NAN, NAN, NAN, 0)), ("b", None)])])  # fmt: skip
    text = read(render(story)).text
    assert "–" in text and not re.search(r"\bnan\b", text, re.IGNORECASE)


@pytest.mark.parametrize("classes", [0, 1, 2, 20, 21, 100, 1000])
def test_any_number_of_classes_is_shown(digits, read, classes):
    names = tuple(f"class {i}" for i in range(classes))
    rows = [(name, 10, Score(0.5, 0.2, 0.8, 10)) for name in names]
    matrix = Matrix("Confusion matrix", names, names, np.eye(classes, dtype=np.int64) * 10)
    counts = {"train": dict.fromkeys(names, 50), "test": dict.fromkeys(names, 10)}
    story = replace(digits, figures=[Table("Classes", ("class", "n", "recall"), rows), matrix],
                    data={"counts": counts}, card=digits.card.model_copy(update={"classes": names}))  # fmt: skip
    text = read(render(story)).text
    assert all(name in text for name in names)


def test_a_page_of_ten_thousand_test_pictures_and_a_thousand_classes_is_below_two_megabytes(digits):
    draw = np.random.Generator(np.random.Philox(1))
    names = tuple(f"class number {i}" for i in range(1000))
    truth, said = draw.integers(0, 1000, 10_000), draw.integers(0, 1000, 10_000)
    values = np.zeros((1000, 1000), np.int64)
    np.add.at(values, (truth, said), 1)
    noise = draw.integers(0, 256, (300, 400, 3)).astype(np.uint8)
    gallery = [Picture(title, "a picture", noise) for title in "abcd" for _ in range(40)]
    rows = [(name, 10, *[Score(0.5, 0.2, 0.8, 10)] * 3) for name in names]
    figures = [Table("Classes", ("class", "n", "precision", "recall", "F1"), rows), Matrix("m", names, names, values)]
    log = [{"step": i, "loss": float(draw.random()), "lr": 0.1, "gradient_norm": 1.0} for i in range(20_000)]
    counts = {split: dict.fromkeys(names, 10) for split in ("train", "val", "test")}
    story = replace(digits, figures=figures, gallery=gallery, log=log, data={"counts": counts})
    assert len(render(story).encode()) < 2_000_000


def test_what_colours_on_pictures_mean_stands_above_them(digits, read):
    page = read(render(replace(digits, legend={"right": "found", "missed": "was <there>"})))
    assert "found" in page.text and "was <there>" in page.text
    assert {"right", "missed"} <= {attributes.get("class") for attributes in page.all("li")}


def test_pictures_with_much_to_read_on_them_are_shown_larger(read):
    pixels = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    sides = []
    for scale in (1, 4):
        html = render(Story("t", gallery=[Picture("worst", "one", pixels[::scale, ::scale])]))
        (image,) = read(html).all("img")
        sides.append(max(Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))).size))
    assert sides == [560, 160]


@pytest.mark.parametrize(("side", "times"), [(16, 6), (28, 4), (64, 2), (100, 1)])
def test_a_row_of_small_pictures_is_enlarged_by_whole_pixels_that_stay_squares(read, side, times):
    size = 6 * side + 10, side  # six pictures with gaps
    pixels = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)
    page = read(render(Story("t", gallery=[Picture("copies", "0.1 away", pixels)])))
    (image,), (gallery,) = page.all("img"), [found for found in page.all("ul") if "gallery" in found["class"]]
    assert Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))).size == size
    assert image["class"] == "pixels" and "strips" in gallery["class"]
    assert gallery["style"] == f"--shape:{size[0] / size[1]:.3f};--column:{times * size[0]}px"


@pytest.mark.parametrize("size", [(28, 28), (28, 80), (130, 800)])
def test_a_single_picture_is_no_row_of_small_ones(read, size):
    page = read(render(Story("t", gallery=[Picture("worst", "one", np.zeros((*size, 3), np.uint8))])))
    assert not any("strips" in found.get("class", "") for found in page.all("ul"))


def test_pictures_that_are_not_shown_are_counted(digits, read):
    gallery = [Picture("many", f"picture {i}", np.full((8, 8, 3), i, np.uint8)) for i in range(MOST_PICTURES + 7)]
    page = read(render(replace(digits, gallery=gallery)))
    assert len(page.all("img")) == MOST_PICTURES
    assert "7 more are not shown" in page.text


def test_a_table_of_mistakes_is_not_told_beside_a_matrix_that_tells_it(digits, read):
    assert read(render(digits)).text.count("Most frequent mistakes") == 1


def test_a_table_of_mistakes_is_told_where_there_is_no_matrix(digits, read):
    figures = [figure for figure in digits.figures if not isinstance(figure, Matrix)]
    assert read(render(replace(digits, figures=figures))).text.count("Most frequent mistakes") == 1


@pytest.mark.parametrize(("name", "drawn"), [
    ("f1_macro", True), ("density (own)", True), ("brier", True), ("kid (own)", False), ("mae/width", False),
    ("real_logits", False),
])  # fmt: skip
def test_only_scores_that_end_at_one_are_drawn_from_0_to_1(name, drawn, digits, read):
    found = render(replace(digits, scores={name: Score(0.5, 0.4, 0.6, 9)}, score=name, card=None))
    assert ("--v:50.0" in found) is drawn


def test_pooled_scores_that_are_the_accuracy_share_its_row(digits, read):
    score = digits.scores["accuracy"]
    other = Score(0.5, 0.4, 0.6, 9)
    scores = {"accuracy": score, "f1_micro": score, "recall_micro": other}
    text = read(render(replace(digits, scores=scores, card=None))).text
    assert "accuracy = f1_micro" in text and "recall, all pooled" in text and "F1, all pooled" not in text


def test_the_same_story_gives_the_same_page(digits):
    assert render(digits) == render(digits)


@pytest.mark.parametrize("theme", [0, 1])
def test_text_stands_out_from_the_paper_in_both_themes(digits, theme):
    """Every colour of text has a contrast of at least 4.5 (WCAG 2.2, success criterion 1.4.3)."""
    blocks = re.findall(r":root \{(.*?)\}", render(digits), re.DOTALL)
    colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", blocks[theme]))
    for name in ("ink", "quiet", "accent", "problem", "caution", "note", "good"):
        assert _contrast(colours[name], colours["paper"]) >= 4.5, name


def _contrast(first: str, second: str) -> float:
    lights = sorted(_luminance(colour) for colour in (first, second))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_scores_of_a_table_share_their_axis_over_all_columns():
    classes = Table("Classes", ("class", "AP", "AP50", "gain"), (
        ("a", Score(0.62, 0.55, 0.7, 9), Score(0.91, 0.85, 0.95, 9), Score(1.5, 1.2, 1.9, 9)),
        ("b", Score(0.34, 0.31, 0.4, 9), Score(0.88, 0.83, 0.92, 9), Score(2.5, 2.2, 2.9, 9)),
    ))  # fmt: skip
    _, one, other, gain = _table(classes)["columns"]
    assert one["span"] == other["span"] == (0.3, 1.0)
    assert gain["span"] != one["span"]
