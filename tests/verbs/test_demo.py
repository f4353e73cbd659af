"""The demo: the whole way on pictures that every installation has."""

from __future__ import annotations

import itertools

import pytest

import visus
from visus.core.errors import UsageError


def test_the_demo_leaves_pictures_a_model_and_a_report(tmp_path):
    run = visus.demo(out=tmp_path / "demo", minutes=0.12)
    assert run.scores["accuracy"].n == 359 and run.report.is_file()
    assert len(list((tmp_path / "demo" / "photos").rglob("*.png"))) == 1797
    (said,) = visus.predict(run.best, next((tmp_path / "demo" / "photos" / "test" / "0").iterdir())).predictions
    assert said.label in "0123456789"


def test_a_demo_that_was_stopped_while_it_wrote_its_pictures_writes_them_anew(tmp_path, monkeypatch):
    from visus.verbs import demo

    saved = itertools.count()

    def save(image, file):
        if next(saved) == 100:
            raise KeyboardInterrupt
        file.write_bytes(b"torn")

    with monkeypatch.context() as patched:
        patched.setattr("PIL.Image.Image.save", save)
        with pytest.raises(KeyboardInterrupt):
            visus.demo(out=tmp_path / "demo", minutes=0.1)
    monkeypatch.setattr(demo, "EPOCHS", 0.1)
    visus.demo(out=tmp_path / "demo")
    written = list((tmp_path / "demo").rglob("*.png"))
    assert len(written) == 1797 and not any(file.read_bytes() == b"torn" for file in written)


def test_a_length_that_cannot_be_is_refused_before_a_picture_is_written(tmp_path):
    with pytest.raises(UsageError, match="minutes = -1: it takes a number above 0"):
        visus.demo(out=tmp_path / "demo", minutes=-1)
    assert not (tmp_path / "demo").exists()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else in this folder"):
        visus.demo(out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
