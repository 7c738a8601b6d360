from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from board_support import foreign_spec, made_spec

from robustbench_dml.runs.forecast import Forecasts, evaluation_forecast, training_forecast
from robustbench_dml.runs.rates import Rate, evaluation_passes
from robustbench_dml.spec.budgets import short_passes, short_time
from robustbench_dml.spec.schema import ComputeUsed
from robustbench_dml.training.log import TrainingLog

RATE = Rate(training=1000, evaluation=500, iteration=200)


@pytest.mark.parametrize(
    ("budget", "rate", "training"),
    [
        ("1M", RATE, "training 1M passes, about 17 min; "),
        ("1M", None, "training 1M passes; "),
        ("300it", RATE, "training 60k passes, about 60 s; "),
        ("2h", None, "training 2.0 h; "),
    ],
)
def test_a_line_has_the_passes_and_their_time(budget: str, rate: Rate | None, training: str) -> None:
    spec = made_spec("act", budget=budget, evaluation={"queries": 8})
    passes = evaluation_passes(spec)
    line = f"evaluation at most {short_passes(passes)} passes"
    assert evaluation_forecast(foreign_spec(queries=8), None) == line
    if rate is None:
        assert training_forecast(spec, None) == f"{training}{line}; the time follows after 10 s of training"
        return
    line += f", about {short_time(passes / rate.evaluation)}"
    assert training_forecast(spec, rate) == f"{training}{line}; at the rates of earlier records"


def test_a_baseline_has_an_evaluation_alone() -> None:
    assert training_forecast(made_spec("pixels"), None).startswith("evaluation at most ")


@pytest.mark.parametrize(("budget", "left"), [("100k", "90 s"), ("500it", "90 s"), ("60s", "48 s")])
def test_the_time_follows_a_warm_up(budget: str, left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first iteration takes 2 s; each has 200 passes and takes 0.2 s after that, so there are 1,000 passes/s."""
    monkeypatch.setattr(TrainingLog, "iterated", lambda *_: None)
    said: list[str] = []
    log = Forecasts(cast(Any, None), scalars=False, say=said.append)
    spec = made_spec("act", budget=budget, evaluation={"queries": 8})
    for done in range(1, 80):
        spent = ComputeUsed(to_input=200 * done, iterations=done, seconds=2 + 0.2 * (done - 1))
        log.iterated(cast(Any, SimpleNamespace(spec=spec, spent=spent)))
    evaluation = evaluation_passes(spec)
    assert said == [
        f"1,000 passes/s: training about {left} more; evaluation at most {short_passes(evaluation)} passes, "
        f"about {short_time(evaluation / 1000)}"
    ]
