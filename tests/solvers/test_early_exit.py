from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import SMALL_IMAGE
from torch import Tensor

from robustbench_dml.models.embedder import Embedder
from robustbench_dml.solvers import early_exit as leaving
from robustbench_dml.solvers import group_pgd as perturb
from robustbench_dml.solvers.early_exit import PARTS, ActiveGroups
from robustbench_dml.solvers.group_pgd import pgd
from robustbench_dml.spec.schema import Threat
from robustbench_dml.training.meter import PropagationMeter

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
FLAGS = st.lists(st.booleans(), min_size=1, max_size=60)


@given(FLAGS)
def test_on_the_cpu_the_unfinished_go_on_at_once(done: list[bool]) -> None:
    staying = ActiveGroups(len(done), CPU).staying(torch.tensor(done))
    unfinished = [place for place, flag in enumerate(done) if not flag]
    assert (staying is None) == (not any(done))
    assert staying is None or staying.tolist() == unfinished


@given(FLAGS, st.data())
def test_on_a_gpu_the_count_of_the_last_step_decides_and_the_batch_has_few_sizes(
    done: list[bool], data: st.DataObject
) -> None:
    """The flags are on the CPU. The test is about which groups continue, and when."""
    unit, late = -(-len(done) // PARTS), ActiveGroups(len(done), CUDA)
    assert late.staying(torch.tensor(done)) is None
    more = [flag or data.draw(st.booleans()) for flag in done]  # who is finished stays so
    staying = late.staying(torch.tensor(more))
    size = len(done) if staying is None else len(staying)
    assert size % unit == 0 or size == len(done)
    assert done.count(False) <= size < done.count(False) + unit
    if staying is not None:
        kept = staying.tolist()
        assert len(set(kept)) == size
        assert {place for place, flag in enumerate(more) if not flag} <= set(kept)
        assert kept == sorted(kept, key=lambda place: (more[place], place))


@pytest.mark.parametrize("steps", [1, 2, 6, 12])
def test_the_perturbations_are_those_of_the_cpu_and_few_images_more_are_paid_for(
    linear_model: Embedder, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    rng = torch.Generator().manual_seed(0)
    start = torch.rand(40, *SMALL_IMAGE, generator=rng, dtype=torch.float64)
    goal, room = linear_model(start).detach().flip(0), torch.linspace(0.0, 1.2, 40).double()

    def objective(embeddings: Tensor, rows: Tensor) -> Tensor:
        return ((embeddings - goal[rows]).norm(dim=-1) - room[rows]).relu().square()

    def attacked() -> tuple[Tensor, int]:
        with PropagationMeter(linear_model.backbone) as meter:
            moved = pgd(
                linear_model,
                start,
                objective,
                threat=Threat(eps=0.2, alpha=0.05, steps=steps),
                finished=lambda values: values == 0,
            )
        return moved, meter.to_input

    expected, least = attacked()
    monkeypatch.setattr(perturb, "ActiveGroups", lambda groups, _: ActiveGroups(groups, CUDA))
    moved, paid = attacked()
    assert torch.allclose(moved, expected, atol=1e-12, rtol=0)
    assert least <= paid <= 40 * steps
    if steps > 6:
        assert paid < 40 * steps


def test_the_host_never_waits_for_the_last_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each step the number of the step before is read, and no other."""
    read: list[int] = []

    def count(flags: Tensor) -> Callable[[], int]:
        number = int(flags.sum())

        def ask() -> int:
            read.append(number)
            return number

        return ask

    monkeypatch.setattr(leaving, "_count", count)
    late = ActiveGroups(16, CUDA)
    for finished in (1, 3, 6):
        late.staying(torch.arange(16) < finished)
    assert read == [15, 13]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_pgd_never_makes_a_gpu_wait_for_the_host() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 8)).cuda()
    images = torch.rand(64, 1, 28, 28, device="cuda")
    room = torch.linspace(-1, 1, 64, device="cuda")
    torch.cuda.set_sync_debug_mode("error")  # what stops until the device is idle raises
    try:
        moved = pgd(
            model,
            images,
            lambda embeddings, rows: (embeddings.sum(1) - room[rows]).relu().square(),
            threat=Threat(eps=0.2, alpha=0.05, steps=12),
            finished=lambda values: values == 0,
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not torch.equal(moved, images)
