"""Zoos built from runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli_support import Made, rbdml, refusal
from submission_support import copied

import robustbench_dml as rb
from robustbench_dml.models.zoo import ZooModel, read_index
from robustbench_dml.runs.record import CHECKPOINT_FILE
from robustbench_dml.runs.zoo import build_zoo, zoo_name

NAME = "glyphs-mini/regular-seed0"


@pytest.mark.usefixtures("described_figures")
def test_a_built_zoo_is_listed_fetched_and_loaded(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = rbdml("zoo", "build", tmp_path / "zoo", made.out, "--url", "https://example.org/zoo/")
    assert answer.code == 0 and answer.out.startswith(f"{NAME}  15.2 MB  ")
    [model] = read_index(tmp_path / "zoo").models
    assert (model.entry, model.weights) == (made.record.digest, made.record.provenance.weights)
    assert model.url == f"https://example.org/zoo/{NAME}.safetensors"
    monkeypatch.setenv("RBDML_ZOO", str(tmp_path / "zoo"))
    assert NAME in rbdml("zoo", "list").out
    path = tmp_path / "zoo" / f"{NAME}.safetensors"
    assert rbdml("zoo", "fetch", NAME).out == f"{path}\n"
    assert path.read_bytes() == made.checkpoint.read_bytes()
    again = rbdml("evaluate", f"zoo:{NAME}", "--device", "cpu", "--out", tmp_path / "again", "--json")
    assert rb.load_records(tmp_path / "again")[0].attacked == made.record.attacked, again.err
    loaded, own = rb.load_model(NAME, device="cpu"), rb.load_model(made.checkpoint, device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), own.parameters(), strict=True))


def test_bf16_rounds_and_halves(made: Made, tmp_path: Path) -> None:
    [model] = build_zoo(tmp_path, made.out, precision="bf16")
    path = tmp_path / model.file
    assert model.precision == "bf16" and model.bytes < 0.51 * made.checkpoint.stat().st_size
    loaded, own = rb.load_model(path, device="cpu"), rb.load_model(made.checkpoint, device="cpu")
    pairs = list(zip(loaded.parameters(), own.parameters(), strict=True))
    assert all(torch.equal(a, b.bfloat16().float()) for a, b in pairs)


def test_another_entry_of_the_same_name_is_told_apart(made: Made) -> None:
    record = made.record
    own = ZooModel(name=NAME, entry=record.digest, weights="0" * 64, sha256="0" * 64, bytes=1)
    assert zoo_name(record, [own]) == NAME
    assert zoo_name(record, [own.model_copy(update={"entry": "0" * 16})]) == f"{NAME}-{record.digest[:8]}"


def test_what_cannot_be_built_is_refused(made: Made, tmp_path: Path) -> None:
    run = copied(made.folder, tmp_path / "runs")
    (run / CHECKPOINT_FILE).write_bytes((run / CHECKPOINT_FILE).read_bytes()[:-4] + b"abcd")
    assert "not the checkpoint of its record" in refusal(rbdml("zoo", "build", tmp_path / "zoo", tmp_path / "runs"))
    assert "no run with a checkpoint" in refusal(rbdml("zoo", "build", tmp_path / "zoo", tmp_path / "none"))
    assert "no model 'x' in the zoo" in refusal(rbdml("zoo", "fetch", "x"))
