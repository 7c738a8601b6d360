"""The log of a training: its lines, and weights that do not depend on it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from robustbench_dml.models.checkpoints import weights_hash
from robustbench_dml.training import log as training
from robustbench_dml.training.collapse import EVERY as LOOK
from robustbench_dml.training.collapse import PATIENCE
from robustbench_dml.training.log import TrainingLog
from robustbench_dml.training.resume import RESUME_FILE, resume_files
from robustbench_dml.training.testing import small_dataset, small_spec
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.interrupts import Interrupts
from robustbench_dml.utils.progress import Progress
from robustbench_dml.utils.runlog import LOG_FILE, LoggedProgress, RunLog, read_log


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the duration of each iteration, by default 1 s."""
    now, step = itertools.count(), [1.0]
    monkeypatch.setattr(training, "monotonic", lambda: next(now) * step[0])

    def takes(seconds: float) -> None:
        step[0] = seconds

    return takes


def logged(defense: str, folder: Path, *, scalars: bool = False, **options: Any) -> Trainer:
    trainer = Trainer(small_spec(defense), small_dataset(), device=torch.device("cpu"))
    log = RunLog(folder)
    trainer.observer = TrainingLog(log, scalars=scalars)
    trainer.run(progress=LoggedProgress(quiet=True, log=log), **options)
    return trainer


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_log(folder) if event["event"] == kind]


class Stop(Interrupts):
    """After so many iterations."""

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self._left = iterations

    def check(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("seconds", [0.001, 1.0, 100.0])
def test_the_first_and_the_last_iteration_and_some_between_are_written(
    tmp_path: Path, clock: Callable[[float], None], seconds: float
) -> None:
    clock(seconds)
    last = logged("regular", tmp_path).spent.iterations
    written = [event["iterations"] for event in events(tmp_path, "training")]
    assert (written[0], written[-1]) == (1, last) and sorted(set(written)) == written
    if seconds == 1.0:
        assert len(written) == pytest.approx(last / training.EVERY, rel=0.3)
    else:
        assert written == ([1, last] if seconds < 1 else list(range(1, last + 1)))


@pytest.mark.parametrize("defense", ["regular", "hm-lga-ics", "hm-free", "ca-tride"])
def test_looking_changes_no_weight_and_no_cost(tmp_path: Path, clock: Callable[[float], None], defense: str) -> None:
    clock(100.0)
    plain = Trainer(small_spec(defense), small_dataset(), device=torch.device("cpu"))
    plain.run(progress=Progress(quiet=True))
    looked_at = logged(defense, tmp_path, checkpoint=tmp_path / RESUME_FILE, checkpoint_every=0)
    assert weights_hash(looked_at.model) == weights_hash(plain.model)
    counts = ("forward_only", "to_input", "to_weights", "iterations")
    assert [getattr(looked_at.spent, name) for name in counts] == [getattr(plain.spent, name) for name in counts]
    assert len(events(tmp_path, "training")) == plain.spent.iterations


def test_a_log_that_cannot_be_written_loses_no_training(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).mkdir()
    plain = Trainer(small_spec("act"), small_dataset(), device=torch.device("cpu"))
    plain.run(progress=Progress(quiet=True))
    assert weights_hash(logged("act", tmp_path).model) == weights_hash(plain.model)


def test_an_interrupt_and_a_resumption_are_one_log(tmp_path: Path) -> None:
    checkpoint = tmp_path / RESUME_FILE
    with pytest.raises(KeyboardInterrupt):
        logged("hm-free", tmp_path, checkpoint=checkpoint, interrupts=Stop(3))
    trainer = logged("hm-free", tmp_path, checkpoint=checkpoint)
    kinds = [event["event"] for event in read_log(tmp_path)]
    assert kinds[:4] == ["training", "checkpoint", "resumed", "training"]
    assert kinds[-2:] == ["training", "trained"] and kinds.count("trained") == 1
    kept, again = events(tmp_path, "checkpoint")[0], events(tmp_path, "resumed")[0]
    assert kept["iterations"] == again["iterations"] == 3 and kept["passes"] == again["passes"]
    [end] = events(tmp_path, "trained")
    assert (end["iterations"], end["passes"], end["stopped"]) == (trainer.spent.iterations, trainer.spent.passes, False)


def test_going_on_from_the_checkpoint_before_is_a_warning(tmp_path: Path) -> None:
    checkpoint = tmp_path / RESUME_FILE
    logged("regular", tmp_path, checkpoint=checkpoint, checkpoint_every=0)
    newest, _ = resume_files(checkpoint)
    newest.write_bytes(newest.read_bytes()[:-3])
    logged("regular", tmp_path, checkpoint=checkpoint)
    [warning] = events(tmp_path, "warning")
    assert "going on from the one before it" in warning["message"]


def test_a_collapse_is_logged_once_when_it_is_confirmed(tmp_path: Path) -> None:
    """Weights that leave the bias alone to decide give every image the same embedding; they are not stepped."""
    spec = small_spec("regular", budget="6k")
    path = tmp_path / RESUME_FILE
    for interrupts in (Stop(PATIENCE * LOOK), None):  # a resumption does not tell it again
        trainer = Trainer(spec, small_dataset(), device=torch.device("cpu"))
        trainer.observer = TrainingLog(RunLog(tmp_path))
        with torch.no_grad():
            for name, weights in trainer.model.named_parameters():
                weights.fill_(1.0 if name.endswith("bias") else 0.0)
        for group in trainer.optimizer.param_groups:
            group["lr"] = 0.0
        with suppress(KeyboardInterrupt):
            trainer.run(progress=Progress(quiet=True), checkpoint=path, interrupts=interrupts)
    assert trainer.spent.iterations > PATIENCE * LOOK
    [told] = events(tmp_path, "collapse")
    assert told["since"] == 0 and "mean cosine" in told["cause"]
    kinds = [event["event"] for event in read_log(tmp_path)]
    looked_at = [event["iterations"] for event in read_log(tmp_path)[: kinds.index("collapse")]]
    assert looked_at[-1] <= (PATIENCE - 1) * LOOK + 1
    assert events(tmp_path, "trained")[0]["collapsed_at"] == 0
