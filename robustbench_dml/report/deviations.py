"""What of a run is not as published, for one cell of a table."""

from __future__ import annotations

from robustbench_dml.spec.published import FAMILIES
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.spec.schema import RunSpec


def changed_training(spec: RunSpec, *, column: int | None = None) -> list[str]:
    """The training settings that are not those of the data set's family, as name=value; lengths in 255ths.

    Args:
        spec: of the run.
        column: eta as a column of its own shows it (that of the published cost), so that another one has to be told.
    """
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
    if column is not None and own.threat.steps not in (column, usual.threat.steps):
        lengths.append(f"eta={own.threat.steps}")
    unusual = [f"batchnorm={own.batchnorm}"] if (own.batchnorm == "frozen") != started else []
    first = [] if started == family.pretrained else ["pretrained" if started else "from scratch"]
    return [*lengths, *changed, *unusual, *first]
