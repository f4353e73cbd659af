"""Augmentation of what a discriminator sees, real pictures and made ones alike, with gradients of any order.

Each picture is changed by numbers of its own, drawn by ``Draws``, and each change happens to it with a given
probability: with none the pictures come back as they are, to the last bit.  Pictures lie about [-1, 1] and may leave
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from numpy import ndarray as Array
from torch import Tensor

from visus.core.errors import UsageError, did_you_mean
from visus.core.filters import double, halve
from visus.core.seeds import Draws

Chance: TypeAlias = "float | Float64[Array, 'B']"
"""A probability, the same for all pictures or one for each."""

SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
"""Low-pass filter of Daubechies' least asymmetric wavelet with six vanishing moments."""

_LATE = sum(i * tap for i, tap in enumerate(SYM6)) / sum(SYM6) - (len(SYM6) - 1) / 2
"""How far the filter's centre of mass is from its middle."""


def named(name: str) -> Callable[[Tensor, Chance, Draws], Tensor]:
    """Return an augmentation by name, ``ada`` or ``diffaugment``: (images, probability, draws) -> images.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in AUGMENTATIONS:
        raise UsageError(
            "AUG-007", f"there is no differentiable augmentation named {name!r}", fix=did_you_mean(name, AUGMENTATIONS)
        )
    return AUGMENTATIONS[name]


def diffaugment(
    images: Float[Tensor, "B C H W"],
    probability: Chance,
    draws: Draws,
    kinds: tuple[str, ...] = ("colour", "translation", "cutout"),
) -> Float[Tensor, "B C H W"]:
    """Return pictures under the few strong changes of DiffAugment.

    Args:
        images: about [-1, 1].
        probability: of each kind for each picture; the paper's is 1.
        draws: the numbers of each picture.
        kinds: ``colour`` moves brightness by up to 0.5, saturation by factors of 0 to 2 and contrast by 0.5 to 1.5;
            ``translation`` shifts by up to an eighth of the sides, zero beyond the edges; ``cutout`` zeroes a rectangle
            of half the sides, wherever it lies.

    Source:
        Zhao et al., Differentiable augmentation for data-efficient GAN training, NeurIPS 2020, section 4.
    """
    for kind in kinds:
        images = KINDS[kind](images, probability, draws)
    return images


def adaptive(images: Float[Tensor, "B C H W"], probability: Chance, draws: Draws) -> Float[Tensor, "B C H W"]:
    """Return pictures under ADA's pipeline: whole-pixel moves, geometry and colour, one after the other.

    The paper's ``bgc``, which it recommends; the strength is ``probability``, which its feedback moves.

    Args:
        images: about [-1, 1].
        probability: of each change for each picture.
        draws: the numbers of each picture.

    Source:
        Karras et al., Training generative adversarial networks with limited data, NeurIPS 2020, appendix B, figure 2.
    """
    images = moved(images, *moves(probability, draws))
    images = warped(images, warps(probability, draws, (images.shape[2], images.shape[3])))
    return recoloured(images, colours(probability, draws, images.shape[1]))


def moves(probability: Chance, draws: Draws) -> tuple[Bool[Array, "B"], Int[Array, "B"], Float64[Array, "B 2"]]:
    """Return which pictures are mirrored, by how many quarter turns each is turned, and its shift in shares of a side.

    Each happens with ``probability``; half of the mirrorings and a quarter of the turns then leave the picture as it
    is.  Shifts are of up to an eighth, (down, right).
    """
    mirror = _coin(probability, draws, "ada/flip") & draws.chance("ada/flips", 0.5)
    turns = _when(probability, draws, "ada/turn", np.floor(draws.uniform("ada/turns")[:, 0] * 4), 0.0).astype(np.int64)
    shift = draws.uniform("ada/shifts", 2) / 4 - 0.125
    return mirror, turns, _when(probability, draws, "ada/shift", shift, 0.0)


def warps(probability: Chance, draws: Draws, size: tuple[int, int]) -> Float64[Array, "B 3 3"]:
    """Return each picture's matrix from old to new pixels about its centre, (x, y, 1); the identity where none happens.

    In this order: scale, log-normal with a deviation of 0.2 octaves; rotation; stretching by as much along one axis as
    it is squeezed along the other; rotation again; shift, normal with a deviation of an eighth of the sides.  At least
    one of the two rotations happens with ``probability``.
    """
    either = 1 - np.sqrt(1 - np.asarray(probability))
    scale = _when(probability, draws, "ada/scale", np.exp2(0.2 * _normal(draws, "ada/scales")[:, 0]), 1.0)
    stretch = _when(probability, draws, "ada/stretch", np.exp2(0.2 * _normal(draws, "ada/stretches")[:, 0]), 1.0)
    before = _when(either, draws, "ada/rotation", draws.between("ada/rotations", -np.pi, np.pi), 0.0)
    after = _when(either, draws, "ada/last rotation", draws.between("ada/last rotations", -np.pi, np.pi), 0.0)
    shift = _when(probability, draws, "ada/fraction", _normal(draws, "ada/fractions", 2) / 8, 0.0)
    matrix: Float64[Array, "B 3 3"] = (
        _rotations(after) @ _scalings(stretch, 1 / stretch) @ _rotations(before) @ _scalings(scale, scale)
    )
    matrix[:, :2, 2] = shift * (size[1], size[0])
    return matrix


def colours(probability: Chance, draws: Draws, channels: int) -> Float64[Array, "B C C+1"]:
    """Return each picture's matrix [A | b] that takes colours x in [-1, 1] to A x + b; the identity where none happens.

    In this order: brightness, normal with a deviation of 0.2; contrast, log-normal with one of 0.5 octaves; luma
    turned upside down, every second time; hue turned about the grey axis; saturation, log-normal with one of an octave.
    Pictures of one channel have neither hue nor saturation, those of other numbers than three no hue.
    """
    C = channels
    brightness = _when(probability, draws, "ada/brightness", 0.2 * _normal(draws, "ada/brightnesses")[:, 0], 0.0)
    contrast = _when(probability, draws, "ada/contrast", np.exp2(0.5 * _normal(draws, "ada/contrasts")[:, 0]), 1.0)
    flip = _when(probability, draws, "ada/luma", draws.chance("ada/lumas", 0.5).astype(np.float64), 0.0)
    grey = np.full((C, C), 1 / C)  # projects a colour on the grey axis
    linear = (np.eye(C) - 2 * flip[:, None, None] * grey) * contrast[:, None, None]
    shift = linear @ np.ones((C, 1)) * brightness[:, None, None]
    if C == 3:
        turn = _when(probability, draws, "ada/hue", draws.between("ada/hues", -np.pi, np.pi), 0.0)
        hue = _about_grey(turn)
        linear, shift = hue @ linear, hue @ shift
    if C > 1:
        factor = _when(probability, draws, "ada/saturation", np.exp2(_normal(draws, "ada/saturations")[:, 0]), 1.0)
        saturation = grey + (np.eye(C) - grey) * factor[:, None, None]
        linear, shift = saturation @ linear, saturation @ shift
    return np.concatenate([linear, shift], 2)


def moved(
    images: Float[Tensor, "B C H W"], mirror: Bool[Array, "B"], turns: Int[Array, "B"], shift: Float64[Array, "B 2"]
) -> Float[Tensor, "B C H W"]:
    """Return pictures mirrored, turned and shifted by whole pixels: each pixel is one of the old ones.

    Beyond its edges a picture goes on as in a mirror.  One that is not square is turned by half turns only.

    Args:
        images: any.
        mirror: left and right are exchanged, first of all.
        turns: then so many quarter turns, counter-clockwise.
        shift: then down and right, in shares of the sides, rounded to pixels.
    """
    H, W = images.shape[2:]
    if H != W:
        turns = turns // 2 * 2
    cos, sin = np.array([1.0, 0, -1, 0])[turns % 4], np.array([0.0, 1, 0, -1])[turns % 4]
    facing = np.where(mirror, -1.0, 1.0)
    zero, one = np.zeros_like(facing), np.ones_like(facing)
    down, right = np.round(shift * (H, W)).T
    back = _stacked([[facing * cos, -facing * sin, zero], [sin, cos, zero], [zero, zero, one]])  # new to old pixels
    back = back @ _stacked([[one, zero, -right], [zero, one, -down], [zero, zero, one]])
    x, y = _sources(torch.from_numpy(back).to(images.device, torch.float32), (H, W), H, W, 1)
    at = _mirrored(y.round().long(), H) * W + _mirrored(x.round().long(), W)
    return _taken(images, at).view(images.shape)


def warped(images: Float[Tensor, "B C H W"], matrices: Float64[Array, "B 3 3"]) -> Float[Tensor, "B C H W"]:
    """Return pictures moved by matrices from old to new pixels about their centre, filtered against aliasing.

    Each picture is doubled by a wavelet's filter, read bilinearly where the matrix says, and halved by the same filter.
    Beyond its edges it goes on as in a mirror.  One whose matrix is the identity comes back as it is.

    Args:
        images: any.
        matrices: of (x, y, 1) in pixels, x to the right and y down; invertible.
    """
    H, W = images.shape[2:]
    still = (matrices == np.eye(3)).all((1, 2))
    if still.all():
        return images
    rim = len(SYM6) // 2  # pixels whose doubles the filter needs beyond an edge
    rows, columns = (_mirrored(torch.arange(-rim, n + rim, device=images.device), n) for n in (H, W))
    doubled = double(images.index_select(2, rows).index_select(3, columns), SYM6)
    back = torch.from_numpy(np.linalg.inv(matrices)).to(images.device, torch.float32)
    x, y = _sources(back, (H, W), 2 * (H + rim) - 2, 2 * (W + rim) - 2, 2, _LATE)
    x, y = (2 * (_folded(each, n) + rim) + 0.5 + _LATE for each, n in ((x, W), (y, H)))
    left, top = x.floor(), y.floor()
    right, low = (x - left).to(images.dtype)[:, None], (y - top).to(images.dtype)[:, None]
    corner = top.long() * doubled.shape[3] + left.long()
    read = [_taken(doubled, corner + step) for step in (0, 1, doubled.shape[3], doubled.shape[3] + 1)]
    upper, lower = (a + (b - a) * right for a, b in (read[:2], read[2:]))
    turned = (upper + (lower - upper) * low).view(*images.shape[:2], 2 * (H + rim) - 2, 2 * (W + rim) - 2)
    return torch.where(torch.from_numpy(still).to(images.device)[:, None, None, None], images, halve(turned, SYM6, 0))


def recoloured(images: Float[Tensor, "B C H W"], matrices: Float64[Array, "B C C+1"]) -> Float[Tensor, "B C H W"]:
    """Return pictures with each one's colours x taken to A x + b by its matrix [A | b]; none by the identity."""
    C = images.shape[1]
    factors = torch.from_numpy(matrices).to(images)
    still = torch.from_numpy((matrices == np.eye(C, C + 1)).all((1, 2))).to(images.device)
    changed = torch.einsum("bij,bjhw->bihw", factors[:, :, :C], images) + factors[:, :, C, None, None]
    return torch.where(still[:, None, None, None], images, changed)


