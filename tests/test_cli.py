from __future__ import annotations

import io
import json
import pickle
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision

from robustbench_dml import runs
from robustbench_dml.batches import Batch
from robustbench_dml.checkpoints import read_tensors, write_tensors
from robustbench_dml.cli import main
from robustbench_dml.datasets import fashion
from robustbench_dml.datasets.idx import FILES, TRAIN_IMAGES
from robustbench_dml.errors import RbdmlError
from robustbench_dml.protocol import BUDGETS
from robustbench_dml.records import CHECKPOINT_FILE, RECORD_FILE, Record, find_records, read_queries, read_record
from robustbench_dml.registry import ATTACKS, BACKBONES, DATASETS, DEFENSES, Registry
from robustbench_dml.training import Trainer

SETTINGS = ("--budget", "200", "--pairs", "16", "--queries", "8", "--attack-steps", "1", "--device", "cpu")
RUN = ("run", "--defense", "regular", "--dataset", "fashion-mini", *SETTINGS)
HM = ("run", "--defense", "hm-lga-ics", "--dataset", "fashion-mini", *SETTINGS)
PLOTS = ("efficiency.png", "efficiency.svg", "tradeoff.png", "tradeoff.svg")


@dataclass(frozen=True)
class Answer:
    """What a command printed and how it ended."""

    code: object
    out: str
    err: str


