"""AutoRank on a small network that is neither hopeless nor robust: its stages against the same attacks alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from attack_support import EVERY as ALL
from attack_support import small_model as model
from attack_support import small_split as split
from torch import Tensor

from robustbench_dml.attacks.autorank import WorstCandidate, WorstQuery
from robustbench_dml.evaluation.context import AttackContext, make_context
from robustbench_dml.evaluation.ensemble import Stage, run_attack
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.solvers.base import Problem, Solver
from robustbench_dml.solvers.ensemble import Ensemble
from robustbench_dml.spec.published import PROTOCOLS
from robustbench_dml.spec.registry import ATTACKS, SOLVERS
from robustbench_dml.spec.schema import Evaluation, SolverSpec, Threat

CPU = torch.device("cpu")
SMALL: dict[str, bool | int | float | str] = {"restarts": 2, "steps": 8, "square_queries": 30, "classes": 2}
ENSEMBLE = SolverSpec(name="ensemble", params=SMALL)
THREAT = Threat(eps=0.06, alpha=0.02, steps=5)


def attack_context(search: SolverSpec = ENSEMBLE, *, steps: int = THREAT.steps, seed: int = 0) -> AttackContext:
    threat = THREAT.model_copy(update={"steps": steps})
    evaluation = Evaluation(protocol="autorank", threat=threat, queries=None, seed=seed, solver=search)
    surrogate = make_context(model(1), split(), evaluation=evaluation, dataset="small", device=CPU)
    return make_context(model(0), split(), evaluation=evaluation, dataset="small", device=CPU, surrogate=surrogate)


@torch.no_grad()
def attack(name: str, context: AttackContext, rows: Tensor = ALL) -> dict[str, np.ndarray]:
    found = run_attack(context, name, Items(context.gallery, rows))
    return {column: values.numpy() for column, values in found.items()}


@cache
def worst() -> dict[str, np.ndarray]:
    context = attack_context()
    return {**attack("worst-query", context), **attack("worst-candidate", context)}


SINGLE = {
    "as published": attack_context(SolverSpec()),
    "apgd": attack_context(SolverSpec(name="apgd", params={"random_start": False, "restarts": 2}), steps=8),
    "square": attack_context(SolverSpec(name="square", params={"queries": 30})),
    "transfer": attack_context(SolverSpec(name="transfer", params={})),
}
QUERY_SIDE = {
    "as published": ("es", "ltm", "gtm"),
    "apgd": ("es", "ltm", "ranking-margin", "hardest-margin", "smooth-recall", "wrong-class"),
    "square": ("ranking-margin",),
    "transfer": ("es", "ltm", "gtm"),
}


def test_the_case_separates_strong_attacks_from_weak_ones() -> None:
    context = attack_context()
    block = context.block(ATTACKS.get("es").build(), "es", Items(context.gallery, ALL))
    benign = float(block.recall_at_1(block.benign).mean())
    assert 0.1 < worst()["AR:Q"].mean() < benign - 0.2
    assert 0 < worst()["AR:C"].mean() < 0.4
    assert len(set(worst()["AR:Q stage"])) > 2


@pytest.mark.parametrize("search", SINGLE)
def test_never_weaker_than_one_of_its_attacks_alone_query_by_query(search: str) -> None:
    for name in QUERY_SIDE[search]:
        alone = attack(name, SINGLE[search])
        (recall,) = (alone[column.name] for column in ATTACKS.get(name).columns if column.name != "ES:D")
        assert (worst()["AR:Q"] <= recall).all(), name
    if search != "square":
        assert (worst()["AR:C"] <= attack("ca+", SINGLE[search])["CA+"] + 1e-12).all()


def test_stronger_than_every_published_attack_together() -> None:
    recalls = [attack(name, SINGLE["as published"]) for name in QUERY_SIDE["as published"]]
    best = np.min([recalls[0]["ES:R"], recalls[1]["LTM"], recalls[2]["GTM"]], axis=0)
    assert worst()["AR:Q"].sum() < best.sum()


def test_every_part_of_the_queries_has_the_same_values() -> None:
    for rows in (ALL.flip(0), ALL[5:17], ALL[40:41]):
        context = attack_context()
        part = {**attack("worst-query", context, rows), **attack("worst-candidate", context, rows)}
        for column, values in part.items():
            assert np.array_equal(values, worst()[column][rows.numpy()]), column


def test_another_seed_aims_at_other_queries() -> None:
    assert not np.array_equal(attack("worst-candidate", attack_context(seed=1))["AR:C"], worst()["AR:C"])


class Counting(Solver):
    """Notes how many images it is given."""

    sizes: list[int]

    def __init__(self, inner: Solver, sizes: list[int]) -> None:
        self.inner, self.sizes = inner, sizes

    def run(self, problem: Problem) -> Tensor:
        self.sizes.append(len(problem))
        return self.inner.run(problem)


def test_only_survivors_are_attacked_further(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    stages = WorstQuery.stages

    def counted(self: WorstQuery, ensemble: Ensemble) -> Iterator[Stage]:
        for stage in stages(self, ensemble):
            yield replace(stage, solver=Counting(stage.solver, sizes))

    monkeypatch.setattr(WorstQuery, "stages", counted)
    context = attack_context()
    found = attack("worst-query", context)
    block = context.block(ATTACKS.get("es").build(), "es", Items(context.gallery, ALL))
    right = block.recall_at_1(block.benign).numpy() == 1
    stage, number = found["AR:Q stage"], len(sizes)
    assert sizes == [int((right & ((stage == -1) | (stage >= at))).sum()) for at in range(number)]
    assert (
        number == len(list(stages(WorstQuery(), Ensemble(restarts=2, steps=8, square_queries=30, classes=2))))
        and sizes[-1] < sizes[0]
    )
    assert ((found["AR:Q"] == 1) == (right & (stage == -1))).all()


def test_the_stages_end_when_nothing_is_left() -> None:
    broken = attack_context(ENSEMBLE).changed(threat=Threat(eps=1, alpha=0.25, steps=20))
    found = attack("worst-query", broken)
    assert found["AR:Q"].sum() == 0 and found["AR:Q stage"].max() < 3


def test_a_candidate_in_the_first_percent_counts_as_planted() -> None:
    assert np.array_equal(worst()["AR:C1"], (worst()["AR:C"] <= 0.01).astype(float))
    values = WorstCandidate().columns_of(torch.tensor([0.0, 0.01, 0.011], dtype=torch.float64))
    assert values["AR:C1"].tolist() == [1, 1, 0]


def test_the_protocol_names_every_parameter_of_its_search_in_their_order() -> None:
    search = PROTOCOLS["autorank"].solver
    assert search.params == vars(SOLVERS.get(search.name).cls())
    assert list(search.params) == list(vars(Ensemble()))
