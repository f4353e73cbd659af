"""A table of counts keeps its counts, and its worst pairs are found."""

from __future__ import annotations

import re

import numpy as np
import pytest

from visus.core.figures import Matrix
from visus.report.matrix import CELLS, confused, heat, is_confusion, shade

DRAW = np.random.Generator(np.random.Philox(7))


def _matrix(n: int) -> Matrix:
    names = tuple(f"c{i}" for i in range(n))
    return Matrix("m", names, names, DRAW.integers(0, 50, (n, n)))


def test_every_count_of_few_classes_stands_in_its_cell(read):
    matrix = _matrix(CELLS)
    shown = re.findall(r"<td class=\"(?:right|wrong|none)[^>]*>([\d,]+|·)", heat(matrix))
    assert [0 if cell == "·" else int(cell) for cell in shown] == matrix.values.flatten().tolist()


def test_the_diagonal_is_right_and_the_rest_is_wrong():
    matrix = Matrix("m", ("a", "b"), ("a", "b"), np.array([[9, 1], [2, 8]]))
    assert re.findall(r'<td class="(right|wrong)', heat(matrix)) == ["right", "wrong", "wrong", "right"]


def test_a_matrix_of_different_rows_and_columns_has_no_wrong_cell():
    assert "wrong" not in heat(Matrix("m", ("a", "b"), ("x", "y"), np.array([[9, 1], [2, 8]])))


def test_a_map_colours_exactly_the_cells_that_hold_something():
    matrix = Matrix("m", *(tuple(map(str, range(100))),) * 2, np.eye(100, dtype=np.int64) * 7)
    matrix.values[3, 50] = 2
    svg = heat(matrix)
    cells = {
        kind: sum(p.count("M") for p in re.findall(rf'class="{kind}"[^>]*d="([^"]*)"', svg))
        for kind in ("right", "wrong")
    }
    assert cells == {"right": 100, "wrong": 1}


def test_a_map_of_a_thousand_classes_stays_small():
    assert len(heat(_matrix(1000))) < 1_500_000


@pytest.mark.parametrize("values", [np.zeros((30, 30), np.int64), np.zeros((3, 3), np.int64)])
def test_a_matrix_without_items_is_shown_empty(values):
    names = tuple(map(str, range(len(values))))
    assert "nan" not in heat(Matrix("m", names, names, values))
    assert confused(Matrix("m", names, names, values)) == []


def test_the_most_frequent_mistakes_come_first_with_their_share_of_the_class():
    matrix = Matrix("m", ("a", "b", "c"), ("a", "b", "c"), np.array([[90, 10, 0], [0, 3, 1], [20, 0, 20]]))
    assert [(p.truth, p.said, p.count, p.share) for p in confused(matrix)] == [
        ("c", "a", 20, 0.5), ("a", "b", 10, 0.1), ("b", "c", 1, 0.25),
    ]  # fmt: skip


def test_a_single_class_is_no_confusion():
    assert not is_confusion(Matrix("m", ("a",), ("a",), np.array([[3]])))


def test_rare_mistakes_are_seen():
    assert shade(0.02, right=False) > 0.14 and shade(0.02, right=True) == 0.02


def test_what_was_found_where_nothing_is_has_no_share():
    matrix = Matrix("m", ("a", "background"), ("a", "background"), np.array([[6, 2], [4, 0]]), background=True)
    found, missed = confused(matrix)
    assert (found.truth, found.count) == ("background", 4) and np.isnan(found.share)
    assert (missed.said, missed.share) == ("background", 0.25)


def test_what_is_counted_stands_over_the_sums():
    names = ("a", "b")
    assert "<span>items</span>" in heat(Matrix("m", names, names, np.eye(2, dtype=np.int64)))
    assert "<span>pixels</span>" in heat(Matrix("m", names, names, np.eye(2, dtype=np.int64), counted="pixel"))
