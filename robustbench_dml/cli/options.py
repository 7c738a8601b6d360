"""Options of the commands, made from the table of `spec.options`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from robustbench_dml.spec.options import ALL, BY_NAME, CONTEXT, EVALUATE, OPTIONS, WHAT, Kind, Option, number
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.terminal import show_all_columns

if TYPE_CHECKING:
    from robustbench_dml.runs.context import RunContext

F = TypeVar("F", bound=Callable[..., Any])
SUBJECTS = ("model", "query", "attack_name")  # options of single commands for the heading WHAT


class Quotient(click.ParamType[float]):
    """A number, or a quotient such as 8/255."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the value as a float."""
        try:
            return number(str(value))
        except RbdmlError as error:
            self.fail(str(error), param, ctx)


class Count(click.ParamType[int | str]):
    """A whole number, or `all`."""

    name = "integer|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the number, or `all`."""
        return ALL if value == ALL else click.INT.convert(value, param, ctx)


class Setting(click.ParamType[tuple[str, str]]):
    """name=value."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return the two sides."""
        name, equals, text = str(value).partition("=")
        if not (name and equals):
            self.fail(f"'{value}' is not of the form name=value", param, ctx)
        return name.strip(), text.strip()


class CheckpointPath(click.Path):
    """A path, or zoo:NAME for a model of the zoo, which is fetched."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path of the checkpoint."""
        if not str(value).startswith("zoo:"):
            return super().convert(value, param, ctx)
        from robustbench_dml.models.zoo import located

        return located(value)


class GroupedCommand(click.Command):
    """A command whose help lists the options of the table under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each group of options, in the order of the table."""
        groups: dict[str, list[tuple[str, str]]] = {}
        headings = {**{option.word: option.group for option in OPTIONS}, **dict.fromkeys(SUBJECTS, WHAT)}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record and isinstance(param, click.Option):
                groups.setdefault(headings.get(param.name or "", "Other"), []).append(record)
        for heading in sorted(groups, key=[*dict.fromkeys(headings.values()), "Other"].index):
            with formatter.section(heading):
                formatter.write_dl(groups[heading])


_TYPES: dict[Kind, Any] = {
    Kind.PATH: click.Path(path_type=Path),
    Kind.COUNT: Count(),
    Kind.NUMBER: float,
    Kind.QUOTIENT: Quotient(),
    Kind.TABLE: Setting(),
}


def take(*options: Option | str, sweep: bool = False, published: bool = True) -> Callable[[F], F]:
    """Give a command these options, in this order in its help.

    Args:
        options: options of the table, or their names.
        sweep: nothing is required and nothing has a default; options of the spec can be given several times.
        published: the help names published values as defaults.
    """
    chosen = [BY_NAME[option] if isinstance(option, str) else option for option in options]

    def decorate(function: F) -> F:
        for option in reversed(chosen):
            function = _declared(option, sweep, published)(function)
        return function

    return decorate


def _declared(option: Option, sweep: bool, published: bool) -> Callable[[F], F]:
    """An option of the table as a decorator."""
    usual = (option.usual if published else "") if option.default is None else str(option.default)
    text = f"{option.help}  [default: {usual}]" if usual else option.help
    if option.kind is Kind.SWITCH:
        return click.option(f"--{option.name}/--no-{option.name}", default=None, help=text)
    if option.kind is Kind.FLAG:
        return click.option(f"--{option.name}", is_flag=True, help=text)
    default = {} if sweep or option.default is None else {"default": option.default}
    return click.option(
        f"--{option.name}",
        type=_type(option, sweep),
        multiple=option.kind in (Kind.TABLE, Kind.LIST) or (sweep and option.part != CONTEXT),
        required=option.required and not sweep,
        help=text,
        **default,
    )


def _type(option: Option, sweep: bool) -> Any:
    """The type of a value. A sweep takes paths as text, and no `auto`: its runs may be on other machines."""
    if option.choices:
        return click.Choice((*option.choices, "auto") if option.auto and not sweep else option.choices)
    if option.name == "surrogate" and not sweep:
        return CheckpointPath()
    if option.kind is Kind.WHOLE:
        return int if option.at_least is None else click.IntRange(min=option.at_least)
    return str if sweep and option.kind is Kind.PATH else _TYPES.get(option.kind, str)


# The options of one attack: neither its protocol nor its queries.
ATTACK = [
    option
    for option in OPTIONS
    if option.part == EVALUATE and option.name not in ("queries", "protocol", "extra-attack")
]
EVALUATION = [option for option in OPTIONS if option.part == EVALUATE]
DATA = ("data-root", "download", "no-cache", "device")


def table_options(json_help: str) -> Callable[[F], F]:
    """Return a decorator that gives a command --json, and --wide for its tables."""
    wide = click.option(
        "--wide",
        is_flag=True,
        expose_value=False,
        callback=lambda ctx, _, value: show_all_columns(ctx, value),
        help="Show all columns of a table, whatever the width of the terminal.",
    )
    as_json = click.option("--json", "as_json", is_flag=True, help=json_help)
    return lambda function: as_json(wide(function))


JSON = table_options("JSON instead of a table.")
QUIET = click.option("--quiet", is_flag=True, help="No messages on success.")


def check_bf16(words: Mapping[str, Any]) -> None:
    """Warn if bf16 is asked for and slower than fp32 on the device."""
    if not any(option.auto and words.get(option.word) == "bf16" for option in OPTIONS):
        return
    from robustbench_dml.utils.device import pick_device
    from robustbench_dml.utils.precision import best_precision

    if best_precision(pick_device(words["device"])) == "fp32":
        _warn_of_emulation()


@cache  # once in a process
def _warn_of_emulation() -> None:
    text = "bf16 may be many times slower than fp32 here (no instructions for it are known); `auto` takes fp32"
    click.echo(f"rbdml: {text}", err=True)


def context_of(words: Mapping[str, Any]) -> RunContext:
    """Make the context of a run from the options of a command."""
    from robustbench_dml.runs.context import run_context

    return run_context(words, quiet=words["quiet"] or words["as_json"])
