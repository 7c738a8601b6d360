"""From a matrix to jobs: every run is planned and checked before any starts."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from robustbench_dml.runs.command import written
from robustbench_dml.runs.folder import RunFolder
from robustbench_dml.runs.sweeps.matrix import multiply_out, read_file
from robustbench_dml.runs.task import Task, anywhere
from robustbench_dml.spec.budgets import parse_seconds
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.options import (
    CONTEXT_OPTIONS,
    EVALUATE,
    OPTIONS,
    SPEC_OPTIONS,
    Kind,
    Option,
    arguments_of,
    quotient,
)
from robustbench_dml.spec.schema import RunSpec, Value
from robustbench_dml.spec.weights import surrogate_digits
from robustbench_dml.utils.errors import RbdmlError, first_invalid


def _time(text: str) -> str:
    """Return the text unchanged if it is a time."""
    parse_seconds(text)
    return text


_TYPES: dict[Kind, Any] = {
    Kind.TEXT: str,
    Kind.PATH: str,
    Kind.BUDGET: Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)],
    Kind.TIME: Annotated[str, AfterValidator(_time)],
    Kind.WHOLE: int,
    Kind.NUMBER: float,
    Kind.QUOTIENT: Annotated[float, BeforeValidator(quotient)],
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


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    task: Task  # the run, for the process that does it
    words: tuple[str, ...]  # the arguments of `rbdml` that repeat the run, for people

    @property
    def spec(self) -> RunSpec:
        """The spec of the run."""
        return self.task.spec

    @cached_property
    def folder(self) -> RunFolder:
        """The folder of the run."""
        return RunFolder(Path(self.task.options["out"]), self.task.spec)

    @property
    def command(self) -> str:
        """The command that repeats the run, for a shell."""
        return shlex.join(["rbdml", *self.words])


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep, in the order of the matrix."""

    jobs: list[Job]  # the runs, each with its own record
    where: Where  # the shared context
    duplicates: int = 0  # the number of combinations that repeat an earlier run


def plan(
    file: Path | None, *, instead: Mapping[str, Any] | None = None, where: Mapping[str, Any] | None = None
) -> Sweep:
    """Plan the sweep of a file, of options, or of a file with options that replace some of its settings.

    Args:
        file: a TOML file.
        instead: settings, or lists of settings, that replace the settings of every block of the file.
        where: settings of `Where` that replace the settings of the file.

    Raises:
        RbdmlError: a run that cannot succeed, as far as known without its data.
    """
    tree = {} if file is None else read_file(file)
    return plan_tree(tree, source="the command line" if file is None else str(file), instead=instead, where=where)


def plan_tree(
    tree: Mapping[str, Any],
    *,
    source: str,
    instead: Mapping[str, Any] | None = None,
    where: Mapping[str, Any] | None = None,
) -> Sweep:
    """Plan the sweep of a TOML tree; arguments as in `plan`."""
    matrix = multiply_out(tree, source=source, instead=instead)
    shared = _checked(Where, {**matrix.where, **(where or {})}, source)
    specs, found = dict[str, RunSpec](), dict[str, Job]()
    for place, given in matrix.runs:
        settings = _checked(Settings, given, place)
        key = settings.model_copy(update={"seed": 0}).model_dump_json()
        if key not in specs:
            specs[key] = _spec(settings, place)
        spec = specs[key].model_copy(update={"seed": settings.seed})
        if spec.digest not in found:
            found[spec.digest] = _job(spec, settings, shared)
    if not found:
        raise RbdmlError(f"{source}: every combination is excluded: there is nothing to run")
    return Sweep(list(found.values()), shared, duplicates=len(matrix.runs) - len(found))


def _spec(settings: Settings, place: str) -> RunSpec:
    """Return the spec of the settings at this place in the matrix."""
    try:
        return settings.spec()
    except RbdmlError as error:
        raise RbdmlError(f"{place}: {error}") from None
    except OSError as error:
        raise RbdmlError(f"{place}: {error.filename or 'a file'} cannot be read ({error.strerror})") from None


def _job(spec: RunSpec, settings: Settings, where: Where) -> Job:
    """Return a run with its command, in which files have absolute paths."""
    words = anywhere({**dict(where), **dict(settings), "dataset": spec.dataset})
    given = ((option, words[option.word]) for option in OPTIONS if option.word in words)
    changed = ((option, value) for option, value in given if value not in (None, option.default))
    return Job(Task.of(spec, words), ("run", *written(changed)))


O = TypeVar("O", bound=Options)  # noqa: E741


def _checked(options: type[O], given: Mapping[str, Any], place: str) -> O:
    try:
        return options.model_validate(given)
    except RbdmlError as error:
        raise RbdmlError(f"{place}: {error}") from None
    except ValidationError as error:
        found = first_invalid(error)
        if found.missing:
            example = f'{found.name} = "{_EXAMPLES[found.name]}"'
            raise RbdmlError(f"{place}: no {found.name}: add, for instance, {example}") from None
        raise RbdmlError(f"{place}: {found}: write it as for `rbdml run`") from None


_EXAMPLES = {"defense": "hm-lga-ics", "dataset": "glyphs"}
