from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from solver_support import NORMS, RADIUS, lengths, network, problem
from torch import Tensor

from robustbench_dml.solvers.apgd import AutoPGD
from robustbench_dml.solvers.base import Problem, Solver
from robustbench_dml.solvers.blend import Blend
from robustbench_dml.solvers.guides import MOST, Guides
from robustbench_dml.solvers.least_radii import LeastRadii
from robustbench_dml.solvers.minimal_radius import MinimalRadius, bisect, radius_grid
from robustbench_dml.solvers.nes import NES
from robustbench_dml.solvers.pgd import PGD
from robustbench_dml.solvers.shrinking_ball import shrink
from robustbench_dml.solvers.square import Square
from robustbench_dml.spec.schema import Norm
from robustbench_dml.utils.errors import RbdmlError

both_norms = pytest.mark.parametrize("norm", NORMS)


def margins(norm: Norm = "linf", *, count: int = 16, steps: int = 6) -> Problem:
    """Images whose value falls below 0 at radii that differ."""
    plain = problem(norm, count=count, steps=steps, model=network(hidden=8), eps=2 * RADIUS[norm])
    benign = plain.values(plain.images, plain.rows)
    share = torch.linspace(0.7, 0.97, count, dtype=torch.float64)
    return replace(plain, objective=lambda e, rows: plain.objective(e, rows) - (share * benign)[rows])


def least_of(attacked: Problem) -> LeastRadii:
    threat = attacked.threat
    return LeastRadii(attacked.images, threat.norm, threat.eps, lambda images, rows: attacked.values(images, rows) < 0)


@pytest.mark.parametrize("solver", [PGD(random_start=True), AutoPGD(), NES(population=6), Square(queries=9)], ids=repr)
@both_norms
def test_a_radius_of_its_own_is_the_radius_of_the_threat(solver: Solver, norm: Norm) -> None:
    radii = torch.tensor([0.3, 0.1, 1, 0.5, 0.7], dtype=torch.float64) * RADIUS[norm]
    with torch.no_grad():
        together = solver.run(problem(norm).within(radii, steps=6))
        for row, radius in enumerate(radii.tolist()):
            alone = solver.run(problem(norm, eps=radius, alpha=RADIUS[norm] / 4))
            assert torch.allclose(together[row], alone[row], atol=1e-9, rtol=0)


def test_a_part_keeps_the_radii_of_its_rows() -> None:
    radii = torch.tensor([0.3, 0.1, 1, 0.5, 0.7], dtype=torch.float64)
    whole = problem(surrogate=lambda: problem(model=network(seed=5))).within(radii, steps=2)
    part = whole.take(torch.tensor([4, 1]))
    assert part.radii is not None and part.radii.tolist() == [0.7, 0.1]
    assert part.surrogate is not None and part.surrogate().radii.tolist() == [0.7, 0.1]  # type: ignore[union-attr]
    assert part.surrogate().threat.steps == 2


def test_the_grid_rises_by_one_factor_up_to_the_cap() -> None:
    grid = radius_grid(0.25, 77, per_octave=4)
    assert grid[0] == 0.25 and grid[-1] == 77 and {1.0, 4.0, 8.0, 16.0} <= {round(radius, 9) for radius in grid}
    factors = [later / earlier for earlier, later in pairwise(grid)]
    assert all(abs(factor - 2**0.25) < 1e-9 for factor in factors[:-1]) and 1 < factors[-1] <= 2**0.25 + 1e-9
    assert radius_grid(0.25, 16, per_octave=4)[-2:] == pytest.approx([16 / 2**0.25, 16])
    assert radius_grid(2, 1, per_octave=4) == [1]


@both_norms
def test_bisection_finds_the_least_radius_at_which_the_search_breaks_an_image(norm: Norm) -> None:
    attacked = margins(norm)
    grid = [attacked.threat.eps * (step + 1) / 77 for step in range(77)]
    search = AutoPGD().run
    with torch.no_grad():
        least = least_of(attacked)
        bisect(attacked, least, search, grid, stage=0)
        exhaustive = torch.full((16,), torch.inf, dtype=torch.float64)
        for radius in reversed(grid):
            moved = search(attacked.within(torch.full((16,), radius, dtype=torch.float64), steps=6))
            exhaustive[attacked.values(moved, attacked.rows) < 0] = radius
    assert len(set(exhaustive.tolist())) > 4
    place = torch.searchsorted(torch.tensor(grid, dtype=torch.float64), least.radii * (1 - 1e-9))
    assert torch.tensor(grid, dtype=torch.float64)[place].tolist() == exhaustive.tolist()


