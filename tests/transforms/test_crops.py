"""Crops of pictures with a class for every pixel: which are taken; and masks move as other libraries move them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as V
from torchvision.transforms import InterpolationMode

from visus.core.annotations import ClassMap
from visus.core.errors import UsageError
from visus.core.recipe import AugmentSettings, InputSettings
from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.transforms import geometry
from visus.transforms.crops import chosen_boxes
from visus.transforms.pipeline import build
from visus.transforms.tiles import Tiling

N = 300
HALF = {"crop": (0.1, 0.2), "ratio": (0.8, 1.25)}


def drawn(n=N, epoch=0):
    return Draws(7, np.full(n, epoch, np.int64), np.arange(n))


def scene():
    """Return a map that is class 0 but for some pixels of class 1 in a corner, and a few of class 2 in another."""
    classes = torch.zeros(60, 80, dtype=torch.uint8)
    classes[2:10, 60:78] = 1
    classes[55:57, 3:5] = 2
    return classes


def bits():
    """Return the same classes, the lower half showing class 1 as well."""
    several = 1 << scene().long()
    several[30:] |= 2
    return several


def shown(classes, boxes):
    return [set(classes[y0:y1, x0:x1].unique().tolist()) for x0, y0, x1, y1 in boxes.tolist()]


def test_without_a_preference_crops_are_those_of_any_picture():
    augment, maps = AugmentSettings(**HALF), [ClassMap(scene())] * N
    expected = geometry.random_boxes(np.tile([[60, 80]], (N, 1)), augment.crop, augment.ratio, drawn())
    assert np.array_equal(chosen_boxes(maps, augment, (), drawn()), expected)


def test_rare_classes_are_in_most_crops_and_the_rarest_in_the_most():
    maps = [ClassMap(scene())] * N
    plain, rare = (
        [
            sum(k in each for each in shown(scene(), chosen_boxes(maps, augment, (9000, 300, 100), drawn())))
            for k in range(3)
        ]
        for augment in (AugmentSettings(**HALF), AugmentSettings(**HALF, rare=1.0))
    )
    assert plain[2] < 0.1 * N and rare[2] == pytest.approx(0.74 * N, rel=0.1) and rare[1] > 1.5 * plain[1] / 2
    by_own = chosen_boxes(maps, AugmentSettings(**HALF, rare=1.0), (), drawn())
    assert sum(2 in each for each in shown(scene(), by_own)) > 0.9 * N  # 4 pixels against 144


def test_where_a_rare_pixel_lies_in_its_crop_is_as_good_as_any_other_place():
    classes = torch.zeros(60, 80, dtype=torch.uint8)
    classes[30, 40] = 1
    boxes = chosen_boxes([ClassMap(classes)] * N, AugmentSettings(**HALF, rare=1.0), (10**9, 1), drawn())
    assert all(1 in each for each in shown(classes, boxes))
    place = (np.array([40.5, 30.5]) - boxes[:, :2]) / (boxes[:, 2:] - boxes[:, :2])
    assert abs(place.mean(0) - 0.5).max() < 0.05 and place.std(0) == pytest.approx([0.29, 0.29], abs=0.03)


@pytest.mark.parametrize("classes", [scene(), bits()])
def test_a_crop_of_one_class_alone_is_drawn_again(classes):
    classes = classes.clone()
    classes[:, 20:60] = 1
    ignore = -1 if classes.dtype == torch.int64 else 255
    classes[:5] = ignore
    maps = [ClassMap(classes, ignore)] * N

    def largest(boxes):
        parts = [classes[y0:y1, x0:x1] for x0, y0, x1, y1 in boxes.tolist()]
        known = [part[part != ignore] for part in parts]
        return np.array(
            [max(part.unique(return_counts=True)[1].tolist(), default=0) / max(1, len(part)) for part in known]
        )

    free = largest(chosen_boxes(maps, AugmentSettings(**HALF), (), drawn()))
    limited = largest(chosen_boxes(maps, AugmentSettings(**HALF, majority=0.75), (), drawn()))
    alone = (free > 0.75).mean()
    assert 0.4 < alone < 0.8 and (limited > 0.75).mean() < 1.5 * alone**10 + 0.01


def test_where_no_crop_keeps_the_limit_the_tenth_is_taken():
    maps = [ClassMap(torch.zeros(60, 80, dtype=torch.uint8))] * 5
    augment = AugmentSettings(**HALF, majority=0.5)
    tenth = geometry.random_boxes(np.tile([[60, 80]], (5, 1)), *HALF.values(), drawn(5), stream="crop_9")
    assert np.array_equal(chosen_boxes(maps, augment, (), drawn(5)), tenth)


def test_a_picture_has_the_same_crop_whichever_pictures_it_is_with():
    several = torch.stack([scene().roll((i, 2 * i), (0, 1)) for i in range(6)])
    augment = AugmentSettings(**HALF, rare=0.5, majority=0.8)
    whole = chosen_boxes([ClassMap(each) for each in several], augment, (9, 2, 1), drawn(6))
    for i in range(6):
        assert np.array_equal(
            chosen_boxes([ClassMap(several[i])], augment, (9, 2, 1), drawn(6).rows(np.array([i])))[0], whole[i]
        )


def tiles(maps, **setting):
    """Return the maps of training's tiles of 12 x 16 pixels."""
    n = len(maps)
    images = torch.zeros(n, 3, *maps[0].classes.shape, dtype=torch.uint8)
    frames = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    samples = Samples(tuple(map(str, range(n))), torch.arange(n), images, {"class_map": maps}, frames)
    input = InputSettings(size=(12, 16), fit="pad")
    ready = build(input, AugmentSettings(**setting), Tiling((12, 16), 16, 0.25))(samples, drawn(n))
    return [one.classes for one in ready.columns["class_map"]]


