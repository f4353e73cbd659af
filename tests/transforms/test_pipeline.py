"""What a sample becomes depends on its pixels, seed, epoch, index and partner, and on nothing else, to the last bit."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as torchvision

from visus.core.annotations import Boxes, ClassMap, move_points
from visus.core.errors import DataError, UsageError
from visus.core.recipe import AugmentSettings, InputSettings
from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.core.task import Transform
from visus.transforms.pipeline import build

RECIPES: dict[str, dict[str, Any] | None] = {
    "judging": None,
    "nothing": {},
    "pad, flip": {"pad": 4, "flip": 0.5},
    "crop, flip, colours": {
        "crop": (0.2, 1.0), "flip": 0.5, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1,
    },
    "turns": {"rotate": 0.3, "shear": 0.2, "scale": (0.7, 1.4), "flip_vertical": 0.5},
    "tilts over a reflected edge": {"perspective": 0.4, "pad": 3},
    "randaugment": {"policy": "randaugment", "operations": 3, "crop": (0.3, 1.0)},
    "trivialaugment": {"policy": "trivialaugment", "pad": 2},
    "erasing": {"erase": 0.7},
    "mixup": {"mixup": 0.4},
    "mixup, cutmix": {"mixup": 0.4, "cutmix": 1.0, "flip": 0.5, "erase": 0.5, "contrast": 0.3},
}  # fmt: skip
FITS = ("squash", "crop", "pad")


def picture(*shape: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    levels = torch.randint(0, 256, shape, dtype=torch.uint8)
    if dtype == torch.uint16:
        return (levels.int() * 257).to(torch.uint16)
    return levels if dtype == torch.uint8 else levels / 255


def samples(images: Tensor | list[Tensor], first: int = 0) -> Samples:
    n = len(images)
    columns = {"label": torch.arange(n) + 10 * first, "numbers": torch.randn(n, 2)}
    frames = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    return Samples(tuple(f"{i}.png" for i in range(n)), torch.arange(first, first + n), images, columns, frames)


def draws(of: Samples, epoch: int = 0, seed: int = 0) -> Draws:
    return Draws(seed, np.full(len(of), epoch), of.indices.numpy())


def transform(augment: dict[str, Any] | None = None, **input: Any) -> Transform:
    settings = InputSettings(**{"size": (24, 24), "channels": 3, "mean": (0.0,), "std": (1.0,), **input})
    return build(settings, None if augment is None else AugmentSettings(**augment))


def run(move: Any, of: Samples, partners: Samples, **position: int) -> Samples:
    return move(of, draws(of, **position), [(partners, draws(partners, **position))] if move.partners else [])


def assert_rows_equal(part: Samples, whole: Samples, rows: list[int]) -> None:
    assert torch.equal(part.images, whole.images[rows])
    assert torch.equal(part.frames, whole.frames[rows])
    assert part.columns.keys() == whole.columns.keys()
    for name, column in part.columns.items():
        assert torch.equal(column, whole.columns[name][rows]), name


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("dtype, channels", [(torch.uint8, 3), (torch.uint8, 1), (torch.float32, 3)])
def test_a_sample_is_the_same_alone_in_any_batch_and_with_two_threads(name, dtype, channels):
    move = transform(RECIPES[name], channels=channels, fit="crop")
    of, partners = (
        samples(picture(13, channels, 24, 24, dtype=dtype)),
        samples(picture(13, channels, 24, 24, dtype=dtype), 50),
    )
    together = run(move, of, partners)
    torch.set_num_threads(2)
    assert_rows_equal(run(move, of, partners), together, list(range(13)))
    torch.set_num_threads(1)
    for rows in ([0], [5], [12], [7, 3, 9]):
        assert_rows_equal(run(move, of.rows(rows), partners.rows(rows)), together, rows)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("fit", FITS)
def test_a_stack_and_a_list_of_the_same_pictures_give_the_same_bits(name, fit):
    move = transform(RECIPES[name], fit=fit)
    of, partners = samples(picture(9, 3, 40, 31)), samples(picture(9, 3, 40, 31), 50)
    listed = replace(of, images=[image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in of.images])
    assert_rows_equal(run(move, listed, partners), run(move, of, partners), list(range(9)))


@pytest.mark.parametrize("name", RECIPES)
def test_pictures_of_every_size_and_depth_in_one_batch_are_what_they_are_alone(name):
    images = [picture(3, 24, 24), picture(1, 5, 70), picture(3, 41, 9, dtype=torch.uint16), picture(3, 300, 200),
              picture(3, 1, 1), picture(3, 30, 26, dtype=torch.float32)]  # fmt: skip
    move, of, partners = transform(RECIPES[name]), samples(images), samples(images[::-1], 50)
    together = run(move, of, partners)
    assert torch.isfinite(together.images).all()
    for i in range(len(images)):
        assert_rows_equal(run(move, of.rows([i]), partners.rows([i])), together, [i])


@pytest.mark.parametrize("name", [name for name in RECIPES if RECIPES[name]])
def test_another_epoch_or_seed_gives_another_picture(name):
    move, of, partners = transform(RECIPES[name]), samples(picture(20, 3, 24, 24)), samples(picture(20, 3, 24, 24), 50)
    first = run(move, of, partners).images
    for position in ({"epoch": 1}, {"seed": 1}):
        other = run(move, of, partners, **position).images
        assert (other != first).flatten(1).any(1).float().mean() > 0.4


@pytest.mark.parametrize("name", RECIPES)
def test_no_samples_give_no_pictures_of_the_right_shape(name):
    move = transform(RECIPES[name])
    for images in (torch.zeros(0, 3, 9, 9, dtype=torch.uint8), []):
        of = samples(images)
        ready = run(move, of, of)
        assert ready.images.shape == (0, 3, 24, 24)
        assert ready.images.dtype == torch.float32
        assert ready.frames.shape == (0, 3, 3)


@pytest.mark.parametrize("augment", [None, {}])
@pytest.mark.parametrize("fit", FITS)
def test_an_identity_recipe_returns_the_exact_pixels(augment, fit):
    levels = torch.arange(3 * 24 * 24).remainder(256).to(torch.uint8).reshape(1, 3, 24, 24)
    ready = transform(augment, fit=fit)(samples(levels), draws(samples(levels)))
    assert torch.equal(ready.images, levels / 255)
    assert torch.equal(ready.frames[0], torch.eye(3, dtype=torch.float64))


def test_judging_equals_torchvisions_crop_resize_and_normalise():
    image = picture(3, 75, 100)
    move = transform(size=(32, 32), fit="crop", margin=0.8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    ready = move(samples([image]), draws(samples([image]))).images[0]
    small = torchvision.resize(torchvision.center_crop(image, [60, 60]), [32, 32], antialias=True)
    floats = torchvision.to_dtype(small, torch.float32, scale=True)
    torch.testing.assert_close(
        ready, torchvision.normalize(floats, [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]), atol=1e-6, rtol=0
    )


def test_letterbox_bands_are_the_mean_colour():
    move = transform(fit="pad", mean=(0.4,), std=(0.2,))
    ready = move(samples([picture(3, 10, 40)]), draws(samples([picture(3, 10, 40)]))).images[0]
    assert ready[:, [0, -1]].abs().max() < 0.01  # 0.4 is 102 levels exactly


def test_sixteen_bits_keep_their_range():
    image = torch.tensor([0, 1, 32768, 65535], dtype=torch.int32).to(torch.uint16).reshape(1, 2, 2)
    ready = transform(size=(2, 2), channels=1)(samples([image]), draws(samples([image]))).images
    torch.testing.assert_close(ready.flatten(), torch.tensor([0, 1 / 65535, 32768 / 65535, 1]), atol=1e-8, rtol=1e-6)


def test_floats_are_taken_as_they_are():
    image = torch.rand(3, 24, 24)
    assert torch.equal(transform()(samples([image]), draws(samples([image]))).images[0], image)


@pytest.mark.parametrize("bicubic", ["bilinear", "bicubic"])
def test_a_colourless_picture_read_as_rgb_shows_its_levels_three_times(bicubic):
    image = picture(1, 50, 40)
    ready = transform(interpolation=bicubic)(samples([image]), draws(samples([image]))).images[0]
    assert torch.equal(ready[0], ready[1])
    alone = transform(interpolation=bicubic, channels=1)(samples([image]), draws(samples([image]))).images[0, 0]
    assert (ready[2] - alone).abs().max() < 1.01 / 255


def test_a_colour_picture_read_as_grey_is_its_luma():
    image = picture(3, 24, 24)
    ready = transform(channels=1)(samples([image]), draws(samples([image]))).images[0]
    assert (ready * 255 - torchvision.rgb_to_grayscale(image, 1)).abs().max() <= 1


def test_a_picture_with_other_channels_is_refused_by_name():
    with pytest.raises(DataError, match=r"0\.png: the picture has 4 channels, the network reads 3"):
        transform()(samples([picture(4, 9, 9)]), draws(samples([picture(4, 9, 9)])))


def test_a_picture_of_integers_without_a_range_is_refused_by_name():
    with pytest.raises(DataError, match=r"0\.png: pixels are torch\.int32"):
        transform()(samples([picture(3, 9, 9).int()]), draws(samples([picture(3, 9, 9)])))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("fit", FITS)
def test_frames_lead_from_the_new_picture_back_to_the_original_one(name, fit):
    move = transform(RECIPES[name], fit=fit)
    of = samples(picture(12, 3, 40, 60))
    earlier = torch.tensor([[2.0, 0, 5], [0, 2, 7], [0, 0, 1]], dtype=torch.float64).repeat(12, 1, 1)
    still = run(move, of, of).frames
    composed = run(move, replace(of, frames=earlier), of).frames
    torch.testing.assert_close(composed, earlier @ still)


def test_a_dot_is_found_where_the_frame_says():
    image = torch.zeros(1, 120, 160)
    image[:, 60:64, 90:94] = 1  # about (92, 62)
    of = samples(image.repeat(8, 1, 1, 1))
    move = transform({"crop": (0.5, 1.0), "rotate": 0.5, "flip": 0.5, "perspective": 0.1}, size=(96, 96), channels=1)
    ready = move(of, draws(of))
    seen = 0
    for levels, frame in zip(ready.images[:, 0], ready.frames, strict=True):
        if levels.sum() > 2:
            y, x = (levels == levels.max()).nonzero().double().mean(0) + 0.5
            found = move_points(torch.stack([x, y])[None], frame)[0]
            assert (found - torch.tensor([92.0, 62])).abs().max() < 2
            seen += 1
    assert seen >= 4


def test_labels_with_a_place_move_with_the_pixels_and_others_stay():
    classes = torch.randint(0, 4, (24, 24))
    image = (classes * 60).to(torch.uint8)[None]
    of = samples(image.repeat(6, 1, 1, 1))
    box = Boxes(torch.tensor([[0.0, 0, 24, 24]]), torch.tensor([2]))
    of = replace(of, columns={**of.columns, "classes": [ClassMap(classes)] * 6, "boxes": [box] * 6})
    move = transform({"flip": 0.5, "flip_vertical": 0.5}, channels=1)
    ready = move(of, draws(of))
    for levels, moved, boxes in zip(ready.images[:, 0], ready.columns["classes"], ready.columns["boxes"], strict=True):
        assert torch.equal((levels * 255 / 60).round().long(), moved.classes)
        assert boxes.xyxy.tolist() == [[0, 0, 24, 24]]
    assert torch.equal(ready.columns["label"], of.columns["label"])


def test_mixed_samples_carry_both_labels_and_the_share():
    of, partners = samples(picture(6, 3, 24, 24)), samples(picture(6, 3, 24, 24), 50)
    move = transform({"mixup": 1.0})
    ready = run(move, of, partners)
    assert move.partners == 1
    assert torch.equal(ready.columns["label"], of.columns["label"])
    assert torch.equal(ready.columns["partner_label"], partners.columns["label"])
    assert torch.equal(ready.columns["partner_numbers"], partners.columns["numbers"])
    weight = ready.columns["share"][:, None, None, None]
    torch.testing.assert_close(ready.images, of.images / 255 * weight + partners.images / 255 * (1 - weight))


def test_a_partner_is_augmented_by_its_own_numbers():
    of, partners = samples(torch.zeros(8, 3, 24, 24)), samples(picture(8, 3, 24, 24, dtype=torch.float32), 50)
    ready = run(transform({"mixup": 1.0, "flip": 0.5}), of, partners)
    expected = transform({"flip": 0.5})(partners, draws(partners)).images
    torch.testing.assert_close(ready.images, expected * (1 - ready.columns["share"][:, None, None, None]))


def test_without_a_partner_a_sample_is_its_own_and_whole():
    of = samples(picture(4, 3, 24, 24))
    ready = transform({"cutmix": 1.0})(of, draws(of))
    assert ready.columns["share"].tolist() == [1.0] * 4
    assert torch.equal(ready.columns["partner_label"], of.columns["label"])
    assert torch.equal(ready.images, of.images / 255)


def test_judging_needs_no_partners_and_adds_no_columns():
    of = samples(picture(4, 3, 24, 24))
    move = transform()
    assert move.partners == 0
    assert move(of, draws(of)).columns.keys() == of.columns.keys()


@pytest.mark.parametrize("augment", [{"mixup": 1.0}, {"mosaic": 1.0}, {"copy_paste": 0.5}])
def test_class_maps_are_not_mixed(augment):
    of = replace(samples(picture(1, 3, 24, 24)), columns={"class_map": [ClassMap(torch.zeros(24, 24).long())]})
    with pytest.raises(UsageError, match="cannot mix class_map"):
        transform(augment)(of, draws(of))


def test_cutmix_cannot_mix_boxes():
    of = replace(samples(picture(1, 3, 24, 24)), columns={"boxes": [Boxes(torch.zeros(0, 4), torch.zeros(0).long())]})
    with pytest.raises(UsageError, match="CutMix cannot mix boxes"):
        transform({"cutmix": 1.0})(of, draws(of))


@pytest.mark.parametrize("augment", [{"mosaic": 1.0}, {"copy_paste": 0.5}])
def test_pictures_without_boxes_make_no_mosaics(augment):
    of = samples(picture(1, 3, 24, 24))
    with pytest.raises(UsageError, match="no boxes"):
        transform(augment)(of, draws(of))


def test_a_picture_that_is_not_mixed_has_share_1_and_its_own_pixels():
    of, partners = samples(picture(40, 3, 24, 24)), samples(picture(40, 3, 24, 24), 50)
    ready = run(transform({"mixup": 1.0, "mix": 0.5}), of, partners)
    alone = ready.columns["share"] == 1
    assert 10 <= int(alone.sum()) <= 30
    assert torch.equal(ready.images[alone], of.images[alone] / 255)


@pytest.mark.parametrize("input", [{"mean": (0.1, 0.2)}, {"std": (0.1,) * 4}])
def test_as_many_means_and_deviations_as_channels_are_wanted(input):
    with pytest.raises(UsageError, match=f"input.{next(iter(input))}"):
        transform(**input)


def test_pictures_that_are_given_are_never_written_to():
    for name in RECIPES:
        of, partners = samples(picture(5, 3, 24, 24)), samples(torch.rand(5, 3, 24, 24), 50)
        before = of.images.clone(), partners.images.clone()
        run(transform(RECIPES[name]), of, partners)
        assert torch.equal(of.images, before[0])
        assert torch.equal(partners.images, before[1])


def test_a_transform_travels_to_workers():
    of = samples(picture(5, 3, 24, 24))
    move = transform({"crop": (0.3, 1.0), "policy": "randaugment"})
    assert torch.equal(pickle.loads(pickle.dumps(move))(of, draws(of)).images, move(of, draws(of)).images)
