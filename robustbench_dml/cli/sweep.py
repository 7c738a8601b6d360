"""`rbdml sweep`: many runs from a matrix of settings."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_dml.cli.options import GroupedCommand, Setting, table_options, take
from robustbench_dml.spec.options import CONTEXT_OPTIONS, SPEC_OPTIONS, Kind, Option
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.terminal import echo

if TYPE_CHECKING:
    from robustbench_dml.runs.sweeps.engine import Engine
    from robustbench_dml.runs.sweeps.plan import Sweep
    from robustbench_dml.runs.sweeps.state import Status

FILE = click.argument("file", type=click.Path(path_type=Path), required=False)
JSON = table_options("Print the runs as JSON alone.")
MATRIX = take(*SPEC_OPTIONS, *CONTEXT_OPTIONS, sweep=True)


class _Default(click.Group):
    """A group with a default command, `run`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, args if args and args[0] in known else ["run", *args])


@click.group(cls=_Default, options_metavar="", subcommand_metavar="[run|status|estimate] [FILE] [OPTIONS]")
def sweep() -> None:
    """Do many runs: all combinations of settings.

    Settings come from a TOML file, from options with several values, or from both. Recorded runs are not repeated,
    interrupted ones are resumed, and several sweeps can share a folder. `rbdml sweep FILE` is `rbdml sweep run
    FILE`.
    """


@sweep.command(cls=GroupedCommand)
@FILE
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Runs at once on this machine.")
@click.option("--devices", type=click.IntRange(min=1), default=1, show_default=True, help="Devices of each run.")
@click.option("--retries", type=click.IntRange(min=0), default=0, show_default=True, help="Attempts after a failure.")
@click.option("--engine", type=click.Choice(["local", "ray", "slurm"]), default="local", show_default=True)
@click.option("--cpus", type=click.FloatRange(min=0), default=1.0, show_default=True, help="CPUs of a run, with Ray.")
@click.option("--gpus", type=click.FloatRange(min=0), default=0.0, show_default=True, help="GPUs of a run, with Ray.")
@click.option("--ray-address", default="auto", show_default=True, help="Address of a Ray cluster.")
@click.option("--slurm", type=Setting(), multiple=True, help="Submitit parameter, e.g. timeout_min=600; repeatable.")
@click.option("--dry-run", is_flag=True, help="List the runs, start none.")
@click.option("--quiet", is_flag=True, help="Print failures alone.")
@JSON
@MATRIX
def run(file: Path | None, retries: int, dry_run: bool, quiet: bool, as_json: bool, **given: Any) -> None:
    """Do the runs of a sweep that are not recorded yet. Exit code 1 if some failed.

    You can give options of `rbdml run` several times. They replace the settings of FILE. All runs are checked before
    the first starts.
    """
    from robustbench_dml.report.sweeps import SweepReporter, state_counts, sweep_table
    from robustbench_dml.runs.sweeps.carry_out import Sweeping
    from robustbench_dml.runs.sweeps.state import State, status_of

    planned = _planned(file, given).on_devices(given["devices"])
    before = [status_of(job) for job in planned.jobs]
    many = planned.duplicates
    counts = state_counts(before) + (f" ({many} that came to the same as another left out)" if many else "")
    if dry_run:
        lines = [f"{status.state:<12} {status.job.command}" for status in before]
        _show(before, "\n".join([*lines, "", counts]), as_json=as_json)
        return
    silent, engine = quiet or as_json, _engine(planned, given)
    if not silent:
        click.echo(f"{counts}; records below {planned.jobs[0].folder.out}")
    reporter = SweepReporter(planned.jobs, say=(lambda _: None) if silent else echo)
    Sweeping(planned.jobs, engine, reporter, retries=retries).carry_out()
    states = [reporter.found[job.spec.digest] for job in planned.jobs]
    _draw(states)
    if as_json or not quiet:
        _show(states, f"\n{sweep_table(states)}", as_json=as_json)
    failed = [one for one in states if one.state is State.FAILED]
    for one in failed if quiet else ():
        echo(f"rbdml: {one.job.command}: {one.why}; log: {one.job.folder.process_log}", err=True)
    if failed:
        sys.exit(1)


