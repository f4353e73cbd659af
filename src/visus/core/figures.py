"""What a metric shows besides its scores: tables, matrices and curves, drawn by a report that knows no task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Table:
    """Rows of plain values; a Score in a cell is shown with its interval."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]
    note: str = ""


@dataclass(frozen=True)
class Matrix:
    """Counts by row and column, such as truth against prediction: (R, C).

    ``background``: the last row and the last column are no class, but where nothing is, and where nothing was found.
    ``counted``: what is counted, one of it.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: NDArray[np.int64]
    row_axis: str = "truth"
    column_axis: str = "prediction"
    note: str = ""
    background: bool = False
    counted: str = "item"


@dataclass(frozen=True)
class Line:
    """One named line of a curve; ``low`` and ``high`` optionally bound a band around it."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Curve:
    """Lines over one axis; ``diagonal`` adds the line of a perfect answer, ``bars`` the items behind each x.

    ``unit``: both axes are shown from 0 to 1.  ``counted``: what the bars count, one of it.
    """

    title: str
    x_axis: str
    y_axis: str
    lines: Sequence[Line]
    diagonal: bool = False
    unit: bool = False
    points: bool = False
    bars: Sequence[float] = ()
    note: str = ""
    counted: str = "item"


Figure: TypeAlias = Table | Matrix | Curve
