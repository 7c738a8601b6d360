"""What of a run is not as published, for one cell of a table."""

from __future__ import annotations

from robustbench_dml.defense import build_defense, resolve_params
from robustbench_dml.errors import RbdmlError
from robustbench_dml.protocol import FAMILIES, RunSpec
from robustbench_dml.registry import DATASETS, DEFENSES


def changed_training(spec: RunSpec) -> list[str]:
    """The training settings that are not those of the data set's family, as name=value; lengths in 255ths."""
    family = FAMILIES[DATASETS.get(spec.dataset).family]
    usual, own = family.training, spec.training
    started = spec.pretrained is not None
    changed = [
        f"{name}={value}"
        for name, value in own
        if name not in ("threat", "batchnorm") and value != getattr(usual, name)
    ]
    lengths = [
        f"{name}={value * 255:g}/255" if name in ("eps", "alpha") else f"{name}={value}"
        for name, value in own.threat
        if name != "steps" and value != getattr(usual.threat, name)
    ]
    if own.threat.steps != usual.threat.steps and not _in_its_column(spec):
        lengths.append(f"eta={own.threat.steps}")
    unusual = [f"batchnorm={own.batchnorm}"] if (own.batchnorm == "frozen") != started else []
    first = [] if started == family.pretrained else ["pretrained" if started else "from scratch"]
    return [*lengths, *changed, *unusual, *first]


def _in_its_column(spec: RunSpec) -> bool:
    """Whether eta is to be seen in the published cost of an iteration, which tables have a column for."""
    try:
        params = resolve_params(DEFENSES.get(spec.defense), spec.params)
        cost = build_defense(spec.defense, params, spec.training.threat).nominal_cost
    except RbdmlError:  # a defense that is not here, or was another one
        return True
    return cost == spec.training.threat.steps + 1
