from __future__ import annotations

import pytest
import torch
from support import unit_rows
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.datasets.base import Split
from robustbench_dml.evaluation.context import AttackContext, make_context
from robustbench_dml.evaluation.ensemble import run_attack
from robustbench_dml.evaluation.trace import TOP, AttackTrace, trace_attack
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.spec.registry import ATTACKS
from robustbench_dml.spec.schema import Evaluation, Threat
from robustbench_dml.utils.errors import RbdmlError

LABELS = torch.arange(24) % 3
NAMES = ["es", "ca+", "ca-w2", "qa-", "qa+m2", "spqa-m2", "tma", "ltm", "gtm", "gtt", "ranking-margin", "wrong-class"]


class Projected(nn.Module):
    """A linear map of the pixels onto the sphere, in float64: its result does not depend on the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.directions = nn.Parameter(unit_rows(16, 5, seed=1))

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize((images.flatten(1).double() - 0.5) @ self.directions, dim=1)


def attack_context(*, steps: int = 4, twins: bool = False) -> AttackContext:
    images = torch.randint(0, 256, (24, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if twins:
        images[12:] = images[:12]
    evaluation = Evaluation(protocol="ers", threat=Threat(eps=0.25, alpha=0.1, steps=steps), queries=None, seed=0)
    return make_context(
        Projected(), Split(images, LABELS), evaluation=evaluation, dataset="few", device=torch.device("cpu")
    )


def embedded(context: AttackContext, images: Tensor) -> list[list[float]]:
    return [[round(value, 12) for value in row] for row in context.model(images).tolist()]


def naive_list(context: AttackContext, close: AttackTrace, image: Tensor) -> list[int]:
    """The rows of the list, nearest first, ties by row, with the attacked image as this one."""
    everything = context.split.batch(torch.arange(24)).clone()
    everything[close.row] = image
    embeddings = embedded(context, everything)
    query = embeddings[close.query]
    key = {
        row: (round(1 - sum(a * b for a, b in zip(query, embeddings[row], strict=True)), 8), row)
        for row in range(24)
        if row != close.query
    }
    return sorted(key, key=lambda row: key[row])


@pytest.mark.parametrize("twins", [False, True], ids=["", "twins"])
@pytest.mark.parametrize("name", NAMES)
def test_rankings_equal_a_loop(name: str, twins: bool) -> None:
    context = attack_context(twins=twins)
    for row in (0, 13, 23):
        close = trace_attack(context, name, row)
        for ranking, image in zip((close.before, close.after), close.images, strict=True):
            order = naive_list(context, close, image)
            assert list(ranking.top) == order[:TOP]
            assert ranking.places == {one: order.index(one) + 1 for one in close.followed}
        assert close.competitors == len(order)
        assert {one: close.labels[one] for one in (row, *close.targets)} == {
            one: one % 3 for one in (row, *close.targets)
        }


def test_the_query_is_not_in_its_own_ranking() -> None:
    """The published code's GTM can aim at the query itself."""
    context, aimed = attack_context(), []
    for row in range(24):
        close = trace_attack(context, "gtm-published", row)
        assert set(close.before.places) == set(close.after.places) == set(close.targets) - {row}
        aimed += [row] * (row in close.targets)
    assert aimed


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_the_evaluation(name: str) -> None:
    context, untouched = attack_context(), attack_context(steps=0)
    rows = torch.tensor([5, 17])
    info = ATTACKS.get(name)
    after = run_attack(context, name, Items(context.gallery, rows))
    before = run_attack(untouched, name, Items(untouched.gallery, rows))
    for place, row in enumerate(rows.tolist()):
        close = trace_attack(context, name, row)
        assert list(close.values) == [column.name for column in info.columns]
        for column in info.columns:
            expected = [column.published(float(values[column.name][place])) for values in (before, after)]
            assert close.values[column.name] == pytest.approx(expected, abs=1e-9)


def test_the_list_is_the_querys_own_or_that_of_the_target_where_candidates_are_attacked() -> None:
    query, candidate = trace_attack(attack_context(), "qa+", 4), trace_attack(attack_context(), "ca+", 4)
    assert (query.query, query.followed) == (4, query.targets)
    assert (candidate.query, candidate.followed) == (candidate.targets[0], (4,))
    assert trace_attack(attack_context(), "es", 4).followed == ()
    for close in (query, candidate):
        assert close.right(close.query)
        assert [close.right(row) for row in close.before.top] == [
            row % 3 == close.query % 3 for row in close.before.top
        ]


def test_the_perturbation_is_measured() -> None:
    close = trace_attack(attack_context(), "es", 4)
    away = (close.images[1] - close.images[0]).flatten().tolist()
    assert torch.equal(close.images[0], attack_context().split.batch(torch.tensor([4]))[0])
    assert close.largest_change == pytest.approx(max(abs(value) for value in away))
    assert close.length == pytest.approx(sum(value * value for value in away) ** 0.5)
    assert 0.2 < close.largest_change <= 0.25 + 1e-6
    assert close.moved == pytest.approx(close.values["ES:D"][1])
    still = trace_attack(attack_context(steps=0), "es", 4)
    assert (still.largest_change, still.length, still.moved) == (0, 0, 0)
    assert still.before == still.after


@pytest.mark.parametrize("row", [-1, 24])
def test_a_row_that_is_none_is_refused(row: int) -> None:
    with pytest.raises(RbdmlError, match=f"query {row} is none of 'few': its test images are 0 to 23"):
        trace_attack(attack_context(), "es", row)


def test_an_ensemble_is_refused() -> None:
    with pytest.raises(RbdmlError, match="'worst-query' is an ensemble of attacks: choose one of them"):
        trace_attack(attack_context(), "worst-query", 0)
