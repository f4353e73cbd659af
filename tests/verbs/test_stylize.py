"""``visus stylize``: what is painted, what is kept, and what is refused."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import visus
from visus.core.errors import DataError, UsageError
from visus.models.perceptual import features
from visus.verbs.painting import in_colours_of, luma, paint, with_colours_of
from visus.verbs.stylize import Stylized


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a photo (a disc on a slope), a painting (stripes), and a mask of the left half."""
    place = tmp_path_factory.mktemp("stylize")
    y, x = np.mgrid[:72, :96] / 96
    disc = ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.06).astype(float)
    photo = np.stack([0.2 + 0.6 * disc, 0.3 + 0.4 * x, 0.7 - 0.5 * disc], -1)
    stripes = (np.sin(25 * (x + y)) > 0).astype(float)
    painting = np.stack([stripes, 0.8 * stripes, 0.3 + 0 * x], -1)
    for name, pixels in (("photo", photo), ("painting", painting), ("mask", np.where(x < 0.5, 1.0, 0.0))):
        Image.fromarray((255 * pixels).astype(np.uint8)).save(place / f"{name}.png")
    return place


def read(place):
    return torch.from_numpy(np.array(Image.open(place).convert("RGB")) / 255.0).float().permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def painted(folder):
    return paint(read(folder / "photo.png"), read(folder / "painting.png"), features(), steps=20)


def test_the_style_comes_nearer_and_the_content_stays(painted):
    assert painted.after < painted.before
    assert painted.similarity > 0.3
    assert 0 <= painted.picture.min() <= painted.picture.max() <= 1


def test_painting_again_gives_the_same_picture(folder, painted):
    again = paint(read(folder / "photo.png"), read(folder / "painting.png"), features(), steps=20)
    assert torch.equal(again.picture, painted.picture)


def test_random_features_paint_too(folder):
    found = paint(read(folder / "photo.png"), read(folder / "painting.png"), features("random"), steps=8)
    assert found.after < found.before / 3


def test_no_strength_leaves_the_content(folder):
    photo = read(folder / "photo.png")
    found = paint(photo, read(folder / "painting.png"), features(), steps=5, strength=0)
    assert torch.equal(found.picture, photo) and found.after == found.before


def test_more_strength_comes_nearer_to_the_style(folder):
    photo, painting, seen = read(folder / "photo.png"), read(folder / "painting.png"), features()
    found = [paint(photo, painting, seen, steps=8, strength=s).after for s in (0.0, 0.5, 1.0)]
    assert all(more < less for less, more in pairwise(found))


def test_outside_the_mask_not_one_pixel_changes(folder):
    photo, mask = read(folder / "photo.png"), read(folder / "mask.png")[:, :1]
    found = paint(photo, read(folder / "painting.png"), features(), steps=5, mask=mask).picture
    outside = (mask == 0).expand_as(photo)
    assert torch.equal(found[outside], photo[outside])
    assert (found - photo)[~outside].abs().mean() > 0.05


