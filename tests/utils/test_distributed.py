from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from robustbench_dml.spec.schema import ComputeUsed
from robustbench_dml.training.sync import average_gradients, spent_together
from robustbench_dml.utils import distributed


@pytest.mark.parametrize(("rows", "processes"), [(0, 2), (1, 4), (7, 2), (8, 3), (112, 8)])
def test_shares_are_as_even_as_can_be(rows: int, processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: processes)
    bounds = torch.tensor(distributed.share_bounds(rows))
    counts = bounds.diff()
    assert (int(bounds[0]), int(bounds[-1]), len(counts)) == (0, rows, processes)
    assert 0 <= int(counts.max() - counts.min()) <= 1


def test_one_process_is_a_team_of_its_own() -> None:
    """Nothing is exchanged and nothing is changed."""
    model, own, triplets = nn.Linear(2, 1), ComputeUsed(forward_only=3, seconds=1.5, iterations=1), torch.zeros(1, 3)
    model(torch.ones(1, 2)).sum().backward()
    assert model.weight.grad is not None
    before = model.weight.grad.clone()
    average_gradients(model.parameters())
    assert torch.equal(model.weight.grad, before)
    assert spent_together(own, loss=0.5, chosen=triplets) is own
    assert (distributed.world_size(), distributed.rank(), distributed.is_leader()) == (1, 0, True)
    assert distributed.broadcast(Path("x")) == Path("x")
    assert distributed.merge({"a": 1}) == {"a": 1}
    distributed.check_on_all(lambda: None)


def test_an_interrupt_of_one_process_alone() -> None:
    def check() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distributed.check_on_all(check)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)"), False),
    ],
)
def test_errors_of_a_lost_peer_are_recognised(error: RuntimeError, lost: bool) -> None:
    assert distributed.is_lost_peer(error) is lost


TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
SRUN = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "40007"}
LAUNCHERS: dict[str, tuple[dict[str, str], distributed.Member | None]] = {
    "none": ({}, None),
    "torchrun": (TORCHRUN, distributed.Member(3, 4, "env://", 1)),
    "srun": ({**SRUN, "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1"}, distributed.Member(3, 4, "tcp://10.0.0.1:20007", 1)),
    "srun with an address": (
        {**SRUN, "MASTER_ADDR": "node1", "MASTER_PORT": "9"},
        distributed.Member(3, 4, "tcp://node1:9", 1),
    ),
    "sbatch alone": ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"}, None),
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_launcher_is_known_by_its_environment(launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, member = LAUNCHERS[launcher]
    for name in os.environ:
        if name.startswith("SLURM_") or name in TORCHRUN:
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert distributed.launched() == member
