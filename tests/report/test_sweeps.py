from __future__ import annotations

from pathlib import Path

import pytest
from board_support import made_record, made_values

from robustbench_dml.report.sweeps import SweepReporter, short_names, sweep_rows, sweep_table
from robustbench_dml.runs.sweeps.plan import Job, plan_tree
from robustbench_dml.runs.sweeps.state import Kept, State, Status
from robustbench_dml.spec.schema import ComputeUsed

TREE = {
    "dataset": "glyphs-mini",
    "queries": 8,
    "runs": [
        {"defense": "regular"},
        {"defense": "hm-lga-ics", "set": {"ics": [0.25, 1.0]}, "eta": 4, "pretrained": False},
    ],
}


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    return plan_tree({**TREE, "out": str(tmp_path)}, source="test").jobs


def made_statuses(jobs: list[Job]) -> list[Status]:
    record = made_record(jobs[0].spec, made_values(jobs[0].spec), flags=["random"])
    return [
        Status(jobs[0], State.DONE, record),
        Status(jobs[1], State.FAILED, kept=Kept(ComputeUsed(), 0.25, 0.0), why="no room"),
        Status(jobs[2], State.WAITING),
    ]


def test_runs_are_named_by_their_varying_options(jobs: list[Job]) -> None:
    assert list(short_names(jobs).values()) == [
        "regular, glyphs-mini, seed 0",
        "hm-lga-ics, glyphs-mini, ics=0.25 eta=4, seed 0",
        "hm-lga-ics, glyphs-mini, ics=1.0 eta=4, seed 0",
    ]


def test_the_table_and_the_rows_agree(jobs: list[Job]) -> None:
    statuses = made_statuses(jobs)
    table, rows = sweep_table(statuses), sweep_rows(statuses)
    assert table.endswith("3 runs: 1 done, 1 failed, 1 waiting")
    for line, row, one in zip(table.splitlines()[2:5], rows, statuses, strict=True):
        assert line.startswith(f"{row['defense']} ") and f" {row['state']}" in line and row["settings"] in line
        assert row["folder"] == str(one.job.folder.path) and row["command"] == one.job.command
    assert "random" in table.splitlines()[2] and rows[0]["flags"] == ["random"]
    assert f"25% trained; no room; log: {jobs[1].folder.process_log}" in table.splitlines()[3]
    assert [row["trained"] for row in rows] == [1.0, 0.25, 0.0]
    record = statuses[0].record
    assert record is not None and rows[0]["scores"] == record.scores
    low, high = record.intervals["ERS"]
    assert f"{record.primary_score:.1f} +- {(high - low) / 2:.1f}" in table


def test_a_run_of_another_process_is_reported_once(jobs: list[Job]) -> None:
    lines: list[str] = []
    reporter = SweepReporter(jobs, say=lines.append)
    for _ in range(3):
        reporter.elsewhere(jobs[0])
    reporter.elsewhere(jobs[1])
    reporter.stopping(0)
    assert [line.partition(":")[0] for line in lines] == list(short_names(jobs).values())[:2]
