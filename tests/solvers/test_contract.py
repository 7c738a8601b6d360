from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from solver_support import NORMS, RADIUS, lengths, network, problem
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from robustbench_dml.solvers.apgd import AutoPGD
from robustbench_dml.solvers.base import Problem, Restarting, Solver
from robustbench_dml.solvers.dim import DIM
from robustbench_dml.solvers.ensemble import Ensemble
from robustbench_dml.solvers.fgsm import FGSM
from robustbench_dml.solvers.mim import MIM
from robustbench_dml.solvers.nes import NES
from robustbench_dml.solvers.pgd import PGD
from robustbench_dml.solvers.square import Square
from robustbench_dml.solvers.tim import TIDIM, TIM
from robustbench_dml.solvers.transfer import Transfer
from robustbench_dml.spec.registry import SOLVERS
from robustbench_dml.spec.schema import Norm
from robustbench_dml.training.meter import PropagationMeter

STEPS = 6


@dataclass(frozen=True)
class Case:
    """A solver, and its cost per image in forwards and in passes to the input."""

    name: str
    solver: Solver
    forwards: int
    passes: int


CASES = [
    Case("pgd", PGD(), 0, STEPS),
    Case("pgd", PGD(random_start=True, restarts=3), 3, 3 * STEPS),
    Case("fgsm", FGSM(), 0, 1),
    Case("fgsm", FGSM(random_start=True), 0, 1),
    Case("apgd", AutoPGD(), 1, STEPS),
    Case("apgd", AutoPGD(restarts=2), 2, 2 * STEPS),
    Case("mim", MIM(), 0, STEPS),
    Case("mim", MIM(decay=0.5, restarts=2), 2, 2 * STEPS),
    Case("dim", DIM(diversity=0.7, least=0.5), 0, STEPS),
    Case("tim", TIM(kernel=3), 0, STEPS),
    Case("ti-dim", TIDIM(kernel=3), 0, STEPS),
    Case("nes", NES(population=6), 6 * STEPS, 0),
    Case("nes", NES(population=4, noise_side=3, sigma=0.1), 4 * STEPS, 0),
    Case("square", Square(queries=20), 20, 0),
    Case("transfer", Transfer(), 0, 0),
    # The benign values, two starts of APGD and its end, Square and its end, what transferred.
    Case("ensemble", Ensemble(restarts=2, steps=STEPS, square_queries=10), 1 + 2 + 1 + 10 + 1 + 1, 2 * STEPS),
    Case("transfer", Transfer(solver="apgd", random_start=True, restarts=2), 0, 0),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.solver))
both_norms = pytest.mark.parametrize("norm", NORMS)


def attacked(norm: Norm, *, eps: float | None = None) -> Problem:
    return problem(
        norm, eps=eps, steps=STEPS, surrogate=lambda: problem(norm, eps=eps, steps=STEPS, model=network(seed=5))
    )


def run(solver: Solver, case: Problem) -> Tensor:
    with torch.no_grad():
        return solver.run(case)


@every_case
def test_is_registered_under_its_name(case: Case) -> None:
    assert SOLVERS.get(case.name).cls is type(case.solver)


@every_case
@both_norms
def test_stays_in_the_ball_and_in_the_range_and_lowers_the_value(case: Case, norm: Norm) -> None:
    benign = attacked(norm)
    kept = benign.images.clone()
    moved = run(case.solver, benign)
    assert moved.shape == kept.shape and moved.dtype == kept.dtype and not moved.requires_grad
    assert float(lengths(moved - kept, norm).max()) <= RADIUS[norm] + 1e-9
    assert 0 <= float(moved.min()) and float(moved.max()) <= 1
    assert torch.equal(benign.images, kept)
    before, after = benign.values(kept, benign.rows), benign.values(moved, benign.rows)
    if case.name != "transfer":
        assert bool((after < before).all())


@every_case
@both_norms
def test_no_radius_gives_the_benign_images_bit_for_bit(case: Case, norm: Norm) -> None:
    benign = attacked(norm, eps=0.0)
    assert torch.equal(run(case.solver, benign), benign.images)


@pytest.mark.parametrize("solver", [PGD(), AutoPGD(), NES()], ids=repr)
def test_no_steps_move_nothing(solver: Solver) -> None:
    benign = problem(steps=0)
    assert torch.equal(run(solver, benign), benign.images)