def test_noise_is_drawn_from_the_seed_and_becomes_a_picture(folder):
    given = read(folder / "photo.png"), read(folder / "painting.png"), features()
    first, again, other = (paint(*given, steps=3, start="noise", seed=seed).picture for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_picture_in_the_colours_of_another_has_their_mean_and_covariance():
    generator = torch.Generator().manual_seed(0)
    content = 0.5 + 0.05 * torch.randn(1, 3, 40, 40, generator=generator, dtype=torch.float64)
    mixed = torch.tensor([[1, 0.5, 0], [0, 1, 0.3], [0.2, 0, 1]], dtype=torch.float64)
    painting = 0.5 + 0.05 * torch.einsum(
        "ij,bjhw->bihw", mixed, torch.randn(1, 3, 30, 50, generator=generator, dtype=torch.float64)
    )
    found = in_colours_of(content, painting)[0].flatten(1)
    torch.testing.assert_close(found.mean(1), painting[0].flatten(1).mean(1), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.cov(), painting[0].flatten(1).cov(), atol=2e-4, rtol=0)


def test_a_picture_in_the_contents_colours_has_its_chroma_and_the_paintings_light():
    generator = torch.Generator().manual_seed(0)
    content, picture = (0.4 + 0.2 * torch.rand(1, 3, 8, 8, generator=generator) for _ in range(2))
    found = with_colours_of(picture, content)
    torch.testing.assert_close(luma(found), luma(picture))
    torch.testing.assert_close(found - luma(found), content - luma(content))


def test_the_verb_writes_a_picture_and_says_by_which_features(folder, tmp_path):
    found = visus.stylize(folder / "photo.png", folder / "painting.png", out=tmp_path / "a.png", steps=2)
    assert Image.open(tmp_path / "a.png").size == (96, 72)
    assert found.json()["features"]["licence"] == "apache-2.0"
    assert found.pictures[0].fall == found.pictures[0].before / found.pictures[0].after
    assert found.table().rows[0][0] == str(tmp_path / "a.png")


def test_several_pictures_go_into_a_folder_and_one_that_is_broken_stops_no_other(folder, tmp_path):
    (tmp_path / "broken.jpg").write_bytes((folder / "photo.png").read_bytes()[:300])
    found = visus.stylize([folder / "photo.png", tmp_path / "broken.jpg"], folder / "painting.png",
                          out=tmp_path / "said", steps=1)  # fmt: skip
    assert [one.drawn for one in found.pictures] == [str(tmp_path / "said" / "photo-painting.png")]
    assert [name for name, _ in found.problems] == [str(tmp_path / "broken.jpg")]


def test_one_that_is_too_small_stops_no_other_and_each_is_named_once(folder, tmp_path):
    Image.new("RGB", (48, 48)).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_text("no picture")
    for name in ("a", "d"):
        (tmp_path / f"{name}.png").write_bytes((folder / "photo.png").read_bytes())
    found = visus.stylize(tmp_path, folder / "painting.png", out=tmp_path / "said", strength=0)
    assert [Path(one.file).name for one in found.pictures] == ["a.png", "d.png"]
    assert [Path(name).name for name, _ in found.problems] == ["b.png", "c.png"]
    assert all(name not in why for name, why in found.problems) and "48 x 48" in found.problems[0][1]


@pytest.mark.parametrize("colours", ["style", "content"])
def test_what_is_said_is_said_of_the_picture_that_is_written(colours, folder, tmp_path):
    asked = {"size": 96, "colours": colours}
    first = visus.stylize(folder / "photo.png", folder / "painting.png", out=tmp_path / "a.png", steps=5, **asked)
    (made,) = first.pictures
    second = visus.stylize(made.drawn, folder / "painting.png", out=tmp_path / "b.png", strength=0, **asked)
    assert second.pictures[0].before == pytest.approx(made.after, rel=0.02)  # but for 256 levels
    assert made.before > made.after


def test_a_style_that_went_farther_is_not_called_nearer():
    near, far = (Stylized("a", "b", (1, 1), 1.0, after, 1.0, 0.0) for after in (0.5, 1.4))
    assert (near.change, far.change) == ("2.0 times nearer", "1.4 times farther")
    assert Stylized("a", "a", (1, 1), 0.0, 0.14, 1.0, 0.0).change == "farther: it was the painting's own"


def test_another_kind_of_picture_than_png_is_refused(folder, tmp_path):
    with pytest.raises(UsageError) as refused:
        visus.stylize(folder / "photo.png", folder / "painting.png", out=tmp_path / "mine.jpg", steps=1)
    assert refused.value.code == "STYLE-004" and "mine.png" in refused.value.fix
    assert not (tmp_path / "mine.jpg").exists()


def test_only_a_file_that_was_named_is_written_over(folder, tmp_path):
    for place in ("photo-painting.png", "mine.png"):
        (tmp_path / place).write_text("mine")
    with pytest.raises(UsageError, match=r"photo-painting\.png: is there already") as refused:
        visus.stylize([folder / "photo.png", folder / "mask.png"], folder / "painting.png", out=tmp_path, steps=1)
    assert refused.value.code == "STYLE-004"
    assert (tmp_path / "photo-painting.png").read_text() == "mine" and not (tmp_path / "mask-painting.png").exists()
    visus.stylize(folder / "photo.png", folder / "painting.png", out=tmp_path / "mine.png", steps=1)
    assert Image.open(tmp_path / "mine.png").size == (96, 72)


def test_a_place_that_cannot_be_written_to_is_refused_before_anything_is_painted(folder, tmp_path):
    (tmp_path / "file").write_text("mine")
    told = []
    for out in (tmp_path / "file" / "a.png", "/proc/self/none/a.png"):
        with pytest.raises(UsageError):
            visus.stylize(folder / "photo.png", folder / "painting.png", out=out, steps=1, watch=told.append)
    assert not any("painting" in row for row in told)


def test_what_helps_is_told_in_the_words_of_this_command(folder, tmp_path):
    with pytest.raises(DataError) as error:
        visus.stylize(tmp_path / "none.png", folder / "painting.png", out=tmp_path / "a.png")
    assert error.value.done == "nothing was painted" and error.value.fix.startswith("visus stylize PHOTO")
    with pytest.raises(UsageError, match="MODEL-013") as missing:
        visus.stylize(folder / "photo.png", folder / "painting.png", out=tmp_path / "a.png", features="vgg19")
    assert "--weights FILE" in missing.value.fix and "--set" not in missing.value.fix


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "P", "CMYK"])
def test_pictures_of_any_kind_are_painted(folder, tmp_path, mode):
    plain = Image.open(folder / "photo.png")
    given = Image.fromarray(np.array(plain.convert("L")).astype(np.uint16) * 256) if mode == "I;16" else None
    place = tmp_path / ("given.tif" if mode == "CMYK" else "given.png")
    (given or plain.convert(mode)).save(place)
    found = visus.stylize(place, folder / "painting.png", out=tmp_path / "a.png", steps=1)
    assert found.pictures[0].size == (72, 96)


