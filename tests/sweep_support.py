"""A stand-in for the child program that keeps its promises at once: a lock, the record last, a state on SIGTERM."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from board_support import made_record, made_values

from robustbench_dml.runs import task
from robustbench_dml.runs.exits import ExitCode
from robustbench_dml.runs.sweeps.logs import Attempt
from robustbench_dml.runs.sweeps.plan import Job, Sweep, plan_tree
from robustbench_dml.runs.sweeps.state import Status

PROGRAM = f"""
import fcntl, json, os, signal, sys, time
from pathlib import Path

plan = json.loads(Path(os.environ["RBDML_STAND_IN"]).read_text())
mine = plan["jobs"][sys.argv[1]]
lock, record = Path(mine["lock"]), Path(mine["record"])
lock.parent.mkdir(parents=True, exist_ok=True)
with lock.open("a") as held:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit({ExitCode.BUSY:d})
    signal.signal(signal.SIGTERM, lambda *_: (Path(mine["kept"]).touch(), os._exit(130)))
    starts = Path(plan["starts"])
    before = starts.read_text().split().count(mine["digest"]) if starts.exists() else 0
    does = mine["does"][min(before, len(mine["does"]) - 1)]
    print("doing", does, os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    with starts.open("a") as told:  # last: whoever sees it may stop this process at once
        told.write(mine["digest"] + "\\n")
    if does == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if does == "wait":
        time.sleep(60)
    if does not in ("record", "slowly"):
        code, _, why = does.rpartition(":")
        print("rbdml: " + why)
        sys.exit(int(code or {ExitCode.REFUSED:d}))
    time.sleep(0.3 if does == "slowly" else 0)
    record.parent.mkdir(parents=True, exist_ok=True)
    part = record.with_suffix(".part")
    part.write_text(mine["content"])
    part.rename(record)
"""


@dataclass(frozen=True)
class StandIn:
    """What the stand-in was told, and what it has done.

    Attributes:
        sweep: its jobs.
        folder: of its files.
    """

    sweep: Sweep
    folder: Path

    @property
    def jobs(self) -> list[Job]:
        return self.sweep.jobs

    @property
    def starts(self) -> list[int]:
        """The jobs that it was started for, by number, in order."""
        path = self.folder / "starts"
        digests = [job.spec.digest for job in self.jobs]
        return [digests.index(digest) for digest in path.read_text().split()] if path.exists() else []

    def kept(self, number: int) -> Path:
        """Made when the process of this job was told to keep its state."""
        return self.folder / f"kept-{number}"

    def wait_for_starts(self, count: int) -> None:
        until = time.monotonic() + 60
        while len(self.starts) < count:
            assert time.monotonic() < until
            time.sleep(0.02)


def stand_in(tmp_path: Path, patch: pytest.MonkeyPatch, does: Sequence[Sequence[str]]) -> StandIn:
    """A sweep over as many seeds as there are lists, and a program that does its n-th job as the n-th list says.

    Each list says what its processes do, one after the other: "record", "slowly" (record after a while), "die", "wait"
    (to be stopped), or a message to fail with, maybe after its exit code ("3:diverged").
    """
    tree = {
        "defense": "regular",
        "dataset": "glyphs-mini",
        "seed": list(range(len(does))),
        "out": str(tmp_path / "out"),
    }
    sweep = plan_tree(tree, source="test")
    jobs = {
        job.task.model_dump_json(): {
            "digest": job.spec.digest,
            "lock": str(job.folder.lock),
            "record": str(job.folder.record_file),
            "kept": str(tmp_path / f"kept-{number}"),
            "content": made_record(job.spec, made_values(job.spec)).model_dump_json(),
            "does": list(does[number]),
        }
        for number, job in enumerate(sweep.jobs)
    }
    (tmp_path / "plan.json").write_text(json.dumps({"jobs": jobs, "starts": str(tmp_path / "starts")}))
    (tmp_path / "program.py").write_text(PROGRAM)
    patch.setenv("RBDML_STAND_IN", str(tmp_path / "plan.json"))
    patch.setattr(task, "PROGRAM", (sys.executable, "-S", str(tmp_path / "program.py")))
    return StandIn(sweep, tmp_path)


class Told:
    """Remembers what it is told, by the seeds of the runs."""

    def __init__(self) -> None:
        self.states: dict[int, str] = {}
        self.why: dict[int, str] = {}
        self.tried_again: list[int] = []
        self.set_aside: list[int] = []
        self.stopped = 0

    def finished(self, status: Status) -> None:
        assert status.job.spec.seed not in self.states  # each is told once
        self.states[status.job.spec.seed] = str(status.state)
        self.why[status.job.spec.seed] = status.why

    def again(self, job: Job, attempt: Attempt | None) -> None:
        self.tried_again.append(job.spec.seed)

    def elsewhere(self, job: Job) -> None:
        self.set_aside.append(job.spec.seed)

    def stopping(self, running: int) -> None:
        self.stopped = running