@every_case
@both_norms
def test_the_cost_is_as_expected_and_no_weight_changes(case: Case, norm: Norm) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    benign = replace(attacked(norm), watch=lambda values, rows: seen.append((values, rows)))
    with PropagationMeter(benign.model) as meter:
        run(case.solver, benign)
    count = len(benign)
    assert (meter.forward_only, meter.to_input) == (count * case.forwards, count * case.passes)
    assert meter.to_weights == 0
    if not case.solver.needs_surrogate:
        transferred = isinstance(case.solver, Ensemble)  # its last value is of what transferred
        stated = case.solver.passes(benign.threat)
        assert stated == pytest.approx(case.passes + (case.forwards - transferred) / 3)
    assert all(parameter.grad is None for parameter in benign.model.parameters())
    assert not (case.solver.black_box and meter.to_input)
    rows = torch.cat([benign.rows[:0], *(rows for _, rows in seen)])
    assert torch.equal(rows.bincount(minlength=count), torch.full((count,), case.forwards + case.passes))
    assert not any(values.requires_grad for values, _ in seen)


class OnDevice(TorchDispatchMode):
    """Fails where a GPU would have to wait for the host: a number read out, or rows chosen by a mask."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "nonzero", "masked_select", "equal"), name
        if name.startswith("index"):
            assert all(each is None or each.dtype == torch.long for each in args[1]), "rows chosen by a mask"
        return func(*args, **(kwargs or {}))


@every_case
@both_norms
def test_does_not_wait_for_the_host(case: Case, norm: Norm) -> None:
    with OnDevice():
        run(case.solver, attacked(norm))


def test_waiting_for_the_host_would_be_seen() -> None:
    values = torch.arange(3.0)
    waits: list[Callable[[], object]] = [
        lambda: bool(values.sum()),
        values.sum().item,
        lambda: values[values > 1],
        values.nonzero,
    ]
    for wait in waits:
        with pytest.raises(AssertionError), OnDevice():
            wait()


@every_case
@both_norms
def test_runs_again_alike(case: Case, norm: Norm) -> None:
    first = run(case.solver, attacked(norm))
    torch.rand(3)  # what else was drawn does not count
    assert torch.equal(run(case.solver, attacked(norm)), first)


@every_case
@both_norms
def test_an_image_does_not_depend_on_the_others(case: Case, norm: Norm) -> None:
    whole = run(case.solver, attacked(norm))

    @settings(max_examples=5, deadline=None, database=None)
    @given(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=7))
    def check(chosen: list[int]) -> None:
        rows = torch.tensor(chosen)
        part = run(case.solver, attacked(norm).take(rows))
        assert torch.allclose(part, whole[rows], atol=1e-9, rtol=0)

    check()


@pytest.mark.parametrize(
    "make",
    [
        lambda restarts: PGD(restarts=restarts),
        lambda restarts: PGD(random_start=True, restarts=restarts),
        lambda restarts: AutoPGD(restarts=restarts),
        lambda restarts: Transfer(restarts=restarts),
    ],
)
@both_norms
def test_more_restarts_make_it_no_worse(make: Callable[[int], Solver], norm: Norm) -> None:
    def bumpy() -> Problem:
        plain = problem(norm, steps=2, model=network(hidden=8))
        return replace(plain, objective=lambda e, rows: plain.objective(e, rows) + (40 * e).sin().sum(1))

    target = bumpy()
    found = [run(make(restarts), replace(target, surrogate=bumpy)) for restarts in (1, 2, 4)]
    values = [target.values(moved, target.rows) for moved in found]
    assert bool((values[1] <= values[0] + 1e-12).all()) and bool((values[2] <= values[1] + 1e-12).all())
    assert bool((values[2] < values[0] - 1e-3).any())  # and some better


def test_an_equal_value_is_no_reason_to_move() -> None:
    flat = replace(problem(), objective=lambda e, _: (e - e.detach()).sum(1))  # all values 0, but not the gradient
    found, _ = AutoPGD().run_from(flat, flat.start(1, random=True))
    assert torch.equal(found, flat.start(1, random=True))
    assert torch.equal(run(AutoPGD(restarts=3), flat), flat.images)
    assert torch.equal(run(Square(queries=9), flat), run(Square(queries=1), flat))


def test_the_best_of_several_starts_is_kept_image_by_image() -> None:
    numbers = iter(range(3))

    @dataclass(kw_only=True)
    class Given(Restarting):
        def run_from(self, problem: Problem, start: Tensor) -> tuple[Tensor, Tensor | None]:
            restart = next(numbers)
            assert torch.equal(start, problem.start(restart, random=restart > 0))
            return torch.full_like(start, restart), torch.tensor([[1.0, 5, 0], [2, 4, 0], [0, 9, torch.inf]])[restart]

    found = Given(restarts=3).run(problem(count=3))
    assert found[:, 0, 0, 0].tolist() == [2.0, 1.0, 0.0]
