"""The engines for several machines, here with one; each test is for whoever has installed its extra."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sweep_support import Told, stand_in

from robustbench_dml.runs import task
from robustbench_dml.runs.sweeps import carry_out, engine, on_ray, on_slurm
from robustbench_dml.runs.sweeps.carry_out import Sweeping
from robustbench_dml.runs.sweeps.engine import Engine
from robustbench_dml.runs.sweeps.on_ray import OnRay
from robustbench_dml.runs.sweeps.on_slurm import OnSlurm
from robustbench_dml.utils.errors import RbdmlError

DOES = [["record"], ["die", "record"], ["no room"]]


def ray_here(out: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    _with_the_stand_in(ray.cloudpickle)
    return OnRay("local", cpus=0.5)


def submitit_here(out: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    _with_the_stand_in(pytest.importorskip("cloudpickle"))
    return OnSlurm(out, {"timeout_min": 5}, cluster="local")


def _with_the_stand_in(cloudpickle: Any) -> None:
    """Send other processes what does the work as it is here, where the program is another one."""
    for module in (task, engine, on_ray, on_slurm):
        cloudpickle.register_pickle_by_value(module)


@pytest.mark.parametrize("make", [ray_here, submitit_here])
def test_an_engine_does_every_run_and_the_records_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path, pytest.MonkeyPatch], Engine]
) -> None:
    monkeypatch.setattr(carry_out, "POLL", 0.2)
    world = stand_in(tmp_path, monkeypatch, DOES)
    told = Told()
    Sweeping(world.jobs, make(world.jobs[0].folder.out, monkeypatch), told, retries=1).carry_out()
    assert told.states == {0: "done", 1: "done", 2: "failed"}
    assert told.why[2] == "no room"
    assert sorted(told.tried_again) == [1, 2]
    assert sorted(world.starts) == [0, 1, 1, 2, 2]


def test_no_cluster_is_told_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with pytest.raises(RbdmlError, match=r"no Ray cluster at '127\.0\.0\.1:1'"):
        OnRay("127.0.0.1:1")


def test_no_slurm_and_a_wrong_parameter_are_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RbdmlError, match="Slurm cannot be used so"):
        OnSlurm(tmp_path, {})
    with pytest.raises(RbdmlError, match=r"Slurm cannot be used so .*timeout_mni"):
        OnSlurm(tmp_path, {"timeout_mni": 5}, cluster="local")
