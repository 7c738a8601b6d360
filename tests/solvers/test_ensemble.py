from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from solver_support import NORMS, network, problem
from torch import Tensor

from robustbench_dml.solvers.apgd import AutoPGD
from robustbench_dml.solvers.base import Problem, Solver
from robustbench_dml.solvers.ensemble import Ensemble
from robustbench_dml.solvers.square import Square
from robustbench_dml.solvers.transfer import Transfer
from robustbench_dml.spec.schema import Norm
from robustbench_dml.utils.errors import RbdmlError


def attacked(norm: Norm, steps: int) -> Problem:
    return problem(norm, steps=steps, surrogate=lambda: problem(norm, steps=steps, model=network(seed=5)))


@torch.no_grad()
def ends(solver: Solver, case: Problem) -> Tensor:
    return case.values(solver.run(case), case.rows)


@pytest.mark.parametrize("norm", NORMS)
def test_the_best_of_its_searches_for_every_image(norm: Norm) -> None:
    few, many = attacked(norm, 3), attacked(norm, 9)
    parts = [
        ends(AutoPGD(restarts=2), many),
        ends(Square(queries=40), few),
        ends(Transfer(), few),
        few.values(few.images, few.rows),
    ]
    found = ends(Ensemble(restarts=2, steps=9, square_queries=40), few)
    assert torch.equal(found, torch.stack(parts).amin(0))


@pytest.mark.parametrize("norm", NORMS)
def test_a_longer_problem_is_longer_on_its_surrogate_too(norm: Norm) -> None:
    few, many = attacked(norm, 3), attacked(norm, 9)
    search = Transfer(solver="apgd")
    found = search.run(Ensemble(steps=9).longer(few))
    assert torch.equal(found, search.run(many))
    assert not torch.equal(found, search.run(few))


def test_without_a_surrogate_nothing_is_transferred() -> None:
    case = attacked("linf", 3)
    alone = replace(case, surrogate=None)
    short = Ensemble(restarts=1, steps=1, square_queries=1)
    assert bool((ends(short, case) <= ends(short, alone)).all())
    assert torch.equal(
        ends(short, alone),
        torch.stack(
            [
                ends(AutoPGD(), attacked("linf", 1)),
                ends(Square(queries=1), alone),
                alone.values(alone.images, alone.rows),
            ]
        ).amin(0),
    )


@pytest.mark.parametrize("name", ["restarts", "steps", "square_queries", "classes"])
def test_it_does_everything_at_least_once(name: str) -> None:
    with pytest.raises(RbdmlError, match=f"{name} = 0"):
        Ensemble(**{name: 0})
