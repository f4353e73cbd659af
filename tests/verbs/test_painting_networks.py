"""``visus train --task stylize`` and ``visus stylize --model``: from a folder of photos to pictures in a style."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import visus
from visus.core.errors import DataError, IntegrityError, UsageError
from visus.core.modelfile import read_card, read_model
from visus.verbs.stylize import divided

TINY = {
    "task": "stylize", "input.size": 64, "batch": 3, "resamples": 10, "evaluate_every": 1000, "stylize.shown": 2,
    "model.options": {"width": 2, "blocks": 1}, "stylize.features": "random",
}  # fmt: skip
"""A run that takes a second."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with photos (discs on slopes), paintings (stripes) and a mask; nothing may write into it."""
    place = tmp_path_factory.mktemp("stylizing")
    y, x = np.mgrid[:72, :96] / 96
    for part in ("photos", "paintings"):
        (place / part).mkdir()
    for i in range(12):
        disc = ((x - 0.2 - 0.05 * i) ** 2 + (y - 0.4) ** 2 < 0.06).astype(float)
        save(place / "photos" / f"{i}.png", np.stack([0.2 + 0.6 * disc, 0.3 + 0.4 * x, 0.7 - 0.5 * disc], -1))
    for name, turn in (("falling", 1), ("rising", -1)):
        stripes = (np.sin(25 * (x + turn * y)) > 0).astype(float)
        save(place / "paintings" / f"{name}.png", np.stack([stripes, 0.8 * stripes, 0.3 + 0 * x], -1))
    save(place / "mask.png", np.where(x < 0.5, 1.0, 0.0))
    return place


def save(place, pixels):
    Image.fromarray((255 * pixels).astype(np.uint8)).save(place)


def read(place):
    return np.asarray(Image.open(place).convert("RGB")).astype(int)


def train(folder, out, steps=4, *, style="paintings/rising.png", watch=None, **settings):
    wanted = {**TINY, **({"style": str(folder / style)} if style else {}), **settings}
    return visus.train(folder / "photos", out=out, steps=steps, set=wanted, watch=watch)


@pytest.fixture(scope="module")
def johnson(folder, tmp_path_factory):
    return train(folder, tmp_path_factory.mktemp("runs") / "johnson")


@pytest.fixture(scope="module")
def adain(folder, tmp_path_factory):
    return train(folder, tmp_path_factory.mktemp("runs") / "adain", style="paintings", **{"model.name": "adain"})


# From a folder to a report


def test_the_model_file_holds_the_painting_and_no_folder_of_the_users(folder, johnson):
    tensors, card = read_model(johnson.best)
    assert card.task == "stylize" and card.architecture.name == "johnson"
    assert card.recipe["stylize.style"] == "rising.png" and str(folder) not in json.dumps(card.model_dump(mode="json"))
    shown = tensors["painting"].permute(1, 2, 0).numpy().astype(int)
    middle = np.asarray(Image.open(folder / "paintings" / "rising.png").resize((85, 64)))[:, 10:74].astype(int)
    assert shown.shape == (64, 64, 3) and np.abs(shown - middle).mean() < 20


def test_the_recipe_names_the_features_that_were_meant(folder, tmp_path):
    run = train(folder, tmp_path / "run", steps=1, **{"stylize.features": "auto"})
    assert run.recipe.stylize.features == "efficientnet_lite0" == read_card(run.best).recipe["stylize.features"]
    assert all("efficientnet_lite0" in name for name in run.scores)


def test_the_report_shows_photos_beside_what_was_painted_and_names_the_features(johnson):
    page = Path(johnson.report).read_text(encoding="utf-8")
    assert "The same pictures, as training went on" in page or "After 4 steps" in page
    assert "fidelity" in page and "(random)" in page
    (sheet,) = (johnson.folder / "samples").glob("*.png")
    with Image.open(sheet) as image:
        assert image.size == (2 * 64, 2 * 64)  # the painting, and the one photo to validate on


@pytest.mark.parametrize("kind", ["johnson", "adain"])
def test_judging_again_repeats_what_the_run_measured(request, folder, kind):
    run = request.getfixturevalue(kind)
    asked = {"stylize.style": str(folder / "paintings")} if kind == "adain" else {}
    again = visus.evaluate(run.best, folder / "photos", set=asked)
    assert {name: score.value for name, score in again.scores.items()} == pytest.approx(
        {name: score.value for name, score in run.scores.items()}
    )


def test_a_network_of_any_style_is_judged_by_other_paintings_and_one_of_its_own_by_none(folder, johnson, adain):
    other = {"stylize.style": str(folder / "paintings" / "falling.png")}
    again = visus.evaluate(adain.best, folder / "photos", set=other)
    assert again.scores["style_distance (random)"].value != adain.scores["style_distance (random)"].value
    with pytest.raises(UsageError) as refused:
        visus.evaluate(johnson.best, folder / "photos", set=other)
    assert refused.value.code == "STYLE-027"


