"""Submissions of true runs, and records altered in ways that only a look at the values, or at the model, can find."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_support import rbdml

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.leaderboard.entries import RECORDS, Entry, write_entry
from robustbench_dml.leaderboard.submission.audit import Audit, audit
from robustbench_dml.leaderboard.submission.plan import Terms
from robustbench_dml.leaderboard.submission.submit import prepared
from robustbench_dml.report.per_query import shown_values, summary_for
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import (
    CHECKPOINT_FILE,
    QUERIES_FILE,
    RECORD_FILE,
    Record,
    read_queries,
    read_record,
    write_queries,
    write_record,
)
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.spec.source import source_hash
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256
from robustbench_dml.utils.randomness import seed_of
from robustbench_dml.utils.runlog import LOG_FILE
from robustbench_dml.utils.statistics import bootstrap_interval

Edit = Callable[[dict[str, Any]], object]
SMALL = ("--queries", "64", "--attack-steps", "1", "--device", "cpu")
REGULAR = ("run", "--defense", "regular", "--dataset", "glyphs-mini", "--budget", "200", "--pairs", "16", *SMALL)
ENTRY = Entry(submitted="2026-02-03T04:05:06+00:00", by="A. Researcher")
UNSEEN = Terms(self_reported=True)  # by a second evaluation


def true_run(out: Path, *command: str | Path) -> Path:
    """The folder of a record made by this command."""
    answer = rbdml(*command, "--out", out, "--quiet")
    assert answer.code == 0, answer.err
    return Path(answer.out.strip())


def copied(run: Path, to: Path, *, checkpoint: bool = True) -> Path:
    """A copy to alter, under the name of its digest."""
    target = to / run.name
    shutil.copytree(run, target)
    if not checkpoint:
        (target / CHECKPOINT_FILE).unlink()
    return target


def place(leaderboards: Path, **changes: Any) -> RunContext:
    return RunContext(out=leaderboards, paths=DataPaths(), device=torch.device("cpu"), **changes)


def enter(leaderboards: Path, run: Path, entry: Entry = ENTRY) -> Path:
    """Put a true record on a board by hand; returns its folder."""
    record = read_record(run)
    folder = leaderboards / record.spec.dataset_folder / RECORDS / record.digest
    shutil.copytree(run, folder, ignore=lambda *_: [CHECKPOINT_FILE, LOG_FILE])
    write_entry(folder, entry)
    return folder


def snapshot(folder: Path) -> dict[Path, bytes | None]:
    """Everything below a folder, byte for byte."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def edit(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Alter the JSON of a record."""
    data = json.loads((run / RECORD_FILE).read_text())
    change(data)
    (run / RECORD_FILE).write_text(json.dumps(data))


def at(*keys: str | int, value: Any) -> Edit:
    """Sets one value of the JSON."""

    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


def audited(run: Path) -> Audit:
    return audit(read_record(run), run, DataPaths(), submitting=True)


def renamed(run: Path, **spec: Any) -> Path:
    """The same record of another spec: its digest and folder go along, its weights do not."""
    record = read_record(run)
    assert isinstance(record.spec, RunSpec)
    changed = RunSpec.model_validate({**dict(record.spec), **spec})
    write_record(run, record.model_copy(update={"spec": changed, "digest": changed.digest}))
    return run.rename(run.with_name(changed.digest))


def revalued(run: Path, change: Callable[[Values], object], *, again: bool = True) -> Record:
    """Alter the per-query values; `again` makes the record of the new ones as if they had been measured."""
    record, values = read_record(run), read_queries(run)
    change(values)
    write_queries(run, values)
    if again:
        write_record(run, remade(record, values, sha256(run / QUERIES_FILE)))
    return read_record(run)


def remade(record: Record, values: Values, queries: str) -> Record:
    """The record with the means, scores and intervals of these values."""
    shown, summary = shown_values(record, values), summary_for(record)
    means = {name: float(value) for name, value in summary({n: np.asarray(v.mean()) for n, v in shown.items()}).items()}
    seed = seed_of(record.spec.evaluation.seed, "bootstrap", record.spec.dataset)
    return record.model_copy(
        update={
            "benign": {name: means.get(name, value) for name, value in record.benign.items()},
            "attacked": {name: means[name] for name in record.attacked},
            "scores": {name: means[name] for name in record.scores},
            "intervals": bootstrap_interval(shown, summary, seed=seed),
            "provenance": record.provenance.model_copy(update={"queries": queries}),
        }
    )


DEFENSE = """\
from pathlib import Path
from dataclasses import dataclass
from robustbench_dml.defenses.regular import Regular
from robustbench_dml import register_defense

Path({trace!r}).write_text("ran")

@register_defense({name!r}, summary="as the undefended one", paper="none: a test")
@dataclass(kw_only=True)
class Mine(Regular):
    pass
"""


def defense_file(folder: Path, name: str) -> tuple[Path, Path]:
    """A defense that leaves a trace where it runs, and the trace."""
    path, trace = folder / f"{name.replace('-', '_')}.py", folder / "ran"
    path.write_text(DEFENSE.format(trace=str(trace), name=name))
    return path, trace


def of_defense(run: Path, folder: Path, name: str, source: Path) -> Path:
    """A record that says that it is of this defense; its folder."""
    copy = renamed(copied(run, folder), defense=name)
    edit(copy, lambda data: data["provenance"].update(defense_source=source_hash([source])))
    return copy


def submitted(given: Path, board: Path, terms: Terms = UNSEEN) -> str:
    """What is told of a submission, which is written."""
    with prepared(given, board, place(board), terms) as submission:
        submission.write()
        return submission.report


def refused(given: Path, board: Path, terms: Terms = UNSEEN) -> str:
    """The line of the refusal, after which every byte is as before."""
    before = snapshot(board.parent)
    with pytest.raises(RbdmlError) as error:
        submitted(given, board, terms)
    assert snapshot(board.parent) == before
    return str(error.value)


def with_lr(run: Path, lr: float) -> object:
    """The settings of a run's training with another learning rate."""
    return read_record(run).spec.training.model_copy(update={"lr": lr})  # type: ignore[union-attr]
