from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from solver_support import lengths, network, problem
from torch import Tensor

from robustbench_dml.solvers import base
from robustbench_dml.solvers.pgd import PGD
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.randomness import uniform_per_item


def test_a_part_has_the_images_objective_randomness_and_surrogate_of_its_rows() -> None:
    whole = problem(surrogate=lambda: problem(model=network(seed=5)))
    rows = torch.tensor([4, 1, 1, 0, 2, 3, 4])
    part = whole.take(rows)
    assert torch.equal(part.images, whole.images[rows])
    assert torch.equal(part.rows, torch.arange(7))
    assert torch.equal(part.values(part.images, part.rows), whole.values(whole.images[rows], rows))
    assert torch.equal(part.uniform(3, "x"), whole.uniform(3, "x")[rows])
    assert torch.equal(part.start(1, random=True), whole.start(1, random=True)[rows])
    assert part.surrogate is not None and whole.surrogate is not None
    other, expected = part.surrogate(), whole.surrogate()
    assert torch.equal(other.values(other.images, other.rows), expected.values(whole.images[rows], rows))
    again = part.take(torch.tensor([2, 0]))
    assert torch.equal(again.values(again.images, again.rows), whole.values(whole.images[[1, 4]], torch.tensor([1, 4])))
    assert whole.take(rows[:0]).values(whole.images[:0], rows[:0]).shape == (0,)


def test_watch_gets_the_rows_of_the_whole_problem() -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    whole = replace(problem(), watch=lambda values, rows: seen.append((values, rows)))
    part = whole.take(torch.tensor([3, 0, 2])).take(torch.tensor([2, 0]))
    values = part.values(part.images, part.rows)
    gradient_values, _ = part.gradient(part.images, part.rows)
    assert [rows.tolist() for _, rows in seen] == [[2, 3], [2, 3]]
    assert torch.equal(seen[0][0], values) and torch.equal(seen[1][0], gradient_values)


def test_the_gradient_is_that_of_each_image() -> None:
    whole = problem(model=network(hidden=4))
    values, gradient = whole.gradient(whole.images, whole.rows)
    assert torch.equal(values, whole.values(whole.images, whole.rows))
    step, along = 1e-6, torch.randn(whole.images.shape, generator=torch.Generator().manual_seed(0)).double()
    up, down = (whole.values(whole.images + sign * step * along, whole.rows) for sign in (1, -1))
    assert torch.allclose((gradient * along).sum((1, 2, 3)), (up - down) / (2 * step), rtol=1e-6)


def test_no_graph_means_no_gradient() -> None:
    whole = problem()
    cut = replace(whole, objective=lambda e, rows: whole.objective(e.detach(), rows))
    values, gradient = cut.gradient(cut.images, cut.rows)
    assert torch.equal(values, whole.values(whole.images, whole.rows))
    assert torch.equal(gradient, torch.zeros_like(whole.images))
    constant = replace(whole, objective=lambda e, rows: e.new_ones(len(e), requires_grad=True))
    assert torch.equal(constant.gradient(constant.images, constant.rows)[1], torch.zeros_like(whole.images))


def test_values_that_are_not_a_number_are_no_success() -> None:
    whole = problem()
    seen: list[Tensor] = []
    torn = replace(
        whole,
        objective=lambda e, rows: torch.where(rows == 1, torch.nan, 1.0) * whole.objective(e, rows),
        watch=lambda values, _: seen.append(values),
    )
    values, gradient = torn.gradient(torn.images, torn.rows)
    assert values[1] == torch.inf and bool(values[[0, 2, 3, 4]].isfinite().all())
    assert bool(gradient.isfinite().all()) and not bool(gradient[1].any())
    assert torn.values(torn.images, torn.rows)[1] == torch.inf
    assert [bool(values.isnan().any()) for values in seen] == [False, False]
    assert bool(PGD(restarts=2).run(torn).isfinite().all())


def test_uniform_numbers_stay_below_one_in_any_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def highest(items: Tensor, draws: int, *, key: object, first: int = 0) -> Tensor:
        return torch.full((len(items), draws), 1 - 2.0**-53, dtype=torch.float64)

    monkeypatch.setattr(base, "uniform_per_item", highest)
    whole = problem()
    single = replace(whole, images=whole.images.float())
    assert float(single.uniform(2, "x").max()) == 1 - 2.0**-24
    assert float(whole.uniform(2, "x").max()) == 1 - 2.0**-53


def test_numbers_belong_to_the_item_the_key_and_the_purpose() -> None:
    whole = problem()
    expected = uniform_per_item(whole.items, 4, key=(0, "test", "x", 2), first=3)
    assert torch.equal(whole.uniform(4, "x", 2, first=3), expected)
    starts = [whole.start(0, random=True), whole.start(1, random=True), problem(key="other").start(0, random=True)]
    assert not torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])
    assert torch.equal(whole.start(1, random=False), whole.images)
    assert float(lengths(starts[0] - whole.images, "linf").max()) <= whole.threat.eps + 1e-12


def test_at_least_one_start() -> None:
    with pytest.raises(RbdmlError, match="restarts = 0"):
        PGD(restarts=0)
