"""Bad input is one line on standard error, exit code 2, and leaves nothing behind."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli_support import HM, PLOTS, RUN, Made, files_below, nothing_below, rbdml, refusal

from robustbench_dml.datasets import glyphs
from robustbench_dml.datasets.idx import FILES, TRAIN_IMAGES
from robustbench_dml.runs.record import CHECKPOINT_FILE, RECORD_FILE, find_records
from robustbench_dml.utils.tensors import read_tensors, write_tensors

BAD = {
    "unknown defense": ((*RUN, "--defense", "regulr"), "defense 'regulr': did you mean 'regular'?"),
    "far defense": ((*RUN, "--defense", "zzz"), "defense 'zzz': `rbdml list defenses`"),
    "no defense": (("run", "--dataset", "glyphs-mini"), "--defense"),
    "unknown data set": ((*RUN, "--dataset", "glyphs-mni"), "'glyphs-mni': did you mean 'glyphs-mini'?"),
    "far data set": ((*RUN, "--dataset", "zzz"), "'zzz': `rbdml list datasets`"),
    "unknown backbone": ((*RUN, "--backbone", "c2f"), "backbone 'c2f': did you mean 'c2f2'?"),
    "unknown protocol": ((*RUN, "--protocol", "esr"), "protocol 'esr': did you mean 'ers'? use one of ers"),
    "unknown sampler": (
        (*RUN, "--param", "sampler=softhrd"),
        "sampler 'softhrd': did you mean 'softhard'? use one of R",
    ),
    "unknown sampler letter": ((*RUN, "--sampler", "T"), "sampler 'T': use one of R (random)"),
    "unknown destination": ((*HM, "--param", "destination=lag"), "destination 'lag': did you mean 'lga'? use lga, g_2"),
    "destination above 2": ((*HM, "--param", "destination=2.5"), "[-2, 2]"),
    "destination nan": ((*HM, "--param", "destination=nan"), "unknown destination 'nan'"),
    "unknown parameter": ((*HM, "--param", "isc=1"), "no parameter 'isc': did you mean 'ics'? it has destination"),
    "parameter of a wrong type": ((*HM, "--param", "ics=much"), "parameter 'ics' cannot be 'much'"),
    "negative parameter": ((*HM, "--param", "ics=-1"), "ics = -1.0 is negative"),
    "parameter nan": ((*HM, "--param", "ics=nan"), "parameter 'ics' cannot be 'nan'"),
    "parameter inf": ((*HM, "--param", "ics=1e400"), "parameter 'ics' cannot be '1e400'"),
    "parameter without a value": ((*HM, "--param", "ics"), "'ics' is not of the form name=value"),
    "parameter without a name": ((*HM, "--param", "=1"), "'=1' is not of the form name=value"),
    "parameter that is a setting": ((*HM, "--param", "threat=1"), "no parameter 'threat'"),
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
    "seed below 0": ((*RUN, "--seed", "-1"), "'--seed': -1 is not in the range x>=0"),
    "no queries": ((*RUN, "--queries", "0"), "queries = 0"),
    "more queries than images": ((*RUN, "--queries", "601"), "601 queries asked for and 'glyphs-mini' has 600"),
    "attack eps above 1": ((*RUN, "--attack-eps", "2"), "eps = 2.0"),
    "attack steps below 0": ((*RUN, "--attack-steps", "-1"), "steps = -1"),
    "attack seed below 0": ((*RUN, "--attack-seed", "-1"), "seed = -1"),
    "no batch": ((*RUN, "--batch-size", "0"), "--batch-size"),
    "unknown device": ((*RUN, "--device", "tpu"), "unknown device 'tpu': use auto, cpu, cuda or cuda:1"),
    "missing data": ((*RUN, "--dataset", "fashion"), "--data-root or $RBDML_DATA, or `apt-get install"),
    "failing download": ((*RUN, "--dataset", "fashion", "--download"), "no network in tests"),
    "unreadable brackets": ((*RUN, "--defense", "HM[S;M]"), "cannot read defense 'HM[S;M]'"),
    "unknown letter in brackets": ((*RUN, "--defense", "HM[S,T]"), "unknown destination 'T'"),
    "unknown name in brackets": ((*RUN, "--defense", "ATC[S]"), "did you mean 'act'?"),
    "no such file": ((*RUN, "--defense", "mine.py:mine"), "mine.py: no such Python file"),
    "unknown choice on collapse": ((*RUN, "--on-collapse", "cry"), "'cry' is not one of"),
    "unknown option": ((*RUN, "--epss", "1"), "'--epss'"),
    "unknown command": (("rnu",), "'rnu'"),
    "no kind": (("list",), "datasets"),
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
    assert nothing_below(tmp_path / "runs")


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("budget", NO_BUDGETS)
def test_a_budget_of_nothing_is_refused(tmp_path: Path, budget: str) -> None:
    assert f"budget '{budget}' " in refusal(rbdml(*RUN, "--budget", budget, "--out", tmp_path))
    assert nothing_below(tmp_path)


@pytest.mark.usefixtures("no_training")
def test_cuda_where_there_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--device cpu" in refusal(rbdml(*RUN, "--device", "cuda", "--out", tmp_path))
    assert nothing_below(tmp_path)


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
    for name in FILES:  # not what 'fashion' should hold
        shutil.copy(glyphs.EMBEDDED / f"{name}.gz", tmp_path)
    spoil(tmp_path / f"{TRAIN_IMAGES}.gz")
    answer = rbdml(*RUN, "--dataset", "fashion", "--data-root", tmp_path, "--out", tmp_path / "runs")
    assert part in refusal(answer)
    assert f"{TRAIN_IMAGES}.gz" in answer.err
    assert nothing_below(tmp_path / "runs")


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
    assert nothing_below(tmp_path / "runs")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--queries", "0"), "queries = 0"),
        (("--queries", "601"), "601 queries asked for and 'glyphs-mini' has 600"),
        (("--protocol", "esr"), "protocol 'esr': did you mean 'ers'?"),
        (("--attack-eps", "2"), "eps = 2.0"),
    ],
)
def test_a_bad_evaluation_is_refused(made: Made, tmp_path: Path, arguments: tuple[str, ...], part: str) -> None:
    assert part in refusal(rbdml("evaluate", made.checkpoint, "--device", "cpu", "--out", tmp_path, *arguments))
    assert nothing_below(tmp_path)


@pytest.mark.usefixtures("no_training")
def test_an_altered_record_is_refused_and_not_taken_for_done(made: Made, tmp_path: Path) -> None:
    out = made.copy(tmp_path / "runs")
    record = out / "glyphs-mini" / made.record.digest / RECORD_FILE
    altered = record.read_text().replace('"lr": 0.001', '"lr": 0.002')
    record.write_text(altered)
    assert "it was altered" in refusal(rbdml(*RUN, "--out", out))
    assert record.read_text() == altered


@pytest.mark.usefixtures("no_training")
def test_plots_that_cannot_be_written_are_reported_in_one_line(made: Made, tmp_path: Path) -> None:
    out = made.copy(tmp_path / "runs")
    (out / "glyphs-mini" / PLOTS[0]).unlink()
    (out / "glyphs-mini" / PLOTS[0]).mkdir()
    refusal(rbdml(*RUN, "--out", out))
    assert find_records(out) == [made.record]


def test_no_command_at_all_shows_the_help_in_lines() -> None:
    answer = rbdml()
    assert "Commands:" in (answer.out + answer.err).splitlines()
