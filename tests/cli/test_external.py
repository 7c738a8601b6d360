"""`rbdml evaluate --model`: models that are not ours, beside ours."""

from __future__ import annotations

import hashlib
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from cli_support import PLOTS, Made, files_below, nothing_below, rbdml, refusal
from foreign_support import SOURCE, write_source
from safetensors.torch import load_file

from robustbench_dml.runs import pipeline
from robustbench_dml.runs.record import CHECKPOINT_FILE, RECORD_FILE, Record, find_records, read_record
from robustbench_dml.spec.schema import ExternalSpec
from robustbench_dml.utils.runlog import LOG_FILE, read_log

SMALL = ("--queries", "8", "--attack-steps", "1", "--device", "cpu")  # as in the run that the tests share


@pytest.fixture
def model(tmp_path: Path) -> str:
    return f"{write_source(tmp_path)}:build"


def foreign(model: str, *more: str | Path) -> tuple[str | Path, ...]:
    return ("evaluate", "--model", model, *more, "--dataset", "glyphs-mini", *SMALL)


def test_a_record_is_made_of_it_in_the_same_layout(model: str, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    answer = rbdml(*foreign(model), "--out", out)
    assert answer.code == 0
    [record] = find_records(out)
    spec = record.spec
    assert isinstance(spec, ExternalSpec)
    assert (spec.dataset, spec.model) == ("glyphs-mini", "mine.py:build")
    assert spec.source == record.provenance.defense_source == hashlib.sha256(SOURCE.encode()).hexdigest()
    assert spec.weights == record.provenance.weights
    assert (record.cost, record.training_end) == (None, None)
    assert record.spec.evaluation.queries == 8
    folder = out / "glyphs-mini" / record.digest
    assert sorted(path.name for path in folder.iterdir()) == [CHECKPOINT_FILE, LOG_FILE, "queries.npz", RECORD_FILE]
    kinds = [event["event"] for event in read_log(folder)]
    assert (kinds[0], kinds[-1], set(kinds[1:-1])) == ("start", "record", {"attack"})
    assert f"record: {folder}\n" in answer.out
    assert "are scaled to 1" in answer.err
    row = next(line for line in answer.out.splitlines() if "mine.py:build@" in line)
    assert row.split()[1:8] == [f"{spec.label}", "*", "-", "-", "-", "-", "-"]
    # Nothing is known of any training cost here.
    assert [path.name for path in files_below(out) if path.name in PLOTS] == sorted(PLOTS[4:])


def test_an_external_model_stands_in_the_table_and_in_a_plot(model: str, made: Made, tmp_path: Path) -> None:
    out = made.copy(tmp_path / "runs")
    answer = rbdml(*foreign(model), "--out", out)
    assert answer.out.startswith("glyphs-mini, c2f2, protocol ers")
    assert sum("regular" in line for line in answer.out.splitlines()) == 2
    assert sum("mine.py:build@" in line for line in answer.out.splitlines()) == 2
    shown = {}
    for name in ("tradeoff", "efficiency"):
        drawing = ElementTree.parse(out / "glyphs-mini" / f"{name}.svg")
        texts = ["".join(text.itertext()) for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
        shown[name] = {text.partition("@")[0] for text in texts if text.startswith(("regular[R]", "mine.py:build"))}
    baseline = "regular[R]: baseline"
    assert shown == {"tradeoff": {baseline, "mine.py:build"}, "efficiency": {baseline}}
    # from our side, too
    assert "mine.py:build@" in rbdml("evaluate", made.checkpoint, "--device", "cpu", "--out", out).out
    assert len(rbdml("plot", "--records", out, "--out", tmp_path / "plots").out.splitlines()) == len(PLOTS)


def test_weights_fill_it_and_name_the_record(model: str, tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    state = {"1.weight": torch.randn(6, 784, generator=rng), "1.bias": torch.zeros(6)}
    torch.save({"state_dict": state}, tmp_path / "weights.pth")
    out = tmp_path / "runs"
    filled = Record.model_validate_json(rbdml(*foreign(model, tmp_path / "weights.pth"), "--json", "--out", out).out)
    fresh = Record.model_validate_json(rbdml(*foreign(model), "--json", "--out", out).out)
    assert filled.digest != fresh.digest
    assert filled.benign != fresh.benign
    kept = load_file(out / "glyphs-mini" / filled.digest / CHECKPOINT_FILE)
    assert all(torch.equal(kept[name], value) for name, value in state.items())


def test_it_is_evaluated_once_unless_forced(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "runs"
    first = rbdml(*foreign(model), "--quiet", "--out", out)
    [record] = find_records(out)
    again = rbdml(*foreign(model), "--quiet", "--out", out, "--force")
    assert again.out == first.out
    assert read_record(Path(again.out.strip())).values == record.values
    monkeypatch.setattr(pipeline, "evaluate_model", None)
    assert rbdml(*foreign(model), "--out", out).out.startswith("already recorded")


def test_another_source_is_another_record(model: str, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    rbdml(*foreign(model), "--quiet", "--out", out)
    path = tmp_path / "elsewhere"
    path.mkdir()
    (path / "mine.py").write_text(SOURCE + "# changed\n")
    rbdml(*foreign(f"{path / 'mine.py'}:build"), "--quiet", "--out", out)
    assert len({record.digest for record in find_records(out)}) == 2
    assert len({record.spec.label for record in find_records(out)}) == 1


BAD = {
    "no data set": (("--model", "{model}"), "--model needs --dataset"),
    "unknown data set": (("--model", "{model}", "--dataset", "glyphs-mni"), "did you mean 'glyphs-mini'"),
    "a defense": (("--model", "{model}", "--dataset", "glyphs-mini", "--defense", "act"), "has no --defense"),
    "no factory": (("--model", "{model}x", "--dataset", "glyphs-mini"), "has no function 'buildx'"),
    "no file": (("--model", "absent.py:build", "--dataset", "glyphs-mini"), "no such Python file"),
    "no weights": (("absent.pt", "--model", "{model}", "--dataset", "glyphs-mini"), "no such checkpoint"),
    "too many queries": (
        ("--model", "{model}", "--dataset", "glyphs-mini", "--queries", "1501"),
        "1501 queries asked for",
    ),
    "nothing": ((), "nothing to evaluate: give a CHECKPOINT"),
}


@pytest.mark.parametrize(("arguments", "part"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_one_line(model: str, tmp_path: Path, arguments: tuple[str, ...], part: str) -> None:
    given = [argument.format(model=model) for argument in arguments]
    assert part in refusal(rbdml("evaluate", *given, "--device", "cpu", "--quiet", "--out", tmp_path / "runs"))
    assert nothing_below(tmp_path / "runs")


def test_our_own_checkpoints_are_not_taken_for_those_of_another(model: str, made: Made, tmp_path: Path) -> None:
    answer = rbdml(*foreign(model, made.checkpoint), "--out", tmp_path / "runs")
    assert "does not fit mine.py:build" in refusal(answer)