@both_norms
def test_every_radius_has_an_image_that_shows_it(norm: Norm) -> None:
    attacked = margins(norm)
    least = least_of(attacked)
    start = attacked.within(least.reach, steps=1).start(1, random=True)
    with torch.no_grad():
        bisect(attacked, least, AutoPGD().run, radius_grid(0.01, least.cap, per_octave=2), stage=3)
        first = least.radii.clone()
        for stage, (first_images, factor) in enumerate([(least.images, 1), (start, 4), (attacked.images, 2)], start=4):
            shrink(
                attacked,
                least,
                attacked.rows,
                attacked.objective,
                first_images,
                factor=factor,
                steps=20,
                stage=stage,
            )
    found = least.radii.isfinite()
    assert bool(found.any()) and bool((least.radii <= first).all())
    assert float((least.radii / first)[found].mean()) < 0.9  # the grid is coarse
    assert torch.allclose(lengths(least.images - attacked.images, norm)[found], least.radii[found])
    assert bool((attacked.values(least.images, attacked.rows)[found] < 0).all())
    assert float(least.radii[found].max()) <= least.cap and 0 <= float(least.images.min()) <= least.images.max() <= 1
    assert set(least.stage[found].tolist()) <= {3.0, 4.0, 5.0, 6.0}
    assert torch.equal(least.images[~found], attacked.images[~found])


def test_what_the_judge_refuses_is_farther_or_beyond_the_cap_is_not_kept() -> None:
    benign, rows = torch.zeros(3, 1, 1, 2), torch.arange(3)
    least = LeastRadii(benign, "linf", 0.5, lambda images, rows: rows != 1)
    assert least.offer(benign + 0.4, rows, 0).tolist() == [True, False, True]
    assert least.offer(benign + torch.tensor([0.3, 0.3, 0.45])[:, None, None, None], rows, 1).tolist() == [
        True,
        False,
        False,
    ]
    assert least.radii.tolist() == pytest.approx([0.3, torch.inf, 0.4]) and least.stage.tolist() == [1, -1, 0]
    assert not LeastRadii(benign, "linf", 0.2, lambda images, rows: rows >= 0).offer(benign + 0.3, rows, 0).any()


@both_norms
def test_blend_takes_the_best_of_the_lines_to_its_guides(norm: Norm) -> None:
    plain = problem(norm)
    others = torch.rand(9, *plain.images.shape[1:], generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rows = torch.arange(5)[:, None] + torch.arange(4)
    attacked = replace(plain, guides=lambda: Guides(rows, lambda taken: others[taken]))
    moved = Blend(guides=3).run(attacked)
    trials = torch.stack([plain.images, *(plain.ball.project(others[rows[:, number]]) for number in range(3))])
    values = torch.stack([plain.values(trial, plain.rows) for trial in trials])
    assert torch.equal(plain.values(moved, plain.rows), values.amin(0))
    assert float(lengths(moved - plain.images, norm).max()) <= RADIUS[norm] + 1e-9
    part = Blend(guides=3).run(attacked.take(torch.tensor([3, 1])))
    assert torch.allclose(part, moved[[3, 1]], atol=1e-9, rtol=0)


def test_blend_without_guides_or_with_a_wrong_number_of_them_is_refused() -> None:
    with pytest.raises(RbdmlError, match="no images to move towards"):
        Blend().run(problem())
    for number in (0, MOST + 1):
        with pytest.raises(RbdmlError, match=f"guides = {number}: give 1 to 16"):
            Blend(guides=number)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"named": "0,4"}, "named = '0,4': give rising radii above 0"),
        ({"named": "-1,4"}, "above 0"),
        ({"named": "8,4"}, "rising"),
        ({"named": "4,4"}, "rising"),
        ({"named": "nan"}, "above 0"),
        ({"named": "4,inf"}, "above 0"),
        ({"named": ""}, "numbers divided by commas"),
        ({"named": "4 8"}, "numbers divided by commas"),
        ({"finest": 0.0}, "finest = 0.0: the least radius of the bisection is above 0"),
        ({"finest": float("nan")}, "finest = nan"),
        *(
            ({name: 0}, f"{name} = 0: give at least one")
            for name in ("per_octave", "steps", "rounds", "square_queries")
        ),
    ],
)
def test_parameters_out_of_range_are_refused(params: dict[str, float | int | str], message: str) -> None:
    with pytest.raises(RbdmlError, match=message):
        MinimalRadius(**params)  # type: ignore[arg-type]


@both_norms
def test_run_by_itself_it_descends_at_the_full_radius(norm: Norm) -> None:
    attacked = problem(norm)
    with torch.no_grad():
        moved: Tensor = MinimalRadius(steps=6).run(attacked)
        assert torch.allclose(moved, AutoPGD().run(attacked), atol=1e-9, rtol=0)
