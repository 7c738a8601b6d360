"""`rbdml run`: train a defense, evaluate it, write its record."""

from __future__ import annotations

from typing import Any

import click

from robustbench_dml.cli.options import GroupedCommand, check_bf16, context_of, take
from robustbench_dml.cli.output import importing, output_options, print_outcome
from robustbench_dml.spec.options import OPTIONS, arguments_of


@click.command(cls=GroupedCommand)
@take(*OPTIONS)
@output_options
def run(**words: Any) -> None:
    """Train a defense, evaluate it and record the result.

    Options you leave out use the published values for the data set. The record stores every setting. An interrupted
    run is resumed. Its log is log.jsonl beside its record, and in a hidden folder there while it runs.
    """
    with importing(quiet=words["quiet"] or words["as_json"]):
        from robustbench_dml.runs.launch import run_on_devices
        from robustbench_dml.runs.on_device import spec_on

    check_bf16(words)
    context = context_of(words)
    spec = spec_on(context.device, arguments_of(words))
    outcome = run_on_devices(spec, context, words["devices"], words=words, force=words["force"])
    if outcome is not None:  # the leading process
        print_outcome(outcome, words)
