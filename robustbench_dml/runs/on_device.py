"""Settings that depend on the device: each precision `auto`, and on CUDA each precision left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from robustbench_dml.spec.make import changed_evaluation, make_spec, published_evaluation
from robustbench_dml.spec.options import EVALUATE, TRAIN
from robustbench_dml.spec.protocols import protocol_named
from robustbench_dml.spec.schema import Evaluation, RunSpec
from robustbench_dml.utils.precision import check_precision, resolve_precision


def spec_on(device: torch.device, arguments: Mapping[str, Any]) -> RunSpec:
    """Return the spec that `spec.make.make_spec` makes of these arguments, for a run on this device."""
    before = published_evaluation(arguments["dataset"])
    training = resolve_precision(arguments.get(TRAIN) or {}, device, unset=True)
    evaluation = _resolved(device, before, arguments.get(EVALUATE) or {}, unset=True)
    return make_spec(**{**arguments, TRAIN: training, EVALUATE: evaluation})


def evaluation_on(
    device: torch.device,
    before: Evaluation,
    changes: Mapping[str, Any],
    *,
    dataset: str | None = None,
    unset: bool = False,
) -> Evaluation:
    """Return the evaluation that `spec.make.changed_evaluation` makes of these changes, for this device.

    Args:
        device: the device to compute on.
        before: the evaluation to start from.
        changes: as in `changed_evaluation`.
        dataset: as in `changed_evaluation`.
        unset: on CUDA a precision left out is `auto`; else it stays as before.

    Raises:
        RbdmlError: bad values, or a precision that the device does not have.
    """
    evaluation = changed_evaluation(before, _resolved(device, before, changes, unset=unset), dataset=dataset)
    check_precision(evaluation.precision, device)
    return evaluation


def _resolved(device: torch.device, before: Evaluation, changes: Mapping[str, Any], *, unset: bool) -> dict[str, Any]:
    protocol = protocol_named(changes.get("protocol") or before.protocol)
    return resolve_precision(changes, device, unset=unset, float32=protocol.float32)
