"""One attack on one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from robustbench_dml.datasets.base import Split
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.evaluation.evaluate import context_for
from robustbench_dml.evaluation.trace import AttackTrace, trace_attack
from robustbench_dml.models.checkpoints import load_checkpoint, weights_hash
from robustbench_dml.models.embedder import check_fit
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.external import load_external
from robustbench_dml.runs.on_device import evaluation_on
from robustbench_dml.spec.describe import describe_attack
from robustbench_dml.spec.lookup import find_attack
from robustbench_dml.spec.make import published_evaluation
from robustbench_dml.spec.protocols import protocol_named
from robustbench_dml.spec.schema import Evaluation
from robustbench_dml.utils import provenance
from robustbench_dml.utils.errors import RbdmlError


@dataclass(frozen=True, kw_only=True)
class AttackedImage:
    """One attack on one image, and the settings behind it."""

    trace: AttackTrace  # the attack
    split: Split  # the test images
    dataset: str  # name of the data set
    label: str  # name of the model
    weights: str  # hash of the model's weights
    evaluation: Evaluation  # threat, solver and seed
    commit: str | None  # start of the project's commit in a checkout, with a `+` for uncommitted changes

    @property
    def caption(self) -> str:
        """All settings in one line."""
        parts = [
            self.dataset,
            f"{self.label}, weights {self.weights[:8]}",
            describe_attack(self.evaluation),
            f"seed {self.evaluation.seed}",
            *([f"commit {self.commit}"] if self.commit else []),
        ]
        return "  \u00b7  ".join(parts)


def attack_one(
    checkpoint: Path | None,
    context: RunContext,
    *,
    row: int,
    attack: str,
    model: str | None = None,
    dataset: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> AttackedImage:
    """Attack one test image of a data set, by default under the checkpoint's evaluation.

    Args:
        checkpoint: weights written by `rbdml run`; with `model`, a state dict for it.
        context: data, device, surrogate.
        row: row of the image in the test split.
        attack: a name, or file.py:NAME.
        model: file.py:factory, for a model from outside the project.
        dataset: a name; by default the data set of the checkpoint.
        changes: changes of the evaluation, as in `spec.make.changed_evaluation`.

    Raises:
        RbdmlError: bad input, in one line.
    """
    name = find_attack(attack)
    network: nn.Module
    if model is not None:
        if dataset is None:
            raise RbdmlError("--model needs --dataset: give the name of a data set")
        external = load_external(model, checkpoint)
        evaluation = evaluation_on(context.device, published_evaluation(dataset, "ers"), changes or {})
        data = load_dataset(dataset, context.paths)
        network, label, weights = external.on_sphere(data, context), external.name, external.weights
    elif checkpoint is not None:
        loaded = load_checkpoint(checkpoint, device=context.device)
        evaluation = _outside_an_ensemble(context, loaded.spec.evaluation, changes or {})
        data = load_dataset(dataset or loaded.spec.dataset, context.paths)
        check_fit(loaded.spec.backbone, data.image_shape, data.name)
        network, label, weights = loaded.model, loaded.spec.label, weights_hash(loaded.embedder)
    else:
        raise RbdmlError("no model to attack: give a CHECKPOINT that `rbdml run` wrote, or --model file.py:factory")
    if not 0 <= row < len(data.test):
        raise RbdmlError(f"query {row} is none of '{data.name}': its test images are 0 to {len(data.test) - 1}")
    surrogate = context.surrogate_model(evaluation, data)
    attacked = context_for(network, data, evaluation, device=context.device, surrogate=surrogate)
    commit, dirty = provenance.source_commit()
    return AttackedImage(
        trace=trace_attack(attacked, name, row),
        split=attacked.split,
        dataset=data.name,
        label=label,
        weights=weights,
        evaluation=evaluation,
        commit=None if commit is None else commit[:8] + ("+" if dirty else ""),
    )


def _outside_an_ensemble(context: RunContext, evaluation: Evaluation, changes: Mapping[str, Any]) -> Evaluation:
    """Give an attack of an ensemble the published solver."""
    if protocol_named(evaluation.protocol).surrogate:
        changes = {"protocol": "ers", **changes}
    return evaluation_on(context.device, evaluation, changes)
