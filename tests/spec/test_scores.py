from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustbench_dml.retrieval.metrics import retrieval_scores
from robustbench_dml.spec.protocols import protocol_columns
from robustbench_dml.spec.scores import CHANCE, Score, empirical_robustness_score, fixed_list_recall, scores_of, skill

COLUMNS = protocol_columns("ers")
ERS, SERS = scores_of("ers", COLUMNS)
PERFECT = {
    "CA+": 50,
    "CA-": 0,
    "QA+": 50,
    "QA-": 0,
    "TMA": 0,
    "ES:D": 0,
    "ES:R": 100,
    "LTM": 100,
    "GTM": 100,
    "GTT": 100,
}
DEFEATED = {"CA+": 0, "CA-": 100, "QA+": 0, "QA-": 100, "TMA": 1, "ES:D": 2, "ES:R": 0, "LTM": 0, "GTM": 0, "GTT": 0}

values = st.fixed_dictionaries(
    {name: st.floats(*sorted((PERFECT[name], DEFEATED[name]))) for name in COLUMNS}
    | {"R@1": st.floats(0, 100), CHANCE: st.floats(0.1, 99)}
)


def score(one: Score, shown: Mapping[str, float]) -> float:
    return float(one.of({name: np.asarray(value) for name, value in shown.items()}))


def by_hand(shown: dict[str, float]) -> float:
    """The sentence in docs/scores.md as a formula, for one model."""
    total = 0.0
    for name, value in shown.items():
        if name in COLUMNS:
            place = (value - DEFEATED[name]) / (PERFECT[name] - DEFEATED[name])
            total += min(1.0, max(0.0, place))
    above = max(0.0, shown["R@1"] - shown[CHANCE]) / (100 - shown[CHANCE])
    return 100 * above * total / 10


@given(values, st.floats(-60, 60), st.sampled_from(list(COLUMNS)))
def test_the_second_score_is_the_formula(shown: dict[str, float], beyond: float, name: str) -> None:
    shown = {**shown, name: shown[name] + beyond}  # columns may pass their ends, as published
    assert score(SERS, shown) == pytest.approx(by_hand(shown), abs=1e-9)
    assert 0 <= score(SERS, shown) <= 100


@given(values)
def test_a_model_that_retrieves_no_better_than_chance_has_none(shown: dict[str, float]) -> None:
    shown["R@1"] = min(shown["R@1"], shown[CHANCE])
    assert score(SERS, shown) == 0


@given(values, st.floats(0, 100))
def test_better_retrieval_never_costs_anything(shown: dict[str, float], more: float) -> None:
    better = {**shown, "R@1": min(100.0, shown["R@1"] + more)}
    assert score(SERS, better) >= score(SERS, shown)


@given(values)
def test_it_is_never_more_than_the_first_score_nor_than_the_skill(shown: dict[str, float]) -> None:
    assert score(SERS, shown) <= score(ERS, shown) + 1e-9  # no column here passes its ends
    assert score(SERS, shown) <= 100 * float(skill(shown["R@1"], shown[CHANCE])) + 1e-9


def test_the_ends_of_the_scale() -> None:
    assert score(SERS, {**PERFECT, "R@1": 100, CHANCE: 10}) == pytest.approx(100)
    assert score(SERS, {**PERFECT, "R@1": 55, CHANCE: 10}) == pytest.approx(50)
    assert score(SERS, {**DEFEATED, "R@1": 100, CHANCE: 10}) == pytest.approx(0)
    assert score(ERS, PERFECT) == pytest.approx(100)
    assert score(ERS, DEFEATED) == pytest.approx(0)


@given(st.lists(values, min_size=1, max_size=5), st.floats(0.1, 99))
def test_many_means_at_once_are_one_after_another(rows: list[dict[str, float]], chance: float) -> None:
    arrays = {name: np.array([row[name] for row in rows]) for name in rows[0] if name != CHANCE}
    for one in (ERS, SERS):
        together = one.of({**arrays, CHANCE: np.asarray(chance)})
        assert together.shape == (len(rows),)
        apart = [score(one, {**row, CHANCE: chance}) for row in rows]
        assert together == pytest.approx(np.array(apart))


@given(st.lists(values, min_size=2, max_size=6))
def test_only_the_linear_score_is_the_mean_of_its_values(rows: list[dict[str, float]]) -> None:
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    assert score(ERS, means) == pytest.approx(np.mean([score(ERS, row) for row in rows]))
    assert (ERS.linear, SERS.linear) == (True, False)


def test_the_nonlinear_score_is_not() -> None:
    rows = [{**PERFECT, "R@1": 0.0, CHANCE: 10.0}, {**DEFEATED, "R@1": 100.0, CHANCE: 10.0}]
    means = {name: (rows[0][name] + rows[1][name]) / 2 for name in rows[0]}
    assert score(SERS, means) > 10 + np.mean([score(SERS, row) for row in rows])


def test_the_first_score_is_not_clipped_as_published() -> None:
    beyond = {**PERFECT, "CA+": 60, "TMA": -0.5}
    assert score(ERS, beyond) == empirical_robustness_score(beyond, COLUMNS.values()) == pytest.approx(107)
    assert score(SERS, {**beyond, "R@1": 100, CHANCE: 10}) == pytest.approx(100)


def test_queries_of_one_class_leave_no_skill() -> None:
    assert fixed_list_recall(np.zeros(7)) == 100
    assert float(skill(100.0, 100.0)) == 0


@given(st.lists(st.integers(0, 3), min_size=2, max_size=12), st.data())
def test_chance_bounds_every_fixed_list(labels: list[int], data: st.DataObject) -> None:
    """A fixed list is given by its first two items; the query of the first item is answered with the second."""
    queries = data.draw(st.lists(st.sampled_from(range(len(labels))), min_size=2, unique=True))
    best = 0
    for first in range(len(labels)):
        for second in {*range(len(labels))} - {first}:
            right = [labels[second if query == first else first] == labels[query] for query in queries]
            best = max(best, sum(right))
    chance = fixed_list_recall(np.array([labels[query] for query in queries]))
    reached = 100 * best / len(queries)
    assert reached <= chance + 1e-9
    assert chance - reached <= 100 / len(queries) + 1e-9  # at most the query that is the first item is lost


@given(st.lists(st.integers(0, 3), min_size=3, max_size=40))
def test_equal_embeddings_have_no_skill(labels: list[int]) -> None:
    classes, count = np.unique(labels, return_counts=True)
    queries = np.flatnonzero(np.isin(labels, classes[count >= 2]))
    if len(queries) == 0:
        return
    embeddings = torch.zeros(len(labels), 4)
    embeddings[:, 0] = 1
    found = retrieval_scores(embeddings, torch.tensor(labels), torch.from_numpy(queries))
    recall = 100 * float(found.r_at_1.double().mean())
    assert float(skill(recall, fixed_list_recall(np.array(labels)[queries]))) < 1e-12


def test_the_worst_case_is_its_own_score() -> None:
    [worst] = scores_of("autorank", {})
    assert score(worst, {"AR:Q": 12.5}) == 12.5
    assert worst.linear
