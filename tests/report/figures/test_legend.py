from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, minimize

from robustbench_dml.report.figures.legend import spread

SOME = st.lists(st.floats(0, 100), min_size=1, max_size=8)


@given(SOME)
def test_spread_positions_keep_gap_order_and_bounds(wanted: list[float]) -> None:
    found = spread(wanted, 5, 10, 90)
    assert min(found) >= 10 - 1e-9
    assert max(found) <= 90 + 1e-9
    order = np.argsort(wanted, kind="stable")
    assert np.diff(np.array(found)[order]).min(initial=np.inf) >= 5 - 1e-9


@pytest.mark.parametrize("seed", range(6))
def test_spread_positions_are_the_nearest(seed: int) -> None:
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


def test_too_many_positions_share_the_range() -> None:
    assert spread([50] * 11, 30, 0, 100) == pytest.approx(np.arange(0, 101, 10))
    assert spread([], 5, 0, 1) == []
