"""The demo: the whole way on pictures that every installation has."""

from __future__ import annotations

import pytest

import visus
from visus.core.errors import UsageError


def test_the_demo_leaves_pictures_a_model_and_a_report(tmp_path):
    run = visus.demo(out=tmp_path / "demo", minutes=0.12)
    assert run.scores["accuracy"].n == 359 and run.report.is_file()
    assert len(list((tmp_path / "demo" / "photos").rglob("*.png"))) == 1797
    (said,) = visus.predict(run.best, next((tmp_path / "demo" / "photos" / "test" / "0").iterdir())).predictions
    assert said.label in "0123456789"


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else in this folder"):
        visus.demo(out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
