"""Near duplicates are found whatever was done to them, and look-alikes are left alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy.ndimage import gaussian_filter

from visus.core.recipe import DataSettings
from visus.data.groups import joined
from visus.data.near import ALL_EIGHT, Pairs, laid_over, near_pairs, turned, twins_of
from visus.data.reading import open_data


def scenes(count: int, seed: int = 0, side: int = 64) -> np.ndarray:
    """Return (N, side, side) pictures with the spectrum of photographs."""
    grain = np.random.default_rng(seed).normal(size=(count, side, side))
    rough = sum(size * gaussian_filter(grain, (0, size, size)) for size in (1, 2, 4, 8))
    levels = (rough - rough.mean((1, 2), keepdims=True)) / rough.std((1, 2), keepdims=True)
    return np.rint(128 + 45 * levels).clip(0, 255).astype(np.uint8)


def small(pictures: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(p).resize((32, 32), Image.Resampling.BOX)) for p in pictures])


def saved(picture: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file))


def cut(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture[3:-2, 1:-3]).resize(picture.shape[::-1], Image.Resampling.BILINEAR))


def brighter(picture: np.ndarray) -> np.ndarray:
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(picture)).enhance(1.3))


def paler(picture: np.ndarray) -> np.ndarray:
    return np.asarray(ImageEnhance.Contrast(Image.fromarray(picture)).enhance(0.7))


def mirrored(picture: np.ndarray) -> np.ndarray:
    return picture[:, ::-1]


CHANGES = {"saved again": saved, "cut": cut, "brighter": brighter, "paler": paler, "mirrored": mirrored,
           "all of it": lambda picture: saved(paler(cut(mirrored(picture))))}  # fmt: skip


def found(pairs: Pairs) -> set[tuple[int, int]]:
    return set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_picture_is_found_and_nothing_else(change):
    pictures = scenes(120)
    copies = np.stack([change(picture) for picture in pictures[:20]])
    assert found(near_pairs(small(np.concatenate([pictures, copies])))) == {(i, 120 + i) for i in range(20)}


@pytest.mark.parametrize("symmetry", ALL_EIGHT)
def test_a_picture_turned_in_any_of_eight_ways_is_found_where_these_are_asked_for(symmetry):
    pictures = small(scenes(60, seed=1))
    both = np.concatenate([pictures, turned(pictures[:10], symmetry)])
    pairs = near_pairs(both, symmetries=ALL_EIGHT)
    assert found(pairs) == {(i, 60 + i) for i in range(10)} and pairs.likeness.min() > 0.999


def test_an_upside_down_picture_is_another_one_unless_asked_for():
    pictures = small(scenes(60, seed=1))
    assert not len(near_pairs(np.concatenate([pictures, pictures[:10, ::-1]])))


@given(st.integers(0, 7))
def test_turning_keeps_every_pixel(symmetry):
    picture = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    assert sorted(turned(picture, symmetry).ravel().tolist()) == list(range(16))


@given(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5), st.floats(0.94, 1.06), st.integers(0, 50))
@settings(max_examples=25)
def test_a_moved_and_scaled_picture_is_laid_over_the_first(down, right, scale, seed):
    from scipy.ndimage import affine_transform

    picture = gaussian_filter(scenes(1, seed=seed, side=32)[0].astype(float), 1)
    middle = np.array([15.5, 15.5])
    moved = affine_transform(
        picture, np.eye(2) * scale, middle - scale * middle + (down, right), order=1, mode="nearest"
    )
    one, other = (np.rint(p).clip(0, 255).astype(np.uint8)[None] for p in (picture, moved))
    assert laid_over(one, other)[0][0] > 0.98


def test_brightness_and_contrast_do_not_matter():
    picture = small(scenes(1))
    paled = np.rint(picture * 0.6 + 30).astype(np.uint8)
    likeness, rest = laid_over(picture, paled)
    assert likeness[0] == pytest.approx(1, abs=1e-3) and np.abs(rest).max() < 2


def test_what_brightness_made_white_is_hardly_a_difference():
    pictures = small(scenes(6, seed=4))
    _, rest = laid_over(pictures, np.rint(pictures * 1.3).clip(0, 255).astype(np.uint8))
    assert np.sqrt((rest**2).mean(1)).mean() < 1.5  # grey levels; over 2 where whatever became white counts in full


def test_pictures_that_differ_much_in_contrast_are_not_the_same():
    pictures = small(scenes(120))
    middle = pictures[:20].mean((1, 2), keepdims=True)
    pale = np.rint(middle + 0.35 * (pictures[:20] - middle)).astype(np.uint8)
    assert not len(near_pairs(np.concatenate([pictures, pale])))


def test_the_pairs_do_not_depend_on_the_number_of_threads():
    pictures = small(np.concatenate([scenes(80), [cut(picture) for picture in scenes(10)]]))
    before, pairs = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            pairs.append(near_pairs(pictures))
    finally:
        torch.set_num_threads(before)
    assert found(pairs[0]) == found(pairs[1])
    np.testing.assert_array_equal(pairs[0].likeness, pairs[1].likeness)


def test_asked_about_some_only_pairs_of_these_and_others_are_found():
    pictures = scenes(60)
    copies = np.stack([mirrored(picture) for picture in (*pictures[:6], *pictures[:3])])  # 60 to 65, then three of them
    both = small(np.concatenate([pictures, copies]))
    pairs = near_pairs(both, asked=np.arange(60, 66))
    assert found(pairs) == {(60 + i, i) for i in range(6)} | {(60 + i, 66 + i) for i in range(3)}
    assert not len(near_pairs(both, asked=np.zeros(0, np.int64))) and not len(near_pairs(both, asked=np.arange(69)))


def test_flat_pictures_are_near_to_none():
    pictures = small(scenes(40))
    pictures[:10] = np.arange(10, dtype=np.uint8)[:, None, None] * 20
    assert not len(near_pairs(pictures))


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_few_pictures_are_compared_as_well(count):
    pictures = small(scenes(max(count, 1), seed=3))[:count]
    assert found(near_pairs(np.concatenate([pictures, pictures[:1]]))) == ({(0, count)} if count else set())


def test_many_pictures_of_one_thing_are_one_group_though_each_is_compared_with_a_few():
    pictures = np.concatenate([scenes(60), np.repeat(scenes(1, seed=9), 200, 0)])
    noise = np.random.default_rng(0).integers(-3, 4, pictures.shape)
    pairs = near_pairs(small(np.clip(pictures + noise, 0, 255).astype(np.uint8)))
    groups = joined(260, np.stack([pairs.first, pairs.second], 1))
    assert len(set(groups[:60])) == 60 and len(set(groups[60:])) == 1 and len(pairs) <= 16 * 200


def test_the_same_pictures_give_the_same_pairs():
    pictures = small(np.concatenate([scenes(80), [cut(picture) for picture in scenes(10)]]))
    first, second = near_pairs(pictures), near_pairs(pictures)
    np.testing.assert_array_equal(first.likeness, second.likeness)
    assert found(first) == found(second)


def test_of_equal_digests_the_first_in_order_is_kept():
    digest = np.zeros((5, 16), np.uint8)
    digest[:, 3] = [7, 1, 7, 1, 2]
    firsts, twins = twins_of(np.array([3, 0, 1, 2, 4]), digest)
    assert firsts.tolist() == [3, 0, 4] and twins.tolist() == [[3, 1], [0, 2]]


def test_characters_that_look_alike_are_no_twins(real_data: Path):
    """Twenty people drew each of Omniglot's characters; none is a copy of another."""
    from visus.data.looking import look

    dataset = open_data(real_data / "omniglot_small1", DataSettings(), carve=False)
    seen = look(dataset)
    firsts, twins = twins_of(np.arange(len(dataset)), seen.digest)
    assert not len(twins)
    pairs = near_pairs(seen.small[firsts])
    assert len(set(pairs.second.tolist())) <= 0.02 * len(dataset)
