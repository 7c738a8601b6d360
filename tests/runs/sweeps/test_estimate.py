from __future__ import annotations

import pytest

from robustbench_dml.report.sweeps import estimate_table
from robustbench_dml.runs.rates import Rate, evaluation_passes
from robustbench_dml.runs.sweeps.estimate import estimate, total
from robustbench_dml.runs.sweeps.plan import plan_tree
from robustbench_dml.runs.sweeps.state import Kept, State, Status
from robustbench_dml.spec.budgets import short_passes
from robustbench_dml.spec.schema import ComputeUsed, RunSpec

TREE = {"defense": "regular", "dataset": "glyphs-mini", "queries": 8, "attack-steps": 1}


def statuses(*states: Status | State, **settings: object) -> list[Status]:
    """A run for each state, over seeds."""
    jobs = plan_tree({**TREE, **settings, "seed": list(range(len(states)))}, source="test").jobs
    return [Status(job, state) if isinstance(state, State) else state for job, state in zip(jobs, states, strict=True)]


def test_what_is_recorded_costs_nothing_and_the_rest_its_budget_and_its_evaluation() -> None:
    found = statuses(State.DONE, State.WAITING, State.FAILED, budget=3600)
    evaluation = evaluation_passes(found[0].job.spec)
    [(kind, part)] = estimate(found, lambda _: Rate(training=10, evaluation=2)).items()
    assert kind == ("glyphs-mini", "c2f2")
    assert (part.runs, part.recorded, part.training, part.evaluation) == (3, 1, 2 * 3600, 2 * evaluation)
    assert part.hours == pytest.approx(2 * (3600 / 10 + evaluation / 2) / 3600)


def test_runs_that_differ_in_their_evaluation_alone_share_one_training() -> None:
    jobs = plan_tree({**TREE, "budget": 3600, "protocol": ["radius", "ers"], "seed": [0, 1]}, source="test").jobs
    [part] = estimate([Status(job, State.WAITING) for job in jobs], lambda _: Rate(10, 2)).values()
    assert part.training == 2 * 3600
    assert part.evaluation == sum(evaluation_passes(job.spec) for job in jobs)


def test_a_time_is_what_it_says_and_the_passes_that_fit_into_it() -> None:
    [part] = estimate(statuses(State.WAITING, budget="2h"), lambda _: Rate(100, 1e9)).values()
    assert part.hours == pytest.approx(2, abs=1e-3)
    assert part.training == 2 * 3600 * 100


def test_iterations_cost_eta_and_one_for_each_image_of_their_batches() -> None:
    found = statuses(State.WAITING, defense="act", budget="10it", eta=4, pairs=16)
    [part] = estimate(found, lambda _: Rate(100, 1e9)).values()
    assert part.training == 10 * 2 * 16 * (4 + 1)
    assert part.hours == pytest.approx(part.training / 100 / 3600, rel=1e-3)


def test_a_defense_that_stops_early_is_estimated_by_what_its_iterations_took() -> None:
    found = statuses(State.WAITING, defense="hm-s-s", budget="10it", eta=4, pairs=8)
    [part] = estimate(found, lambda _: Rate(100, 1e9, iteration=21.5)).values()
    assert part.training == pytest.approx(10 * 21.5)


def test_of_an_interrupted_run_only_what_is_left_is_counted() -> None:
    [job] = plan_tree({**TREE, "budget": 1000}, source="test").jobs
    kept = Status(job, State.INTERRUPTED, kept=Kept(ComputeUsed(to_weights=750), trained=0.75, evaluated=0.0))
    [part] = estimate([kept], lambda _: Rate(1, 1)).values()
    assert part.training == pytest.approx(250)
    kept = Status(job, State.INTERRUPTED, kept=Kept(ComputeUsed(to_weights=1000), trained=1.0, evaluated=0.5))
    [part] = estimate([kept], lambda _: Rate(1, 1)).values()
    assert part.training == 0
    assert part.evaluation == pytest.approx(evaluation_passes(job.spec) / 2)


def test_the_speed_of_a_run_is_asked_for_by_itself_and_never_for_what_is_done() -> None:
    asked: list[str] = []

    def rate_of(spec: RunSpec) -> Rate:
        asked.append(spec.defense)
        return Rate({"regular": 1.0, "act": 4.0}[spec.defense], 1e9)

    tree = {**TREE, "budget": 7200, "defense": ["regular", "act", "est"]}
    jobs = plan_tree(tree, source="test").jobs
    states = (State.WAITING, State.INTERRUPTED, State.DONE)
    [part] = estimate([Status(job, state) for job, state in zip(jobs, states, strict=True)], rate_of).values()
    assert asked == ["regular", "act"]
    assert part.hours == pytest.approx(2 + 0.5, abs=1e-3)


def test_the_table_has_a_row_for_every_data_set_and_one_for_all() -> None:
    jobs = plan_tree({**TREE, "dataset": ["glyphs-mini", "mnist"], "budget": ["20k", "1M"]}, source="test").jobs
    parts = estimate([Status(job, State.WAITING) for job in jobs], lambda _: Rate(100, 100))
    together = total(list(parts.values()))
    rows = [line.split() for line in estimate_table(parts).splitlines()[2:]]
    assert [row[0] for row in rows] == ["glyphs-mini", "mnist", "total"]
    assert rows[0][:5] == ["glyphs-mini", "c2f2", "2", "0", "1.02M"]
    assert rows[2][1:4] == ["4", "0", "2.04M"]
    assert rows[2][4:] == [short_passes(together.evaluation), f"{together.hours:.3g}"]
