"""The page in a real browser: what it draws, how it is used by hand and by keys, and that it asks nobody else."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def opened(browser, server):
    """Return a function that opens the page of a model; what it said and whom it asked must be nothing at the end."""
    pages, said, asked = [], [], []

    def open_(model="digits", width=1280):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.url)
        page.wait_for_selector("#model option:nth-child(3)", state="attached")
        page.select_option("#model", model)
        pages.append(page)
        return page

    yield open_
    for page in pages:
        page.close()
    assert not said
    assert [url for url in asked if not url.startswith((server.url, "blob:", "data:"))] == []


def first(folder):
    return min(folder.rglob("*.png"))


def until(page, expression):
    """Wait for something without the browser's own waiting, which the page's policy forbids as it evaluates text."""
    end = time.monotonic() + 60
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def answered(page, path):
    page.set_input_files("#file", path)
    page.wait_for_selector("#headline:not([hidden])")
    return page.inner_text("#headline")


def test_a_classifier_shows_its_classes_as_bars_and_the_same_as_json_and_curl(opened, photos):
    page = opened()
    assert answered(page, first(photos / "test" / "six")).startswith("six 9")
    assert page.locator("#scores .bar").count() == 3
    page.click("#as-text summary")
    assert json.loads(page.inner_text("#json"))["predictions"][0]["label"] == "six"
    assert page.inner_text("#curl").startswith("curl -F 'files=@") and "model=digits" in page.inner_text("#curl")


def test_the_objects_of_a_detector_can_be_hovered_and_walked_through_by_keys(opened, squares):
    page = opened("squares")
    answered(page, first(squares))
    page.wait_for_selector(".box")
    boxes = page.locator(".box")
    assert boxes.count() == page.locator("#scores button.row").count() >= 2
    page.locator("#scores button.row").first.focus()
    assert "lit" in boxes.nth(0).get_attribute("class")
    page.keyboard.press("ArrowDown")
    assert "lit" in boxes.nth(1).get_attribute("class") and "lit" not in boxes.nth(0).get_attribute("class")
    frame, box = page.locator("#frame").bounding_box(), boxes.nth(0).bounding_box()
    assert frame["x"] - 3 <= box["x"] and box["x"] + box["width"] <= frame["x"] + frame["width"] + 3


def test_the_regions_of_a_segmenter_say_their_class_where_the_pointer_is(opened, scenes):
    page = opened("scenes")
    headline = answered(page, first(scenes / "images" / "test"))
    page.wait_for_selector("#regions:not([hidden])")
    assert headline.startswith("ground")
    page.locator("#frame").hover(position={"x": 3, "y": 3})
    assert page.inner_text("#hovered") in ("ground", "red", "blue")


def test_the_masks_of_objects_are_read_as_pycocotools_wrote_them(opened):
    mask = pytest.importorskip("pycocotools.mask")
    draw = np.random.default_rng(0)
    page = opened()
    for share in (0.0, 0.02, 0.5, 1.0):
        pixels = np.asfortranarray((draw.random((37, 53)) < share).astype(np.uint8))
        pixels[5:30, 7:40] |= share > 0
        runs = mask.encode(pixels)
        said = page.evaluate("runs => [...decoded(runs)]", {"size": runs["size"], "counts": runs["counts"].decode()})
        assert np.array_equal(np.array(said).reshape(pixels.shape), pixels)


@pytest.mark.parametrize(("model", "data"), [("digits", "photos"), ("squares", "squares"), ("scenes", "scenes")])
def test_an_explanation_is_laid_over_the_picture_as_strongly_as_asked(opened, request, model, data):
    page = opened(model)
    answered(page, first(request.getfixturevalue(data)))
    page.click("#explain")
    page.wait_for_selector("#ways button[aria-pressed=true]")
    until(page, "state.evidence !== null")
    opacity = """() => { const canvas = document.getElementById('explanation');
        return Math.max(...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.filter((_, i) => i % 4 === 3)); }"""  # noqa: E501
    page.fill("#strength", "100")
    strong = page.evaluate(opacity)
    page.fill("#strength", "10")
    assert strong > page.evaluate(opacity) > 0
    page.click("#ways button:first-child")
    assert page.is_hidden("#explanation")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_beside_the_screen(opened, squares, width):
    page = opened("squares", width)
    answered(page, first(squares))
    page.wait_for_selector(".box")
    page.click("#as-text summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_picture_can_be_pasted(opened, photos):
    page = opened()
    page.evaluate("""(bytes) => {
        const held = new DataTransfer();
        held.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
        document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: held }));
    }""", list(first(photos / "test" / "six").read_bytes()))  # fmt: skip
    page.wait_for_selector("#headline:not([hidden])")
    assert page.inner_text("#headline").startswith("six")


def test_a_picture_that_browsers_cannot_show_is_shown_as_the_server_draws_it(opened, photos, tmp_path):
    Image.open(first(photos / "test" / "six")).save(tmp_path / "six.tif")
    page = opened()
    answered(page, tmp_path / "six.tif")
    until(page, "document.getElementById('picture').naturalWidth > 0")


def test_a_file_with_a_hostile_name_is_only_text(opened, photos, tmp_path):
    name = "<img src=x onerror=alert(1)>'.png"
    (tmp_path / name).write_bytes(first(photos / "test" / "six").read_bytes())
    page = opened()
    answered(page, tmp_path / name)
    page.click("#as-text summary")
    assert name in page.inner_text("#json") and page.locator("#json img, #curl img").count() == 0


def test_a_file_that_is_no_picture_is_said_in_the_words_of_predict(browser, server, tmp_path):
    (tmp_path / "no.png").write_bytes(b"this is no picture")
    page = browser.new_page()
    page.goto(server.url)
    page.wait_for_selector("#model option:nth-child(3)", state="attached")
    page.set_input_files("#file", tmp_path / "no.png")
    page.wait_for_selector("#status.bad")
    assert page.inner_text("#status") == "This picture cannot be read: not an image file"
    page.close()


def test_the_list_of_all_that_can_be_asked_needs_no_script(browser, server):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{server.url}/docs")
    assert page.locator("section.operation").count() >= 5 and "Retry-After" in page.inner_text("main")
    page.close()