def test_a_network_of_any_style_is_not_judged_without_one(folder, adain):
    with pytest.raises(UsageError) as refused:
        visus.evaluate(adain.best, folder / "photos")
    assert refused.value.code == "STYLE-020"


@pytest.mark.parametrize(
    ("style", "code"),
    [("", "STYLE-021"), ("nowhere.jpg", "STYLE-023"), ("photos/../empty", "STYLE-023"), ("tiny.png", "STYLE-022"),
     ("text.jpg", "DATA-012"), ("paintings", "STYLE-026")],
)  # fmt: skip
def test_a_style_that_cannot_be_learned_is_refused_before_anything_is_started(folder, tmp_path, style, code):
    (folder / "empty").mkdir(exist_ok=True)
    Image.new("RGB", (20, 90)).save(folder / "tiny.png")
    (folder / "text.jpg").write_text("no picture")
    with pytest.raises((UsageError, DataError)) as refused:
        train(folder, tmp_path / "run", style=style)
    assert refused.value.code == code and not (tmp_path / "run").exists()


def test_a_painting_of_one_colour_is_learned_and_called_that(folder, tmp_path):
    Image.new("RGB", (96, 96), (128, 30, 30)).save(tmp_path / "plain.png")
    told = list[str]()
    train(folder, tmp_path / "run", 1, style=tmp_path / "plain.png", watch=lambda row: told.append(row.get("note", "")))
    train(folder, tmp_path / "other", 1, watch=lambda row: told.append(row.get("note", "")))
    assert [note for note in told if "of one colour" in note] == [
        f"{tmp_path / 'plain.png'} is of one colour: there is no style in it but that"
    ]


# Exactness


def test_a_process_that_is_killed_makes_the_same_network_when_resumed(folder, tmp_path):
    settings = {"save_every": 0.05, "ema": 0.9, "evaluate_every": 4.0}
    whole = train(folder, tmp_path / "whole", steps=30, **settings)
    wanted = {**TINY, **settings, "style": str(folder / "paintings" / "rising.png")}
    code = f"import sys, visus; visus.train(sys.argv[1], out=sys.argv[2], steps=30, set={wanted!r})"
    process = subprocess.Popen([sys.executable, "-c", code, str(folder / "photos"), str(tmp_path / "killed")])
    log = tmp_path / "killed" / "log.jsonl"
    while process.poll() is None and (not log.exists() or log.read_bytes().count(b"\n") < 8):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    resumed = visus.resume(tmp_path / "killed")
    states = [sorted((run.folder / "state").glob("*.safetensors"))[-1] for run in (whole, resumed)]
    one, two = (load_file(state) for state in states)
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert "average" in one and "model.painting" in one


def test_a_run_is_not_resumed_with_another_painting(folder, tmp_path):
    place = tmp_path / "painting.png"
    place.write_bytes((folder / "paintings" / "rising.png").read_bytes())
    run = train(folder, tmp_path / "run", steps=1, style=place)
    (run.folder / "result.json").unlink()
    place.write_bytes((folder / "paintings" / "falling.png").read_bytes())
    with pytest.raises(IntegrityError) as refused:
        visus.resume(run.folder)
    assert refused.value.code == "STYLE-024"


def test_a_run_is_not_resumed_with_other_features(folder, tmp_path):
    run = train(folder, tmp_path / "run", steps=1)
    kept = run.recipe.stylize.features_sha256
    assert len(kept) == 64
    recipe = run.folder / "recipe.yaml"
    (run.folder / "result.json").unlink()
    recipe.write_text(recipe.read_text(encoding="utf-8").replace(kept, "a" * 64), encoding="utf-8")
    with pytest.raises(IntegrityError) as refused:
        visus.resume(run.folder)
    assert refused.value.code == "STYLE-024" and "features" in refused.value.what


def test_fewer_pictures_at_once_fall_down_the_same_slope(folder, tmp_path):
    flat = {"optim.name": "sgd", "optim.lr": 0.1, "ema": 0.0, "schedule.name": "constant"}
    whole = train(folder, tmp_path / "whole", steps=1, **flat)
    parts = train(folder, tmp_path / "parts", steps=1, **flat, micro=2)
    one, two = (read_model(run.folder / "last.safetensors")[0] for run in (whole, parts))
    assert all(torch.allclose(one[name], two[name], rtol=1e-4, atol=1e-6) for name in one)


# Painting


def test_many_photos_are_painted_in_one_go(folder, johnson, tmp_path):
    found = visus.stylize(folder / "photos", model=johnson.folder, out=tmp_path / "painted", features="random")
    assert len(found.pictures) == 12 and found.model and found.style == "rising.png"
    assert all(Image.open(one.drawn).size == (96, 72) for one in found.pictures)
    assert Path(found.pictures[0].drawn).name == "0-rising.png"


