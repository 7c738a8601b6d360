"""Nothing of a submission's Python runs before its hash is right and somebody has said that it may."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from submission_support import copied, defense_file, edit, of_defense, renamed

from robustbench_dml.leaderboard.submission.trust import (
    check_discoverable,
    claimed_model,
    trusted_defense,
    trusted_model,
)
from robustbench_dml.models.checkpoints import load_checkpoint, weights_hash
from robustbench_dml.runs.record import CHECKPOINT_FILE, read_record
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.spec.schema import ExternalSpec
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256


def test_a_defense_runs_once_it_is_trusted(run: Path, tmp_path: Path) -> None:
    path, trace = defense_file(tmp_path, "mine-trusted")
    record = read_record(of_defense(run, tmp_path, "mine-trusted", path))
    with pytest.raises(RbdmlError, match="read it, then give --trust-code") as refused:
        trusted_defense(f"{path}:mine-trusted", [record], trust=False)
    assert str(path) in str(refused.value)
    assert sha256(path) in str(refused.value)
    assert not trace.exists()
    assert "mine-trusted" not in DEFENSES
    assert trusted_defense(f"{path}:mine-trusted", [record], trust=True) == path
    assert trace.read_text() == "ran"
    assert "mine-trusted" in DEFENSES
    trace.unlink()
    trusted_defense(f"{path}:mine-trusted", [record], trust=True)
    assert not trace.exists()


def test_a_defense_that_is_not_that_of_the_record_never_runs(run: Path, tmp_path: Path) -> None:
    path, trace = defense_file(tmp_path, "mine-altered")
    record = read_record(of_defense(run, tmp_path, "mine-altered", path))
    path.write_text(path.read_text() + "ALTERED = True\n")
    with pytest.raises(RbdmlError, match="not the source that the records were made with"):
        trusted_defense(f"{path}:mine-altered", [record], trust=True)
    with pytest.raises(RbdmlError, match="no record here is of 'another'"):
        trusted_defense(f"{path}:another", [record], trust=True)
    assert not trace.exists()


def test_a_defense_with_another_comment_is_that_of_the_record(run: Path, tmp_path: Path) -> None:
    path, trace = defense_file(tmp_path, "mine-explained")
    record = read_record(of_defense(run, tmp_path, "mine-explained", path))
    path.write_text("# explained\n" + path.read_text())
    assert trusted_defense(f"{path}:mine-explained", [record], trust=True) == path
    assert trace.exists()


def test_a_model_runs_once_it_is_trusted(model: tuple[Path, Path], tmp_path: Path) -> None:
    source, run = model
    spec = read_record(run).spec
    assert isinstance(spec, ExternalSpec)
    text, weights = f"{source}:build", run / CHECKPOINT_FILE
    with pytest.raises(RbdmlError, match=re.escape(sha256(source))):
        trusted_model(text, spec, weights, trust=False)
    assert trusted_model(text, spec, weights, trust=True).weights == spec.weights


def test_a_model_that_is_not_that_of_the_record_never_runs(model: tuple[Path, Path], tmp_path: Path) -> None:
    source, run = model
    spec, trace = read_record(run).spec, tmp_path / "ran"
    assert isinstance(spec, ExternalSpec)
    other = tmp_path / source.name
    other.write_text(f"from pathlib import Path\nPath({str(trace)!r}).touch()\n{source.read_text()}")
    with pytest.raises(RbdmlError, match="not the file that the record was made with"):
        trusted_model(f"{other}:build", spec, run / CHECKPOINT_FILE, trust=True)
    with pytest.raises(RbdmlError, match=r"the record is of mine\.py:build"):
        trusted_model(f"{source}:half", spec, run / CHECKPOINT_FILE, trust=True)
    assert not trace.exists()


def test_a_model_with_other_weights(model: tuple[Path, Path], tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    source, run = model
    spec = read_record(run).spec
    assert isinstance(spec, ExternalSpec)
    tensors = load_file(run / CHECKPOINT_FILE)
    save_file({name: value + 1e-3 for name, value in tensors.items()}, tmp_path / "other.safetensors")
    with pytest.raises(RbdmlError, match="not the weights of the record"):
        trusted_model(f"{source}:build", spec, tmp_path / "other.safetensors", trust=True)
    torch.save(tensors, tmp_path / "same.pt")
    assert trusted_model(f"{source}:build", spec, tmp_path / "same.pt", trust=True).weights == spec.weights


@pytest.mark.parametrize("text", ["mine.py", "mine:build", "absent.py:build"])
def test_what_names_no_file(text: str, model: tuple[Path, Path]) -> None:
    spec = read_record(model[1]).spec
    assert isinstance(spec, ExternalSpec)
    with pytest.raises(RbdmlError, match=r"path/to/file\.py:NAME"):
        trusted_model(text, spec, model[1] / CHECKPOINT_FILE, trust=True)


@pytest.mark.parametrize("name", ["__init__.py", "My-Defense.py", "a.b.py", "_x.py", "..py", "x.pyc"])
def test_a_name_under_which_no_defense_is_found(name: str, tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match=r"names are like my_defense\.py"):
        check_discoverable(tmp_path / name)


def test_a_name_under_which_it_is_found(tmp_path: Path) -> None:
    check_discoverable(tmp_path / "my_defense.py")


CPU = torch.device("cpu")


def test_its_own(run: Path) -> None:
    model = claimed_model(read_record(run), run / CHECKPOINT_FILE, CPU)
    assert weights_hash(model) == weights_hash(load_checkpoint(run / CHECKPOINT_FILE, device=CPU).embedder)
    assert not model.training


def test_under_another_evaluation_it_is_still_its_own(run: Path, tmp_path: Path) -> None:
    evaluation = read_record(run).spec.evaluation.model_copy(update={"seed": 3})
    claimed_model(read_record(renamed(copied(run, tmp_path), evaluation=evaluation)), run / CHECKPOINT_FILE, CPU)


def test_other_weights(run: Path, second: Path) -> None:
    with pytest.raises(RbdmlError, match=r"weights [0-9a-f]{16}, and the record is of [0-9a-f]{16}"):
        claimed_model(read_record(run), second / CHECKPOINT_FILE, CPU)


def test_the_weights_of_another_spec(run: Path, tmp_path: Path) -> None:
    copy = renamed(copied(run, tmp_path), defense="madry", params={"sampler": "R"})
    with pytest.raises(RbdmlError, match=f"of another run .{run.name}"):
        claimed_model(read_record(copy), run / CHECKPOINT_FILE, CPU)


def test_another_cost(run: Path, tmp_path: Path) -> None:
    copy = copied(run, tmp_path)
    edit(copy, lambda data: data["cost"]["spent"].update(seconds=0.5))
    with pytest.raises(RbdmlError, match="its training cost or end is not that of the record"):
        claimed_model(read_record(copy), copy / CHECKPOINT_FILE, CPU)


def test_truncated(run: Path, tmp_path: Path) -> None:
    path = copied(run, tmp_path) / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RbdmlError, match="not a readable safetensors file"):
        claimed_model(read_record(run), path, CPU)


def test_of_a_model_from_elsewhere(run: Path, model: tuple[Path, Path]) -> None:
    record = read_record(model[1])
    weights = read_record(run).provenance.weights
    record = record.model_copy(update={"provenance": record.provenance.model_copy(update={"weights": weights})})
    with pytest.raises(RbdmlError, match="the record is of a model from elsewhere"):
        claimed_model(record, run / CHECKPOINT_FILE, CPU)
