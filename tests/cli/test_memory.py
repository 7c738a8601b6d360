"""A lack of memory ends in one line with a remedy, and keeps the state."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import SETTINGS, files_below, rbdml, refusal

from robustbench_dml.runs.record import find_records
from robustbench_dml.spec.schema import ComputeUsed
from robustbench_dml.training.resume import RESUME_FILE
from robustbench_dml.utils.tensors import read_tensors

pytestmark = pytest.mark.usefixtures("described_figures")

# Lacks memory in the second iteration, or in attacks, as long as a file is there.
HUNGRY = """
from pathlib import Path
import torch
from torch import nn
from robustbench_dml import Defense, Perturbed, register_defense, triplet_loss

LACKS = Path(__file__).with_name("lacks")


def take(phase):
    if LACKS.exists() and LACKS.read_text() == phase:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8")


class Deployed(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        if torch.is_grad_enabled():
            take("evaluation")
        return self.model(images)


@register_defense("hungry", summary="for tests", paper="none: a test")
class Hungry(Defense):
    def perturb(self, model, batch):
        if batch.progress > 0:
            take("training")
        return Perturbed(self.mine(model, batch)[0])

    def loss(self, model, batch, perturbed):
        return triplet_loss(*model(batch.images)[perturbed.triplets.rows].unbind(1), margin=0.2)

    def deploy(self, model):
        return Deployed(model)
"""
REMEDIES = {
    "training": "use --micro-batch or --devices and go on from the last iteration, or train another run",
    "evaluation": "use a smaller --batch-size, or --devices; a training before it is kept",
}


@pytest.fixture(scope="module")
def hungry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hungry") / "hungry.py"
    path.write_text(HUNGRY)
    return path


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("phase", REMEDIES)
def test_a_lack_of_memory_is_one_line_and_the_state_is_kept(
    phase: str, devices: int, hungry: Path, tmp_path: Path
) -> None:
    lacks, out = hungry.with_name("lacks"), tmp_path / "out"
    lacks.write_text(phase)
    words = ("run", "--defense", f"{hungry}:hungry", "--dataset", "glyphs-mini", *SETTINGS)
    run = (*words, "--out", out, "--quiet")
    line = refusal(rbdml(*run, "--devices", str(devices)))
    assert "out of memory (CUDA out of memory. Tried to allocate 20.00 GiB" in line and REMEDIES[phase] in line
    assert find_records(out) == []
    [state] = [path for path in files_below(out) if path.name == RESUME_FILE]
    done = ComputeUsed.model_validate_json(read_tensors(state)[1]["spent"]).iterations
    lacks.unlink()
    assert rbdml(*run).code == 0
    [record] = find_records(out)
    assert record.cost is not None
    assert done == (1 if phase == "training" else record.cost.spent.iterations) < 1000
