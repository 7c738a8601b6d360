"""Parameters of defenses: defaults, published values, the user's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustbench_dml.spec.parameters import resolve
from robustbench_dml.spec.registry import DATASETS, DEFENSES, DefenseInfo, ParamValue
from robustbench_dml.spec.schema import Threat


def resolve_params(info: DefenseInfo, overrides: Mapping[str, Any]) -> dict[str, ParamValue]:
    """All parameters of a defense: the class's defaults, the entry's, then the user's.

    Raises:
        RbdmlError: unknown name, or a value of the wrong type.
    """
    params = resolve(info.cls, overrides, owner=f"defense '{info.name}'", given=("threat",), defaults=info.defaults)
    # A value can have the type and be refused, or be another way to write the same.
    built = build_defense(info.name, params, Threat(eps=0, alpha=0, steps=0))
    return {name: getattr(built, name) for name in params}


def published_params(info: DefenseInfo, dataset: str, named: Mapping[str, Any] | None = None) -> dict[str, ParamValue]:
    """The parameters that were published for a data set with other values than the defense's own.

    Args:
        info: the defense.
        dataset: name; for one that is not registered nothing is known.
        named: what its name sets beside the entry. A part of a defense that is off, at 0, stays off.
    """
    known = DATASETS.get(dataset).params if dataset in DATASETS else {}
    values = {
        name: value for of, own in known.items() if DEFENSES.get(of).cls is info.cls for name, value in own.items()
    }
    general = resolve_params(info, named or {}) if values else {}
    return {name: value for name, value in values.items() if general[name] != 0}


def usual_params(info: DefenseInfo, dataset: str) -> dict[str, ParamValue]:
    """All parameters of a defense on a data set where a user sets none."""
    return resolve_params(info, published_params(info, dataset))


def build_defense(name: str, params: Mapping[str, ParamValue], threat: Threat) -> Any:
    """A new defense, ready for its first iteration.

    Raises:
        RbdmlError: unknown name, or a parameter that the defense refuses.
    """
    return DEFENSES.get(name).cls(threat=threat, **params)
