"""`rbdml run --devices`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cli_support import HM, RUN, Made, cost_of, files_below, rbdml, refusal

from robustbench_dml.runs.record import Record, find_records, read_queries
from robustbench_dml.spec.schema import ComputeUsed
from robustbench_dml.training.resume import RESUME_FILE, resume_files
from robustbench_dml.utils.tensors import read_tensors


@pytest.fixture(scope="module")
def shared_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def two(shared_out: Path) -> Record:
    """A run on two devices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        answer = rbdml(*RUN, "--devices", "2", "--out", shared_out, "--json")
    assert (answer.code, answer.err) == (0, "")
    return Record.model_validate_json(answer.out)


def test_a_run_on_two_devices_is_the_run_on_one_but_for_rounding(made: Made, two: Record, shared_out: Path) -> None:
    record, tmp_path = two, shared_out
    assert [record] == find_records(tmp_path)
    assert (record.digest, record.spec) == (made.record.digest, made.record.spec)
    assert cost_of(record).passes == cost_of(made.record).passes
    assert cost_of(record).spent.iterations == cost_of(made.record).spent.iterations
    assert record.values == pytest.approx(made.record.values, abs=15)  # of 8 queries, one is 12.5
    assert record.training_end is not None and record.training_end.device.endswith("(cpu, 2 processes)")
    assert record.provenance.device == record.training_end.device
    queries = read_queries(tmp_path / "glyphs-mini" / record.digest)
    assert list(queries) == list(read_queries(made.folder))
    assert {path.name for path in files_below(tmp_path)} >= {"record.json", "checkpoint.safetensors", "queries.npz"}
    assert not [path for path in files_below(tmp_path) if path.name == RESUME_FILE]
    again = rbdml(*RUN, "--devices", "2", "--out", tmp_path)
    assert again.out.startswith("already recorded on")  # and no process was started


def environments(launcher: str) -> list[tuple[list[str], dict[str, str]]]:
    """The processes that a launcher starts: words before those of `rbdml`, and environment variables."""
    plain = [sys.executable, "-P", "-m"]
    if launcher == "torchrun":
        return [
            ([*plain, "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "robustbench_dml"], {})
        ]
    shared = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": str(os.getpid()), "MASTER_ADDR": "localhost"}
    tasks = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
    return [([*plain, "robustbench_dml"], {**shared, **task}) for task in tasks]


@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_launchers_of_others_make_the_record_of_devices(launcher: str, two: Record, tmp_path: Path) -> None:
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    started = [
        subprocess.Popen(
            [*words, *RUN, "--protocol", "ers", "--json", "--out", str(tmp_path)],
            env={**settings, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for words, variables in environments(launcher)
    ]
    printed = [process.communicate(timeout=600) for process in started]
    assert [process.returncode for process in started] == [0] * len(started), printed
    [output] = [out for out, _ in printed if out]  # of the process that leads
    record = Record.model_validate_json(output)
    assert [record] == find_records(tmp_path)
    assert (record.digest, record.values) == (two.digest, two.values)
    assert record.provenance.weights == two.provenance.weights
    assert record.provenance.device == two.provenance.device


@pytest.mark.usefixtures("no_training")
def test_a_process_of_a_launcher_starts_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    line = refusal(rbdml(*RUN, "--devices", "3", "--out", tmp_path))
    assert "--devices 3: 2 processes were started already: leave it out" in line


def test_an_evaluation_on_two_devices_is_that_on_one(made: Made, tmp_path: Path) -> None:
    words = ("evaluate", made.folder, "--queries", "6", "--device", "cpu", "--json")
    alone, pair = (rbdml(*words, "--devices", n, "--out", tmp_path / n) for n in ("1", "2"))
    assert (alone.code, pair.code) == (0, 0), alone.err + pair.err
    one, other = (Record.model_validate_json(answer.out) for answer in (alone, pair))
    assert (one.digest, one.values) == (other.digest, other.values)
    assert other.provenance.device.endswith("(cpu, 2 processes)")


def test_an_interrupt_is_passed_on_and_the_state_is_kept(tmp_path: Path) -> None:
    def interrupt() -> None:
        while not [path for path in files_below(tmp_path) if path.name == before]:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = resume_files(Path(RESUME_FILE))[1].name  # there are two states
    handler = signal.getsignal(signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    run = (*HM, "--budget", "1M", "--devices", "2", "--checkpoint-every", "1s", "--out", tmp_path)
    answer = rbdml(*run, "--quiet", terminal=True)
    assert (answer.code, answer.out) == (130, "")
    assert answer.err.strip() == "rbdml: interrupted; the same command goes on from here"
    assert signal.getsignal(signal.SIGINT) == handler
    [state] = [path for path in files_below(tmp_path) if path.name == RESUME_FILE]
    assert ComputeUsed.model_validate_json(read_tensors(state)[1]["spent"]).iterations > 1
    assert find_records(tmp_path) == []


@pytest.mark.usefixtures("no_training")
def test_senseless_numbers_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    assert "a batch has 16 pairs" in refusal(rbdml(*RUN, "--devices", "17", "--out", tmp_path))
    assert "needs at least one" in refusal(rbdml(*RUN, "--devices", "0", "--out", tmp_path))
    assert list(tmp_path.iterdir()) == []
