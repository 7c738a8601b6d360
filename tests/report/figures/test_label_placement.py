from __future__ import annotations

import numpy as np
import pytest
from figures_support import overlapping

from robustbench_dml.report.figures.label_placement import CLEAR, DISTANCES, place


@pytest.mark.parametrize("seed", range(5))
def test_labels_hide_neither_each_other_nor_marks_and_stay_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    at = rng.uniform(20, 380, size=(8, 2))
    marks = np.concatenate([at - 4, at + 4], axis=1)
    bounds = (0.0, 0.0, 400.0, 400.0)
    placed = place([[tuple(one)] for one in at.tolist()], [(60, 10)] * 8, marks, bounds)
    boxes = [one.box for one in placed]
    assert list(overlapping(boxes)) == []
    assert [pair for pair in overlapping([*boxes, *map(tuple, marks)]) if pair[0] < 8 <= pair[1]] == []
    assert all(one.hidden == 0 for one in placed)
    assert all(left >= 0 and bottom >= 0 and right <= 400 and top <= 400 for left, bottom, right, top in boxes)
    assert [one.point for one in placed] == [tuple(one) for one in at.tolist()]
    assert place([[tuple(one)] for one in at.tolist()], [(60, 10)] * 8, marks, bounds) == placed


def test_the_hidden_area_is_reported() -> None:
    wall = np.array([[0.0, 0.0, 200.0, 200.0]])
    [placed] = place([[(100, 100)]], [(40, 10)], wall, (0, 0, 200, 200))
    assert placed.hidden == pytest.approx(400)


def test_a_label_goes_to_that_of_its_points_where_there_is_room() -> None:
    wall = np.array([[0.0, 0.0, 100.0, 200.0]])
    [placed] = place([[(50, 100), (150, 100)]], [(30, 10)], wall, (0, 0, 200, 200))
    assert placed.point == (150, 100)
    assert placed.hidden == 0


@pytest.mark.parametrize("side", [-1, 1])
def test_a_label_keeps_clear_of_a_point_that_is_not_its_own(side: int) -> None:
    """With room on all sides it could stand between the two, and would be read for either."""
    other = (100 + 25 * side, 100)
    label, _ = place([[(100, 100)], [other]], [(10, 10), (10, 10)], np.empty((0, 4)), (0, 0, 200, 200))
    left, bottom, right, top = label.box
    inside = [(x, y) for x in np.linspace(left, right, 51) for y in np.linspace(bottom, top, 51)]
    assert min(np.hypot(x - other[0], y - other[1]) for x, y in inside) >= CLEAR
    assert min(np.hypot(x - 100, y - 100) for x, y in inside) <= DISTANCES[0]


def test_a_label_that_fits_nowhere_is_put_into_the_corner() -> None:
    [placed] = place([[(5, 5)]], [(50, 10)], np.empty((0, 4)), (1, 2, 20, 20))
    assert placed.box[:2] == (1, 2)
