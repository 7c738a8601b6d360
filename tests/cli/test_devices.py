"""`rbdml run --devices`."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from cli_support import HM, RUN, Made, cost_of, files_below, rbdml, refusal

from robustbench_dml.runs.record import Record, find_records, read_queries
from robustbench_dml.spec.schema import ComputeUsed
from robustbench_dml.training.resume import RESUME_FILE, resume_files
from robustbench_dml.utils.tensors import read_tensors


def test_a_run_on_two_devices_is_the_run_on_one_but_for_rounding(made: Made, tmp_path: Path) -> None:
    answer = rbdml(*RUN, "--devices", "2", "--out", tmp_path, "--json")
    assert (answer.code, answer.err) == (0, "")
    record = Record.model_validate_json(answer.out)
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
