"""Least radii on small networks: against closed forms, other attacks, and with other batches."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from attack_support import EVERY as ALL
from attack_support import small_model as model
from attack_support import small_split as split
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.attacks.radius import RadiusCandidate, RadiusQuery
from robustbench_dml.datasets.base import Split
from robustbench_dml.evaluation.attack_cache import AttackCache
from robustbench_dml.evaluation.context import AttackContext, make_context
from robustbench_dml.evaluation.ensemble import run_attack
from robustbench_dml.evaluation.evaluate import attacked_values
from robustbench_dml.evaluation.radius import RadiusAttack
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.solvers.least_radii import LeastRadii
from robustbench_dml.solvers.minimal_radius import MinimalRadius
from robustbench_dml.spec.published import PROTOCOLS
from robustbench_dml.spec.registry import ATTACKS, SOLVERS
from robustbench_dml.spec.schema import Evaluation, Norm, SolverSpec, Threat
from robustbench_dml.training.meter import PropagationMeter
from robustbench_dml.utils.interrupts import deferred_interrupts

CPU = torch.device("cpu")
SMALL: dict[str, bool | int | float | str] = {**vars(MinimalRadius()), "steps": 20, "square_queries": 20}
ATTACKED = ("radius-query", "radius-candidate")


def evaluation(eps: float, norm: Norm = "linf", **params: int | str) -> Evaluation:
    solver = SolverSpec(name="minimal-radius", params={**SMALL, **params})
    threat = Threat(norm=norm, eps=eps, alpha=eps / 4, steps=5)
    return Evaluation(protocol="radius", threat=threat, queries=None, seed=0, solver=solver)


def context(
    eps: float = 0.3,
    norm: Norm = "linf",
    *,
    network: nn.Module | None = None,
    images: Split | None = None,
    surrogate: bool = False,
    **params: int | str,
) -> AttackContext:
    settings, images = evaluation(eps, norm, **params), images or split()
    other = make_context(model(1), images, evaluation=settings, dataset="small", device=CPU) if surrogate else None
    return make_context(network or model(0), images, evaluation=settings, dataset="small", device=CPU, surrogate=other)


def attack(place: AttackContext, rows: Tensor = ALL, names: tuple[str, ...] = ATTACKED) -> dict[str, np.ndarray]:
    found = [run_attack(place, name, Items(place.gallery, rows)) for name in names]
    return {column: values.numpy() for one in found for column, values in one.items()}


@cache
def usual() -> dict[str, np.ndarray]:
    return attack(context())


class Linear(nn.Module):
    """A linear map, scaled to unit length."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, size, generator=torch.Generator().manual_seed(3)).double())

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize((images.double().flatten(1) - 0.5) @ self.weight.T, dim=1)


def pairs() -> Split:
    """Classes of two grey images each, so that a query has one right item, and no pixel meets the end of its range."""
    rng, labels = torch.Generator().manual_seed(4), torch.arange(24) // 2
    means = torch.randint(100, 156, (12, 1, 4, 4), generator=rng)
    return Split((means[labels] + torch.randint(-9, 10, (24, 1, 4, 4), generator=rng)).to(torch.uint8), labels)