def rbdml(*arguments: str | Path) -> Answer:
    """Give the command in this process: a process of its own would import PyTorch anew."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["rbdml", *map(str, arguments)])
        try:
            main()
        except SystemExit as stop:
            return Answer(stop.code, out.getvalue(), err.getvalue())
    return Answer(code, out.getvalue(), err.getvalue())


def refusal(answer: Answer) -> str:
    """The one line in which bad input is refused."""
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("rbdml: ")
    assert answer.err.endswith("\n")
    assert answer.err.count("\n") == 1
    return answer.err


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class Made:
    """The run that the tests share; copy what you change."""

    answer: Answer
    out: Path
    record: Record

    @property
    def folder(self) -> Path:
        return self.out / "fashion-mini" / self.record.digest

    @property
    def checkpoint(self) -> Path:
        return self.folder / CHECKPOINT_FILE

    def copy(self, to: Path) -> Path:
        return Path(shutil.copytree(self.out, to))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small batches lose more by threads that wait for each other than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Made:
    out = tmp_path_factory.mktemp("made") / "runs"
    answer = rbdml(*RUN, "--out", out)
    assert answer.code == 0, answer.err
    [record] = find_records(out)
    return Made(answer, out, record)


@pytest.fixture(autouse=True)
def no_data_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the embedded set is here."""

    def fail(*_: Any, **__: Any) -> NoReturn:
        raise URLError("no network in tests")

    monkeypatch.delenv("RBDML_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(fashion, "DEBIAN", tmp_path / "debian")
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", fail)


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("nothing is to be trained here")

    monkeypatch.setattr(Trainer, "run", train)


# Refusals


BAD = {
    "unknown defense": ((*RUN, "--defense", "regulr"), "defense 'regulr': did you mean 'regular'?"),
    "far defense": ((*RUN, "--defense", "zzz"), "defense 'zzz': `rbdml list defenses`"),
    "no defense": (("run", "--dataset", "fashion-mini"), "--defense"),
    "unknown data set": ((*RUN, "--dataset", "fashion-mni"), "'fashion-mni': did you mean 'fashion-mini'?"),
    "far data set": ((*RUN, "--dataset", "zzz"), "'zzz': `rbdml list datasets`"),
    "unknown backbone": ((*RUN, "--backbone", "c2f"), "backbone 'c2f': did you mean 'c2f2'?"),
    "unknown protocol": ((*RUN, "--protocol", "esr"), "protocol 'esr': use one of ers"),
    "unknown sampler": ((*RUN, "--set", "sampler=hard"), "sampler 'hard': use one of R (random)"),
    "unknown source": ((*HM, "--set", "source=T"), "sampler 'T': use one of R (random)"),
    "unknown destination": ((*HM, "--set", "destination=lag"), "destination 'lag': use a gradual adversary ("),
    "destination above 2": ((*HM, "--set", "destination=2.5"), "[-2, 2]"),
    "destination nan": ((*HM, "--set", "destination=nan"), "[-2, 2]"),
    "unknown parameter": ((*HM, "--set", "isc=1"), "no parameter 'isc': it has destination"),
    "parameter of a wrong type": ((*HM, "--set", "ics=much"), "parameter 'ics' cannot be 'much'"),
    "negative parameter": ((*HM, "--set", "ics=-1"), "ics = -1.0 is negative"),
    "parameter nan": ((*HM, "--set", "ics=nan"), "parameter 'ics' cannot be 'nan'"),
    "parameter inf": ((*HM, "--set", "ics=1e400"), "parameter 'ics' cannot be '1e400'"),
    "parameter without a value": ((*HM, "--set", "ics"), "'ics' is not of the form name=value"),
    "parameter without a name": ((*HM, "--set", "=1"), "'=1' is not of the form name=value"),
    "parameter that is a setting": ((*HM, "--set", "threat=1"), "no parameter 'threat'"),
    "eps above 1": ((*RUN, "--eps", "2"), "eps = 2.0: input should be less than or equal to 1"),
    "eps below 0": ((*RUN, "--eps", "-1/255"), "greater than or equal to 0"),
    "eps nan": ((*RUN, "--eps", "nan"), "eps = nan"),
    "eps by zero": ((*RUN, "--eps", "8/0"), "'8/0' is not a number such as 0.03 or 8/255"),
    "eps word": ((*RUN, "--eps", "small"), "'small' is not a number"),
    "alpha above 1": ((*RUN, "--alpha", "3"), "alpha = 3.0"),
    "eta below 0": ((*RUN, "--eta", "-1"), "-1: input should be greater than or equal to 0"),
    "lr 0": ((*RUN, "--lr", "0"), "lr = 0.0"),
    "lr nan": ((*RUN, "--lr", "nan"), "lr = nan"),
    "weight decay below 0": ((*RUN, "--weight-decay", "-1"), "weight_decay = -1.0"),
    "no pairs": ((*RUN, "--pairs", "0"), "pairs = 0"),
    "more pairs than images": ((*RUN, "--pairs", "6001"), "smaller --pairs"),
    "seed below 0": ((*RUN, "--seed", "-1"), "seed = -1"),
    "no queries": ((*RUN, "--queries", "0"), "queries = 0"),
    "more queries than images": ((*RUN, "--queries", "1501"), "1501 queries asked for and 'fashion-mini' has 1500"),
    "attack eps above 1": ((*RUN, "--attack-eps", "2"), "eps = 2.0"),
    "attack steps below 0": ((*RUN, "--attack-steps", "-1"), "steps = -1"),
    "attack seed below 0": ((*RUN, "--attack-seed", "-1"), "seed = -1"),
    "no batch": ((*RUN, "--batch-size", "0"), "--batch-size"),
    "unknown device": ((*RUN, "--device", "tpu"), "'tpu' is not one of 'auto', 'cpu', 'cuda'"),
    "diverging": ((*RUN, "--lr", "1e20"), "training diverged: the loss of 'regular' is nan"),
    "missing data": ((*RUN, "--dataset", "fashion"), "--data-root or $RBDML_DATA, or `apt-get install"),
    "failing download": ((*RUN, "--dataset", "fashion", "--download"), "no network in tests"),
    "unknown option": ((*RUN, "--epss", "1"), "'--epss'"),
    "unknown command": (("rnu",), "'rnu'"),
    "unknown kind": (("list", "weapons"), "'defenses', 'attacks', 'datasets', 'backbones', 'budgets'"),
}
NO_BUDGETS = ("0", "-5", "nonsense", "quik", "nan", "inf", "1e400", "", "0.2s", "0.4", "1e-3", "10 parsecs", "1e15")


@pytest.mark.parametrize(("arguments", "part"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_one_line_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], part: str
) -> None:
    monkeypatch.chdir(tmp_path)  # so that ./runs would be here
    assert part in refusal(rbdml(*arguments))
    assert files_below(tmp_path) == []


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("budget", NO_BUDGETS)
def test_a_budget_of_nothing_is_refused(tmp_path: Path, budget: str) -> None:
    assert f"budget '{budget}' " in refusal(rbdml(*RUN, "--budget", budget, "--out", tmp_path))
    assert files_below(tmp_path) == []


@pytest.mark.usefixtures("no_training")
def test_cuda_where_there_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--device cpu" in refusal(rbdml(*RUN, "--device", "cuda", "--out", tmp_path))
    assert files_below(tmp_path) == []


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("out", ["file", "file/runs"])
def test_a_folder_that_cannot_be_written_is_refused_before_training(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("here before")
    assert "choose another folder with --out" in refusal(rbdml(*RUN, "--out", tmp_path / out))
    assert [path.read_text() for path in files_below(tmp_path)] == ["here before"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(("spoil", "part"), [(Path.touch, "SHA-256"), (truncate, "truncated")])
def test_an_altered_data_file_is_refused(tmp_path: Path, spoil: Callable[[Path], None], part: str) -> None:
    for name in FILES:  # the small set, which is not what 'fashion' should hold
        shutil.copy(fashion.EMBEDDED / f"{name}.gz", tmp_path)
    spoil(tmp_path / f"{TRAIN_IMAGES}.gz")
    answer = rbdml(*RUN, "--dataset", "fashion", "--data-root", tmp_path, "--out", tmp_path / "runs")
    assert part in refusal(answer)
    assert f"{TRAIN_IMAGES}.gz" in answer.err
    assert files_below(tmp_path / "runs") == []


Alter = Callable[[Path], object]


def rewritten(change: Callable[[dict[str, torch.Tensor], dict[str, str]], object]) -> Alter:
    """Rewrites a checkpoint, its tensors and metadata changed."""

    def alter(path: Path) -> None:
        tensors, metadata = read_tensors(path)
        change(tensors, metadata)
        write_tensors(path, tensors, metadata)

    return alter


def of_backbone(metadata: dict[str, str], name: str) -> None:
    metadata["spec"] = metadata["spec"].replace('"c2f2"', f'"{name}"')


SPOILED: dict[str, tuple[Alter, str]] = {
    "missing": (Path.unlink, "no such checkpoint"),
    "empty": (lambda path: path.write_bytes(b""), "not a readable safetensors file"),
    "truncated": (truncate, "not a readable safetensors file"),
    "cut in its header": (lambda path: path.write_bytes(path.read_bytes()[:100]), "not a readable"),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps([1, 2])), "not a readable safetensors file"),
    "another shape": (
        rewritten(lambda tensors, _: tensors.update({name: tensor[:1] for name, tensor in tensors.items()})),
        "its weights do not fit backbone 'c2f2'",
    ),
    "a weight less": (rewritten(lambda tensors, _: tensors.popitem()), "its weights do not fit backbone 'c2f2'"),
    "no run": (rewritten(lambda _, metadata: metadata.clear()), "not the run they came from"),
    "half a run": (rewritten(lambda _, metadata: metadata.update(spec="{}")), "not the run they came from"),
    "a backbone that is gone": (rewritten(lambda _, metadata: of_backbone(metadata, "c2f3")), "did you mean 'c2f2'?"),
    "weights of nan": (
        rewritten(lambda tensors, _: tensors.update({name: tensor * torch.nan for name, tensor in tensors.items()})),
        "not finite unit vectors",
    ),
}


@pytest.mark.parametrize(("alter", "part"), SPOILED.values(), ids=SPOILED)
def test_a_bad_checkpoint_is_refused(made: Made, tmp_path: Path, alter: Alter, part: str) -> None:
    checkpoint = tmp_path / CHECKPOINT_FILE
    shutil.copy(made.checkpoint, checkpoint)
    alter(checkpoint)
    assert part in refusal(rbdml("evaluate", checkpoint, "--device", "cpu", "--out", tmp_path / "runs"))
    assert files_below(tmp_path / "runs") == []


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--backbone", "resnet18"), "a checkpoint of backbone 'c2f2', not 'resnet18'"),
        (("--queries", "0"), "queries = 0"),
        (("--queries", "1501"), "1501 queries asked for and 'fashion-mini' has 1500"),
        (("--protocol", "esr"), "protocol 'esr': use one of ers"),
        (("--attack-eps", "2"), "eps = 2.0"),
    ],
)
def test_a_bad_evaluation_is_refused(made: Made, tmp_path: Path, arguments: tuple[str, ...], part: str) -> None:
    assert part in refusal(rbdml("evaluate", made.checkpoint, "--device", "cpu", "--out", tmp_path, *arguments))
    assert files_below(tmp_path) == []


