from __future__ import annotations

from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from figures_support import overlapping
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.optimize import LinearConstraint, minimize

from robustbench_dml.report.figures.label_placement import CLEAR, DISTANCES, place, spread, text_size, wrap

SOME = st.lists(st.floats(0, 100), min_size=1, max_size=8)


@given(SOME)
def test_labels_beside_an_axis_are_a_gap_apart_in_their_order_and_inside(wanted: list[float]) -> None:
    found = spread(wanted, 5, 10, 90)
    assert min(found) >= 10 - 1e-9
    assert max(found) <= 90 + 1e-9
    order = np.argsort(wanted, kind="stable")
    assert np.diff(np.array(found)[order]).min(initial=np.inf) >= 5 - 1e-9


@pytest.mark.parametrize("seed", range(6))
def test_no_other_places_are_nearer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wanted = np.sort(rng.uniform(0, 100, size=7))
    steps = np.eye(7)[1:] - np.eye(7)[:-1]
    best = minimize(
        lambda places: ((places - wanted) ** 2).sum(),
        np.linspace(10, 90, 7),
        jac=lambda places: 2 * (places - wanted),
        bounds=[(10, 90)] * 7,
        constraints=LinearConstraint(steps, 12, np.inf),
        method="SLSQP",
    )
    assert spread(list(wanted), 12, 10, 90) == pytest.approx(list(best.x), abs=1e-3)


def test_too_many_labels_share_the_room_there_is() -> None:
    assert spread([50] * 11, 30, 0, 100) == pytest.approx(np.arange(0, 101, 10))
    assert spread([], 5, 0, 1) == []


@pytest.mark.parametrize("family", ["DejaVu Sans", "STIXGeneral"])
def test_a_text_is_as_wide_as_it_is_drawn(family: str) -> None:
    with mpl.rc_context({"font.family": [family], "text.parse_math": False}):
        figure = Figure(dpi=720)
        renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
        for text, size in (("HM[S,g_LGA]&ICS", 8.0), ("benign recall at 1 (%)", 9.0)):
            box = figure.text(0, 0, text, fontsize=size).get_window_extent(renderer)
            assert text_size(text, size)[0] == pytest.approx(box.width / 10, rel=0.02)
        math = r"HM[S,$g_{\mathrm{LGA}}$]"
        box = figure.text(0, 0, math, fontsize=8, parse_math=True).get_window_extent(renderer)
        assert text_size(math, 8, typeset=True)[0] == pytest.approx(box.width / 10, rel=0.03)


def test_lines_are_broken_at_spaces_and_no_wider_than_the_room() -> None:
    text = "one two three four five six seven eight nine ten"
    lines = wrap(text, 60, 8)
    assert " ".join(lines) == text
    assert len(lines) > 2
    assert all(text_size(line, 8)[0] <= 60 for line in lines)
    joined = [f"{one} {other.split()[0]}" for one, other in pairwise(lines)]
    assert all(text_size(line, 8)[0] > 60 for line in joined)  # none could have held more


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


def test_what_has_to_be_hidden_is_told() -> None:
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