@sweep.command(cls=GroupedCommand)
@FILE
@JSON
@MATRIX
def status(file: Path | None, as_json: bool, **given: Any) -> None:
    """Show the state of every run: done, running, interrupted with its progress, failed or waiting."""
    from robustbench_dml.report.sweeps import sweep_table
    from robustbench_dml.runs.sweeps.state import status_of

    found = [status_of(job) for job in _planned(file, given).jobs]
    _show(found, sweep_table(found), as_json=as_json)


@sweep.command(cls=GroupedCommand)
@FILE
@click.option("--passes-per-second", type=click.FloatRange(min=0, min_open=True), help="Instead of measured ones.")
@JSON
@MATRIX
def estimate(file: Path | None, passes_per_second: float | None, as_json: bool, **given: Any) -> None:
    """Estimate the cost of the runs that are not recorded: passes, and hours of one run after another.

    Hours come from --passes-per-second, from records on this device, or from some seconds of plain passes here.
    """
    from dataclasses import asdict

    from robustbench_dml.report.sweeps import estimate_table
    from robustbench_dml.runs.rates import Rate, Rates
    from robustbench_dml.runs.sweeps.estimate import estimate as estimated
    from robustbench_dml.runs.sweeps.state import status_of
    from robustbench_dml.utils.device import pick_device

    planned = _planned(file, given)
    rates = Rates(planned.jobs[0].folder.out, pick_device(planned.where["device"]))
    given_rate = None if passes_per_second is None else Rate(passes_per_second, passes_per_second)
    parts = estimated([status_of(job) for job in planned.jobs], lambda spec: given_rate or rates.rate_of(spec))
    if as_json:
        rows = [{"dataset": dataset, "backbone": network, **asdict(one)} for (dataset, network), one in parts.items()]
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo(estimate_table(parts))
    click.echo("\nPasses of what is not recorded; hours of one run after another, without starting and loading.")
    for line in rates.notes:
        click.echo(line)


def _draw(found: list[Status]) -> None:
    """Draw the figures of the records, as `rbdml run` does after each run."""
    from robustbench_dml.report.grouping import comparable_records
    from robustbench_dml.report.run_report import draw

    folders = {one.job.folder.path.parent: one.record for one in found if one.record is not None}
    for folder, record in folders.items():
        records, _ = comparable_records(record, folder)
        draw(records, folder, above=folder)


def _planned(file: Path | None, given: dict[str, Any]) -> Sweep:
    """Return the sweep of a file, with options that replace its settings."""
    from robustbench_dml.runs.sweeps.plan import plan

    instead = {option.name: _values(option, given[option.word]) for option in SPEC_OPTIONS}
    instead = {name: value for name, value in instead.items() if value not in (None, [], {})}
    if file is None and not instead:
        raise RbdmlError("nothing to do: give the TOML FILE of a sweep, or --defense and --dataset")
    where = {option.name: given[option.word] for option in CONTEXT_OPTIONS}
    return plan(
        file, instead=instead, where={name: value for name, value in where.items() if value not in (None, False)}
    )


def _values(option: Option, given: Any) -> Any:
    """Return the values of an option in the form of a matrix."""
    if option.kind is not Kind.TABLE:
        return list(given) if isinstance(given, tuple) else given
    table: dict[str, list[str]] = {}
    for name, text in given:
        table.setdefault(name, []).append(text)
    return table


def _engine(planned: Sweep, given: dict[str, Any]) -> Engine:
    """The engine that does the runs."""
    from robustbench_dml.runs.sweeps.local import Local, visible_devices
    from robustbench_dml.runs.sweeps.on_ray import OnRay
    from robustbench_dml.runs.sweeps.on_slurm import OnSlurm

    if given["engine"] == "ray":
        return OnRay(given["ray_address"], cpus=given["cpus"], gpus=given["gpus"])
    if given["engine"] == "slurm":
        return OnSlurm(
            planned.jobs[0].folder.out, {name: int(text) if text.isdigit() else text for name, text in given["slurm"]}
        )
    return Local(given["jobs"], devices=visible_devices(planned.where["device"]), each=given["devices"])


def _show(statuses: list[Status], text: str, *, as_json: bool) -> None:
    """Print the runs as JSON, or this text about them."""
    from robustbench_dml.report.sweeps import sweep_rows

    echo(json.dumps(sweep_rows(statuses), indent=1) if as_json else text)
