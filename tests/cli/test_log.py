"""The log of a run, whether it is recorded, interrupted or fails."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
from cli_support import HM, RUN, Made, cost_of, files_below, nothing_below, rbdml, refusal

from robustbench_dml.runs import pipeline
from robustbench_dml.runs.folder import RunFolder
from robustbench_dml.runs.record import Record, find_records
from robustbench_dml.spec.published import PROTOCOLS
from robustbench_dml.training.batches import Batch
from robustbench_dml.training.resume import RESUME_FILE
from robustbench_dml.training.tensorboard import EVENTS
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.provenance import versions
from robustbench_dml.utils.runlog import LOG_FILE, read_log

pytestmark = pytest.mark.usefixtures("described_figures")

ATTACKS = PROTOCOLS["ers"].attacks


def kinds(folder: Path) -> list[str]:
    return [event["event"] for event in read_log(folder)]


def test_the_log_covers_a_run_from_start_to_record(made: Made) -> None:
    events = read_log(made.folder)
    start, *training, checkpoint, last, trained = events[: -len(ATTACKS) - 1]
    assert [event["event"] for event in (start, checkpoint, trained)] == ["start", "checkpoint", "trained"]
    assert {event["event"] for event in (*training, last)} == {"training"}
    assert (start["digest"], start["label"], start["versions"]) == (made.record.digest, "regular", versions())
    assert (start["commit"], start["device"]) == (made.record.provenance.commit, made.record.provenance.device)
    spent = cost_of(made.record).spent
    for event in (checkpoint, last, trained):
        assert (event["iterations"], event["passes"]) == (spent.iterations, spent.passes)
    assert made.record.training_end is not None and last["loss"] == made.record.training_end.last_loss


def test_every_attack_is_logged_with_its_value(made: Made) -> None:
    *attacks, record = read_log(made.folder)[-len(ATTACKS) - 1 :]
    assert [event["attack"] for event in attacks] == list(ATTACKS)
    for event in attacks:
        assert (event["event"], event["queries"], event["known_before"]) == ("attack", 8, 0)
        assert event["seconds"] > 0
    values = {name: value for event in attacks for name, value in event["values"].items()}
    assert values == pytest.approx(made.record.attacked)
    assert (record["event"], record["digest"]) == ("record", made.record.digest)
    assert (record["scores"], record["benign"]) == (made.record.scores, made.record.benign)
    assert record["flags"] == list(made.record.diagnostics.flags)


def test_a_log_that_cannot_be_written_changes_no_record(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = RunFolder(tmp_path, made.record.spec).work()
    (part / LOG_FILE).mkdir(parents=True)
    record = Record.model_validate_json(rbdml(*RUN, "--out", tmp_path, "--json").out)
    assert (record.values, record.provenance.weights) == (made.record.values, made.record.provenance.weights)
    assert cost_of(record).passes == cost_of(made.record).passes
    assert record.intervals == made.record.intervals


def test_a_run_in_parts_is_one_log(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Trainer.batch

    def interrupted(trainer: Trainer, iteration: int) -> Batch:
        if iteration == 2:
            signal.raise_signal(signal.SIGTERM)
        return batch(trainer, iteration)

    folder = tmp_path / "glyphs-mini" / made.record.digest
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "batch", interrupted)
        assert rbdml(*RUN, "--out", tmp_path).code == 130
    assert kinds(RunFolder(tmp_path, made.record.spec).work())[-2:] == ["checkpoint", "interrupted"]
    assert rbdml(*RUN, "--out", tmp_path, "--quiet").code == 0
    found = kinds(folder)
    again = found.index("interrupted") + 1
    assert found[0] == "start" and found[again : again + 3] == ["start", "resumed", "training"]
    assert found[-1] == "record" and found.count("record") == 1
    assert [event["iterations"] for event in read_log(folder) if event["event"] == "resumed"] == [3]


def test_a_failure_is_logged_with_its_error(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise ZeroDivisionError("of our own")

    monkeypatch.setattr(pipeline, "evaluate_model", fail)
    with pytest.raises(ZeroDivisionError):
        rbdml(*RUN, "--out", tmp_path)
    part = RunFolder(tmp_path, made.record.spec).work()
    assert [path.name for path in files_below(part)] == [LOG_FILE, RESUME_FILE]
    last = read_log(part)[-1]
    assert (last["event"], last["error"], last["message"]) == ("failed", "ZeroDivisionError", "of our own")


def test_a_training_that_diverges_leaves_its_log_alone(tmp_path: Path) -> None:
    message = refusal(rbdml(*RUN, "--lr", "1e20", "--out", tmp_path))
    assert "training diverged: the loss of 'regular' is nan" in message
    [log] = files_below(tmp_path)
    last = read_log(log.parent)[-1]
    assert (last["event"], last["error"]) == ("failed", "DivergedError") and last["message"] in message


def test_an_evaluation_in_the_place_of_a_run_keeps_its_log(made: Made, tmp_path: Path) -> None:
    out = made.copy(tmp_path / "runs")
    before = read_log(made.folder)
    assert rbdml("evaluate", made.checkpoint, "--out", out, "--device", "cpu", "--force", "--quiet").code == 0
    folder = out / "glyphs-mini" / made.record.digest
    events = read_log(folder)
    assert events[: len(before)] == before
    assert [event["event"] for event in events[len(before) :]] == ["start", *["attack"] * len(ATTACKS), "record"]


# TensorBoard


def test_scalars_lie_beside_the_log_and_change_nothing(made: Made, tmp_path: Path) -> None:
    pytest.importorskip(
        "tensorboard", reason="TensorBoard is not installed: pip install 'robustbench-dml[tensorboard]'"
    )
    answer = rbdml(*RUN, "--out", tmp_path, "--json", "--tensorboard")
    assert answer.err == ""
    record = Record.model_validate_json(answer.out)
    assert record.digest == made.record.digest
    assert (record.values, record.provenance.weights) == (made.record.values, made.record.provenance.weights)
    assert cost_of(record).passes == cost_of(made.record).passes
    assert len(list((tmp_path / "glyphs-mini" / record.digest).glob(f"{EVENTS}.*"))) == 1
    assert not list(made.folder.glob(f"{EVENTS}.*"))


@pytest.mark.usefixtures("no_training")
def test_a_missing_tensorboard_is_reported_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*filter(lambda name: name.startswith("tensorboard"), sys.modules), "tensorboard"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert "pip install 'robustbench-dml[tensorboard]'" in refusal(rbdml(*RUN, "--tensorboard", "--out", tmp_path))
    assert nothing_below(tmp_path)


# Where there is no terminal


class Clock:
    """A minute passes at every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 60
        return self.now


TRAINING = r"rbdml: train hm-lga-ics \d+% \d+\.?\d*/200 passes, loss=\d\.\d+, [\d:?]+ left"
ATTACKING = r"rbdml: attack \d+% \d+\.?\d*/72\.0 queries, [\d:?]+ left"


@pytest.mark.parametrize("option", [(), ("--quiet",), ("--json",)], ids=["", "quiet", "json"])
def test_long_work_shows_its_progress_unless_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: tuple[str, ...]
) -> None:
    monkeypatch.setattr("tqdm.std.time", Clock())
    answer = rbdml(*HM, "--out", tmp_path, *option)
    [record] = find_records(tmp_path)
    if option:
        assert answer.err == ""
        return
    told = answer.told.splitlines()
    spent = cost_of(record).spent
    assert len(told) == spent.iterations + 1 + len(ATTACKS)
    training, attacking = told[: spent.iterations + 1], told[spent.iterations + 1 :]
    assert all(re.fullmatch(TRAINING, line) for line in training[1:]), training
    assert all(re.fullmatch(ATTACKING, line) for line in attacking), attacking
    assert "rbdml:" not in answer.out
