"""Augmentation with gradients: what each change does, how often it happens, and that it can be differentiated twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from visus.core.seeds import Draws
from visus.transforms.differentiable import (
    KINDS,
    SYM6,
    adaptive,
    colours,
    diffaugment,
    moved,
    moves,
    recoloured,
    warped,
    warps,
)

MANY = 20_000
BOTH = {"diffaugment": diffaugment, "adaptive": adaptive}


def draws(n: int, seed: int = 0) -> Draws:
    return Draws(seed, np.zeros(n, np.int64), np.arange(n, dtype=np.int64))


def blob(size: int = 32, x: float = 20.0, y: float = 12.0) -> Tensor:
    """A smooth spot about a place, in pixels from the first one's centre."""
    along = torch.arange(size, dtype=torch.float64)
    return torch.exp(-((along[:, None] - y).square() + (along - x).square()) / 18)[None, None]


def matrix(linear: list[list[float]], shift: tuple[float, float] = (0, 0)) -> np.ndarray:
    return np.array([[[*linear[0], shift[0]], [*linear[1], shift[1]], [0, 0, 1]]], np.float64)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_without_any_probability_pictures_come_back_to_the_last_bit(name: str, channels: int) -> None:
    images = torch.randn(6, channels, 16, 24)
    assert torch.equal(BOTH[name](images, 0.0, draws(6)), images)


@pytest.mark.parametrize("name", BOTH)
def test_a_picture_is_changed_by_numbers_of_its_own(name: str) -> None:
    images = torch.randn(6, 3, 16, 16)
    whole, part = BOTH[name](images, 0.7, draws(6)), BOTH[name](images[4:], 0.7, draws(6).rows(np.array([4, 5])))
    torch.testing.assert_close(whole[4:], part)


@pytest.mark.parametrize("name", BOTH)
def test_each_picture_may_have_its_own_probability(name: str) -> None:
    images = torch.randn(8, 3, 16, 16)
    changed = BOTH[name](images, np.array([0.0, 1.0] * 4), draws(8))
    assert (
        torch.equal(changed[::2], images[::2]) and not torch.isclose(changed[1::2], images[1::2]).all((1, 2, 3)).any()
    )


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
def test_first_and_second_gradients_are_those_of_finite_differences(name: str, size: tuple[int, int]) -> None:
    images = torch.randn(3, 1, *size, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda each: BOTH[name](each, 0.8, draws(3)), images, fast_mode=True)
    assert gradgradcheck(lambda each: BOTH[name](each, 0.8, draws(3)).square(), images, fast_mode=True)


@pytest.mark.parametrize("name", BOTH)
def test_a_gradient_penalty_passes_and_is_finite(name: str) -> None:
    images = torch.randn(4, 3, 32, 32, requires_grad=True)
    weight = torch.randn(3, 32, 32, requires_grad=True)
    verdict = (BOTH[name](images, 1.0, draws(4)) * weight).sum((1, 2, 3)).square()
    (gradient,) = torch.autograd.grad(verdict.sum(), images, create_graph=True)
    gradient.square().sum().backward()
    assert weight.grad is not None and bool(torch.isfinite(weight.grad).all()) and bool(weight.grad.abs().sum() > 0)


@pytest.mark.parametrize("name", BOTH)
def test_half_precision_stays_finite(name: str) -> None:
    images = torch.randn(4, 3, 16, 16, dtype=torch.bfloat16)
    changed = BOTH[name](images, 1.0, draws(4))
    assert changed.dtype == torch.bfloat16 and bool(torch.isfinite(changed).all())


def test_turns_are_counter_clockwise_quarters() -> None:
    images = torch.randn(4, 2, 8, 8)
    turned = moved(images, np.zeros(4, bool), np.arange(4), np.zeros((4, 2)))
    for turns in range(4):
        assert torch.equal(turned[turns], images[turns].rot90(turns, (1, 2)))


def test_a_mirror_exchanges_left_and_right_before_the_turn() -> None:
    images = torch.randn(1, 2, 8, 8)
    assert torch.equal(
        moved(images, np.ones(1, bool), np.ones(1, int), np.zeros((1, 2))), images.flip(3).rot90(1, (2, 3))
    )


def test_pictures_that_are_not_square_are_turned_by_half_turns_only() -> None:
    images = torch.randn(4, 2, 8, 12)
    turned = moved(images, np.zeros(4, bool), np.arange(4), np.zeros((4, 2)))
    assert torch.equal(turned[:2], images[:2]) and torch.equal(turned[2:], images[2:].rot90(2, (2, 3)))


