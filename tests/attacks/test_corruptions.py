"""Recall of corrupted images against a naive search."""

from __future__ import annotations

import pytest
import torch
from attack_support import EVERY, small_model, small_split

from robustbench_dml.datasets.corruptions import KINDS, corrupted
from robustbench_dml.evaluation.context import AttackContext, make_context
from robustbench_dml.evaluation.ensemble import run_attack
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.spec.make import published_evaluation
from robustbench_dml.spec.registry import ATTACKS


@pytest.fixture(scope="module")
def context() -> AttackContext:
    evaluation, device = published_evaluation("glyphs-mini"), torch.device("cpu")
    return make_context(small_model(0), small_split(), evaluation=evaluation, dataset="small", device=device)


@pytest.mark.parametrize(("where", "letters"), [("query", "Q"), ("gallery", "G"), ("both", "QG")])
@torch.no_grad()
def test_the_value_is_the_mean_recall_over_the_kinds(context: AttackContext, where: str, letters: str) -> None:
    rows, model, split = torch.tensor([4, 1, 40, 22]), small_model(0), small_split()
    [(column, found)] = run_attack(context, f"corrupted-{where}-2", Items(context.gallery, rows)).items()
    assert column == f"C2:{letters}" == ATTACKS.get(f"corrupted-{where}-2").columns[0].name
    expected = torch.zeros(len(rows))
    benign = split.batch(EVERY)
    for kind in KINDS:
        spoiled = corrupted(benign, kind, 2, items=EVERY, key=(context.evaluation.seed, "corruption", "small"))
        queries = model((benign if where == "gallery" else spoiled).double())[rows]
        gallery = model((benign if where == "query" else spoiled).double())
        for place, row in enumerate(rows.tolist()):
            distances = (gallery - queries[place]).norm(dim=1)
            distances[row] = torch.inf
            expected[place] += float(split.labels[distances.argmin()] == split.labels[row]) / len(KINDS)
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert 0 < float(found.mean()) < 1


def test_a_part_of_the_queries_has_a_part_of_the_values(context: AttackContext) -> None:
    [whole] = run_attack(context, "corrupted-both-5", Items(context.gallery, EVERY)).values()
    [part] = run_attack(context, "corrupted-both-5", Items(context.gallery, EVERY[7:9])).values()
    assert torch.equal(part, whole[7:9])
