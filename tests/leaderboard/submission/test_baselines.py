"""Baselines train nothing, and are verified without a checkpoint, too."""

from __future__ import annotations

from pathlib import Path

import pytest
from submission_support import at, audited, copied, edit, submitted, true_run

from robustbench_dml.leaderboard.entries import read_all
from robustbench_dml.leaderboard.submission.plan import Terms
from robustbench_dml.runs.command import command_for
from robustbench_dml.runs.record import read_record
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.schema import Budget, ComputeUsed, RunSpec
from robustbench_dml.utils.errors import RbdmlError

SMALL = ("--queries", "8", "--attack-steps", "1", "--device", "cpu")
BASELINES = ("pixels", "untrained")
pytestmark = pytest.mark.usefixtures("built")


@pytest.mark.parametrize("checkpoint", [True, False])
@pytest.mark.parametrize("defense", BASELINES)
def test_a_baseline_is_verified_with_or_without_its_checkpoint(
    defense: str, checkpoint: bool, board: Path, tmp_path: Path
) -> None:
    command = ("run", "--defense", defense, "--dataset", "glyphs", "--protocol", "ers", *SMALL)
    run = copied(true_run(tmp_path / "runs", *command), tmp_path, checkpoint=checkpoint)
    record = read_record(run)
    assert record.cost is not None
    assert (record.cost.spent, record.cost.passes, record.cost.nominal_per_iteration) == (ComputeUsed(), 0, 0)
    assert not audited(run).problems
    submitted(run, board, Terms(queries=8))
    assert [listed.entry.status for listed in read_all(board)] == ["verified"]
    edit(run, at("provenance", "weights", value="0" * 64))
    assert [problem for problem in audited(run).problems if "not those of its seed" in problem]
    with pytest.raises(RbdmlError, match="not those of its seed"):
        submitted(run, board, Terms(queries=8))


@pytest.mark.parametrize("defense", BASELINES)
def test_budget_and_settings_of_training_do_not_count(defense: str) -> None:
    spec = make_spec(defense=defense, dataset="glyphs")
    assert spec == make_spec(defense=defense, dataset="glyphs", budget="20M", training={"lr": 1.0, "eta": 3})
    assert spec.budget == Budget(kind="passes", amount=0)
    assert RunSpec.model_validate_json(spec.model_dump_json()) == spec
    assert command_for(spec) == f"rbdml run --defense {defense} --dataset glyphs --attack-precision fp32"
