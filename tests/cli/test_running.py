from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from cli_support import PLOTS, RUN, Answer, Made, cost_of, files_below, nothing_below, rbdml, refusal, spec_of
from torch import Tensor

from robustbench_dml.evaluation.attack import Attack
from robustbench_dml.evaluation.attack_cache import CACHE_FILE
from robustbench_dml.evaluation.context import AttackContext
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.runs import pipeline
from robustbench_dml.runs.folder import LOCKS, RunFolder
from robustbench_dml.runs.record import CHECKPOINT_FILE, RECORD_FILE, Record, find_records, read_queries, read_record
from robustbench_dml.spec.source import source_hash
from robustbench_dml.training.batches import Batch
from robustbench_dml.training.resume import RESUME_FILE
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.errors import DivergedError, RbdmlError
from robustbench_dml.utils.runlog import LOG_FILE
from robustbench_dml.utils.tensors import read_tensors, write_tensors

pytestmark = pytest.mark.usefixtures("described_figures")

KEPT = {RESUME_FILE, CACHE_FILE, LOG_FILE}  # files that an interrupted run resumes from, and its log


def test_a_run_shows_its_tables_its_folder_and_its_plots(made: Made) -> None:
    assert made.answer.told == ""
    assert made.answer.err.startswith("rbdml: training 0.2k passes; evaluation at most 1.13k passes; ")
    assert "regular *" in made.answer.out
    assert "already recorded" not in made.answer.out
    assert f"record: {made.folder}\n" in made.answer.out
    for name in PLOTS:
        assert f" {made.out / 'glyphs-mini' / name}\n" in made.answer.out
        assert (made.out / "glyphs-mini" / name).is_file()


def test_a_run_leaves_its_record_its_weights_and_its_queries(made: Made) -> None:
    assert sorted(path.name for path in made.folder.iterdir()) == [
        CHECKPOINT_FILE,
        LOG_FILE,
        "queries.npz",
        RECORD_FILE,
    ]
    assert sorted(path.name for path in made.out.iterdir()) == [LOCKS, "glyphs-mini"]
    assert sorted(path.name for path in (made.out / "glyphs-mini").iterdir()) == sorted([made.record.digest, *PLOTS])


@pytest.mark.usefixtures("no_training")
def test_a_run_that_has_a_record_is_shown_and_not_repeated(made: Made, tmp_path: Path) -> None:
    out = made.copy(tmp_path / "runs")
    before = {path: path.read_bytes() for path in files_below(out)}
    answer = rbdml(*RUN, "--out", out)
    assert answer.code == 0
    assert answer.out.startswith(f"already recorded on {made.record.provenance.created} (--force repeats it)")
    assert "regular *" in answer.out
    assert {path: path.read_bytes() for path in files_below(out)} == before


@pytest.mark.usefixtures("no_training")
def test_quiet_prints_the_folder_and_nothing_else(made: Made) -> None:
    assert rbdml(*RUN, "--out", made.out, "--quiet") == Answer(0, f"{made.folder}\n", "")


