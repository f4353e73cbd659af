"""Walks through the latent space of a trained generator: files that show the pictures of a seed, and ways between."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tests.verbs.examples import write_splits
from tests.verbs.test_generating import train

import visus
from visus.core.errors import DataError, UsageError
from visus.verbs import latents, walking


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = write_splits(tmp_path_factory.mktemp("data") / "digits", train=20, val=6, test=8)
    return train(data, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def model(run):
    return visus.load(run.best)


def near(one, other):
    return np.abs(one.astype(int) - other.astype(int)).max() <= 1  # sums over another number of rows round otherwise


def test_a_way_passes_through_the_pictures_that_the_seed_makes(model, tmp_path):
    walk = walking.interpolate(model, tmp_path / "walk.webp", [0, 1, 2], 5, 1.0)
    made = visus.generate(model, count=3, seed=5)
    assert len(walk.pictures) == 3 * walking.STEPS
    for i, picture in enumerate(made.pictures):
        assert near(walk.pictures[i * walking.STEPS], picture)
    with Image.open(tmp_path / "walk.webp") as image:
        assert image.n_frames == len(walk.pictures)


def test_the_ways_of_a_report_lead_a_class_a_row_through_pictures_of_it(model):
    shown = walking.ways(model.network.generator, ("one", "six", "two"), 5)
    side, columns = 18, (walking.ENDS - 1) * walking.WAY + 1  # 16 pixels and the gap
    assert shown.shape == (3 * side - 2, columns * side - 2, 3)
    made = visus.generate(model, count=9, label=["one"] * 3 + ["six"] * 3 + ["two"] * 3, seed=5).pictures
    for i, picture in enumerate(made):
        row, column = divmod(i, walking.ENDS)
        top, left = row * side, column * walking.WAY * side
        assert near(shown[top : top + 16, left : left + 16], picture)


def test_a_strip_ends_with_the_last_picture(model, tmp_path):
    walk = walking.interpolate(model, tmp_path / "walk.png", [0, 1], 5, 1.0)
    assert len(walk.pictures) == walking.STRIP + 1
    assert near(walk.pictures[-1], visus.generate(model, count=2, seed=5).pictures[1])


@pytest.mark.parametrize(
    "given", [{"layers": range(2)}, {"project": "a.png", "count": 3}, {"project": "a.png", "truncation": 0.5},
              {"edit": "a.png", "count": 3}, {"interpolate": "a.webp", "layers": range(2)}],
)  # fmt: skip
def test_what_would_change_nothing_is_refused(model, given):
    with pytest.raises(UsageError) as refused:
        visus.generate(model, **given)
    assert refused.value.code == "USE-085"


def test_one_picture_leads_nowhere(model, tmp_path):
    with pytest.raises(UsageError, match="two at least"):
        walking.interpolate(model, tmp_path / "walk.png", [0], 5, 1.0)


def test_one_picture_makes_no_table(model, tmp_path):
    with pytest.raises(UsageError, match="two pictures at least"):
        walking.mix(model, tmp_path / "table.png", [0], None, 5, 1.0)


@pytest.mark.parametrize("walk", ["interpolate", "mix", "edit"])
def test_a_folder_that_is_not_there_is_told_before_anything_is_made(model, walk, tmp_path):
    told = []
    with pytest.raises(UsageError, match="GEN-016"):
        visus.generate(model, **{walk: tmp_path / "nowhere" / "walk.png"}, watch=told.append)
    assert not told


def test_a_generator_of_one_layer_has_nothing_to_mix_and_writes_nothing(model, tmp_path):
    with pytest.raises(UsageError, match="nothing can be mixed"):
        walking.mix(model, tmp_path / "table.png", [0, 1, 2, 0], None, 1, 1.0)
    assert not list(tmp_path.iterdir())


def test_edits_leave_the_middle_column_as_the_seed_makes_it(model, tmp_path):
    walk = walking.edit(model, tmp_path / "edits.png", 1, 5, 1.0)
    columns = len(walking.DEVIATIONS)
    made = visus.generate(model, count=1, seed=5, label=1).pictures[0]
    assert len(walk.pictures) % columns == 0
    assert all(near(walk.pictures[i], made) for i in range(columns // 2, len(walk.pictures), columns))
    assert walk.said["shares"] == sorted(walk.said["shares"], reverse=True)


def test_a_photo_comes_back_nearer_than_the_likest_of_many(model, tmp_path):
    made = visus.generate(model, count=1, seed=77, label=2, out=tmp_path / "made")
    photo = tmp_path / "made" / made.names[0]
    walk = walking.project(model, photo, tmp_path / "found", [2], 0)
    said = json.loads((tmp_path / "found" / "projected.json").read_text())
    assert said["distance"] == walk.said["distance"] <= walk.said["before"]
    assert said["distance"] < 0.5 * said["before"]
    assert np.load(tmp_path / "found" / "styles.npy").ndim == 2
    with Image.open(tmp_path / "found" / "projected.png") as image:
        assert image.size == (2 * 16 + 2, 16)


def test_a_search_tells_how_far_it_is_and_comes_to_its_end(model, tmp_path):
    made = visus.generate(model, count=1, seed=77, out=tmp_path / "made")
    told = []
    photo = str(tmp_path / "made" / made.names[0])
    visus.generate(model, project=photo, out=tmp_path / "found", watch=told.append)
    assert {row["seeking"] for row in told} == {photo}
    assert [row["done"] for row in told] == list(range(1, told[0]["of"] + 1))


def test_pictures_that_are_made_are_counted_as_they_come(model):
    told = []
    visus.generate(model, count=20, watch=told.append)
    assert told == [{"making": 16, "of": 20}, {"making": 20, "of": 20}]


def test_more_pictures_than_there_is_room_for_are_refused_before_most_are_made():
    told = []
    with pytest.raises(MemoryError):
        latents.gathered(iter([np.zeros((2, 1024, 1024, 3), np.uint8)] * 3), 10**9, told.append)
    assert not told


@pytest.mark.parametrize(("walk", "many"), [("interpolate", 31), ("edit", 56)])
def test_pictures_of_a_walk_are_counted_as_they_come(walk, many, model, tmp_path):
    told = []
    visus.generate(model, **{walk: tmp_path / "walk.png"}, watch=told.append)
    assert [row["making"] for row in told] == [*range(32, many, 32), many]
    assert {row["of"] for row in told} == {many}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Return photos of one shape: coloured, grey, and grey though it has three channels; nothing may write there."""
    folder = tmp_path_factory.mktemp("photos")
    light = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    for name, pixels in (("coloured", np.stack([light, light, 255 - light], 2)), ("grey", light),
                         ("shades", np.stack([light] * 3, 2))):  # fmt: skip
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize(("photo", "told"), [("coloured", ["makes grey pictures"]), ("grey", []), ("shades", [])])
def test_a_generator_of_grey_pictures_says_that_colours_are_not_sought(model, photos, tmp_path, photo, told):
    walk = walking.project(model, photos / f"{photo}.png", tmp_path / "found", [0], 0)
    said = json.loads((tmp_path / "found" / "projected.json").read_text())["notes"]
    assert said == list(walk.notes) == walk.json()["notes"] and len(said) == len(told)
    assert all(part in note for note, part in zip(said, told, strict=True))