def test_a_network_of_any_style_paints_in_that_of_the_painting_it_is_given(folder, adain, tmp_path):
    photo = folder / "photos" / "3.png"
    for name in ("rising", "falling"):
        given = folder / "paintings" / f"{name}.png"
        visus.stylize(photo, given, model=adain.best, out=tmp_path / f"{name}.png", features="random")
    one, two = (read(tmp_path / f"{name}.png") for name in ("rising", "falling"))
    assert one.shape == two.shape == (72, 96, 3) and (one != two).any()


def test_no_strength_leaves_the_photo(folder, johnson, tmp_path):
    photo = folder / "photos" / "3.png"
    visus.stylize(photo, model=johnson.best, out=tmp_path / "a.png", strength=0, features="random")
    assert np.array_equal(read(tmp_path / "a.png"), read(photo))


def test_outside_the_mask_not_one_pixel_changes(folder, johnson, tmp_path):
    photo = folder / "photos" / "3.png"
    visus.stylize(photo, model=johnson.best, out=tmp_path / "a.png", mask=folder / "mask.png", features="random")
    found, was = read(tmp_path / "a.png"), read(photo)
    assert np.array_equal(found[:, 49:], was[:, 49:]) and (found[:, :47] != was[:, :47]).any()


def test_the_photos_colours_are_kept_where_asked(folder, johnson, tmp_path):
    photo = folder / "photos" / "3.png"
    asked = {"model": johnson.best, "features": "random", "strength": 0.3}
    visus.stylize(photo, out=tmp_path / "a.png", colours="content", **asked)
    found, was = read(tmp_path / "a.png"), read(photo)
    inside = ((found > 0) & (found < 255)).all(2)
    chroma = (found - found[..., :1]) - (was - was[..., :1])
    assert inside.any() and np.abs(chroma[inside]).max() <= 2


def test_tiles_paint_the_picture_that_is_painted_at_once(folder, johnson, tmp_path):
    Image.open(folder / "photos" / "3.png").resize((320, 240)).save(tmp_path / "large.png")
    for tiles in (0, 64):
        visus.stylize(tmp_path / "large.png", model=johnson.best, out=tmp_path / f"{tiles}.png", tiles=tiles,
                      features="random")  # fmt: skip
    assert np.abs(read(tmp_path / "0.png") - read(tmp_path / "64.png")).max() <= 1


@pytest.mark.parametrize(
    ("kind", "style", "given", "code"),
    [
        ("johnson", "paintings/rising.png", {}, "STYLE-007"), ("adain", None, {}, "STYLE-007"),
        ("johnson", None, {"steps": 3}, "STYLE-008"), ("johnson", None, {"start": "noise"}, "STYLE-008"),
        ("johnson", None, {"style_size": 128}, "STYLE-008"),
        ("johnson", None, {"tiles": 3}, "STYLE-001"), ("johnson", None, {"size": 100_000}, "STYLE-001"),
        (None, None, {}, "STYLE-007"), (None, "paintings/rising.png", {"tiles": 3}, "STYLE-001"),
    ],
)  # fmt: skip
def test_what_a_network_cannot_do_is_refused(request, folder, tmp_path, kind, style, given, code):
    model = request.getfixturevalue(kind).best if kind else None
    with pytest.raises(UsageError) as refused:
        visus.stylize(folder / "photos" / "3.png", folder / style if style else None, model=model,
                      out=tmp_path / "a.png", **given)  # fmt: skip
    assert refused.value.code == code and not (tmp_path / "a.png").exists()


def test_a_model_that_does_not_paint_is_refused(folder, tmp_path):
    from tests.verbs.examples import write_splits

    data = write_splits(tmp_path / "digits", train=4, val=2, test=2)
    run = visus.train(data, out=tmp_path / "run", steps=1, set={"model.name": "cnn", "resamples": 10})
    with pytest.raises(UsageError) as refused:
        visus.stylize(folder / "photos" / "3.png", model=run.best, out=tmp_path / "a.png")
    assert refused.value.code == "STYLE-006"


def test_the_last_picture_is_the_painting_unless_the_model_has_its_own(johnson, adain):
    assert divided(["a", "b", "c"], None) == (["a", "b"], "c")
    assert divided(["a", "b"], adain.folder) == (["a"], "b")
    assert divided(["a", "b"], johnson.best) == (["a", "b"], None)


@pytest.mark.parametrize("verb", ["predict", "explain", "export", "serve", "compress"])
def test_verbs_that_ask_about_pictures_say_what_does_fit(johnson, folder, tmp_path, verb):
    asks = {
        "predict": lambda: visus.predict(johnson.best, [folder / "photos"]),
        "explain": lambda: visus.explain(johnson.best, [folder / "photos"]),
        "export": lambda: visus.export(johnson.best, to="onnx", out=tmp_path / "a.onnx"),
        "serve": lambda: visus.serve(johnson.best, port=0),
        "compress": lambda: visus.compress(johnson.best),
    }
    with pytest.raises(UsageError) as refused:
        asks[verb]()
    assert refused.value.code == "USE-080" and "visus stylize PHOTO --model" in refused.value.fix


def test_the_card_names_no_weights(johnson):
    assert read_card(johnson.best).weights == ""