@pytest.mark.usefixtures("no_training")
def test_an_altered_record_is_refused_and_not_taken_for_done(made: Made, tmp_path: Path) -> None:
    out = made.copy(tmp_path / "runs")
    record = out / "fashion-mini" / made.record.digest / RECORD_FILE
    altered = record.read_text().replace('"lr": 0.001', '"lr": 0.002')
    record.write_text(altered)
    assert "it was altered" in refusal(rbdml(*RUN, "--out", out))
    assert record.read_text() == altered


@pytest.mark.usefixtures("no_training")
def test_plots_that_cannot_be_written_are_told_in_one_line(made: Made, tmp_path: Path) -> None:
    out = made.copy(tmp_path / "runs")
    (out / "fashion-mini" / PLOTS[0]).unlink()
    (out / "fashion-mini" / PLOTS[0]).mkdir()
    refusal(rbdml(*RUN, "--out", out))
    assert find_records(out) == [made.record]


def test_no_command_at_all_shows_the_help_in_lines() -> None:
    answer = rbdml()
    assert "Commands:" in (answer.out + answer.err).splitlines()


# Running


def test_a_run_shows_its_tables_its_folder_and_its_plots(made: Made) -> None:
    assert made.answer.err == ""
    assert "regular *" in made.answer.out
    assert "already recorded" not in made.answer.out
    assert f"record: {made.folder}\n" in made.answer.out
    for name in PLOTS:
        assert f" {made.out / 'fashion-mini' / name}\n" in made.answer.out
        assert (made.out / "fashion-mini" / name).is_file()


