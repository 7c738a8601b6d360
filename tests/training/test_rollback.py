"""An iteration that lacks memory leaves the state before it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from devices_support import CPU, QUIET
from torch import Tensor

from robustbench_dml.spec.make import make_spec
from robustbench_dml.training import trainer as training
from robustbench_dml.training.testing import small_dataset
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.errors import RbdmlError

FAILS_AT = 3


def trainer(defense: str) -> Trainer:
    """A training that changes the statistics of batch-norm in each iteration."""
    spec = make_spec(
        defense=defense,
        dataset="fashion",
        backbone="test-tiny",
        budget="6it",
        training={"pairs": 8, "eta": 2, "batchnorm": "train"},
    )
    return Trainer(spec, small_dataset(), device=CPU)


def weights(one: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in one.model.state_dict().items()}


@pytest.mark.parametrize("defense", ["hm-lga-ics", "hm-free"])
def test_a_training_goes_on_from_the_last_iteration_before_memory_lacked(
    defense: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, state = trainer(defense), tmp_path / "state.safetensors"
    whole.run(progress=QUIET)
    failing = trainer(defense)

    def average(_: list[Tensor]) -> None:
        if failing.spent.iterations == FAILS_AT:  # the loss is known, and the state of the defense is of later
            raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(training, "average_gradients", average)
        with pytest.raises(RbdmlError, match=r"out of memory .* go on from the last iteration"):
            failing.run(progress=QUIET, checkpoint=state)
    resumed = trainer(defense)
    resumed.load(state)
    assert resumed.spent.iterations == FAILS_AT
    resumed.run(progress=QUIET, checkpoint=state)
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())


def test_the_first_iteration_has_nothing_to_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lack(_: list[Tensor]) -> None:
        raise MemoryError

    monkeypatch.setattr(training, "average_gradients", lack)
    with pytest.raises(RbdmlError, match="out of memory"):
        trainer("hm-lga-ics").run(progress=QUIET, checkpoint=tmp_path / "state.safetensors")
    assert not list(tmp_path.iterdir())
