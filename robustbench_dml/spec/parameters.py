"""Parameters that users set by name: those of a dataclass, with their defaults and types."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

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
    """All parameters of a dataclass: its own defaults, the entry's, then the user's.

    Args:
        cls: the dataclass.
        overrides: by name; text is read as the parameter's type.
        owner: what the messages call it, for instance "defense 'act'".
        defaults: of the entry.
        given: fields that are no parameters.

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