def test_a_run_leaves_its_record_its_weights_and_its_queries(made: Made) -> None:
    assert sorted(path.name for path in made.folder.iterdir()) == [CHECKPOINT_FILE, "queries.npz", RECORD_FILE]
    assert [path.name for path in made.out.iterdir()] == ["fashion-mini"]
    assert sorted(path.name for path in (made.out / "fashion-mini").iterdir()) == sorted([made.record.digest, *PLOTS])


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
    assert answer == Answer(0, f"{out / 'fashion-mini' / made.record.digest}\n", "")
    assert iterations == list(range(made.record.cost.spent.iterations))
    [again] = find_records(out)
    assert again.values == made.record.values
    assert again.intervals == made.record.intervals
    assert again.cost.passes == made.record.cost.passes
    assert again.provenance.weights == made.record.provenance.weights
    assert sorted(path.name for path in out.joinpath("fashion-mini").iterdir()) == sorted([again.digest, *PLOTS])


def test_a_repetition_that_fails_keeps_the_old_record(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise RbdmlError("not this time")

    out = made.copy(tmp_path / "runs")
    before = {path: path.read_bytes() for path in files_below(out)}
    monkeypatch.setattr(runs, "evaluate_model", fail)
    monkeypatch.setattr(Trainer, "run", lambda *_, **__: None)
    assert "not this time" in refusal(rbdml(*RUN, "--out", out, "--force"))
    assert {path: path.read_bytes() for path in files_below(out)} == before


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
    answer = rbdml(*RUN, "--out", tmp_path)
    assert (answer.code, answer.out) == (130, "")
    assert answer.err.strip() == "rbdml: interrupted; the same command goes on from here"
    assert find_records(tmp_path) == []
    answer = rbdml(*RUN, "--out", tmp_path, "--json")
    assert iterations == list(range(made.record.cost.spent.iterations))
    assert Record.model_validate_json(answer.out).values == made.record.values
    assert not list(tmp_path.rglob(".*"))  # what it went on from is gone


# Evaluating again


def test_a_checkpoint_evaluated_the_same_way_gives_the_same_values(made: Made, tmp_path: Path) -> None:
    answer = rbdml("evaluate", made.checkpoint, "--out", tmp_path, "--device", "cpu", "--json")
    record = Record.model_validate_json(answer.out)
    assert record.digest == made.record.digest
    assert record.values == made.record.values
    assert record.cost.spent == made.record.cost.spent
    assert record.provenance.weights == made.record.provenance.weights
    folder = tmp_path / "fashion-mini" / record.digest
    assert read_record(folder) == record
    mine, theirs = read_queries(folder), read_queries(made.folder)
    assert list(mine) == list(theirs)
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_a_checkpoint_evaluated_another_way_gives_another_record(made: Made, tmp_path: Path) -> None:
    out = made.copy(tmp_path / "runs")
    answer = rbdml("evaluate", made.checkpoint, "--out", out, "--device", "cpu", "--attack-steps", "0", "--json")
    record = Record.model_validate_json(answer.out)
    assert record.digest != made.record.digest
    assert record.spec.evaluation.threat.steps == 0
    assert record.spec.training == made.record.spec.training
    assert record.benign == made.record.benign
    assert record.attacked != made.record.attacked
    assert {found.digest for found in find_records(out)} == {record.digest, made.record.digest}


@pytest.mark.usefixtures("no_training")
def test_an_evaluation_that_has_a_record_is_not_repeated(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "evaluate_model", None)
    answer = rbdml("evaluate", made.checkpoint, "--out", made.out, "--device", "cpu")
    assert answer.out.startswith("already recorded")


# Showing


def test_plot_writes_the_four_files(made: Made, tmp_path: Path) -> None:
    answer = rbdml("plot", "--records", made.out, "--out", tmp_path / "plots")
    paths = [tmp_path / "plots" / name for name in PLOTS]
    assert answer == Answer(0, "".join(f"{path}\n" for path in paths), "")
    assert files_below(tmp_path / "plots") == sorted(paths)


def test_plot_writes_beside_the_records_unless_told_otherwise_and_can_be_quiet(made: Made, tmp_path: Path) -> None:
    out = made.copy(tmp_path / "runs")
    assert rbdml("plot", "--records", out, "--quiet") == Answer(0, "", "")
    assert all((out / name).is_file() for name in PLOTS)


def test_plot_without_records_is_refused(tmp_path: Path) -> None:
    assert "no records below" in refusal(rbdml("plot", "--records", tmp_path, "--out", tmp_path / "plots"))
    assert files_below(tmp_path) == []


REGISTRIES: dict[str, Registry[Any]] = {
    "defenses": DEFENSES,
    "attacks": ATTACKS,
    "datasets": DATASETS,
    "backbones": BACKBONES,
}


@pytest.mark.parametrize("kind", REGISTRIES)
def test_a_list_holds_every_entry_with_its_source(kind: str) -> None:
    rows = json.loads(rbdml("list", kind, "--json").out)
    assert [(row["name"], row["source"]) for row in rows] == [(info.name, info.paper) for info in REGISTRIES[kind]]


@pytest.mark.parametrize("kind", [*REGISTRIES, "budgets"])
def test_a_list_says_the_same_as_text_and_as_json(kind: str) -> None:
    rows = json.loads(rbdml("list", kind, "--json").out)
    header, _, *lines = rbdml("list", kind).out.splitlines()
    assert re.split("  +", header.strip()) == list(rows[0])
    for line, row in zip(lines, rows, strict=True):
        assert line.startswith(f"{row['name']} ")
        assert all(value in line for value in row.values())


def test_the_list_of_budgets_gives_their_passes_for_every_data_set() -> None:
    rows = json.loads(rbdml("list", "budgets", "--json").out)
    assert [row["name"] for row in rows] == list(BUDGETS)
    assert all(re.fullmatch(r"[\d.e+]+M", row[info.name]) for row in rows for info in DATASETS)


def test_the_installed_command_tells_its_version() -> None:
    command = Path(sysconfig.get_path("scripts")) / "rbdml"
    answer = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert answer.stdout == f"rbdml, version {version('robustbench-dml')}\n"
    assert answer.stderr == ""
