"""Training settings of a run that differ from the published settings, for a cell of a table."""

from __future__ import annotations

from robustbench_dml.spec.published import FAMILIES
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.spec.schema import ExternalSpec, RunSpec


def changed_training(spec: RunSpec | ExternalSpec, *, column: int | None = None) -> list[str]:
    """Return the changed training settings as `name=value`, lengths in 255ths; empty for an external model.

    Args:
        spec: the run's spec.
        column: eta in a column of the table; a different eta of the run is listed.
    """
    if spec.training is None:
        return []
    family = FAMILIES[DATASETS.get(spec.dataset).family]
    usual, training = family.training, spec.training
    pretrained = spec.pretrained is not None
    changed = [
        f"{name}={value * 255:g}/255" if name in ("eps", "alpha") else f"{name}={value}"
        for name, value in training.threat
        if name != "steps" and value != getattr(usual.threat, name)
    ]
    if column is not None and training.threat.steps not in (column, usual.threat.steps):
        changed.append(f"eta={training.threat.steps}")
    changed += [
        f"{name}={value}"
        for name, value in training
        if name not in ("threat", "batchnorm") and value != getattr(usual, name)
    ]
    if (training.batchnorm == "frozen") != pretrained:
        changed.append(f"batchnorm={training.batchnorm}")
    if pretrained != family.pretrained:
        changed.append("pretrained" if pretrained else "from scratch")
    return changed
