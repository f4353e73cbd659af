"""Style transfer by optimisation: the picture itself is learned, until its features say the style."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from visus.core.seeds import derive
from visus.losses._style import ROUGH, style, total_variation
from visus.models.perceptual import Features
from visus.verbs.looking import Look
from visus.verbs.windows import WHOLE

CONTENT, SMOOTH, RANGE = 0.05, 0.015, 10.0
"""Factors beside the style's distance: of the content's, of total variation in units of the painting's own, and of what
leaves [0, 1]."""
COARSE = 0.5
"""The first half of the work is done at this scale: large strokes are laid before fine ones."""
HISTORY, LEAST = 20, 5
"""Steps that L-BFGS remembers, each by two pictures: as many up to a size, fewer above it, and at least so many."""
_SHIFT = 3  # pixels; odd, so that the second look falls between the places of the first


@dataclass(frozen=True)
class Painted:
    """A picture in another style, and what features say of it.

    Attributes:
        picture: (1, 3, H, W) in [0, 1].
        before, after: distance of the style from the painting's, of the content and of this picture.
        similarity: correlation of its features with the content's, place by place: 1 where the same things are there.
    """

    picture: Tensor
    before: float
    after: float
    similarity: float


def paint(
    content: Float[Tensor, "1 3 H W"],
    painting: Float[Tensor, "1 3 h w"],
    features: Features,
    *,
    steps: int = 50,
    strength: float = 1.0,
    start: str = "content",
    mask: Float[Tensor, "1 1 H W"] | None = None,
    tile: int = 0,
    seed: int = 0,
    watch: Callable[[int, int], None] = lambda done, of: None,
) -> Painted:
    """Return the content in the painting's style.

    Minimised is the distance of Gram matrices with a little of content and smoothness, by L-BFGS with a line search,
    which asks for several gradients a step: first at half the scale, then whole.  It begins with the content in the
    painting's colours, which is also what keeps the content: what the optimiser has no reason to move stays.  Features
    are looked at twice, three pixels apart, so that no pattern of the network's own strides is painted.

    Args:
        content: in [0, 1]; sides of 64 pixels at least.
        painting: in [0, 1].
        features: by which style is told.
        steps: of L-BFGS, at each of the two scales.
        strength: 1 for the painting's Gram matrices, between for a mean of them and the content's own; at 0 the content
            comes back as it was.
        start: ``content``, or ``noise``.
        mask: how much of each pixel is painted, in [0, 1]; the rest stays the content, and is no part of the style.
        tile: side of the tiles in which features look, in pixels, and 0 for the whole at once: in less memory the same
            gradients but for rounding.
        seed: of the noise.
        watch: told gradients done, and about how many there will be.

    Raises:
        UsageError: STYLE-011 features that cannot be told tile by tile.

    Source:
        Gatys, Ecker and Bethge, Image style transfer using convolutional neural networks, CVPR 2016.  From coarse to
        fine, and the colours, as in Gatys et al., Controlling perceptual factors in neural style transfer, CVPR 2017.
    """
    if strength == 0:
        return judged(content, content, painting, features, mask, tile)
    like = torch.lerp(content, in_colours_of(content, painting), strength)
    picture, done = like, 0
    if start == "noise":
        generator = torch.Generator().manual_seed(derive(seed, "noise"))
        picture = torch.rand(content.shape, generator=generator).to(content)
    for scale in (COARSE, 1.0):
        here, coloured, painted = (_scaled(each, scale) for each in (content, like, painting))
        weight = None if mask is None else _scaled(mask, scale)
        begin = F.interpolate(picture, here.shape[2:], mode="bicubic", antialias=True).clamp(0, 1)

        def told(count: int, before: int = done) -> None:
            watch(before + count, 2 * steps)

        picture = _descended(begin, here, coloured, painted, features, steps, strength, weight, tile, told)
        done += steps
    return judged(picture, content, painting, features, mask, tile)


@torch.no_grad()
def judged(
    picture: Float[Tensor, "1 3 H W"],
    content: Float[Tensor, "1 3 H W"],
    painting: Float[Tensor, "1 3 h w"],
    features: Features,
    mask: Float[Tensor, "1 1 H W"] | None = None,
    tile: int = 0,
) -> Painted:
    """Return a painted picture with what features say of it."""
    wanted, look = Look(features, painting, tile).grams(painting), Look(features, picture, tile, mask)
    before, after = (float(style(look.grams(each), wanted)[0]) for each in (content, picture))
    return Painted(picture, before, after, look.alike(picture, content))


def in_colours_of(content: Float[Tensor, "1 3 H W"], painting: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 3 H W"]:
    """Return the content with the painting's mean colour and covariance of colours, by the least change.

    Source:
        Pitie and Kokaram, The linear Monge-Kantorovitch linear colour mapping, CVMP 2007, eq. 4.
    """
    ours, theirs = content[0].flatten(1).double(), painting[0].flatten(1).double()
    grain = 1e-4 * torch.eye(3, dtype=torch.float64, device=content.device)  # else a grey picture has no inverse
    root = _power(torch.cov(ours) + grain, 0.5)
    back = _power(torch.cov(ours) + grain, -0.5)
    turn = back @ _power(root @ (torch.cov(theirs) + grain) @ root, 0.5) @ back
    moved = turn @ (ours - ours.mean(1, keepdim=True)) + theirs.mean(1, keepdim=True)
    return moved.to(content.dtype).reshape(content.shape).clamp(0, 1)


def with_colours_of(picture: Float[Tensor, "1 3 H W"], content: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 3 H W"]:
    """Return the picture's light in the content's colours: luma of the one, chroma of the other.

    Source:
        Gatys et al., Preserving color in neural artistic style transfer, 2016, section 3.2; luma by BT.601.
    """
    return (content + luma(picture) - luma(content)).clamp(0, 1)


def in_light(
    picture: Float[Tensor, "1 3 H W"],
    content: Float[Tensor, "1 3 H W"],
    painting: Float[Tensor, "1 3 h w"],
    features: Features,
    mask: Float[Tensor, "1 1 H W"] | None,
    tile: int,
    part: Any,
) -> Painted:
    """Return a painted picture in the content's colours, with what features say of light alone: that is what changed.

    Args:
        picture, content, painting, features, mask, tile: as for ``judged``.
        part: of the picture, at which features look.
    """
    made = with_colours_of(picture, content)
    seen, was, wanted = (luma(each).expand(-1, 3, -1, -1) for each in (made[part], content[part], painting))
    found = judged(seen, was, wanted, features, None if mask is None else mask[part], tile)
    return replace(found, picture=made)


def luma(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
    """Return the light of each pixel, by BT.601."""
    return (images * images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _descended(
    begin: Tensor,
    content: Tensor,
    like: Tensor,
    painting: Tensor,
    features: Features,
    steps: int,
    strength: float,
    mask: Tensor | None,
    tile: int,
    watch: Callable[[int], None],
) -> Tensor:
    """Return the picture after so many steps from a beginning; see ``paint``."""
    look, beside = Look(features, content, tile, mask), _beside(content)
    moved = Look(features, beside, tile, None if mask is None else _beside(mask))
    with torch.no_grad():
        theirs = Look(features, painting, tile).grams(painting)
        wanted = [torch.lerp(a, b, strength) for a, b in zip(look.grams(content), theirs, strict=True)]
        places = look.things(like)
        smooth = SMOOTH / total_variation(painting).clamp(min=ROUGH)
    picture = begin.clone(memory_format=torch.contiguous_format).requires_grad_()
    optimiser = torch.optim.LBFGS(
        [picture], max_iter=steps, max_eval=steps * 5 // 4, history_size=remembered(picture),
        line_search_fn="strong_wolfe", tolerance_grad=0, tolerance_change=0,
    )  # fmt: skip
    asked = 0

    def loss() -> Tensor:
        nonlocal asked
        optimiser.zero_grad()
        seen = picture if mask is None else torch.lerp(content, picture, mask)
        distance = look.distance(seen, wanted, 0.5, places, CONTENT) + moved.distance(_beside(seen), wanted, 0.5)
        beyond = (picture - picture.clamp(0, 1)).square().mean()
        whole = distance + (smooth * total_variation(picture) + RANGE * beyond).sum()
        whole.backward()  # type: ignore[no-untyped-call]
        asked += 1
        watch(min(asked, steps))
        return whole

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    found = picture.detach().clamp(0, 1)
    return found if mask is None else torch.lerp(content, found, mask)


def remembered(picture: Float[Tensor, "1 3 H W"]) -> int:
    """Return how many steps L-BFGS remembers of a picture: what they take stays the same until there are few."""
    return max(LEAST, min(HISTORY, HISTORY * WHOLE // (picture.shape[2] * picture.shape[3])))


def _beside(images: Tensor) -> Tensor:
    """Return pictures moved down and to the right, reflected where there was nothing."""
    return F.pad(images, (_SHIFT, 0, _SHIFT, 0), mode="reflect")


def _scaled(images: Tensor, scale: float) -> Tensor:
    """Return pictures at a share of their size, antialiased; no side falls below 32 pixels."""
    if scale == 1:
        return images
    size = [max(32, round(side * scale)) for side in images.shape[2:]]
    return F.interpolate(images, size, mode="bilinear", antialias=True)


def _power(matrix: Tensor, power: float) -> Tensor:
    """Return a power of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    found: Tensor = vectors @ torch.diag(values.clamp(min=1e-12) ** power) @ vectors.mT
    return found