def test_tiles_are_chosen_as_crops_are():
    maps = [ClassMap(scene())] * N
    plain, rare = (sum(2 in each for each in tiles(maps, **setting)) for setting in ({}, {"rare": 1.0}))
    assert plain < 0.1 * N and rare > 0.9 * N
    alone, limited = (
        np.mean([len(each.unique()) == 1 for each in tiles(maps, **setting)]) for setting in ({}, {"majority": 0.99})
    )
    assert alone > 0.6 and limited < 1.5 * alone**10 + 0.01


def test_of_a_tile_higher_than_its_picture_the_classes_of_the_picture_count():
    classes = torch.zeros(8, 100, dtype=torch.uint8)
    classes[:4, 50:] = 1
    plain, limited = (
        np.mean([1 not in each for each in tiles([ClassMap(classes)] * N, **setting)])
        for setting in ({}, {"majority": 0.8})
    )
    assert plain > 0.3 and limited < 0.02


@pytest.mark.parametrize("setting", [{"rare": 0.5}, {"majority": 0.75}])
def test_crops_cannot_be_chosen_where_none_are_made_or_pixels_have_no_class(setting):
    with pytest.raises(UsageError, match="makes none") as caught:
        build(InputSettings(), AugmentSettings(**setting))
    assert caught.value.code == "AUG-005"
    samples = Samples(("a",), torch.zeros(1), torch.zeros(1, 3, 8, 8), {"label": torch.zeros(1)}, torch.eye(3)[None])
    with pytest.raises(UsageError, match="pictures have none") as caught:
        build(InputSettings(), AugmentSettings(crop=(0.5, 1), **setting))(samples, drawn(1))
    assert caught.value.code == "AUG-006"
    with pytest.raises(UsageError, match="pictures have none"):
        build(InputSettings(), AugmentSettings(**setting), Tiling((224, 224), 224, 0.25))(samples, drawn(1))


def moved(classes, augment, size, draws):
    """Return maps after training's transform, and the matrices by which it moved them."""
    n = len(classes)
    frames = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    images = torch.zeros(n, 3, *classes.shape[1:], dtype=torch.uint8)
    samples = Samples(
        tuple(map(str, range(n))), torch.arange(n), images, {"class_map": list(map(ClassMap, classes))}, frames
    )
    ready = build(InputSettings(size=size, fit="squash"), augment)(samples, draws)
    return torch.stack([one.classes for one in ready.columns["class_map"]]), ready.frames


