"""The page in a real browser: nothing asked of the network, nothing beside the screen, nothing on the console."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from visus.core.figures import Matrix, Table
from visus.core.scores import Score
from visus.report.page import render
from visus.report.story import Picture

HOSTILE = "<img src=http://example.invalid/x onerror=alert(1)>\"'"


@pytest.fixture(scope="module")
def pages(digits, tmp_path_factory):
    """Return two pages as files: the usual one, and one of many classes with long and hostile names."""
    folder = tmp_path_factory.mktemp("pages")
    names = tuple(f"{'verylongname' * (i % 5)}_{i} {HOSTILE if i == 1 else ''}" for i in range(60))
    rows = [(name, 10, *[Score(0.5, 0.2, 0.8, 10)] * 3) for name in names]
    values = np.random.Generator(np.random.Philox(2)).integers(0, 9, (60, 60))
    many = replace(
        digits, title=HOSTILE + "x" * 200, figures=[Table("Classes", ("class", "n", "a", "b", "c"), rows),
                                                    Matrix("Confusion", names, names, values)],
        data={"counts": {"train": dict.fromkeys(names, 3)}, "bad": [("y" * 300, "z" * 300)]},
        gallery=[Picture("worst", HOSTILE + "x" * 200, np.zeros((480, 640, 3), np.uint8))] * 3,
        legend={"right": "found " * 30, "missed": HOSTILE},
    )  # fmt: skip
    for name, story in (("usual", digits), ("many", many)):
        (folder / f"{name}.html").write_bytes(render(story).encode())
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["usual", "many"])
@pytest.mark.parametrize("width", [400, 1280])
def test_a_page_is_quiet_and_fits_the_screen(browser, pages, name, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((pages / f"{name}.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert not said
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    page.close()


def test_a_row_of_small_pictures_is_large_enough_to_be_seen(browser, digits, tmp_path):
    row = Picture("copies", "0.1 away", np.zeros((28, 6 * 28 + 10, 3), np.uint8))
    (tmp_path / "page.html").write_bytes(render(replace(digits, gallery=[row])).encode())
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((tmp_path / "page.html").as_uri())
    shown = "document.querySelector('.strips img')"
    assert page.evaluate(f"{shown}.getBoundingClientRect().height") == pytest.approx(4 * 28, abs=1)
    assert page.evaluate(f"getComputedStyle({shown}).imageRendering") == "pixelated"
    page.close()


def test_dark_and_light_differ(browser, pages):
    papers = []
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto((pages / "usual.html").as_uri())
        papers.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.close()
    assert papers[0] != papers[1]


def test_print_is_on_white_without_navigation(browser, pages):
    page = browser.new_page(color_scheme="dark")
    page.emulate_media(media="print")
    page.goto((pages / "usual.html").as_uri())
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.close()
