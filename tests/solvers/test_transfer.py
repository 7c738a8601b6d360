from __future__ import annotations

import pytest
import torch
from solver_support import network, problem

from robustbench_dml.solvers.apgd import AutoPGD
from robustbench_dml.solvers.base import Problem, Solver
from robustbench_dml.solvers.fgsm import FGSM
from robustbench_dml.solvers.pgd import PGD
from robustbench_dml.solvers.transfer import Transfer
from robustbench_dml.utils.errors import RbdmlError


def other() -> Problem:
    return problem(model=network(seed=5, hidden=6))


@pytest.mark.parametrize(
    ("transfer", "inner"),
    [
        (Transfer(), PGD()),
        (Transfer(random_start=True, restarts=2), PGD(random_start=True, restarts=2)),
        (Transfer(solver="apgd", restarts=3), AutoPGD(restarts=3)),
        (Transfer(solver="fgsm", random_start=True), FGSM(random_start=True)),
    ],
    ids=repr,
)
def test_returns_the_result_of_the_solver_on_the_surrogate(transfer: Transfer, inner: Solver) -> None:
    found = transfer.run(problem(surrogate=other))
    assert torch.equal(found, inner.run(other()))
    assert not torch.allclose(found, inner.run(problem()), atol=1e-3)


def test_there_has_to_be_a_surrogate() -> None:
    with pytest.raises(RbdmlError, match="--surrogate"):
        Transfer().run(problem())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"solver": "transfer"}, "needs a surrogate itself"),
        ({"solver": "pgdd"}, "unknown solver 'pgdd'"),
        ({"solver": "fgsm", "restarts": 2}, "no parameter 'restarts'"),
        ({"solver": "square", "random_start": True}, "no parameter 'random_start'"),
        ({"restarts": 0}, "restarts = 0"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RbdmlError, match=message):
        Transfer(**settings)  # type: ignore[arg-type]
