from __future__ import annotations

from pathlib import Path

import pytest
import torch

from robustbench_dml.datasets.base import DataPaths, Dataset
from robustbench_dml.report.sweeps import estimate_table
from robustbench_dml.report.tables import short_passes
from robustbench_dml.runs.sweeps import trial
from robustbench_dml.runs.sweeps.counting import evaluation_passes
from robustbench_dml.runs.sweeps.estimate import estimate, total
from robustbench_dml.runs.sweeps.plan import plan_tree
from robustbench_dml.runs.sweeps.state import Kept, Look, State
from robustbench_dml.runs.sweeps.trial import Rate, Trials
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.spec.schema import ComputeUsed, RunSpec

CPU = torch.device("cpu")
TREE = {"defense": "regular", "dataset": "fashion-mini", "queries": 8, "attack-steps": 1}


def looks(*states: Look | State, **settings: object) -> list[Look]:
    """A run for each state, over seeds."""
    jobs = plan_tree({**TREE, **settings, "seed": list(range(len(states)))}, source="test").jobs
    return [Look(job, state) if isinstance(state, State) else state for job, state in zip(jobs, states, strict=True)]


def test_what_is_recorded_costs_nothing_and_the_rest_its_budget_and_its_evaluation() -> None:
    found = looks(State.DONE, State.WAITING, State.FAILED, budget=3600)
    evaluation = evaluation_passes(found[0].job.spec)
    [(kind, part)] = estimate(found, lambda _: Rate(training=10, evaluation=2)).items()
    assert kind == ("fashion-mini", "c2f2")
    assert (part.runs, part.recorded, part.training, part.evaluation) == (3, 1, 2 * 3600, 2 * evaluation)
    assert part.hours == pytest.approx(2 * (3600 / 10 + evaluation / 2) / 3600)


def test_a_time_is_what_it_says_and_the_passes_that_fit_into_it() -> None:
    [part] = estimate(looks(State.WAITING, budget="2h"), lambda _: Rate(100, 1e9)).values()
    assert part.hours == pytest.approx(2, abs=1e-3)
    assert part.training == 2 * 3600 * 100


def test_iterations_cost_eta_and_one_for_each_image_of_their_batches() -> None:
    found = looks(State.WAITING, defense="act", budget="10it", eta=4, pairs=16)
    [part] = estimate(found, lambda _: Rate(100, 1e9)).values()
    assert part.training == 10 * 2 * 16 * (4 + 1)
    assert part.hours == pytest.approx(part.training / 100 / 3600, rel=1e-3)


def test_of_an_interrupted_run_only_what_is_left_is_counted() -> None:
    [job] = plan_tree({**TREE, "budget": 1000}, source="test").jobs
    kept = Look(job, State.INTERRUPTED, kept=Kept(ComputeUsed(to_weights=750), trained=0.75, evaluated=0.0))
    [part] = estimate([kept], lambda _: Rate(1, 1)).values()
    assert part.training == pytest.approx(250)
    kept = Look(job, State.INTERRUPTED, kept=Kept(ComputeUsed(to_weights=1000), trained=1.0, evaluated=0.5))
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
    [part] = estimate([Look(job, state) for job, state in zip(jobs, states, strict=True)], rate_of).values()
    assert asked == ["regular", "act"]
    assert part.hours == pytest.approx(2 + 0.5, abs=1e-3)


def test_the_table_has_a_row_for_every_data_set_and_one_for_all() -> None:
    jobs = plan_tree({**TREE, "dataset": ["fashion-mini", "mnist"], "budget": ["20k", "1M"]}, source="test").jobs
    parts = estimate([Look(job, State.WAITING) for job in jobs], lambda _: Rate(100, 100))
    together = total(list(parts.values()))
    rows = [line.split() for line in estimate_table(parts).splitlines()[2:]]
    assert [row[0] for row in rows] == ["fashion-mini", "mnist", "in"]
    assert rows[0][:5] == ["fashion-mini", "c2f2", "2", "0", "1.02M"]
    assert rows[2][2:5] == ["4", "0", "2.04M"]
    assert rows[2][5:] == [short_passes(together.evaluation), f"{together.hours:.3g}"]


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SECONDS", 0.1)


@pytest.mark.usefixtures("quickly")
def test_a_trial_measures_once_what_is_equally_fast() -> None:
    loaded: list[str] = []

    def load(name: str) -> Dataset:
        loaded.append(name)
        return DATASETS.get(name).load(DataPaths())

    trials = Trials(load, device=torch.device("cpu"), batch_size=8)
    tree = {**TREE, "defense": ["regular", "act"], "eta": 1, "pairs": 8, "seed": [0, 1]}
    rates = {(job.spec.defense, job.spec.seed): trials.rate_of(job.spec) for job in plan_tree(tree, source="test").jobs}
    assert loaded == ["fashion-mini"]
    assert rates["regular", 0] == rates["regular", 1] and rates["act", 0] == rates["act", 1]
    assert len(trials.training) == 2 and len(trials.evaluation) == 1
    assert all(rate.training > 0 and rate.evaluation > 0 for rate in rates.values())


@pytest.mark.usefixtures("quickly")
def test_the_rate_of_a_training_is_its_passes_by_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which every iteration takes a second."""
    ticks = iter(range(10**6))
    monkeypatch.setattr("robustbench_dml.training.trainer.time.perf_counter", lambda: float(next(ticks)))
    [job] = plan_tree({**TREE, "pairs": 8}, source="test").jobs
    dataset = DATASETS.get("fashion-mini").load(DataPaths())
    rate, iteration = trial.training_rate(job.spec, dataset, CPU)
    assert rate == pytest.approx(16)  # images of an iteration
    assert iteration is None  # one of eta 32 takes longer than the trial may


@pytest.mark.usefixtures("quickly")
def test_a_defense_that_stops_early_is_estimated_by_what_its_iterations_took() -> None:
    """Of HM[S,S] no triplet ever moves: an iteration is a pass of the batch, and a third for the samplers."""
    dataset = DATASETS.get("fashion-mini").load(DataPaths())
    settings = {"defense": "hm-s-s", "budget": "10it", "eta": 4, "pairs": 8}
    [found] = looks(State.WAITING, **settings)
    training, iteration = trial.training_rate(found.job.spec, dataset, CPU)
    rate = Rate(training, 1e9, iteration)
    [part] = estimate([found], lambda _: rate).values()
    assert rate.iteration is not None and rate.iteration < 3 * 16 < 5 * 16
    assert part.training == pytest.approx(10 * rate.iteration)


def test_nothing_of_a_trial_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trial, "SECONDS", 0.1)
    trials = Trials(lambda name: DATASETS.get(name).load(DataPaths()), device=torch.device("cpu"), batch_size=2)
    trials.rate_of(plan_tree({**TREE, "pairs": 8, "eta": 1}, source="test").jobs[0].spec)
    assert not list(tmp_path.rglob("*"))