def _colour(images: Tensor, probability: Chance, draws: Draws) -> Tensor:
    brightness = _when(
        probability, draws, "diffaugment/colour", draws.between("diffaugment/brightness", -0.5, 0.5), 0.0
    )
    saturation = _when(probability, draws, "diffaugment/colour", draws.between("diffaugment/saturation", 0, 2), 1.0)
    contrast = _when(probability, draws, "diffaugment/colour", draws.between("diffaugment/contrast", 0.5, 1.5), 1.0)
    b, s, c = (torch.from_numpy(each).to(images)[:, None, None, None] for each in (brightness, saturation, contrast))
    images = images + b
    images = images * s + images.mean(1, keepdim=True) * (1 - s)
    return images * c + images.mean((1, 2, 3), keepdim=True) * (1 - c)


def _translation(images: Tensor, probability: Chance, draws: Draws) -> Tensor:
    H, W = images.shape[2:]
    far = np.array([int(H / 8 + 0.5), int(W / 8 + 0.5)])
    drawn = np.floor(draws.uniform("diffaugment/shift", 2) * (2 * far + 1)) - far
    shift = torch.from_numpy(_when(probability, draws, "diffaugment/translation", drawn, 0.0)).to(images.device).long()
    y = torch.arange(H, device=images.device) - shift[:, :1]
    x = torch.arange(W, device=images.device) - shift[:, 1:]
    inside = ((y >= 0) & (y < H))[:, :, None] & ((x >= 0) & (x < W))[:, None, :]
    at = y.clamp(0, H - 1)[:, :, None] * W + x.clamp(0, W - 1)[:, None, :]
    return _taken(images, at.flatten(1)).view(images.shape) * inside[:, None]