@pytest.fixture(scope="module")
def colourful(tmp_path_factory):
    """Return a generator of pictures in colour."""
    data = write_splits(tmp_path_factory.mktemp("data") / "digits", train=8, val=3, test=3)
    return visus.load(train(data, tmp_path_factory.mktemp("runs") / "run", steps=2, **{"input.channels": 3}).best)


@pytest.mark.parametrize(("photo", "told"), [("coloured", 0), ("grey", 1), ("shades", 1)])
def test_a_generator_in_colour_says_that_a_photo_is_grey(colourful, photos, tmp_path, photo, told):
    walk = walking.project(colourful, photos / f"{photo}.png", tmp_path / "found", [0], 0)
    assert len(walk.notes) == told and all("is grey, and" in note for note in walk.notes)


def test_a_photo_that_cannot_be_read_is_refused_and_nothing_is_written(model, tmp_path):
    (tmp_path / "photo.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"photo\.png"):
        walking.project(model, tmp_path / "photo.png", tmp_path / "found", [0], 0)
    assert not (tmp_path / "found").exists()


def test_nothing_is_written_over_what_is_there(model, tmp_path):
    (tmp_path / "walk.png").write_bytes(b"mine")
    for walk in (walking.interpolate, walking.edit):
        with pytest.raises(UsageError, match="is there already"):
            walk(model, tmp_path / "walk.png", *([[0, 1]] if walk is walking.interpolate else [0]), 5, 1.0)
    assert (tmp_path / "walk.png").read_bytes() == b"mine"


def test_the_command_line_walks_too_one_way_at_a_time(run, tmp_path, capsys):
    from visus.cli.app import run as command

    file = str(tmp_path / "walk.png")
    assert command(["generate", str(run.best), "--interpolate", file, "--count", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == walking.STRIP + 1
    assert command(["generate", str(run.best), "--edit", file, "--mix", file]) == 2
    assert command(["generate", str(run.best), "--mix", str(tmp_path / "mixed.png"), "--layers", "a"]) == 2
    with Image.open(file) as image:
        assert image.size == ((walking.STRIP + 1) * 18 - 2, 16)


@pytest.mark.parametrize("quiet", [False, True])
def test_the_command_line_shows_how_far_a_search_is_unless_it_is_to_be_quiet(run, photos, tmp_path, capsys, quiet):
    from visus.cli.app import run as command

    asked = ["generate", str(run.best), "--project", str(photos / "coloured.png"), "--out", str(tmp_path / "found")]
    assert command([*asked, *["--quiet"] * quiet]) == 0
    seen = capsys.readouterr().err
    assert ("seeking" in seen) is not quiet
    assert "makes grey pictures" in seen