@pytest.mark.usefixtures("no_training")
def test_json_is_the_record_and_nothing_else(made: Made) -> None:
    answer = rbdml(*RUN, "--out", made.out, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert Record.model_validate_json(answer.out) == made.record
    assert json.loads(answer.out) == json.loads((made.folder / RECORD_FILE).read_text())


def test_force_trains_again_and_gives_the_same_values(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = made.copy(tmp_path / "runs")
    iterations: list[int] = []
    batch = Trainer.batch

    def counted(trainer: Trainer, iteration: int) -> Batch:
        iterations.append(iteration)
        return batch(trainer, iteration)

    monkeypatch.setattr(Trainer, "batch", counted)
    answer = rbdml(*RUN, "--out", out, "--force", "--quiet")
    assert answer == Answer(0, f"{out / 'glyphs-mini' / made.record.digest}\n", "")
    assert iterations == list(range(cost_of(made.record).spent.iterations))
    [again] = find_records(out)
    assert again.values == made.record.values
    assert again.intervals == made.record.intervals
    assert cost_of(again).passes == cost_of(made.record).passes
    assert again.provenance.weights == made.record.provenance.weights
    assert sorted(path.name for path in out.joinpath("glyphs-mini").iterdir()) == sorted([again.digest, *PLOTS])


@pytest.mark.parametrize("step", ["evaluate_model", "write_record"])
def test_a_repetition_that_fails_keeps_the_old_record(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise RbdmlError("not this time")

    out = made.copy(tmp_path / "runs")
    before = {path: path.read_bytes() for path in files_below(out)}
    monkeypatch.setattr(pipeline, step, fail)
    assert "not this time" in refusal(rbdml(*RUN, "--out", out, "--force"))
    after = {path: path.read_bytes() for path in files_below(out) if path.parent in {one.parent for one in before}}
    assert after == before


def test_an_interrupted_run_ends_with_130_and_the_same_command_goes_on(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iterations: list[int] = []
    batch = Trainer.batch

    def interrupted(trainer: Trainer, iteration: int) -> Batch:
        iterations.append(iteration)
        if iterations == [0, 1, 2]:
            signal.raise_signal(signal.SIGINT)
        return batch(trainer, iteration)

    monkeypatch.setattr(Trainer, "batch", interrupted)
    answer = rbdml(*RUN, "--out", tmp_path, "--quiet", terminal=True)
    assert (answer.code, answer.out) == (130, "")
    assert answer.err.strip() == "rbdml: interrupted; the same command goes on from here"
    assert find_records(tmp_path) == []
    answer = rbdml(*RUN, "--out", tmp_path, "--json")
    assert iterations == list(range(cost_of(made.record).spent.iterations))
    assert Record.model_validate_json(answer.out).values == made.record.values
    assert [path.name for path in tmp_path.rglob(".*")] == [LOCKS]  # what it went on from is gone


def test_an_interrupted_evaluation_goes_on_where_it_was(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked: list[str] = []
    attack = AttackContext.attack

    def interrupted(context: AttackContext, which: Attack, name: str, items: Items) -> dict[str, Tensor]:
        attacked.append(name)
        if len(attacked) == 4:
            signal.raise_signal(signal.SIGTERM)
        return attack(context, which, name, items)

    monkeypatch.setattr(AttackContext, "attack", interrupted)
    assert rbdml(*RUN, "--out", tmp_path, "--quiet").code == 130
    assert {path.name for path in files_below(tmp_path)} == KEPT
    record = Record.model_validate_json(rbdml(*RUN, "--out", tmp_path, "--json").out)
    assert attacked == list(dict.fromkeys(attacked)) and len(attacked) == 9  # none twice
    assert record.values == made.record.values and record.intervals == made.record.intervals
    assert not [path for path in tmp_path.rglob(".*") if path.name != LOCKS]


HOLDER = "import sys, time; from pathlib import Path; from robustbench_dml.utils.locks import exclusive_or_fail\n" + (
    "with exclusive_or_fail(Path(sys.argv[1]), 'held'): print('held', flush=True); time.sleep(600)"
)


def test_two_processes_never_do_the_same_run(made: Made, tmp_path: Path) -> None:
    lock = tmp_path / LOCKS / f"glyphs-mini-{made.record.digest}.lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    try:
        message = refusal(rbdml(*RUN, "--out", tmp_path))
        assert "another process is doing this run" in message and made.record.digest in message
        assert nothing_below(tmp_path)
    finally:
        holder.kill()
        holder.wait()
    assert rbdml(*RUN, "--out", tmp_path, "--quiet").code == 0  # a lock dies with its process


def test_a_run_that_another_process_has_just_done_is_found(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, read = tmp_path / "runs", RunFolder.read

    def just_too_early(folder: RunFolder) -> Record | None:
        if out.exists():
            return read(folder)
        made.copy(out)
        return None

    monkeypatch.setattr(RunFolder, "read", just_too_early)
    monkeypatch.setattr(Trainer, "batch", None)
    record = Record.model_validate_json(rbdml(*RUN, "--out", out, "--json").out)
    assert record == made.record


def test_a_run_that_diverges_after_an_interrupt_leaves_its_log_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "evaluate_model", interrupt)
        assert rbdml(*RUN, "--out", tmp_path).code == 130
    assert [path.name for path in files_below(tmp_path)] == [LOG_FILE, RESUME_FILE]

    def diverge(*_: Any, **__: Any) -> NoReturn:
        raise DivergedError("training diverged")

    monkeypatch.setattr(Trainer, "run", diverge)
    assert "training diverged" in refusal(rbdml(*RUN, "--out", tmp_path))
    assert [path.name for path in files_below(tmp_path)] == [LOG_FILE]


def test_a_file_that_a_defense_misses_is_not_taken_for_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any) -> NoReturn:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(tmp_path.parent / "table.npy"))

    monkeypatch.setattr(Trainer, "batch", missing)
    with pytest.raises(FileNotFoundError, match=r"table\.npy"):
        rbdml(*RUN, "--out", tmp_path / "out")


def test_an_attack_that_was_edited_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored values of an interrupted evaluation belong to the code that computed them."""
    from robustbench_dml.spec import source

    decided = source.attack_source

    def full(*_: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "write_record", full)
        rbdml(*RUN, "--out", tmp_path)
    ran: list[str] = []
    attack = AttackContext.attack

    def watched(context: AttackContext, which: Attack, *rest: Any, **named: Any) -> Any:
        ran.append(type(which).__name__)
        return attack(context, which, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(AttackContext, "attack", watched)
        patch.setattr(pipeline, "attack_source", lambda evaluation: decided(evaluation) + " edited")
        assert rbdml(*RUN, "--out", tmp_path, "--quiet").code == 0
    assert ran


def test_a_full_disk_is_reported_and_the_same_command_resumes(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "write_record", full)  # the last thing that is written
        assert "free some space" in refusal(rbdml(*RUN, "--out", tmp_path))
    assert {path.name for path in files_below(tmp_path)} == KEPT
    monkeypatch.setattr(Trainer, "batch", None)  # there is nothing left to train
    monkeypatch.setattr(AttackContext, "attack", None)  # or to attack
    record = Record.model_validate_json(rbdml(*RUN, "--out", tmp_path, "--json").out)
    assert record.values == made.record.values
    assert cost_of(record).spent.iterations == cost_of(made.record).spent.iterations


@pytest.mark.usefixtures("no_training")
def test_a_damaged_record_is_left_out_of_the_others(made: Made, tmp_path: Path) -> None:
    out = made.copy(tmp_path / "runs")
    damaged = out / "glyphs-mini" / "damaged" / RECORD_FILE
    damaged.parent.mkdir()
    damaged.write_text("{}")
    answer = rbdml(*RUN, "--out", out, "--quiet")
    assert (answer.code, answer.out) == (0, f"{out / 'glyphs-mini' / made.record.digest}\n")
    assert answer.err.startswith(f"rbdml: left out: {damaged}: ")
    assert answer.err.count("\n") == 1


# Evaluating again


def test_a_checkpoint_evaluated_the_same_way_gives_the_same_values(made: Made, tmp_path: Path) -> None:
    answer = rbdml("evaluate", made.checkpoint, "--out", tmp_path, "--device", "cpu", "--json", terminal=True)
    assert answer.err == ""
    record = Record.model_validate_json(answer.out)
    assert record.digest == made.record.digest
    assert record.values == made.record.values
    assert cost_of(record).spent == cost_of(made.record).spent
    assert record.provenance.weights == made.record.provenance.weights
    folder = tmp_path / "glyphs-mini" / record.digest
    assert read_record(folder) == record
    mine, theirs = read_queries(folder), read_queries(made.folder)
    assert list(mine) == list(theirs)
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_a_checkpoint_evaluated_another_way_gives_another_record(made: Made, tmp_path: Path) -> None:
    out = made.copy(tmp_path / "runs")
    other = ("--attack-steps", "0", "--device", "cpu")
    answer = rbdml("evaluate", made.checkpoint, "--out", out, *other, terminal=True)
    assert "queries" in answer.err  # a bar, on a terminal
    [record] = [found for found in find_records(out) if found.digest != made.record.digest]
    assert f"record: {out / 'glyphs-mini' / record.digest}\n" in answer.out
    assert record.spec.evaluation.threat.steps == 0
    assert spec_of(record).training == spec_of(made.record).training
    assert record.benign == made.record.benign
    assert record.attacked != made.record.attacked
    assert made.record in find_records(out)


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "force"])
def test_other_weights_of_the_same_run_do_not_pass_for_its_record(
    made: Made, tmp_path: Path, force: tuple[str, ...]
) -> None:
    out, checkpoint = made.copy(tmp_path / "runs"), tmp_path / "other.safetensors"
    tensors, metadata = read_tensors(made.checkpoint)
    write_tensors(checkpoint, {name: tensor + 0.01 for name, tensor in tensors.items()}, metadata)
    answer = rbdml("evaluate", checkpoint, "--out", out, "--device", "cpu", "--quiet", *force)
    [record] = find_records(out)
    if force:
        assert answer.code == 0
        assert record.provenance.weights != made.record.provenance.weights
    else:
        assert "other weights of the same run" in refusal(answer)
        assert record == made.record


@pytest.mark.usefixtures("no_training")
def test_an_evaluation_that_has_a_record_is_not_repeated(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "evaluate_model", None)
    answer = rbdml("evaluate", made.checkpoint, "--out", made.out, "--device", "cpu")
    assert answer.out.startswith("already recorded")


# Showing


def test_plot_writes_all_figures(made: Made, tmp_path: Path) -> None:
    answer = rbdml("plot", "--records", made.out, "--out", tmp_path / "plots")
    paths = [tmp_path / "plots" / name for name in PLOTS]
    assert answer == Answer(0, "".join(f"{path}\n" for path in paths), "")
    assert files_below(tmp_path / "plots") == sorted(paths)


def test_plot_writes_beside_the_records_or_into_out_and_can_be_quiet(made: Made, tmp_path: Path) -> None:
    out = made.copy(tmp_path / "runs")
    assert rbdml("plot", "--records", out, "--quiet") == Answer(0, "", "")
    assert all((out / name).is_file() for name in PLOTS)


def test_plot_without_records_is_refused(tmp_path: Path) -> None:
    assert "no records below" in refusal(rbdml("plot", "--records", tmp_path, "--out", tmp_path / "plots"))
    assert nothing_below(tmp_path)


def test_the_installed_command_prints_its_version() -> None:
    command = Path(sysconfig.get_path("scripts")) / "rbdml"
    answer = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert answer.stdout == f"rbdml, version {version('robustbench-dml')}\n"
    assert answer.stderr == ""


def test_hardness_is_shown_by_sampler() -> None:
    command = ("inspect", "hardness", "--dataset", "glyphs-mini", "--batches", "1", "--pairs", "12")
    rows = json.loads(rbdml(*command, "--json").out)
    assert [row["sampler"] for row in rows] == ["R", "M", "S", "D", "H"]
    assert str(rows[0]["mean hardness"]) in rbdml(*command).out


def test_a_new_defense_is_written_and_can_be_run(tmp_path: Path) -> None:
    answer = rbdml("new", "defense", "cli-made", "--folder", tmp_path)
    assert answer.out == f"{tmp_path / 'cli_made.py'}\n{tmp_path / 'test_cli_made.py'}\n"
    ours = (*RUN, "--out", tmp_path / "runs", "--eta", "1", "--sampler", "S", "--param", "weight=0.25")
    answer = rbdml(*ours, "--defense", f"{tmp_path / 'cli_made.py'}:cli-made", "--json")
    record = Record.model_validate_json(answer.out)
    assert spec_of(record).defense == "cli-made"
    assert record.spec.params == {"sampler": "S", "weight": 0.25}
    assert record.provenance.defense_source == source_hash([tmp_path / "cli_made.py"])