def _cutout(images: Tensor, probability: Chance, draws: Draws) -> Tensor:
    H, W = images.shape[2:]
    sides = torch.tensor([H // 2, W // 2], device=images.device)
    centre = torch.from_numpy(np.floor(draws.uniform("diffaugment/hole", 2) * (H + 1, W + 1))).to(images.device)
    first = centre.long() - sides // 2
    y = torch.arange(H, device=images.device) - first[:, :1]
    x = torch.arange(W, device=images.device) - first[:, 1:]
    hole = ((y >= 0) & (y < sides[0]))[:, :, None] & ((x >= 0) & (x < sides[1]))[:, None, :]
    cut = torch.from_numpy(_coin(probability, draws, "diffaugment/cutout")).to(images.device)
    return images * ~(hole & cut[:, None, None])[:, None]


KINDS: Mapping[str, Callable[[Tensor, Chance, Draws], Tensor]] = {
    "colour": _colour, "translation": _translation, "cutout": _cutout,
}  # fmt: skip
"""What DiffAugment may do, by name."""

AUGMENTATIONS: Mapping[str, Callable[[Tensor, Chance, Draws], Tensor]] = {"ada": adaptive, "diffaugment": diffaugment}


def _coin(probability: Chance, draws: Draws, stream: str) -> Bool[Array, "B"]:
    """Return coins that fall true with each picture's probability."""
    fallen: Bool[Array, "B"] = draws.uniform(stream)[:, 0] < probability
    return fallen


def _when(
    probability: Chance, draws: Draws, stream: str, drawn: Float64[Array, "B ..."], still: float
) -> Float64[Array, "B ..."]:
    """Return what was drawn for the pictures whose coin says so, for the others what changes nothing."""
    coin = _coin(probability, draws, stream)
    return np.where(coin.reshape(-1, *[1] * (drawn.ndim - 1)), drawn, still)


def _normal(draws: Draws, stream: str, n: int = 1) -> Float64[Array, "B n"]:
    """Return normal numbers (Box and Muller 1958)."""
    unit = draws.uniform(stream, 2 * n)
    radius: Float64[Array, "B n"] = np.sqrt(-2 * np.log1p(-unit[:, :n])) * np.cos(2 * np.pi * unit[:, n:])
    return radius


def _stacked(entries: list[list[Float64[Array, "B"]]]) -> Float64[Array, "B N M"]:
    """Return one matrix a picture from arrays of their entries."""
    return np.stack([np.stack(row, 1) for row in entries], 1)


def _rotations(angles: Float64[Array, "B"]) -> Float64[Array, "B 3 3"]:
    """Return rotations, counter-clockwise to the eye, whose y points down; exactly the identity at 0."""
    cos, sin, zero = np.cos(angles), np.sin(angles), np.zeros_like(angles)
    return _stacked([[cos, sin, zero], [-sin, cos, zero], [zero, zero, zero + 1]])


def _scalings(x: Float64[Array, "B"], y: Float64[Array, "B"]) -> Float64[Array, "B 3 3"]:
    zero = np.zeros_like(x)
    return _stacked([[x, zero, zero], [zero, y, zero], [zero, zero, zero + 1]])


def _about_grey(angles: Float64[Array, "B"]) -> Float64[Array, "B 3 3"]:
    """Return rotations of RGB colours about the grey axis (Rodrigues' formula)."""
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    cos, sin = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    rotations: Float64[Array, "B 3 3"] = np.eye(3) + sin * cross + (1 - cos) * (cross @ cross)
    return rotations


def _sources(
    back: Float[Tensor, "B 3 3"], size: tuple[int, int], rows: int, columns: int, finer: int, late: float = 0.0
) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]:
    """Return, for a centred grid of new pixels, x and y of the old ones, 0 at the first one's centre.

    Args:
        back: from new to old pixels about the centre.
        size: (height, width) of the old picture.
        rows, columns: of the grid.
        finer: grid points a pixel, along each axis.
        late: grid points by which the grid lies too far down and right.
    """
    y = (torch.arange(rows, device=back.device) - (rows - 1) / 2 - late) / finer
    x = (torch.arange(columns, device=back.device) - (columns - 1) / 2 - late) / finer
    y, x = (each.flatten() for each in torch.meshgrid(y, x, indexing="ij"))
    old = back[:, :2, :1] * x + back[:, :2, 1:2] * y + back[:, :2, 2:]
    return old[:, 0] + (size[1] - 1) / 2, old[:, 1] + (size[0] - 1) / 2


def _mirrored(at: Int[Tensor, "..."], n: int) -> Int[Tensor, "..."]:
    """Return indices below ``n`` of a line that goes on as in a mirror at the centre of its last pixel."""
    period = max(1, 2 * n - 2)
    at = at % period
    return torch.where(at < n, at, period - at)


def _folded(at: Float[Tensor, "..."], n: int) -> Float[Tensor, "..."]:
    """Return places in [0, n - 1], as ``_mirrored``."""
    last = n - 1
    return last - (at.remainder(max(1, 2 * last)) - last).abs()


def _taken(images: Float[Tensor, "B C H W"], at: Int[Tensor, "B N"]) -> Float[Tensor, "B C N"]:
    """Return the pixels at each picture's own places, counted by rows."""
    B, C = images.shape[:2]
    return images.flatten(2).gather(2, at[:, None].expand(B, C, at.shape[1]))
