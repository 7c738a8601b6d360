"""Parameters by name: the fields of a dataclass. Parameters of defenses come from three
places, and the last one wins: the entry, the values published for the data set, the user."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from robustbench_dml.spec.registry import DATASETS, DEFENSES, DefenseInfo, ParamValue
from robustbench_dml.spec.schema import Threat
from robustbench_dml.utils.errors import RbdmlError, did_you_mean, first_invalid

FINITE = ConfigDict(allow_inf_nan=False)


def resolve(
    cls: type,
    overrides: Mapping[str, Any],
    *,
    owner: str,
    defaults: Mapping[str, Any] | None = None,
    given: Collection[str] = (),
) -> dict[str, Any]:
    """Return all parameters of a dataclass: its defaults, the entry's, then the user's.

    Args:
        cls: the dataclass.
        overrides: the user's values by name; text is read as the parameter's type.
        owner: the subject of messages, for instance "defense 'act'".
        defaults: the entry's values by name.
        given: names of fields that are not parameters.

    Raises:
        RbdmlError: unknown name, or a value of the wrong type.
    """
    types = get_type_hints(cls)
    params: dict[str, Any] = {f.name: f.default for f in fields(cls) if f.name not in given and f.init}
    params.update(defaults or {})
    for name, value in overrides.items():
        if name not in params:
            known = ", ".join(sorted(params)) or "none"
            raise RbdmlError(f"{owner} has no parameter '{name}': {did_you_mean(name, params)}it has {known}")
        try:
            params[name] = TypeAdapter(types[name], config=FINITE).validate_python(value)
        except ValidationError as error:
            problem = first_invalid(error).message.lower()
            raise RbdmlError(f"{owner}: parameter '{name}' cannot be '{value}': {problem}") from None
    return params


def resolve_params(info: DefenseInfo, overrides: Mapping[str, Any]) -> dict[str, ParamValue]:
    """Return all parameters of a defense, without published values.

    Raises:
        RbdmlError: unknown name, or a value that the defense refuses.
    """
    params = resolve(info.cls, overrides, owner=f"defense '{info.name}'", given=("threat",), defaults=info.defaults)
    # The class decides last: it refuses values and normalises the others.
    built = build_defense(info.name, params, Threat(eps=0, alpha=0, steps=0))
    return {name: getattr(built, name) for name in params}


def published_params(info: DefenseInfo, dataset: str, named: Mapping[str, Any] | None = None) -> dict[str, ParamValue]:
    """Return the parameters published for a data set with other values than the defense's.

    Args:
        info: the defense.
        dataset: name; an unregistered data set has none.
        named: parameters that the defense's name sets. A part of a defense that is off, at 0, stays off.
    """
    known = DATASETS.get(dataset).params if dataset in DATASETS else {}
    values = {
        name: value for of, own in known.items() if DEFENSES.get(of).cls is info.cls for name, value in own.items()
    }
    general = resolve_params(info, named or {}) if values else {}
    return {name: value for name, value in values.items() if general[name] != 0}


def usual_params(info: DefenseInfo, dataset: str) -> dict[str, ParamValue]:
    """Return all parameters of a defense on a data set if the user sets none."""
    return resolve_params(info, published_params(info, dataset))


def named_entry(info: DefenseInfo, params: Mapping[str, Any], dataset: str) -> DefenseInfo:
    """Return the registered entry with these parameters, if any. So equal runs have equal names."""
    same = [other for other in DEFENSES if other.cls is info.cls and usual_params(other, dataset) == params]
    return max(same, key=lambda other: len(other.name), default=info)  # the longest name is the most precise


def build_defense(name: str, params: Mapping[str, ParamValue], threat: Threat) -> Any:
    """Build a Defense for its first iteration.

    Raises:
        RbdmlError: unknown name, or a parameter that the defense refuses.
    """
    return DEFENSES.get(name).cls(threat=threat, **params)