def test_a_shift_moves_down_and_right_and_shows_a_mirror_behind_the_edge() -> None:
    images = torch.randn(1, 2, 8, 16)
    shifted = moved(images, np.zeros(1, bool), np.zeros(1, int), np.array([[0.125, 0.125]]))
    assert torch.equal(shifted[:, :, 1:, 2:], images[:, :, :-1, :-2])
    assert torch.equal(shifted[:, :, 0, 2:], images[:, :, 1, :-2])


def test_the_wavelets_filter_is_orthonormal_to_its_even_shifts() -> None:
    taps = torch.tensor(SYM6, dtype=torch.float64)
    for shift in range(0, len(SYM6), 2):
        product = (taps[shift:] * taps[: len(taps) - shift]).sum().item()
        assert product == pytest.approx(1.0 if shift == 0 else 0.0, abs=1e-10)


@pytest.mark.parametrize(
    ("linear", "shift", "expected"),
    [
        ([[1, 0], [0, 1]], (3.0, -2.5), (23.0, 9.5)),
        ([[0, 1], [-1, 0]], (0, 0), (12.0, 11.0)),  # a quarter turn to the left about (15.5, 15.5)
        ([[1, 0], [0, 1.25]], (0, 0), (20.0, 15.5 + 1.25 * -3.5)),
    ],
)
def test_a_warp_takes_what_is_shown_to_where_its_matrix_says(
    linear: list[list[float]], shift: tuple[float, float], expected: tuple[float, float]
) -> None:
    there = warped(blob(), matrix(linear, shift))[0, 0]
    there = there / there.sum()
    along = torch.arange(32, dtype=torch.float64)
    assert (there.sum(0) * along).sum().item() == pytest.approx(expected[0], abs=0.1)
    assert (there.sum(1) * along).sum().item() == pytest.approx(expected[1], abs=0.1)


def test_a_warp_by_a_quarter_turn_is_the_turn_of_pixels_within_a_hundredth() -> None:
    images = blob() - 0.5 * blob(x=10, y=21)
    turned = warped(images, matrix([[0, 1], [-1, 0]]))
    assert (turned - images.rot90(1, (2, 3))).abs().max().item() < 0.01


def test_a_warp_that_hardly_moves_hardly_changes() -> None:
    images = blob() - 0.5 * blob(x=10, y=21)
    assert (warped(images, matrix([[1, 0], [0, 1]], (1e-6, 0))) - images).abs().max().item() < 0.01


