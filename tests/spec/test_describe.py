from __future__ import annotations

import pytest

from robustbench_dml.spec.describe import describe_evaluation
from robustbench_dml.spec.make import changed_evaluation, published_evaluation

RADIUS = {"protocol": "radius", "queries": 500}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"protocol": "ers", "steps": 7}, "protocol ers: PGD-7, eps 8/255, alpha 1/255, 500 queries"),
        (RADIUS, "protocol radius: up to 32/255, 500 queries"),
        ({**RADIUS, "solver_params": {"rounds": 1}}, "protocol radius: up to 32/255, rounds=1, 500 queries"),
        ({**RADIUS, "norm": "l2", "eps": 8.0, "alpha": 0.1}, "protocol radius: up to 8 in L2, 500 queries"),
    ],
)
def test_an_evaluation_in_a_line(changes: dict[str, object], text: str) -> None:
    usual = published_evaluation("glyphs", "ers")
    assert describe_evaluation(changed_evaluation(usual, changes, dataset="glyphs")) == text
