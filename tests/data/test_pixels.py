"""One rule for channels and stored size, wherever pictures come from."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.data.plain import of_array, of_files
from torchvision.transforms.v2 import functional as oracle

from visus.core.errors import DataError
from visus.data.dataset import ArrayImages
from visus.data.pixels import fit, frames, pictures, shrunk, tensor_of


def random(*shape, dtype=np.uint8):
    top = np.iinfo(dtype).max if dtype != np.float32 else 1
    return (np.random.default_rng(0).random(shape) * top).round(0 if dtype != np.float32 else 8).astype(dtype)


def test_colour_becomes_grey_as_pillow_does_it_for_every_colour():
    levels = np.arange(0, 256, 3, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    assert (fit(colours, 1).numpy()[:, :, 0] == np.asarray(Image.fromarray(colours).convert("L"))).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deeper_colour_becomes_grey_within_one_level_of_its_luma(dtype):
    colours = random(40, 50, 3, dtype=dtype)
    luma = colours.astype(np.float64) @ [0.299, 0.587, 0.114]
    assert np.abs(fit(colours, 1).numpy()[:, :, 0] - luma).max() < (1 if dtype == np.uint16 else 1e-6)


def test_the_brightest_16_bit_white_stays_white():
    assert (fit(np.full((2, 2, 3), 65535, np.uint16), 1).numpy() == 65535).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_grey_becomes_colour_by_repeating_it(dtype):
    grey = random(6, 7, dtype=dtype)
    assert (fit(grey, 3).numpy() == grey[:, :, None]).all()


@pytest.mark.parametrize("shape", [(4, 4, 2), (4, 4, 4), (4, 4, 5)])
def test_channels_without_a_rule_are_refused_with_both_numbers(shape):
    with pytest.raises(DataError, match=f"has {shape[2]} channels, the network reads 3"):
        fit(np.zeros(shape, np.uint8), 3)


def test_as_many_channels_as_the_data_has_pass_unchanged():
    picture = random(4, 5, 6)
    assert (fit(picture, 6).numpy() == picture).all()


def test_another_depth_is_refused():
    with pytest.raises(DataError, match="pixels are int64"):
        fit(np.zeros((4, 4), np.int64), 1)


@pytest.mark.parametrize(("height", "width"), [(37, 61), (61, 37), (40, 40), (21, 500)])
@pytest.mark.parametrize("channels", [1, 3])
def test_shrinking_is_torchvisions_antialiased_resize_of_the_shorter_side(height, width, channels):
    picture = random(height, width, channels)
    expected = oracle.resize(torch.from_numpy(picture).permute(2, 0, 1), [20], antialias=True)
    assert torch.equal(fit(picture, channels, stored=20).permute(2, 0, 1), expected)


def test_16_bit_pictures_shrink_within_one_level_of_float_arithmetic():
    picture = random(30, 44, 1, dtype=np.uint16)
    expected = oracle.resize(torch.from_numpy(picture.astype(np.float64)).permute(2, 0, 1), [11], antialias=True)
    assert (fit(picture, 1, stored=11).permute(2, 0, 1).double() - expected).abs().max() <= 0.51


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 300))
def test_nothing_is_enlarged_and_the_shorter_side_is_the_stored_one(height, width, stored):
    new = shrunk(height, width, stored)
    assert min(new) == (min(height, width, stored) if stored else min(height, width))
    assert new[0] <= height and new[1] <= width
    assert (height - width) * (new[0] - new[1]) >= 0


def test_frames_scale_present_pixels_to_original_ones():
    matrices = frames(np.array([[40, 20], [10, 10]]), [(20, 10), (10, 10)])
    assert torch.equal(matrices[0], torch.diag(torch.tensor([2, 2, 1], dtype=torch.float64)))
    assert torch.equal(matrices[1], torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("of", [1, 3])
def test_an_array_gives_the_same_bits_and_strides_as_files(tmp_path, channels, of):
    array = random(9, 16, 12, of)[..., : of if of == 3 else 1]
    some = np.array([4, 4, 0, 8])
    from_array = pictures(ArrayImages(array if of == 3 else array[..., 0]), channels, 7).take(some, lambda _: None)
    files = of_files(tmp_path, list(array if of == 3 else array[..., 0]))
    from_files = pictures(files.images, channels, 7).take(some, lambda _: None)
    assert torch.equal(from_array.images, from_files.images)
    assert from_array.images.stride() == from_files.images.stride()
    assert (from_array.originals == from_files.originals).all()


@pytest.mark.parametrize(("stored", "apart"), [(0, True), (100, False)])
def test_large_pictures_stay_apart_and_small_ones_are_gathered(stored, apart):
    array = random(3, 200, 200, 3)
    images = pictures(ArrayImages(array), 3, stored).take(np.array([2, 0]), lambda _: None).images
    assert isinstance(images, list) == apart
    expected = [fit(array[i], 3, stored).permute(2, 0, 1) for i in (2, 0)]
    assert all(
        torch.equal(got, want) and got.stride() == want.stride() for got, want in zip(images, expected, strict=True)
    )


def test_an_array_of_the_wrong_depth_or_channels_is_refused_before_the_first_step():
    with pytest.raises(DataError, match="float64"):
        pictures(ArrayImages(np.zeros((3, 4, 4))), 1)
    with pytest.raises(DataError, match="has 3 channels"):
        pictures(of_array().images, 4)
    with pytest.raises(DataError, match="has 3 channels"):
        pictures(ArrayImages(np.zeros((2, 300, 300, 3), np.uint8)), 4)


def test_a_read_only_array_is_read_without_a_warning(recwarn):
    array = random(5, 4, 4, 3)
    array.flags.writeable = False
    assert len(pictures(ArrayImages(array), 3).take(np.arange(5), lambda _: None).images) == 5
    assert not recwarn.list


def test_pictures_are_read_once_however_often_they_are_asked_for_and_each_is_announced():
    class Counting:
        reads: list[int] = []  # noqa: RUF012

        def read(self, i):
            self.reads.append(i)
            return np.full((2, 2), i, np.uint8)

    images, heard = Counting(), []
    taken = pictures(images, 1).take(np.array([3, 1, 3]), heard.append)
    assert images.reads == heard == [3, 1]
    assert taken.images[:, 0, 0, 0].tolist() == [3, 1, 3]


def test_a_large_jpeg_is_stored_from_a_fraction_of_it_at_nearly_the_same_pixels(tmp_path):
    y, x = np.mgrid[:480, :640]
    smooth = np.stack([x % 256, y % 256, (x + y) // 5 % 256], -1).astype(np.uint8)
    data = of_files(tmp_path, [np.asarray(Image.fromarray(smooth).resize((640, 480)))], "jpg")
    taken = pictures(data.images, 3, 60).take(np.array([0]), lambda _: None)
    whole = fit(data.images.read(0), 3, 60).permute(2, 0, 1)
    assert taken.images.shape == (1, 3, 60, 80) and taken.originals.tolist() == [[480, 640]]
    assert (taken.images[0].int() - whole.int()).abs().float().mean() < 2


def test_a_tensor_over_a_read_only_array_shares_its_memory_and_touches_no_filter_of_warnings(monkeypatch):
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)[:, ::2]
    array.flags.writeable = False
    monkeypatch.setattr(warnings, "catch_warnings", None)
    with monkeypatch.context() as strict:
        strict.setattr(warnings, "filters", [("error", None, Warning, None, 0)])
        tensor = tensor_of(array)
    address = array.ctypes.data
    del array
    assert tensor.tolist() == [[0, 2], [3, 5]] and tensor.data_ptr() == address
