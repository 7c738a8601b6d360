from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cli_support import SETTINGS, Answer, Made, cost_of, files_below, rbdml, refusal
from sweep_support import stand_in

from robustbench_dml.runs.record import find_records, read_record
from robustbench_dml.runs.sweeps import carry_out
from robustbench_dml.runs.sweeps.plan import plan
from robustbench_dml.training.resume import RESUME_FILE

RAISING = """
from dataclasses import dataclass

from robustbench_dml.defenses.regular import Regular
from robustbench_dml import register_defense


@register_defense("raising", summary="fails", paper="none")
@dataclass(kw_only=True)
class Raising(Regular):
    def loss(self, model, batch, perturbed):
        raise ValueError("not today")
"""


def kill_once_it_has_kept_a_state(work: Path, out: Path) -> None:
    """SIGKILL to the process of the run whose state is kept in this folder."""
    until = time.monotonic() + 120
    while not (work / RESUME_FILE).exists() and time.monotonic() < until:
        time.sleep(0.02)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if str(out) in words[-2:][0] and '"defense":"regular"' in words[-2:][0] and int(process.name) != os.getpid():
            os.kill(int(process.name), signal.SIGKILL)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Answer, Path, Path]:
    """A real sweep: a run that fails, and one that is killed in the middle; its answer, its file, its records."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "raising.py").write_text(RAISING)
    file, out = folder / "sweep.toml", folder / "runs"
    file.write_text(f"""
        dataset = "glyphs-mini"
        out = "{out}"
        device = "cpu"
        checkpoint-every = "0s"
        pairs = 16
        queries = 8
        attack-steps = 1
        budget = 200
        defense = ["regular", "{folder / "raising.py"}:raising"]
    """)
    killer = threading.Thread(target=kill_once_it_has_kept_a_state, args=(plan(file).jobs[0].folder.work(), out))
    killer.start()
    answer = rbdml("sweep", file, "--jobs", "2", "--retries", "1")
    killer.join()
    return answer, file, out


def test_a_sweep_resumes_killed_runs_and_reports_failed_ones(swept: tuple[Answer, Path, Path]) -> None:
    answer, file, out = swept
    assert (answer.code, answer.err) == (1, "")
    killed, raising = plan(file).jobs
    first, *lines = answer.out.splitlines()
    assert first == f"2 runs: 2 waiting; records below {out}"
    for name, why, log in (
        ("regular", "killed by signal 9", killed.folder.process_log),
        ("raising", "ValueError: not today", raising.folder.process_log),
    ):
        assert f"{name}, glyphs-mini, seed 0: {why}: trying again; log: {log}" in lines
    assert any(f"failed: ValueError: not today; log: {raising.folder.process_log}" in line for line in lines)
    assert "Traceback" in raising.folder.process_log.read_text()
    assert (
        killed.folder.process_log.read_text().count("###") == raising.folder.process_log.read_text().count("###") == 4
    )
    assert lines[-1] == "2 runs: 1 done, 1 failed"


def test_a_killed_run_ends_with_the_same_values(swept: tuple[Answer, Path, Path], made: Made) -> None:
    _, _, out = swept
    [resumed] = find_records(out)
    assert resumed.digest == made.record.digest
    assert resumed.values == made.record.values
    assert cost_of(resumed).spent.iterations == cost_of(made.record).spent.iterations


def test_the_status_of_a_sweep(swept: tuple[Answer, Path, Path]) -> None:
    _, file, _ = swept
    assert "2 runs: 1 done, 1 failed" in rbdml("sweep", "status", file).out
    rows = json.loads(rbdml("sweep", "status", file, "--json").out)
    assert [(row["defense"], row["state"], row["why"]) for row in rows] == [
        ("regular", "done", ""),
        ("raising", "failed", "ValueError: not today"),
    ]
    assert rows[0]["scores"]["ERS"] == read_record(Path(rows[0]["folder"])).primary_score


def test_an_estimate_leaves_out_recorded_runs(swept: tuple[Answer, Path, Path]) -> None:
    _, file, _ = swept
    [row] = json.loads(rbdml("sweep", "estimate", file, "--passes-per-second", "100", "--json").out)
    assert (row["runs"], row["recorded"], row["training"]) == (2, 1, 200)
    assert row["hours"] == pytest.approx((row["training"] + row["evaluation"]) / 100 / 3600)
    table = rbdml("sweep", "estimate", file, "--passes-per-second", "100").out
    assert "Measured here" not in table and "glyphs-mini" in table


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carry_out, "POLL", 0.05)


def options(world: Any) -> list[str]:
    seeds = [word for job in world.jobs for word in ("--seed", str(job.spec.seed))]
    return ["--defense", "regular", "--dataset", "glyphs-mini", *seeds, "--out", str(world.jobs[0].folder.out)]


@pytest.mark.usefixtures("soon")
def test_a_sweep_by_options_reports_every_run_and_then_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = stand_in(tmp_path, monkeypatch, [["record"]] * 3)
    answer = rbdml("sweep", *options(world))
    assert (answer.code, answer.err) == (0, "")
    first, *lines = answer.out.splitlines()
    assert first.startswith("3 runs: 3 waiting; ")
    for number, line in enumerate(lines[:3]):
        assert line.startswith(f"[{number + 1}/3] regular, glyphs-mini, seed {number}: ERS ")
        assert line.endswith(" min")
    assert lines[-1] == "3 runs: 3 done"
    again = rbdml("sweep", *options(world))
    assert again.out.startswith("3 runs: 3 done; ")
    assert again.out.count(", recorded before\n") == 3
    assert world.starts == [0, 1, 2]


@pytest.mark.usefixtures("soon")
def test_json_and_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = stand_in(tmp_path, monkeypatch, [["record"], ["no room"]])
    answer = rbdml("sweep", *options(world), "--json")
    assert (answer.code, answer.err) == (1, "")
    rows = json.loads(answer.out)
    assert [(row["seed"], row["state"], row["why"]) for row in rows] == [(0, "done", ""), (1, "failed", "no room")]
    assert rows[1]["command"].startswith("rbdml run --defense regular ")
    answer = rbdml("sweep", *options(world), "--quiet")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("rbdml: rbdml run ") and answer.err.endswith(f": no room; log: {rows[1]['log']}\n")


@pytest.mark.usefixtures("soon")
def test_an_interrupted_sweep_ends_with_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = stand_in(tmp_path, monkeypatch, [["wait"]])

    def interrupt() -> None:
        world.wait_for_starts(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt).start()
    answer = rbdml("sweep", *options(world))
    assert answer.code == 130
    assert "stopping 1 run; progress is kept (Ctrl-C again: stop now)" in answer.out
    assert answer.err.strip() == "rbdml: interrupted; the same command goes on from here"
    assert world.kept(0).exists()


def test_a_dry_run_lists_the_commands_and_starts_none(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text('dataset = "glyphs-mini"\ndefense = ["regular", "act"]\nseed = [0, 1, 1]\n')
    answer = rbdml("sweep", tmp_path / "f.toml", *SETTINGS, "--out", tmp_path / "out", "--dry-run")
    assert answer.code == 0
    *listed, _, counts = answer.out.splitlines()
    assert counts == "4 runs: 4 waiting (2 that came to the same as another left out)"
    assert len(listed) == 4 and all(line.startswith("waiting      rbdml run --defense ") for line in listed)
    assert files_below(tmp_path) == [tmp_path / "f.toml"]
    rows = json.loads(rbdml("sweep", "run", tmp_path / "f.toml", "--dry-run", "--json").out)
    assert [(row["defense"], row["seed"]) for row in rows] == [("regular", 0), ("regular", 1), ("act", 0), ("act", 1)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "nothing to do: give the TOML FILE of a sweep, or --defense and --dataset"),
        (("none.toml",), "none.toml: cannot be read"),
        (("--defense", "regular"), "the command line: no dataset: add"),
        (("--defense", "regular", "--dataset", "glyphs-mini", "--seed", "x"), "'x' is not a valid integer"),
        (("--jobs", "0", "f.toml"), "0 is not in the range"),
    ],
)
def test_impossible_sweeps_are_refused(words: tuple[str, ...], told: str) -> None:
    assert told in refusal(rbdml("sweep", *words))


@pytest.mark.parametrize(("engine", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_engine_that_is_not_installed_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    words = ("--defense", "regular", "--dataset", "glyphs-mini", "--out", tmp_path, "--engine", engine)
    assert f"pip install 'robustbench-dml[{engine}]'" in refusal(rbdml("sweep", *words))


def test_the_help_of_a_sweep_names_its_commands() -> None:
    for words in (("sweep", "--help"), ("sweep", "-h")):
        assert "[run|status|estimate] [FILE] [OPTIONS]" in rbdml(*words).out
    assert "--retries" in rbdml("sweep", "x.toml", "--help").out
