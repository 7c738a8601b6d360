from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from board_support import made_spec
from cli_support import rbdml

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.models.checkpoints import Checkpoint, save_checkpoint, weights_hash
from robustbench_dml.models.embedder import build_embedder
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.folder import FIRST
from robustbench_dml.runs.sweeps.local import Local
from robustbench_dml.runs.sweeps.plan import Job, plan, plan_tree
from robustbench_dml.spec.registry import BACKBONES
from robustbench_dml.spec.schema import ComputeUsed, RunSpec, TrainingEnd
from robustbench_dml.utils.errors import RbdmlError

TREE = {"defense": "regular", "dataset": "glyphs-mini"}


def checked(job: Job, parsed: list[tuple[RunSpec, RunContext]]) -> None:
    """The command comes to the very run, and its record to where it is looked for."""
    answer = rbdml(*job.words)
    assert answer.err == "rbdml: reached\n"
    spec, place = parsed[-1]
    assert spec.digest == job.spec.digest
    assert place.folder(spec).path == job.folder.path
    assert spec == job.task.spec
    for name in ("out", "weights", "surrogate", "batch_size", "checkpoint_every", "tensorboard"):
        assert getattr(place, name) == getattr(job.task.context(), name)


def test_every_command_comes_to_its_run(parsed: list[tuple[RunSpec, RunContext]], tmp_path: Path) -> None:
    tree = {
        "dataset": "glyphs-mini",
        "out": str(tmp_path / "a folder"),
        "budget": ["quick", 2000, "1min"],
        "runs": [
            {"defense": ["regular", "HM[S,-0.1]&ICS(0.25)"], "seed": [0, 1], "eps": "8/255", "extra-attack": ["ca+w2"]},
            {"defense": "act", "sampler": "S", "attack-norm": "l2", "attack-eps": 2, "attack-alpha": 0.5},
        ],
    }
    sweep = plan_tree(tree, source="test")
    assert len(sweep.jobs) == 3 * (2 * 2 + 1)
    for job in sweep.jobs:
        checked(job, parsed)


def test_files_stand_in_commands_by_paths_that_hold_everywhere(
    parsed: list[tuple[RunSpec, RunContext]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rbdml("new", "defense", "sweep-made", "--folder", tmp_path)
    source = Path(__file__).parents[3] / "docs" / "extending.md"
    (tmp_path / "swap.py").write_text(_attack_of(source))
    model = build_embedder(BACKBONES.get("c2f2"), seed=3, device=torch.device("cpu"))
    end = TrainingEnd(last_loss=0.1, collapsed_at=None, collapse_cause=None, stopped=False, device="cpu")
    save_checkpoint(tmp_path / "other.safetensors", Checkpoint(model, made_spec(), ComputeUsed(iterations=1), end))
    monkeypatch.chdir(tmp_path)
    tree = {
        **TREE,
        "defense": "sweep_made.py:sweep-made",
        "extra-attack": ["swap.py:swept"],
        "solver": "transfer",
        "surrogate": "other.safetensors",
    }
    [job] = plan_tree(tree, source="test").jobs
    assert job.spec.defense == "sweep-made"
    assert job.spec.evaluation.surrogate == weights_hash(model)[:16]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    checked(job, parsed)
    for name in ("sweep_made.py:sweep-made", "swap.py:swept", "other.safetensors"):
        assert str(tmp_path / name) in job.words


def _attack_of(page: Path) -> str:
    """The file of the attack that is shown there, under another name."""
    blocks = [block.split("```")[0] for block in page.read_text().split("```python\n")]
    [text] = [block for block in blocks if 'register_attack(\n    "swap"' in block]
    return text.replace("SWAP", "SWEPT").replace('"swap"', '"swept"')


def test_what_comes_to_the_same_run_is_one_run() -> None:
    tree = {**TREE, "runs": [{"seed": [0, 1]}, {"defense": "regular", "seed": 1, "budget": "quick"}]}
    sweep = plan_tree(tree, source="test")
    assert [job.spec.seed for job in sweep.jobs] == [0, 1]
    assert sweep.duplicates == 1


def test_options_replace_what_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text('dataset = "glyphs-mini"\ndefense = ["regular", "act"]\nout = "x"\n')
    sweep = plan(tmp_path / "f.toml", instead={"defense": ["est"], "seed": [3, 4]}, where={"out": str(tmp_path)})
    assert [(job.spec.defense, job.spec.seed) for job in sweep.jobs] == [("est", 3), ("est", 4)]
    assert {job.folder.out for job in sweep.jobs} == {tmp_path}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"defense": "regulra"}, "did you mean 'regular'?"),
        ({"dataset": "glyphs-mnii"}, "unknown data set 'glyphs-mnii'"),
        ({"eta": "8"}, "test: eta = '8': input should be a valid integer: write it as for `rbdml run`"),
        ({"seed": -1}, "seed = -1: input should be greater than or equal to 0"),
        ({"eps": "8/0"}, "test: eps = '8/0': '8/0' is not a number such as"),
        ({"batch-size": 0}, "batch-size = 0"),
        ({"device": "tpu"}, "test: device = 'tpu': unknown device 'tpu': use auto, cpu, cuda or cuda:1"),
        ({"param": {"magrin": 1}}, "has no parameter 'magrin'"),
        ({"weights": "none.pth"}, "no such file of weights"),
        ({"surrogate": "none.safetensors", "solver": "transfer"}, "no such checkpoint"),
        ({"defense": "x" * 300 + ".py:y"}, "no such Python file"),
        ({"weights": "x" * 300}, "cannot be read"),
        ({"exclude": [{"seed": 0}], "seed": 0}, "every combination is excluded"),
        ({"runs": [{"defense": "act"}, {"queries": 0}]}, "test: runs 2: attack queries = 0"),
    ],
)
def test_a_run_that_could_not_be_done_is_refused_before_any_starts(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(RbdmlError) as refused:
        plan_tree({**TREE, **changes}, source="test")
    assert str(refused.value).startswith("test: ") and told in str(refused.value)


@pytest.mark.parametrize("missing", ["defense", "dataset"])
def test_what_every_run_needs_is_asked_for(missing: str) -> None:
    with pytest.raises(RbdmlError, match=f"test: no {missing}: add"):
        plan_tree({name: value for name, value in TREE.items() if name != missing}, source="test")


def test_a_job_looks_where_a_run_writes(tmp_path: Path) -> None:
    [job] = plan_tree({**TREE, "out": str(tmp_path)}, source="test").jobs
    place = RunContext(tmp_path, DataPaths(), torch.device("cpu"))
    with place.folder(job.spec).working(FIRST) as work:
        assert work == job.folder.work()
        assert job.folder.lock.is_file() and job.folder.is_locked()
    assert not job.folder.is_locked()
    assert job.folder.process_log.parent == job.folder.path.parent


def test_every_run_of_a_sweep_can_have_several_devices() -> None:
    sweep = plan_tree({**TREE, "device": "cpu", "pairs": 4}, source="test")
    assert sweep.on_devices(1) == sweep
    [job], [pair] = sweep.jobs, sweep.on_devices(2).jobs
    assert (pair.spec, pair.words, pair.task.devices) == (job.spec, job.words, 2)
    with pytest.raises(RbdmlError, match="--devices 5: a batch has 4 pairs"):
        sweep.on_devices(5)


def test_jobs_have_devices_of_their_own_while_there_are_enough() -> None:
    slots = Local(2, devices=["0", "1", "2"], each=2)._slots
    assert [slots.get()["CUDA_VISIBLE_DEVICES"] for _ in range(2)] == ["0,1", "2,0"]
