"""The command `rbdml`."""

from __future__ import annotations

import sys

import click

from robustbench_dml.cli.attack import attack
from robustbench_dml.cli.catalogue import list_entries, new
from robustbench_dml.cli.compare import compare
from robustbench_dml.cli.data import data
from robustbench_dml.cli.evaluate import evaluate
from robustbench_dml.cli.inspect import inspect
from robustbench_dml.cli.leaderboard import leaderboard
from robustbench_dml.cli.plot import plot
from robustbench_dml.cli.run import run
from robustbench_dml.cli.submit import submit
from robustbench_dml.cli.sweep import sweep
from robustbench_dml.cli.table import table
from robustbench_dml.cli.zoo import zoo
from robustbench_dml.runs.exits import INTERRUPTED, ExitCode, is_left_alone, message_of
from robustbench_dml.spec.options import current_name
from robustbench_dml.utils.interrupts import ENDING, interrupted_by
from robustbench_dml.utils.terminal import one_line


# Former names of options are accepted and shown nowhere.
@click.group(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "token_normalize_func": current_name,
    }
)
@click.version_option(package_name="robustbench-dml")
def cli() -> None:
    """RobustBench-DML: adversarial robustness in deep metric learning."""


for _command in (
    run,
    evaluate,
    list_entries,
    new,
    compare,
    attack,
    data,
    inspect,
    plot,
    leaderboard,
    submit,
    sweep,
    table,
    zoo,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command. Errors of the user end in one line and exit code 2, an interrupt in exit code 130."""
    try:
        with interrupted_by(*ENDING):
            cli.main(prog_name="rbdml", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(ExitCode.REFUSED)
    except click.ClickException as error:
        _fail(error.format_message())
    except click.Abort:
        click.echo(f"rbdml: {INTERRUPTED}", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        message = message_of(error)
        if message is None and is_left_alone(error):
            sys.exit(ExitCode.LEFT_ALONE)
        if message is None:
            raise
        _fail(message)


def _fail(message: str) -> None:
    click.echo(f"rbdml: {one_line(message)}", err=True)
    sys.exit(ExitCode.REFUSED)


if __name__ == "__main__":
    main()
