from __future__ import annotations

import json
import sys

from hypothesis import given
from hypothesis import strategies as st

from robustbench_dml.leaderboard.page.compact import Shared, brief

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)


@given(FINITE, st.integers(1, 9))
def test_a_brief_number_is_near_and_is_read_back(value: float, digits: int) -> None:
    found = brief(value, digits)
    assert abs(found - value) <= 0.5 * 10 ** (1 - digits) * abs(value) * (1 + 1e-12)
    assert json.loads(json.dumps(found)) == found


def test_whole_numbers_are_written_without_a_point() -> None:
    assert json.dumps([brief(3e6), brief(0.0), brief(-0.0), brief(12.3456789)]) == "[3000000, 0, 0, 12.346]"


@given(FINITE)
def test_the_last_digits_make_no_difference(value: float) -> None:
    assert brief(float(f"{value:.5g}") * (1 + 1e-13)) == brief(float(f"{value:.5g}"))


def test_the_largest_number_stays_finite() -> None:
    largest = sys.float_info.max
    assert brief(largest) == largest
    assert len(json.dumps(brief(1e300))) < 10


def test_equal_values_have_one_index() -> None:
    shared = Shared()
    indices = [shared.index(value) for value in ({"a": 1}, ["x"], {"a": 1}, "x", ["x"])]
    assert indices == [0, 1, 0, 2, 1]
    assert shared.values == [{"a": 1}, ["x"], "x"]
