"""Settings of a matrix: the options of `rbdml run`, by name and type."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model

from robustbench_dml.runs.task import anywhere
from robustbench_dml.spec.budgets import parse_seconds
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.options import (
    CONTEXT_OPTIONS,
    EVALUATE,
    SPEC_OPTIONS,
    Kind,
    Option,
    arguments_of,
    number,
)
from robustbench_dml.spec.schema import RunSpec, Value
from robustbench_dml.spec.weights import surrogate_digits
from robustbench_dml.utils.errors import RbdmlError


def _quotient(value: Any) -> Any:
    """A quotient such as "8/255" as a number; other values stay for the check of their type."""
    try:
        return number(value) if isinstance(value, str) else value
    except RbdmlError:
        return value


def _time(text: str) -> str:
    """Return the text unchanged if it is a time."""
    try:
        parse_seconds(text)
    except RbdmlError as error:
        raise ValueError(str(error)) from None
    return text


_TYPES: dict[Kind, Any] = {
    Kind.TEXT: str,
    Kind.PATH: str,
    Kind.BUDGET: Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)],
    Kind.TIME: Annotated[str, AfterValidator(_time)],
    Kind.WHOLE: int,
    Kind.NUMBER: float,
    Kind.QUOTIENT: Annotated[float, BeforeValidator(_quotient)],
    Kind.FLAG: bool,
    Kind.SWITCH: bool,
    Kind.LIST: list[str],
    Kind.TABLE: dict[str, Value],
}


class Options(BaseModel):
    """Strict data whose fields have the names of options."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        alias_generator=lambda word: word.replace("_", "-"),
    )

    @classmethod
    def names(cls) -> list[str]:
        """List the names of the options, without dashes before them."""
        return [field.alias or name for name, field in cls.model_fields.items()]


def _declared(options: Iterable[Option]) -> Any:
    """A model with a field for each of these options."""
    fields: Any = {option.word: _field(option) for option in options}
    return create_model("_Declared", __base__=Options, **fields)


def _field(option: Option) -> tuple[Any, Any]:
    kind = Literal[option.choices] if option.choices else _TYPES[option.kind]
    if option.at_least is not None:
        kind = Annotated[kind, Field(ge=option.at_least)]
    if option.required:
        return kind, ...
    return kind | None, option.default


class Where(_declared(CONTEXT_OPTIONS)):  # type: ignore[misc]
    """The context that all runs of a sweep share."""


class Settings(_declared(SPEC_OPTIONS)):  # type: ignore[misc]
    """The settings of one run, as `rbdml run` takes them. None stands for the published setting."""

    def spec(self) -> RunSpec:
        """Make the spec of the run.

        Raises:
            RbdmlError: an unknown name, a value out of range, or a file that cannot be read.
        """
        arguments = arguments_of(anywhere(dict(self)))
        if self.surrogate is not None:
            arguments[EVALUATE]["surrogate"] = _surrogate_digits(arguments[EVALUATE]["surrogate"])
        return make_spec(**arguments)


_surrogate_digits = functools.cache(surrogate_digits)  # many runs transfer from one model
