"""One attack on one image, from what a user names to numbers and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from robustbench_dml.datasets.base import Dataset, Split
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.evaluation.context import make_context
from robustbench_dml.evaluation.trace import AttackTrace, trace_attack
from robustbench_dml.models.checkpoints import load_checkpoint, weights_hash
from robustbench_dml.models.embedder import check_fit
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.external import load_external
from robustbench_dml.spec.describe import describe_attack
from robustbench_dml.spec.lookup import find_attack
from robustbench_dml.spec.make import changed_evaluation, published_evaluation
from robustbench_dml.spec.protocols import protocol_named
from robustbench_dml.spec.schema import Evaluation
from robustbench_dml.utils import provenance
from robustbench_dml.utils.errors import RbdmlError


@dataclass(frozen=True, kw_only=True)
class AttackedImage:
    """One attack on one image, and with what it was made.

    Attributes:
        close: what happened.
        split: the test images.
        dataset: their name.
        label: of the model.
        weights: hash of its weights.
        evaluation: threat, search and seed.
        commit: of the project, where it is a checkout; with a `+` where that has uncommitted changes.
    """

    close: AttackTrace
    split: Split
    dataset: str
    label: str
    weights: str
    evaluation: Evaluation
    commit: str | None

    @property
    def caption(self) -> str:
        """One line with all that the picture was made with."""
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
    place: RunContext,
    *,
    row: int,
    attack: str,
    model: str | None = None,
    dataset: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> AttackedImage:
    """Attack one test image of a data set, by default as the checkpoint was evaluated.

    Args:
        checkpoint: weights written by `rbdml run`; with `model`, a state dict for it.
        place: data, device, surrogate.
        row: of the image in the test split.
        attack: a name, or file.py:NAME.
        model: file.py:factory, for a model from outside of the project.
        dataset: a name; by default what the checkpoint was trained on.
        changes: of the evaluation, as in `specs.changed_evaluation`.

    Raises:
        RbdmlError: bad input, in one line.
    """
    name = find_attack(attack)
    if model is None and checkpoint is None:
        raise RbdmlError("no model to attack: give a CHECKPOINT that `rbdml run` wrote, or --model file.py:factory")
    if model is not None and dataset is None:
        raise RbdmlError("--model needs --dataset: give the name of a data set")
    network: nn.Module
    if model is not None and dataset is not None:
        foreign = load_external(model, checkpoint)
        evaluation = changed_evaluation(published_evaluation(dataset), changes or {})
        data = load_dataset(dataset, place.paths)
        network, label, weights = foreign.on_sphere(data, place), foreign.name, foreign.weights
    else:
        assert checkpoint is not None
        loaded = load_checkpoint(checkpoint, device=place.device)
        evaluation = _alone(loaded.spec.evaluation, changes or {})
        data = load_dataset(dataset or loaded.spec.dataset, place.paths)
        check_fit(loaded.spec.backbone, data.image_shape, data.name)
        network, label, weights = loaded.model, loaded.spec.label, weights_hash(loaded.embedder)
    return _attacked(network, data, evaluation, place, name=name, row=row, label=label, weights=weights)


def _alone(evaluation: Evaluation, changes: Mapping[str, Any]) -> Evaluation:
    """Outside of an ensemble, attacks are searched as published."""
    if protocol_named(evaluation.protocol).surrogate:
        changes = {"protocol": "ers", **changes}
    return changed_evaluation(evaluation, changes)


def _attacked(
    model: nn.Module,
    data: Dataset,
    evaluation: Evaluation,
    place: RunContext,
    *,
    name: str,
    row: int,
    label: str,
    weights: str,
) -> AttackedImage:
    split = data.test.to(place.device)
    if not 0 <= row < len(split):
        raise RbdmlError(f"query {row} is none of '{data.name}': its test images are 0 to {len(split) - 1}")
    other = place.surrogate_model(evaluation, data)
    common: dict[str, Any] = {"evaluation": evaluation, "dataset": data.name, "device": place.device}
    arena = make_context(
        model, split, **common, surrogate=None if other is None else make_context(other, split, **common)
    )
    commit, dirty = provenance.source_commit()
    return AttackedImage(
        close=trace_attack(arena, name, row),
        split=split,
        dataset=data.name,
        label=label,
        weights=weights,
        evaluation=evaluation,
        commit=None if commit is None else commit[:8] + ("+" if dirty else ""),
    )
