"""A matrix of runs: all combinations of lists of values, from a TOML file, from options, or from both."""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from robustbench_dml.spec.budgets import parse_seconds
from robustbench_dml.spec.options import BY_NAME, CONTEXT_OPTIONS, SPEC_OPTIONS, Kind, Option, current_name, quotient
from robustbench_dml.utils.device import device_name
from robustbench_dml.utils.errors import RbdmlError, did_you_mean, first_invalid, reason
from robustbench_dml.utils.files import read_at_most

MAX_BYTES = 1_000_000
MAX_RUNS = 10_000
BLOCKS, EXCLUDE = "runs", "exclude"
OF_A_RUN = [option.name for option in SPEC_OPTIONS]
OF_THE_SWEEP = [option.name for option in CONTEXT_OPTIONS]

Key = tuple[str, ...]  # key of a setting: its name, then in an inner table the name there
Combination = dict[Key, Any]
Choices = dict[Key, list[Any]]


@dataclass(frozen=True)
class Matrix:
    """The settings of a sweep, by the names of options."""

    where: dict[str, Any]  # the context that all runs share
    runs: list[tuple[str, dict[str, Any]]]  # each run's position in the file and its settings


def read_file(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        RbdmlError: unreadable, too large or not TOML.
    """
    try:
        return parse(read_at_most(path, MAX_BYTES), str(path))
    except OSError as error:
        raise RbdmlError(f"{path}: cannot be read ({error.strerror}): give the TOML file of a sweep") from None


def parse(content: bytes, source: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        RbdmlError: not TOML.
    """
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise RbdmlError(f"{source}: nested too deeply: a matrix has tables and lists of values, no more") from None
    except ValueError as error:  # an error of TOML or UTF-8, or a number too long for Python
        raise RbdmlError(f"{source}: not TOML: {reason(error)}") from None


def multiply_out(
    tree: Mapping[str, Any],
    *,
    source: str,
    instead: Mapping[str, Any] | None = None,
    where: Mapping[str, Any] | None = None,
) -> Matrix:
    """List every combination of the values of every block.

    Args:
        tree: settings that all blocks share, and the blocks under `runs`. Without `runs`, the shared settings are
            a single block.
        source: name of the tree in messages.
        instead: settings that replace the settings of every block.
        where: options of the context that replace those of the tree.

    Raises:
        RbdmlError: an unknown key, an impossible value, or too many runs.
    """
    blocks = tree.get(BLOCKS, [{}])
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise RbdmlError(f"{source}: runs is no list of tables: write [[runs]], with two brackets each side")
    context = {name: value for name, value in {**tree, **(where or {})}.items() if name in OF_THE_SWEEP}
    shared = {name: value for name, value in tree.items() if name not in (BLOCKS, EXCLUDE, *OF_THE_SWEEP)}
    common = choices_of(shared, source, above=True)
    replaced = choices_of(instead or {}, "the command line")
    without = _exclusions(tree, source)
    runs: list[tuple[str, dict[str, Any]]] = []
    multiplied = 0
    for number, block in enumerate(blocks, 1):
        position = f"{source}: runs {number}" if BLOCKS in tree else source
        own = choices_of({name: value for name, value in block.items() if name != EXCLUDE}, position)
        choices = {**common, **own, **replaced}
        multiplied += math.prod(map(len, choices.values()))
        if multiplied > MAX_RUNS:
            raise RbdmlError(f"{position}: multiplies out to more than {MAX_RUNS} runs: split it into several sweeps")
        out = [*without, *_exclusions(block, position)]
        runs += [
            (position, nested(one)) for one in combinations(choices) if not any(matches(one, each) for each in out)
        ]
    return Matrix({name: _checked(BY_NAME[name], value, f"{source}: {name}") for name, value in context.items()}, runs)


def choices_of(table: Mapping[str, Any], position: str, *, above: bool = False) -> Choices:
    """List the values of every setting of a table; a single value becomes a list. Inner tables are flattened.

    Args:
        table: settings by name.
        position: the position of the table in the file, for messages.
        above: the table stands above the blocks, where settings of the whole sweep are allowed.
    """
    choices: Choices = {}
    for given, value in table.items():
        name = current_name(given)
        _check_name(name, position, above=above)
        option, at = BY_NAME[name], f"{position}: {name}"
        if option.kind is not Kind.TABLE:
            choices[name,] = _values(option, value, at)
        elif isinstance(value, dict):
            choices |= {(name, inner): _values(option, one, f"{at}.{inner}") for inner, one in value.items()}
        else:
            raise RbdmlError(f'{at} = {_shown(value)}: write a table, for instance {name} = {{ "a" = 1 }}')
    return choices


def combinations(choices: Choices) -> Iterator[Combination]:
    """Iterate over all choices of one value for each setting; the last setting varies fastest."""
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def matches(combination: Combination, excluded: Choices) -> bool:
    """Check that a combination has an excluded value of every setting named."""
    return all(key in combination and combination[key] in values for key, values in excluded.items())


def nested(combination: Combination) -> dict[str, Any]:
    """Return the settings by name, with their inner tables."""
    settings: dict[str, Any] = {}
    for key, value in combination.items():
        if len(key) == 1:
            settings[key[0]] = value
        else:
            settings.setdefault(key[0], {})[key[1]] = value
    return settings


def _exclusions(table: Mapping[str, Any], position: str) -> list[Choices]:
    tables = table.get(EXCLUDE, [])
    if not isinstance(tables, list) or not all(isinstance(one, dict) and one for one in tables):
        raise RbdmlError(
            f"{position}: exclude is no list of tables: write, for instance, exclude = [{{ eta = 32, seed = 1 }}]"
        )
    return [choices_of(one, f"{position}: exclude") for one in tables]


def _check_name(name: str, position: str, *, above: bool) -> None:
    if name in OF_A_RUN:
        return
    if name in (*OF_THE_SWEEP, BLOCKS):
        raise RbdmlError(f"{position}: '{name}' is of the whole sweep: write it once, above the first [[runs]]")
    hint = did_you_mean(name, [*OF_A_RUN, EXCLUDE, *([*OF_THE_SWEEP, BLOCKS] if above else [])])
    raise RbdmlError(
        f"{position}: unknown key {_shown(name)}: {hint}keys are the options of `rbdml run`, without dashes before them"
    )


def _values(option: Option, value: Any, position: str) -> list[Any]:
    """Return the values to multiply out: those of a list, or of a list of lists if each value is a list."""
    inner = option.kind is Kind.LIST
    several = isinstance(value, list) and (not inner or any(isinstance(one, list) for one in value))
    values = value if several else [value]
    if not values:
        raise RbdmlError(f"{position}: an empty list multiplies out to no run: give a value, or leave it out")
    return [_checked(option, one, position) for one in values]


def _checked(option: Option, value: Any, position: str) -> Any:
    """Return the value that an option of `rbdml run` would have."""
    try:
        return _type(option).validate_python(value)
    except RbdmlError as error:
        raise RbdmlError(f"{position} = {_shown(value)}: {error}") from None
    except ValidationError as error:
        message = first_invalid(error).message.lower()
        raise RbdmlError(f"{position} = {_shown(value)}: {message}: write it as for `rbdml run`") from None


@cache
def _type(option: Option) -> TypeAdapter[Any]:
    kind: Any = Literal[option.choices] if option.choices else _TYPES[option.kind]
    if option.at_least is not None:
        kind = Annotated[kind, Field(ge=option.at_least)]
    return TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False))


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("text should print on one line")
    return text


def _time(text: str) -> str:
    parse_seconds(text)
    return text


Text = Annotated[str, Field(max_length=1000), AfterValidator(_one_line)]
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_TYPES: dict[Kind, Any] = {
    Kind.TEXT: Text,
    Kind.PATH: Text,
    Kind.BUDGET: Annotated[Text, BeforeValidator(lambda value: str(value) if type(value) is int else value)],
    Kind.DEVICE: Annotated[Text, AfterValidator(device_name)],
    Kind.TIME: Annotated[Text, AfterValidator(_time)],
    Kind.WHOLE: Whole,
    Kind.COUNT: Whole | Literal["all"],
    Kind.NUMBER: float,
    Kind.QUOTIENT: Annotated[float, BeforeValidator(quotient)],
    Kind.FLAG: bool,
    Kind.SWITCH: bool,
    Kind.LIST: list[Text],
    Kind.TABLE: bool | Whole | float | Text,  # each of its values
}


def _shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 2**63:
        return "a number beyond 64 bits"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
