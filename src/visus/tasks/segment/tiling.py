"""Reading a large picture tile by tile: what overlapping tiles say of a pixel is blended, so that no seam is seen.

K classes, H x W present pixels of the whole picture, R x C original ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from visus.tasks.segment.regions import brought_home
from visus.transforms.tiles import Tiling

Look = Callable[[Float[Tensor, "N C h w"]], Float[Tensor, "N K h w"]]
"""Returns the logarithms of the probabilities of each pixel of some tiles."""

Home = Callable[[Float[Tensor, "K H W"], Tensor, tuple[int, int], slice], tuple[Shaped[Tensor, "r C"], ...]]
"""Returns what such logarithms say of some lines of the original picture."""


def read_in_tiles(
    image: Float[Tensor, "C H W"],
    frame: Float[Tensor, "3 3"],
    size: tuple[int, int],
    tiling: Tiling,
    at_once: int,
    look: Look,
    home: Home = brought_home,
) -> tuple[Shaped[Tensor, "R C"], ...]:
    """Return what is said of each original pixel: its class, 255 where nothing was said, and its probability.

    Where tiles overlap, the probabilities that they give are averaged, each weighed by Hann's window over its tile:
    what a network says near the edge of what it sees, it says with less around it.

    The picture is walked along its longer side, a strip as wide as a tile at a time; what no further tile reaches is
    decided and brought home.  So no more than a few times K x a tile's side x the picture's shorter side probabilities
    are there at once, however long it is.

    Args:
        image: whole, at the tiles' scale.
        frame: from present pixels to original ones; it stretches and shifts.
        size: (R, C) of the original picture.
        tiling: how it is tiled.
        at_once: tiles, which bounds the memory too.
        look: what is asked of them.
        home: what is made of it.
    """
    turned = image.shape[2] > image.shape[1]
    if turned:
        swap = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
        frame, size = swap @ frame.double().cpu() @ swap, (size[1], size[0])
    found: tuple[Tensor, ...] = ()
    done, first, last = 0, 0, None
    for lines in _strips(image, turned, tiling, at_once, look):
        lines = lines if last is None else torch.cat([last, lines], 1)
        here = frame.double().cpu() @ _shift(first)
        end = first + lines.shape[1]
        stop = size[0] if end == image.shape[1 + turned] else _before(here, lines.shape[1], size[0])
        if stop > done:
            parts = home(lines, here, size, slice(done, stop))
            found = found or tuple(part.new_empty(size) for part in parts)
            for whole, part in zip(found, parts, strict=True):
                whole[done:stop] = part
        done, first, last = max(done, stop), end - 1, lines[:, -1:].clone()
    return tuple(whole.T.contiguous() for whole in found) if turned else found


def _strips(
    image: Float[Tensor, "C H W"], turned: bool, tiling: Tiling, at_once: int, look: Look
) -> Iterator[Float[Tensor, "K _lines _across"]]:
    """Yield the logarithms of the probabilities of all lines along the walk, some at a time; columns, where turned."""
    high, wide = tiling.size
    tiles = tiling.cover((image.shape[1], image.shape[2]))
    rows, columns = sorted({tile.y for tile in tiles}), sorted({tile.x for tile in tiles})
    down, right = _windows(rows, high, image.shape[1]), _windows(columns, wide, image.shape[2])
    along, side, across = (columns, wide, image.shape[1]) if turned else (rows, high, image.shape[2])
    strip = image.new_zeros(0, side, across)
    for i, start in enumerate(along):
        places = [(row, i) if turned else (i, row) for row in range(len(rows if turned else columns))]
        for begin in range(0, len(places), at_once):
            part = places[begin : begin + at_once]
            corners = [(rows[r], columns[c]) for r, c in part]
            said = look(torch.stack([image[:, y : y + high, x : x + wide] for y, x in corners])).float()
            if not len(strip):
                strip = said.new_zeros(said.shape[1], side, across)
            for one, (r, c), (y, x) in zip(said.exp(), part, corners, strict=True):
                one = one * (down[r][:, None] * right[c]).to(one)
                place = y if turned else x
                strip[:, :, place : place + (high if turned else wide)] += one.mT if turned else one
        step = (along[i + 1] if i + 1 < len(along) else start + side) - start
        yield strip[:, :step].clamp(min=torch.finfo(strip.dtype).tiny).log_()
        strip = torch.cat([strip[:, step:], torch.zeros_like(strip[:, :step])], 1)


def _windows(starts: Sequence[int], side: int, extent: int) -> list[Float[Tensor, "_side"]]:
    """Return the weights of each tile's lines along one axis: those of all tiles that see a line add up to one.

    Hann's window at the middle of each pixel is nowhere zero, so a corner that one tile alone sees has all of it.
    """
    window = (torch.pi * (torch.arange(side, dtype=torch.float64) + 0.5) / side).sin() ** 2
    total = torch.zeros(extent, dtype=torch.float64)
    for start in starts:
        total[start : start + side] += window
    return [window / total[start : start + side] for start in starts]


def _shift(lines: int) -> Float[Tensor, "3 3"]:
    """Return the matrix from a strip's own pixels to those of the whole picture."""
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[1, 2] = lines
    return matrix


def _before(frame: Float[Tensor, "3 3"], lines: int, most: int) -> int:
    """Return up to which original line all lie between the middles of a strip's present ones."""
    end = float(frame[1, 1]) * (lines - 0.5) + float(frame[1, 2])
    return max(0, min(most, int(end + 0.5)))
