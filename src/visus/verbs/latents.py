"""Walking the latent space of a generator: between pictures, mixed of two, along its main directions, back from one.

Through the two steps that every generator has: ``styles``, from latents (B, Z) to styles (B, L, W), one for each of L
layers, and ``draw``, from styles to pictures (B, C, H, W) in [-1, 1].  A generator of one layer has latents for styles.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from visus.core.errors import UsageError
from visus.core.files import write_bytes, write_picture
from visus.tasks.generate.sheet import in_colour, pixels_of, sheet
from visus.verbs.assembly import Tell
from visus.verbs.runs import silent

AT_ONCE = 32
"""Pictures drawn at once."""

SIDE = 16
"""Pixels of a side at which pictures are compared to find the main directions of latents."""

BEST = 4
"""Latents that a search goes on from."""

RATE = 0.05
"""Of a search, in units of a style, which is about one."""

ANIMATED = {".gif": "GIF", ".webp": "WEBP"}
STRIP = ".png"


class Drawing(Protocol):
    """A generator, in its two steps."""

    def styles(self, latents: Tensor, labels: Tensor, truncation: float = 1.0) -> Tensor:
        """Return (B, L, W) of latents (B, Z) and classes (B,)."""
        ...

    def draw(self, styles: Tensor, noise: list[Tensor] | None = None) -> Tensor:
        """Return (B, C, H, W) pictures in [-1, 1]."""
        ...


class Found(NamedTuple):
    """What of a generator's pictures is most like a given one.

    Attributes:
        styles: (1, L, W), which ``draw`` makes it of; ``image``: (1, C, H, W) in [-1, 1].
        distance: root mean square difference of the pixels, in levels of 256.
        before: the same of the best picture that was there before the search.
    """

    styles: Tensor
    image: Tensor
    distance: float
    before: float


class Directions(NamedTuple):
    """The main directions of styles.

    Attributes:
        steps: (K, 1, W), by how much styles move for one standard deviation along each.
        shares: (K,) of the whole variance: of styles, or of pictures where the generator has one layer.
    """

    steps: Float[Tensor, "K 1 W"]
    shares: Float[Tensor, "K"]


def drawn(generator: Drawing, styles: Float[Tensor, "N L W"], tell: Tell = silent) -> NDArray[np.uint8]:
    """Return (N, H, W, 3) pictures of styles, ``AT_ONCE`` at a time; grey ones in three equal channels."""
    made = (list(pixels(generator.draw(part))) for part in torch.split(styles, AT_ONCE))
    with torch.no_grad():
        return gathered(made, len(styles), tell)


def gathered(parts: Iterable[Sequence[NDArray[np.uint8]]], count: int, tell: Tell) -> NDArray[np.uint8]:
    """Return (N, H, W, C) pictures that are made some at once.

    Room for all is asked for with the first of them: where there is too little by far, that is said before the others
    are made, and not by a system that ends the process while they are.

    Args:
        parts: of pictures, (H, W, C) each.
        count: of all.
        tell: told how many there are.

    Raises:
        MemoryError: there is not so much.
    """
    pictures, done = np.empty((0, 0, 0, 0), np.uint8), 0
    for part in parts:
        if not done:
            pictures = np.empty((count, *part[0].shape), np.uint8)
        pictures[done : done + len(part)] = part
        done += len(part)
        tell({"making": done, "of": count})
    return pictures


def pixels(images: Float[Tensor, "N C H W"]) -> NDArray[np.uint8]:
    """Return (N, H, W, 3) of pictures in [-1, 1]."""
    return np.stack([in_colour(picture) for picture in pixels_of(images)])


def between(
    ends: Float[Tensor, "K L W"], steps: int, loop: bool = False, latent: int | None = None
) -> Float[Tensor, "N L W"]:
    """Return styles on the way from each of K to the next, ``steps`` for each part of the way, and the last one.

    Styles of several layers go straight.  Latents go along a great circle while their length changes evenly: half way
    on a straight line they would be shorter than any the generator has learned from.  What stands beside them, the
    vector of a class, goes straight.

    Args:
        ends: two or more.
        steps: from one to the next.
        loop: go on from the last one back to the first, which then is not repeated.
        latent: how many of the numbers of a single layer are the latent's; all by default.

    Source:
        White, Sampling generative networks, 2016, section 3.1; Shoemake, Animating rotation with quaternion curves,
        SIGGRAPH 1985, section 3.3.
    """
    after = ends.roll(-1, 0)
    parts = [_way(ends[i], after[i], steps, latent) for i in range(len(ends) if loop else len(ends) - 1)]
    return torch.cat(parts if loop else [*parts, ends[-1:]])


def mixed(rows: Float[Tensor, "R L W"], columns: Float[Tensor, "C L W"], layers: range) -> Float[Tensor, "R C L W"]:
    """Return the styles of each row, but in some layers those of each column.

    Raises:
        UsageError: GEN-010, a generator of one layer, or layers that it does not have.

    Source:
        Karras et al., A style-based generator architecture, CVPR 2019, section 3.1.
    """
    count = rows.shape[1]
    if count == 1:
        raise UsageError("GEN-010", "this generator has one style for the whole picture: nothing can be mixed",
                         fix="--interpolate shows what lies between two pictures")  # fmt: skip
    if not len(layers) or layers.start < 0 or layers.stop > count:
        coarse, fine = f"0:{count // 2}", f"{count // 2}:{count}"
        raise UsageError("GEN-010", f"layers {layers.start}:{layers.stop}: the generator has layers 0:{count}",
                         fix=f"--layers {coarse} takes the coarse ones of them, {fine} the fine ones")  # fmt: skip
    both = rows[:, None].repeat(1, len(columns), 1, 1)
    both[:, :, layers.start : layers.stop] = columns[None, :, layers.start : layers.stop]
    return both


def directions(generator: Drawing, latents: Float[Tensor, "N Z"], labels: Int[Tensor, "N"], count: int) -> Directions:
    """Return the directions along which styles vary most; of a generator of one layer, those along which pictures do.

    There latents vary evenly in all directions, so the main directions are sought among their pictures, and each is
    brought back to the latents by regression.

    Args:
        generator: in judging mode.
        latents: N drawn at random, some hundreds at least.
        labels: of one class, or the classes stand out among the directions.
        count: directions wanted.

    Source:
        Harkonen et al., GANSpace, NeurIPS 2020, section 2.2 and eq. 2, with pictures in place of a first layer.
    """
    with torch.no_grad():
        styles = generator.styles(latents, labels)
        own = styles[:, 0].double()
        if styles.shape[1] > 1:
            points = own
        else:
            drawn = (generator.draw(part) for part in torch.split(styles, AT_ONCE))
            points = torch.cat([F.adaptive_avg_pool2d(images, SIDE).flatten(1) for images in drawn]).double()
    points = points - points.mean(0)
    u, s, _ = torch.linalg.svd(points, full_matrices=False)
    count = min(count, int((s > 1e-9 * s[0]).sum()))
    coordinates = u[:, :count] * math.sqrt(len(points) - 1)  # (N, K), of deviation one
    steps = coordinates.T @ (own - own.mean(0)) / (len(points) - 1)
    signs = steps.gather(1, steps.abs().argmax(1, keepdim=True)).sign()  # a direction has no sign of its own
    return Directions((steps * signs)[:, None].to(styles.dtype), (s**2 / (s**2).sum())[:count].to(styles.dtype))


def project(
    generator: Drawing,
    target: Float[Tensor, "1 C H W"],
    starts: Float[Tensor, "S L W"],
    steps: int = 300,
    watch: Callable[[int, int], None] = lambda done, of: None,
) -> Found:
    """Return the styles whose picture is most like a given one, by descent from the likest of some.

    The difference is that of pixels, at the size of the picture, at half and at a quarter of it.

    Args:
        generator: in judging mode; what it has learned stays as it is.
        target: a picture of the generator's size, in [-1, 1].
        starts: styles to begin with; the ``BEST`` likest are followed, all layers on their own.
        steps: of the descent.
        watch: told how often pictures were drawn, and how often they will be.

    Source:
        The search in the space of styles: Karras et al., Analyzing and improving the image quality of StyleGAN, CVPR
        2020, section 5; several layers on their own: Abdal et al., Image2StyleGAN, ICCV 2019, section 5.
    """
    parts = torch.split(starts, AT_ONCE)
    seen, looks = list[Tensor](), len(parts) + steps
    for part in parts:
        with torch.no_grad():
            seen.append(_differences(generator.draw(part), target))
        watch(len(seen), looks)
    far = torch.cat(seen)
    chosen = far.argsort(stable=True)[:BEST]
    before = float(_pixels(generator, starts[chosen[:1]], target))
    held = starts[chosen].clone().requires_grad_()
    optimiser = torch.optim.Adam([held], RATE)
    least, best = far[chosen].clone(), held.detach().clone()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 + math.cos(math.pi * step / steps)) / 2
        with torch.enable_grad():
            now = _differences(generator.draw(held), target)
            (held.grad,) = torch.autograd.grad(now.sum(), held)
        with torch.no_grad():
            better = now.detach() < least
            least, best[better] = torch.where(better, now.detach(), least), held.detach()[better]
        optimiser.step()
        watch(len(parts) + step + 1, looks)
    winner = best[least.argmin()][None]
    with torch.no_grad():
        image = generator.draw(winner)
    return Found(winner, image, float(_pixels(generator, winner, target)), before)


def write_frames(path: Path, frames: Sequence[NDArray[np.uint8]], seconds: float = 0.05) -> None:
    """Write pictures (H, W, 3) as an animation that repeats, or side by side.

    Args:
        path: ``.gif`` and ``.webp`` move, ``.png`` is a strip.
        frames: of one size.
        seconds: that each is shown.

    Raises:
        UsageError: GEN-011, another kind of file.
    """
    from PIL import Image

    check_kind(path)
    kind = path.suffix.lower()
    if kind == STRIP:
        write_picture(path, sheet(frames, len(frames)))
        return
    images = [Image.fromarray(frame) for frame in frames]
    settings: dict[str, Any] = {"lossless": True} if kind == ".webp" else {"optimize": False}
    file = io.BytesIO()
    images[0].save(file, ANIMATED[kind], save_all=True, append_images=images[1:], duration=round(1000 * seconds),
                   loop=0, **settings)  # fmt: skip
    write_bytes(path, file.getvalue())


def check_kind(path: Path, kinds: Sequence[str] = (*ANIMATED, STRIP)) -> None:
    """Refuse a file of another kind, before anything is computed.

    Raises:
        UsageError: GEN-011, it is one.
    """
    if path.suffix.lower() not in kinds:
        raise UsageError("GEN-011", f"{path.name}: this is written as {' or '.join(kinds)}",
                         done="nothing was written", fix=f"{path.stem}{kinds[-1]}")  # fmt: skip


def _way(a: Tensor, b: Tensor, steps: int, latent: int | None) -> Tensor:
    """Return (steps, L, W) from ``a`` on, without ``b``."""
    t = torch.arange(steps, device=a.device, dtype=a.dtype)[:, None, None] / steps
    way = a + t * (b - a)
    if len(a) == 1:
        way[..., :latent] = _arc(a[:, :latent], b[:, :latent], t)
    return way


def _arc(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Return (steps, 1, Z) along the great circle from ``a`` to ``b``, at each share ``t`` of it."""
    lengths = torch.linalg.vector_norm(a), torch.linalg.vector_norm(b)
    cosine = (a * b).sum() / (lengths[0] * lengths[1]).clamp(min=1e-12)
    angle = torch.arccos(cosine.clamp(-1, 1))
    if torch.sin(angle) < 1e-4:  # one direction, or opposite ones, between which there is no one way
        return a + t * (b - a)
    along = (torch.sin((1 - t) * angle) * a / lengths[0] + torch.sin(t * angle) * b / lengths[1]) / torch.sin(angle)
    arc: Tensor = along * (lengths[0] + t * (lengths[1] - lengths[0]))
    return arc


def _differences(images: Tensor, target: Tensor) -> Tensor:
    """Return (B,) mean squared differences from one picture, the mean of three scales."""
    found = [(images - target).square().flatten(1).mean(1)]
    for _ in range(2):
        images, target = F.avg_pool2d(images, 2, ceil_mode=True), F.avg_pool2d(target, 2, ceil_mode=True)
        found.append((images - target).square().flatten(1).mean(1))
    return torch.stack(found).mean(0)


def _pixels(generator: Drawing, styles: Tensor, target: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = (generator.draw(styles) - target).square().mean().sqrt() * 127.5
        return found
