"""Tables of counts as something one can read: shaded cells for few classes, a map and the worst pairs for many."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from visus.core.figures import Matrix
from visus.report.words import percent

CELLS = 20
"""Classes up to which every count is written into its cell."""

FEW = 5
"""Classes up to which a cell also shows its share of the row."""

_MAP, _FINEST, _SHADES, _LABELS = 640, 200, 6, 34


@dataclass(frozen=True)
class Pair:
    """One kind of mistake: ``count`` items of class ``truth``, a ``share`` of that class, were called ``said``.

    What was found where nothing is has no share: nobody counts how often nothing is there.
    """

    truth: str
    said: str
    count: int
    share: float


def is_confusion(matrix: Matrix) -> bool:
    """Tell whether rows and columns are the same classes, so that the diagonal is right and the rest wrong."""
    return matrix.rows == matrix.columns and len(matrix.rows) > 1


def confused(matrix: Matrix, most: int = 12) -> list[Pair]:
    """Return the most frequent mistakes of a confusion matrix, the most frequent first."""
    counts = np.asarray(matrix.values).copy()
    items = counts.sum(1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:most]
    places = [divmod(int(i), counts.shape[1]) for i in order]
    nothing = len(matrix.rows) - 1 if matrix.background else -1
    return [
        Pair(
            matrix.rows[r],
            matrix.columns[c],
            int(counts[r, c]),
            math.nan if r == nothing else float(counts[r, c] / items[r]),
        )
        for r, c in places
        if counts[r, c] > 0
    ]


def heat(matrix: Matrix) -> Markup:
    """Return the counts as a shaded HTML table, or as an SVG map where there are more than ``CELLS`` classes."""
    if not matrix.rows or not matrix.columns:
        return Markup("")
    if max(len(matrix.rows), len(matrix.columns)) <= CELLS:
        return _table(matrix)
    return _map(matrix)


def shade(share: float, right: bool) -> float:
    """Return the strength of a cell's colour in [0, 1]; mistakes by a square root, so that 2 % of a class are seen."""
    return share if right else float(np.sqrt(share))


def _table(matrix: Matrix) -> Markup:
    square = is_confusion(matrix)
    counts = np.asarray(matrix.values)
    items = counts.sum(1)
    upright = max(map(len, matrix.columns)) * len(matrix.columns) > 60
    head = Markup("").join(Markup('<th scope="col"><span>{}</span></th>').format(name) for name in matrix.columns)
    rows = []
    for r, name in enumerate(matrix.rows):
        cells = Markup("").join(
            _cell(matrix, r, c, int(counts[r, c]), int(items[r]), square) for c in range(len(matrix.columns))
        )
        rows.append(
            Markup('<tr><th scope="row">{}</th>{}<td class="sum">{:,}</td></tr>').format(name, cells, int(items[r]))
        )
    style = "heat" + " upright" * upright + " few" * (len(matrix.columns) <= FEW)
    told = f"{matrix.title}: rows are {matrix.row_axis}, columns are {matrix.column_axis}"
    corner = Markup("<span>{} ↓</span> <span>{} →</span>").format(matrix.row_axis, matrix.column_axis)
    return Markup(
        '<div class="scroll"><table class="{}"><caption class="unseen">{}</caption><thead><tr>'
        '<td class="corner">{}</td>{}<th scope="col" class="sum"><span>{}s</span></th></tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(style, told, corner, head, matrix.counted, Markup("").join(rows))


def _cell(matrix: Matrix, r: int, c: int, count: int, items: int, square: bool) -> Markup:
    if not count:
        return Markup('<td class="none">·</td>')
    right = not square or r == c
    strength = shade(count / items, right)
    under = Markup("<small>{}</small>").format(percent(count / items)) if len(matrix.columns) <= FEW else ""
    said = "found" if square and right else f"{matrix.column_axis} {matrix.columns[c]}"
    return Markup('<td class="{}{}" style="--v:{:.2f}" title="{}: {}, {} of {}">{:,}{}</td>').format(
        "right" if right else "wrong", " deep" if strength > 0.7 else "", strength,
        matrix.rows[r], said, percent(count / items, 1), f"{items:,}", count, under,
    )  # fmt: skip


def _map(matrix: Matrix) -> Markup:
    square = is_confusion(matrix)
    counts = np.asarray(matrix.values)
    fold = -(-max(counts.shape) // _FINEST)
    counts = _folded(counts, fold)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = _MAP / max(counts.shape)
    wide, tall = side * counts.shape[1], side * counts.shape[0]
    row_labels, left = _labels(matrix.rows, fold, side, upright=False)
    column_labels, bottom = _labels(matrix.columns, fold, side, upright=True, base=tall)
    diagonal = np.eye(*counts.shape) > 0 if square else np.full(counts.shape, True)
    told = f"{matrix.title}: {len(matrix.rows):,} by {len(matrix.columns):,}"
    axes = f"{matrix.row_axis} ↓  {matrix.column_axis} →" + (f"  each cell sums {fold} × {fold}" if fold > 1 else "")
    return Markup(
        '<svg class="map" viewBox="{:.0f} -18 {:.0f} {:.0f}" role="img" aria-label="{}">'
        '<text class="title" y="-6">{}</text><rect class="paper" width="{:.1f}" height="{:.1f}"/>{}{}{}{}</svg>'
    ).format(
        -left, wide + left + 2, tall + bottom + 20, f"{told}; {axes}", axes, wide, tall,
        _shades(shares * diagonal, side, "right"), _shades(np.sqrt(shares) * ~diagonal, side, "wrong"),
        row_labels, column_labels,
    )  # fmt: skip


def _shades(strength: NDArray[np.float64], side: float, kind: str) -> Markup:
    """Return cells as one path a shade, which keeps a map of thousands of cells small."""
    level, parts = np.ceil(strength * _SHADES), []
    for step in range(1, _SHADES + 1):
        cells = np.argwhere(level == step)
        path = "".join(f"M{c * side:.1f} {r * side:.1f}h{side:.1f}v{side:.1f}h-{side:.1f}z" for r, c in cells)
        if path:
            text = Markup('<path class="{}" fill-opacity="{:.2f}" d="{}"/>')
            parts.append(text.format(kind, step / _SHADES, path))
    return Markup("").join(parts)


def _folded(counts: NDArray[np.int64], fold: int) -> NDArray[np.int64]:
    """Return the sums of ``fold`` by ``fold`` blocks."""
    if fold == 1:
        return counts
    rows = np.add.reduceat(counts, np.arange(0, counts.shape[0], fold), axis=0)
    columns: NDArray[np.int64] = np.add.reduceat(rows, np.arange(0, counts.shape[1], fold), axis=1)
    return columns


def _labels(
    names: tuple[str, ...], fold: int, side: float, *, upright: bool, base: float = 0.0
) -> tuple[Markup, float]:
    """Return every n-th name beside the map, and the room the longest one takes."""
    cells = -(-len(names) // fold)
    every = -(-cells // _LABELS)
    size = min(13.0, max(9.0, 0.8 * side * every))
    shown = [(side * (at + 0.5) + 0.34 * size, _short(names[at * fold])) for at in range(0, cells, every)]
    text = Markup('<text class="tick" transform="{}" text-anchor="end" style="font-size:{:.1f}px">{}</text>')
    parts = [
        text.format(
            f"translate({at:.1f} {base + 6:.1f}) rotate(-90)" if upright else f"translate(-6 {at:.1f})", size, name
        )
        for at, name in shown
    ]
    return Markup("").join(parts), 10 + size * 0.58 * max(len(name) for _, name in shown)


def _short(name: str, most: int = 16) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