def test_recolouring_is_each_pictures_own_affine_map() -> None:
    images, matrices = torch.randn(3, 3, 4, 4, dtype=torch.float64), np.random.default_rng(0).normal(size=(3, 3, 4))
    expected = torch.stack(
        [torch.tensordot(torch.from_numpy(m[:, :3]), each, 1) + torch.from_numpy(m[:, 3])[:, None, None]
         for m, each in zip(matrices, images, strict=True)]
    )  # fmt: skip
    torch.testing.assert_close(recoloured(images, matrices), expected)


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_moves_happen_at_their_rate(probability: float) -> None:
    mirror, turns, shift = moves(probability, draws(MANY))
    assert mirror.mean() == pytest.approx(probability / 2, abs=0.012)
    for quarter in (1, 2, 3):
        assert (turns == quarter).mean() == pytest.approx(probability / 4, abs=0.012)
    assert (shift != 0).any(1).mean() == pytest.approx(probability, abs=0.012)
    assert np.abs(shift).max() <= 0.125 and shift[shift != 0].std() == pytest.approx(0.25 / np.sqrt(12), rel=0.03)


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_warps_happen_at_their_rate_and_size(probability: float) -> None:
    matrices = warps(probability, draws(MANY), (32, 64))
    area = np.log2(np.linalg.det(matrices)) / 2  # octaves of isotropic scale: rotations and stretching keep areas
    assert (np.abs(area) > 1e-12).mean() == pytest.approx(probability, abs=0.012)
    assert area[np.abs(area) > 1e-12].std() == pytest.approx(0.2, rel=0.03)
    shift = matrices[:, :2, 2] / (64, 32)
    assert (shift != 0).any(1).mean() == pytest.approx(probability, abs=0.012)
    assert shift[shift != 0].std() == pytest.approx(0.125, rel=0.03)
    longest, shortest = np.linalg.svd(matrices[:, :2, :2], compute_uv=False).T
    stretched = np.log2(longest / shortest) / 2
    assert (stretched > 1e-9).mean() == pytest.approx(probability, abs=0.012)
    assert np.sqrt(np.square(stretched[stretched > 1e-9]).mean()) == pytest.approx(0.2, rel=0.03)
    linear = matrices[:, :2, :2]
    plain = (np.abs(linear[:, 0, 1]) < 1e-12) & (np.abs(linear[:, 1, 0]) < 1e-12)
    assert 1 - plain.mean() == pytest.approx(probability, abs=0.012)  # at least one of the two rotations


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_colours_change_at_their_rate_and_size(probability: float) -> None:
    matrices = colours(probability, draws(MANY), 3)
    grey = matrices[:, :, :3] @ np.ones(3)  # the grey axis: contrast, and its sign by the luma
    assert np.ptp(grey, axis=1).max() < 1e-9
    factor, brightness = grey[:, 0], matrices[:, 0, 3] / grey[:, 0]
    assert (factor < 0).mean() == pytest.approx(probability / 2, abs=0.012)
    octaves = np.log2(np.abs(factor))
    assert (np.abs(octaves) > 1e-12).mean() == pytest.approx(probability, abs=0.012)
    assert octaves[np.abs(octaves) > 1e-12].std() == pytest.approx(0.5, rel=0.03)
    assert (brightness != 0).mean() == pytest.approx(probability, abs=0.012)
    assert brightness[np.abs(brightness) > 1e-12].std() == pytest.approx(0.2, rel=0.03)
    across = matrices[:, :, :3] @ np.array([1.0, -1.0, 0.0]) / np.sqrt(2)  # a colour without grey
    saturation = np.log2(np.linalg.norm(across, axis=1) / np.abs(factor))
    assert (np.abs(saturation) > 1e-9).mean() == pytest.approx(probability, abs=0.012)
    assert saturation[np.abs(saturation) > 1e-9].std() == pytest.approx(1.0, rel=0.03)
    turned = across @ np.array([1.0, 1.0, -2.0])
    assert (np.abs(turned) > 1e-9).mean() == pytest.approx(probability, abs=0.012)


def test_pictures_of_one_channel_change_only_in_brightness_contrast_and_sign() -> None:
    matrices = colours(1.0, draws(MANY), 1)
    assert matrices.shape == (MANY, 1, 2)
    assert (matrices[:, 0, 0] < 0).mean() == pytest.approx(0.5, abs=0.012)
    assert np.log2(np.abs(matrices[:, 0, 0])).std() == pytest.approx(0.5, rel=0.03)


def test_diffaugment_moves_brightness_by_at_most_a_half() -> None:
    images = torch.zeros(500, 3, 4, 4)
    changed = KINDS["colour"](images, 1.0, draws(500))
    assert changed.abs().max() <= 0.5 and changed.mean((1, 2, 3)).std().item() == pytest.approx(
        1 / np.sqrt(12), rel=0.1
    )


def test_diffaugment_shifts_by_at_most_an_eighth_and_shows_zeros_behind_the_edge() -> None:
    images = torch.arange(1.0, 257).view(1, 1, 16, 16).expand(200, -1, -1, -1)
    shifted = KINDS["translation"](images, 1.0, draws(200))
    seen = set()
    for each in shifted[:, 0]:
        there = (each == 120).nonzero()
        seen.add((there[0] - torch.tensor([7, 7])).abs().max().item())
        kept = each[each != 0]
        assert len(kept) >= 14 * 14 and len(kept.unique()) == len(kept)
    assert seen == {0, 1, 2}


def test_diffaugment_cuts_out_a_quarter_at_most_and_leaves_the_rest() -> None:
    images = torch.ones(300, 2, 16, 16)
    cut = KINDS["cutout"](images, 1.0, draws(300))
    share = (cut == 0).float().mean((1, 2, 3))
    assert share.max().item() == 0.25 and share.min().item() > 0 and set(cut.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("kind", KINDS)
def test_diffaugment_happens_at_its_rate(kind: str) -> None:
    images = torch.randn(1, 3, 8, 8).expand(3000, -1, -1, -1)
    changed = (KINDS[kind](images, 0.4, draws(3000)) != images).any((1, 2, 3))
    still = 1 / 9 if kind == "translation" else 0  # a shift by nothing
    assert changed.float().mean().item() == pytest.approx(0.4 * (1 - still), abs=0.03)