@pytest.mark.parametrize(
    "setting",
    [{"crop": (0.2, 0.9)}, {"scale": (0.5, 2.0)}, {"flip": 0.5, "flip_vertical": 0.5}, {"rotate": 0.5},
     {"perspective": 0.2},
     {"crop": (0.2, 0.9), "scale": (0.5, 2.0), "flip": 0.5, "rotate": 0.5, "shear": 0.2}],
)  # fmt: skip
def test_maps_move_by_nearest_neighbour_as_opencv_moves_them(setting):
    cv2 = pytest.importorskip("cv2")
    classes = torch.randint(0, 19, (20, 48, 64), generator=torch.Generator().manual_seed(0)).byte()
    said, frames = moved(classes, AugmentSettings(**setting), (40, 56), drawn(20))
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV counts the middles of pixels at integers
    wrong = total = 0
    for one, after, frame in zip(classes.numpy(), said.numpy(), frames.numpy(), strict=True):
        back = np.linalg.inv(shift) @ frame @ shift  # from new pixels to old ones
        x, y = np.meshgrid(np.arange(56), np.arange(40))
        at = np.stack([x, y, np.ones_like(x)], -1) @ back.T
        at = (at[..., :2] / at[..., 2:]).astype(np.float32)
        oracle = cv2.remap(one, at[..., 0], at[..., 1], cv2.INTER_NEAREST, borderValue=255)
        sure = (np.abs(at - np.floor(at) - 0.5) > 0.02).all(-1)  # between two pixels, either is the nearest
        wrong, total = wrong + int((after != oracle)[sure].sum()), total + int(sure.sum())
    assert wrong == 0 and total > 0.6 * 20 * 40 * 56


def test_maps_are_mirrored_and_resized_as_torchvision_does():
    classes = torch.randint(0, 19, (4, 48, 64), generator=torch.Generator().manual_seed(0)).byte()
    flipped, _ = moved(classes, AugmentSettings(flip=1.0), (48, 64), drawn(4))
    assert torch.equal(flipped, V.horizontal_flip(classes))
    smaller, _ = moved(classes, AugmentSettings(), (24, 16), drawn(4))
    assert torch.equal(smaller, V.resize(classes, [24, 16], InterpolationMode.NEAREST_EXACT))


def test_cutmix_takes_the_classes_of_the_rectangle_that_it_takes_the_pixels_of():
    n, size = 40, (32, 48)
    values = torch.arange(2 * n, dtype=torch.uint8)
    images = (values.float() / 200)[:, None, None, None].expand(-1, 1, *size).contiguous()
    maps = [ClassMap(torch.full(size, int(value), dtype=torch.uint8)) for value in values]
    frames = torch.eye(3, dtype=torch.float64).repeat(2 * n, 1, 1)
    samples = Samples(tuple(map(str, range(2 * n))), torch.arange(2 * n), images, {"class_map": maps}, frames)
    own, others = samples.rows(range(n)), samples.rows(range(n, 2 * n))
    input = InputSettings(size=size, channels=1, mean=(0.0,), std=(1.0,), fit="squash")
    mixed = build(input, AugmentSettings(cutmix=1.0, mix=0.7))(own, drawn(n), [(others, drawn(n))])
    said = torch.stack([one.classes for one in mixed.columns["class_map"]])
    assert torch.equal((mixed.images[:, 0] * 200).round().byte(), said)
    changed = said != values[:n, None, None]
    assert 0.5 * n < changed.flatten(1).any(1).sum() < n and set(mixed.columns) == {"class_map"}
    assert all(int(maps[i].classes.unique()) == i for i in range(2 * n)), "what was read is left as it is"


@pytest.mark.parametrize("other", [{"mixup": 0.2}, {"mosaic": 0.5}, {"copy_paste": 0.5}])
def test_what_would_blend_or_shrink_maps_is_refused(other):
    maps = [ClassMap(torch.zeros(8, 8, dtype=torch.uint8))]
    samples = Samples(("a",), torch.zeros(1), torch.zeros(1, 3, 8, 8), {"class_map": maps}, torch.eye(3)[None])
    with pytest.raises(UsageError, match="cannot mix class_map") as caught:
        build(InputSettings(), AugmentSettings(cutmix=1.0, **other))(samples, drawn(1))
    assert caught.value.code == "AUG-001"
