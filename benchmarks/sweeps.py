"""Sweep engines under failure: six small runs, with a node or a job killed in the middle.

    python benchmarks/sweeps.py ray      # two nodes on this machine, one of which is killed
    python benchmarks/sweeps.py slurm    # submitit's local executor, one of whose jobs is killed

Prints how long the engine took to start, every line of the sweep, and whether each run has one record.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from robustbench_dml.report.sweeps import SweepReporter
from robustbench_dml.runs.record import find_records
from robustbench_dml.runs.sweeps.carry_out import Sweeping
from robustbench_dml.runs.sweeps.engine import Engine
from robustbench_dml.runs.sweeps.plan import Sweep, plan_tree
from robustbench_dml.training.resume import RESUME_FILE

TREE = {
    "dataset": "glyphs",
    "device": "cpu",
    "defense": ["regular", "act"],
    "seed": [0, 1, 2],
    "eta": 1,
    "pairs": 16,
    "budget": "2k",
    "queries": 8,
    "attack-steps": 1,
    "checkpoint-every": "0s",
}


def main() -> None:
    """Run one trial."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=["ray", "slurm"])
    os.environ["OMP_NUM_THREADS"] = "1"
    trial = {"ray": with_ray, "slurm": with_slurm}[parser.parse_args().engine]
    with tempfile.TemporaryDirectory() as folder:
        sweep = plan_tree({**TREE, "out": f"{folder}/runs"}, source="benchmark")
        trial(sweep)
        records = find_records(Path(folder))
        logs = [job.folder.process_log.read_text() for job in sweep.jobs]
    trained = sum(log.count("exit code 0") for log in logs)
    begun = sum(log.count(": rbdml run ") for log in logs)
    print(f"{len(sweep.jobs)} runs, {len(records)} records, {begun} processes begun, {trained} of them recorded")
    if {record.digest for record in records} != {job.spec.digest for job in sweep.jobs}:
        raise SystemExit("a run is missing")


def with_ray(sweep: Sweep) -> None:
    """Start a head and a second node with two cores each. The second is killed after a run on it has saved a state."""
    from ray.cluster_utils import Cluster

    from robustbench_dml.runs.sweeps.on_ray import OnRay

    begun = time.monotonic()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    engine = OnRay(cluster.address)
    print(f"started in {time.monotonic() - begun:.1f} s")
    try:
        carry_out(sweep, engine, lambda: cluster.remove_node(second, allow_graceful=False), states=2)
    finally:
        cluster.shutdown()


def with_slurm(sweep: Sweep) -> None:
    """Start every job at once. The process of one is killed with its run."""
    from robustbench_dml.runs.sweeps.on_slurm import OnSlurm

    begun = time.monotonic()
    engine = OnSlurm(sweep.jobs[0].task.out, {"timeout_min": 30}, cluster="local")
    print(f"started in {time.monotonic() - begun:.1f} s")
    carry_out(sweep, engine, lambda: kill_a_job(sweep), states=1)


def carry_out(sweep: Sweep, engine: Engine, fail: Callable[[], object], *, states: int) -> None:
    """Run a sweep with a failure as soon as enough runs have saved a state."""

    def watch() -> None:
        while sum((job.folder.work() / RESUME_FILE).exists() for job in sweep.jobs) < states:
            time.sleep(0.02)
        print("killing", flush=True)
        fail()

    threading.Thread(target=watch, daemon=True).start()
    begun = time.monotonic()
    Sweeping(sweep.jobs, engine, SweepReporter(sweep.jobs, say=print), retries=1).carry_out()
    print(f"done in {time.monotonic() - begun:.0f} s")


def kill_a_job(sweep: Sweep) -> None:
    """Send SIGKILL to the process of a run that has saved a state, and to its parent."""
    job = next(job for job in sweep.jobs if (job.folder.work() / RESUME_FILE).exists())
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            words = (status.parent / "cmdline").read_bytes().decode().split("\0")
            parent = int(next(line for line in status.read_text().splitlines() if line.startswith("PPid")).split()[1])
        except (OSError, StopIteration):
            continue
        if words[:-1] == list(job.task.words):
            for process in (parent, int(status.parent.name)):
                os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    main()