def test_a_larger_picture_is_painted_at_the_size_asked_for(folder, tmp_path):
    Image.open(folder / "photo.png").resize((960, 720)).save(tmp_path / "large.png")
    found = visus.stylize(tmp_path / "large.png", folder / "painting.png", out=tmp_path / "a.png", steps=1, size=128)
    assert found.pictures[0].size == (96, 128)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"size": 8}, "STYLE-001"), ({"strength": 2}, "STYLE-001"), ({"strength": float("nan")}, "STYLE-001"),
        ({"steps": 0}, "STYLE-001"), ({"colours": "mine"}, "STYLE-001"), ({"start": "sky"}, "STYLE-001"),
        ({"out": "photo.png"}, "STYLE-004"), ({"features": "nothing_like_it"}, "MODEL-010"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_is_painted(folder, tmp_path, changed, code):
    given = {"out": tmp_path / "a.png"} | {k: folder / v if k == "out" else v for k, v in changed.items()}
    with pytest.raises(UsageError) as refused:
        visus.stylize(folder / "photo.png", folder / "painting.png", **given)
    assert refused.value.code == code
    assert not (tmp_path / "a.png").exists()


def test_a_tiny_picture_and_a_narrow_one_are_refused(folder, tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "tiny.png")
    Image.new("RGB", (3000, 70)).save(tmp_path / "narrow.png")
    for name in ("tiny.png", "narrow.png"):
        with pytest.raises(UsageError) as refused:
            visus.stylize(tmp_path / name, folder / "painting.png", out=tmp_path / "a.png")
        assert refused.value.code == "STYLE-002"
        assert name in refused.value.what


def test_a_mask_of_another_shape_and_a_black_one_are_refused(folder, tmp_path):
    Image.new("L", (96, 96), 255).save(tmp_path / "square.png")
    Image.new("L", (96, 72), 0).save(tmp_path / "black.png")
    for name in ("square.png", "black.png"):
        with pytest.raises(UsageError) as refused:
            visus.stylize(folder / "photo.png", folder / "painting.png", out=tmp_path / "a.png", mask=tmp_path / name)
        assert refused.value.code == "STYLE-003"


def test_what_is_no_picture_is_refused_with_its_name(folder, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(DataError) as refused:
        visus.stylize(tmp_path / "text.jpg", folder / "painting.png", out=tmp_path / "a.png")
    assert refused.value.code == "STYLE-005"
    with pytest.raises(DataError, match=r"text\.jpg"):
        visus.stylize(folder / "photo.png", tmp_path / "text.jpg", out=tmp_path / "a.png")


@pytest.mark.parametrize("colour", ["white", (128, 30, 30)])
def test_a_painting_of_one_colour_is_called_that(colour, folder, tmp_path):
    Image.new("RGB", (96, 96), colour).save(tmp_path / "plain.png")
    made = visus.stylize(folder / "photo.png", tmp_path / "plain.png", out=tmp_path / "a.png", steps=1, size=96)
    assert any("is of one colour" in note for note in made.notes)


def test_where_nothing_can_be_painted_what_helps_the_first_picture_is_told(folder, tmp_path):
    for name in ("one.png", "two.png"):
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    with pytest.raises(DataError, match="STYLE-005") as refused:
        visus.stylize([tmp_path / "one.png", tmp_path / "two.png"], folder / "painting.png", out=tmp_path / "a")
    assert refused.value.where == "and 1 more" and "64 pixels a side at least" in refused.value.fix


def test_one_file_for_several_pictures_is_refused(folder, tmp_path):
    with pytest.raises(UsageError) as refused:
        visus.stylize([folder / "photo.png", folder / "mask.png"], folder / "painting.png", out=tmp_path / "a.png")
    assert refused.value.code == "STYLE-004"
