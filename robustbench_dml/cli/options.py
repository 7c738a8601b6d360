"""Options that several commands share, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from robustbench_dml.cli.data import DATA_ROOT

if TYPE_CHECKING:
    from robustbench_dml.runs.context import RunContext

F = TypeVar("F", bound=Callable[..., Any])


class Fraction(click.ParamType[float]):
    """A number, or a quotient such as 8/255."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The value as a float."""
        try:
            top, _, bottom = str(value).partition("/")
            return float(top) / float(bottom or 1)
        except (ValueError, ZeroDivisionError):
            self.fail(f"'{value}' is not a number such as 0.03 or 8/255", param, ctx)


class Setting(click.ParamType[tuple[str, str]]):
    """name=value."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The two sides."""
        name, equals, text = str(value).partition("=")
        if not (name and equals):
            self.fail(f"'{value}' is not of the form name=value", param, ctx)
        return name.strip(), text.strip()


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in this order in the help."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


PRECISIONS = click.Choice(["fp32", "bf16"])
PRECISIONS_HERE = click.Choice(["fp32", "bf16", "auto"])  # auto: bf16 where the device has units for it
NORMS = click.Choice(["linf", "l2"])

# What an attack may do and how it searches.
attack_options = together(
    click.option("--attack-norm", type=NORMS, help="Of the evaluation radius and step.  [default: linf]"),
    click.option("--attack-eps", type=Fraction(), help="Evaluation radius.  [default: the protocol's]"),
    click.option("--attack-alpha", type=Fraction(), help="Evaluation step size."),
    click.option("--attack-steps", type=int, help="Evaluation steps."),
    click.option("--attack-seed", type=int, help="Of the choice of queries and targets.  [default: 0]"),
    click.option(
        "--attack-precision", type=PRECISIONS_HERE, help="Of the attack steps; scores are fp32.  [default: fp32]"
    ),
    click.option("--solver", help="`rbdml list solvers`.  [default: the protocol's]"),
    click.option("--solver-param", type=Setting(), multiple=True, help="A parameter of the solver; repeatable."),
    click.option("--surrogate", type=click.Path(path_type=Path), help="The checkpoint that attacks transfer from."),
)
evaluation_options = together(
    click.option("--queries", type=int, help="A seeded part of the test images as queries; default all."),
    click.option("--protocol", help="`rbdml list protocols`.  [default: ers]"),
    click.option(
        "--also",
        multiple=True,
        help="An attack beside the protocol's: a name, file.py:NAME, or `published` for all published columns; "
        "repeatable.",
    ),
    attack_options,
)
data_options = together(
    DATA_ROOT,
    click.option("--download", is_flag=True, help="Download a missing data set."),
    click.option("--no-cache", is_flag=True, help="Decode images each time instead of keeping them decoded."),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
)
place_options = together(
    click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Records."),
    data_options,
    click.option("--batch-size", type=click.IntRange(min=1), default=128, show_default=True, help="Of the evaluation."),
    click.option("--force", is_flag=True, help="Repeat what has a record already."),
)
output_options = together(
    click.option("--json", "as_json", is_flag=True, help="Print the record as JSON and nothing else."),
    click.option("--quiet", is_flag=True, help="Print nothing but the folder of the record."),
)


def attack_changes(given: dict[str, Any]) -> dict[str, Any]:
    """The settings of `specs.changed_evaluation` that `attack_options` stand for."""
    return {
        "norm": given["attack_norm"],
        "eps": given["attack_eps"],
        "alpha": given["attack_alpha"],
        "steps": given["attack_steps"],
        "seed": given["attack_seed"],
        "precision": precision_here(given["attack_precision"], given["device"]),
        "solver": given["solver"],
        "solver_params": dict(given["solver_param"]) or None,
        "surrogate": given["surrogate"],
    }


def precision_here(name: str | None, device: str) -> str | None:
    """A precision that was asked for, `auto` as what it is on the device of that name; says so if fp32 pays more."""
    if name not in ("auto", "bf16"):
        return name
    from robustbench_dml.utils.device import pick_device
    from robustbench_dml.utils.precision import best_precision

    best = best_precision(pick_device(device))
    if name == "auto":
        return best
    if best == "fp32":
        _tell_of_emulation()
    return name


@cache  # once, however many of the precisions are bf16
def _tell_of_emulation() -> None:
    told = "bf16 may be many times slower than fp32 here (no instructions for it are known); `auto` takes fp32"
    click.echo(f"rbdml: {told}", err=True)


def evaluation_changes(given: dict[str, Any]) -> dict[str, Any]:
    """The settings of `specs.changed_evaluation` that `evaluation_options` stand for."""
    return {
        "queries": given["queries"],
        "protocol": given["protocol"],
        "extra_attacks": given["also"] or None,
        **attack_changes(given),
    }


def place_of(given: dict[str, Any], weights: Path | None = None) -> RunContext:
    """Where and on what, from `place_options` (or only `data_options`)."""
    from robustbench_dml.datasets.base import DataPaths
    from robustbench_dml.runs.context import RunContext
    from robustbench_dml.utils.device import pick_device
    from robustbench_dml.utils.progress import Progress

    progress = Progress(given["quiet"] or given["as_json"])
    return RunContext(
        out=given["out"],
        paths=DataPaths(given["data_root"], given["download"], not given["no_cache"], progress),
        device=pick_device(given["device"]),
        batch_size=given.get("batch_size", 1),
        progress=progress,
        weights=weights,
        surrogate=given["surrogate"],
    )
