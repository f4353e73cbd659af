"""The page of a compression: a dot for each form, and nothing that a browser would load or run."""

from __future__ import annotations

import pytest

from visus.core.figures import Table
from visus.report.compress_page import Form, Page, render

FORMS = [
    Form("float32", (0.94, 0.93, 0.95), 8.0, 45.0),
    Form("int8", (0.92, 0.91, 0.93), 3.0, 11.0),
    Form("int8", (0.939, 0.93, 0.95), 3.5, 12.0),
]


def page(**changes):
    table = Table("on 200 pictures", ("model", "drop"), [("float32", ""), ("<int8>", "+0.10")])
    about = {
        "model": "run/best", "verdict": "it falls by +0.10 points", "kept": "small.onnx", "promise": "the fastest",
        "score": "accuracy", "table": table, "forms": FORMS, "facts": [("calibration", "mse")],
    }  # fmt: skip
    return render(Page(**about | changes))


def test_every_form_is_told_at_its_cost():
    told = page()
    for tip in ("int8: 0.92 (0.91 to 0.93) at 3<", "int8: 0.939 (0.93 to 0.95) at 3.5<", "at 45<", "at 12<"):
        assert tip in told


@pytest.mark.parametrize(("kept", "words"), [("small.onnx", "A smaller model that keeps"), ("", "No smaller model")])
def test_the_headline_says_whether_the_promise_is_kept(kept, words):
    assert f"<h1>{words}" in page(kept=kept)


def test_names_are_text_and_nothing_is_loaded_or_run():
    told = page()
    assert "&lt;int8&gt;" in told
    assert "<script" not in told
    assert "http" not in told.replace("http-equiv", "")