def boundaries(place: AttackContext, norm: Norm) -> np.ndarray:
    """Distances to where a wrong item comes before the right one: the least of hyperplanes, 0 where one is there."""
    images = place.split.batch(torch.arange(24)).double().flatten(1) - 0.5
    weight, gallery = next(iter(place.model.parameters())).double(), place.gallery.embeddings
    found = []
    for query in range(24):
        wrong = [row for row in range(24) if row // 2 != query // 2]
        across = (gallery[query ^ 1] - gallery[wrong]) @ weight  # (wrong, pixels)
        ahead = across @ images[query]
        length = across.abs().sum(1) if norm == "linf" else across.norm(dim=1)
        found.append(max(0.0, float((ahead / length).min())))
    return np.array(found)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_radius_of_a_linear_model_is_its_closed_form(norm: Norm) -> None:
    with torch.no_grad():
        place = context(0.3 if norm == "linf" else 1.2, norm, network=Linear(16), images=pairs(), named="4")
        found = attack(place, torch.arange(24), ("radius-query",))["MR:Q"]
        exact = boundaries(place, norm)
    assert (
        (exact == 0).sum() == (found == 0).sum() and (exact > 0).sum() > 4 and exact.max() < place.evaluation.threat.eps
    )
    right = exact > 0
    assert (found[right] >= exact[right] * (1 - 1e-6)).all()
    assert (found[right] <= exact[right] * 1.02).all()


def test_queries_that_are_wrong_untouched_have_radius_0_and_no_other() -> None:
    place, values = context(), usual()
    block = place.block(RadiusQuery(), "ranking-margin", Items(place.gallery, ALL))
    assert np.array_equal(values["MR:Q"] == 0, block.recall_at_1(block.benign).numpy() == 0)
    planted = place.block(RadiusCandidate(), "ca+", Items(place.gallery, ALL))
    assert np.array_equal(values["MR:C"] == 0, planted.rank_of_item(planted.benign)[:, 0].numpy() <= 0.01)
    assert ((values["MR:Q stage"] == -1) <= np.isin(values["MR:Q"], (0, 0.3))).all()


def test_the_columns_are_those_of_the_radii() -> None:
    values = usual()
    assert 0.005 < np.median(values["MR:Q"][values["MR:Q"] > 0]) < 0.2 and len(set(values["MR:Q stage"])) > 2
    assert np.array_equal(values["r50"], values["MR:Q"])
    for radius in (4, 8, 16):
        assert np.array_equal(values[f"R@1:{radius}"], (values["MR:Q"] > radius / 255).astype(float))
    assert 0 < values["R@1:8"].mean() < values["R@1:4"].mean()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_radius_is_shown_by_an_image_in_the_ball_that_breaks_the_item(
    norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[LeastRadii] = []
    begin = LeastRadii.__post_init__

    def noted(self: LeastRadii) -> None:
        begin(self)
        kept.append(self)

    monkeypatch.setattr(LeastRadii, "__post_init__", noted)
    place = context(0.3 if norm == "linf" else 1.0, norm)
    values = attack(place)
    for cls, least, column in zip((RadiusQuery, RadiusCandidate), kept, ("MR:Q", "MR:C"), strict=True):
        check_shown(cls(), place, least, values[column])


def check_shown(attack: RadiusAttack, place: AttackContext, least: LeastRadii, radii: np.ndarray) -> None:
    rows = torch.from_numpy(np.flatnonzero(radii > 0))
    block = place.block(attack, attack.drawn_as, Items(place.gallery, ALL)).take(rows)
    found = least.radii.isfinite()
    away = (least.images.double() - place.split.batch(ALL[rows]).double()).flatten(1)
    distance = away.abs().amax(1) if least.norm == "linf" else away.norm(dim=1)
    assert torch.allclose(distance[found], torch.from_numpy(radii[rows])[found], atol=1e-12, rtol=1e-6)
    assert bool(found.any()) and float(least.images.min()) >= 0 and float(least.images.max()) <= 1
    with torch.no_grad():
        assert bool(attack.broken(place.model(least.images), block)[found].all())
    assert (radii[rows][~found.numpy()] == least.cap).all()


def test_no_radius_is_above_the_cap_and_a_lower_cap_changes_none_below_it_much() -> None:
    values = attack(context(0.03), names=("radius-query",))
    assert values["MR:Q"].max() <= 0.03 and (values["MR:Q"][values["MR:Q stage"] == -1] % 0.03 == 0).all()
    assert set(values) == {"MR:Q", "r50", "R@1:4", "MR:Q stage"}
    below = usual()["MR:Q"] < 0.025
    assert np.abs(values["MR:Q"] - usual()["MR:Q"])[below].max() < 0.005


def test_every_part_of_the_queries_has_the_same_radii() -> None:
    for rows in (ALL.flip(0), ALL[5:17], ALL[40:41]):
        part = attack(context(), rows)
        for column, values in part.items():
            assert np.allclose(values, usual()[column][rows.numpy()], atol=1e-6, rtol=0), column


def test_batches_and_interruptions_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "evaluation.safetensors"
    rows, whole = ALL[:12], attacked_values(context(), ALL[:12], batch_size=5)
    for column, values in whole.items():
        assert np.allclose(values, usual()[column][:12], atol=1e-6, rtol=0), column
    calls: list[int] = []
    run = RadiusAttack.run

    def interrupted(self: RadiusAttack, *arguments: object) -> dict[str, Tensor]:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return run(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(RadiusAttack, "run", interrupted)
    with pytest.raises(KeyboardInterrupt), deferred_interrupts():
        attacked_values(context(), rows, batch_size=5, cache=AttackCache(file, of="this"))
    resumed = attacked_values(context(), rows, batch_size=5, cache=AttackCache(file, of="this"))
    assert len(calls) == 4 + 3  # of 6, three were known
    assert all(torch.equal(resumed[column], values) for column, values in whole.items())


def test_more_rounds_only_lower_radii() -> None:
    one = attack(context(rounds=1), names=("radius-query",))["MR:Q"]
    more = attack(context(rounds=3), names=("radius-query",))["MR:Q"]
    assert (more <= one).all() and (more <= usual()["MR:Q"]).all()


def test_within_a_round_transfer_only_lowers_radii() -> None:
    without = attack(context(rounds=1), names=("radius-query",))["MR:Q"]
    found = attack(context(rounds=1, surrogate=True), names=("radius-query",))["MR:Q"]
    assert (found <= without).all()


def test_it_costs_no_more_than_it_states() -> None:
    place = context(surrogate=True)
    solver = MinimalRadius(**SMALL)  # type: ignore[arg-type]
    for name in ATTACKED:
        with PropagationMeter(place.model) as meter, PropagationMeter(place.surrogate.model) as other:  # type: ignore[union-attr]
            attack(place, names=(name,))
        spent = sum(one.to_input + one.forward_only / 3 for one in (meter, other))
        stated = ATTACKS.get(name).build().passes(solver, 0.3, transfers=True)
        assert 0.2 * stated < spent / len(ALL) <= stated


def test_the_protocol_names_every_parameter_of_its_search_in_their_order() -> None:
    search = PROTOCOLS["radius"].solver
    assert search.params == vars(SOLVERS.get(search.name).cls())
    assert list(search.params) == list(vars(MinimalRadius()))


def test_by_default_a_query_costs_no_more_than_1200_passes() -> None:
    costs = [ATTACKS.get(name).build().passes(MinimalRadius(), 77 / 255, transfers=False) for name in ATTACKED]
    assert sum(costs) <= 1200
