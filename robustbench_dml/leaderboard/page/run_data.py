"""One run of a row: its record and its entry, as the page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustbench_dml.leaderboard.entries import Entry, Listed, Verification
from robustbench_dml.leaderboard.page.compact import Shared, brief
from robustbench_dml.runs.command import command_for
from robustbench_dml.runs.record import Cost, Provenance, Record
from robustbench_dml.spec.schema import TrainingEnd

HASH = 16  # digits of a hash that are shown; the record has all
SHOWN = 3  # of a value that is only looked at


def run_data(listed: Listed, judged: Record, names: Sequence[str], shared: Shared, *, alone: bool) -> dict[str, Any]:
    """A run as plain data.

    Args:
        listed: the record and its entry.
        judged: the record with the flags of its second evaluation, as the board has it.
        names: of the columns, in their order.
        shared: what runs have in common goes there; the numbers under `common` are places in it.
        alone: whether its row has no other run, and so its values.
    """
    record, spec = listed.record, listed.record.spec
    return {
        "digest": record.digest,
        "seed": spec.seed,
        "command": command_for(spec),
        **({} if alone else {"values": values_data(record, names)}),
        "flags": judged.flags,
        "disqualifying": judged.disqualifying,
        "measured": _named(record.diagnostics.measured, shared),
        "cost": None if record.cost is None else _cost(record.cost),
        "end": None if record.training_end is None else _end(record.training_end),
        "made": _made(record.provenance, shared),
        "entry": _entry(listed.entry, shared),
        "reruns": [_rerun(rerun, names) for rerun in listed.reruns],
    }


def values_data(record: Record, names: Sequence[str]) -> list[float | None]:
    """The value of every column, None where the record has none."""
    found = record.values
    return [brief(found[name]) if name in found else None for name in names]


def _named(values: Mapping[str, float], shared: Shared) -> list[Any]:
    """The place of the names, which many have in common, and the values."""
    return [shared.place(list(values)), [brief(value, SHOWN) for value in values.values()]]


def _cost(cost: Cost) -> dict[str, Any]:
    spent = cost.spent
    return {
        "forward": spent.forward_only,
        "input": spent.to_input,
        "weights": spent.to_weights,
        "iterations": spent.iterations,
        "seconds": brief(spent.seconds),
        "metered": brief(cost.metered_per_iteration),
        "memory": cost.peak_memory_bytes,
    }


def _end(end: TrainingEnd) -> dict[str, Any]:
    return {
        "loss": brief(end.last_loss),
        "collapsed": end.collapsed_at,
        "cause": end.collapse_cause,
        "stopped": end.stopped,
        "device": end.device,
    }


def _made(made: Provenance, shared: Shared) -> dict[str, Any]:
    common = {
        "versions": made.versions,
        "device": made.device,
        "cpu": made.cpu,
        "threads": made.threads,
        "batch": made.evaluation_batch_size,
        "commit": made.commit,
        "dirty": made.dirty,
        "files": {name: digest[:HASH] for name, digest in made.dataset_files.items()},
        "source": made.defense_source[:HASH],
    }
    return {
        "created": made.created,
        "weights": made.weights[:HASH],
        "queries": made.queries[:HASH],
        "common": shared.place(common),
    }


def _entry(entry: Entry, shared: Shared) -> dict[str, Any]:
    return {
        "submitted": entry.submitted,
        "by": entry.by,
        "paper": entry.paper,
        "checkpoint": entry.checkpoint,
        "status": entry.status,
        "declared": entry.declared_passes,
        "verification": None if entry.verification is None else _verification(entry.verification, shared),
    }


def _verification(found: Verification, shared: Shared) -> dict[str, Any]:
    return {
        "created": found.created,
        "queries": found.queries,
        "unequal": brief(found.unequal),
        "differences": _named(found.differences, shared),
        "flags": found.flags,
        "disqualifying": found.disqualifying,
        "common": shared.place(
            {"versions": found.versions, "device": found.device, "commit": found.commit, "dirty": found.dirty}
        ),
    }


def _rerun(record: Record, names: Sequence[str]) -> dict[str, Any]:
    return {
        "created": record.provenance.created,
        "device": record.provenance.device,
        "weights": record.provenance.weights[:HASH],
        "flags": record.flags,
        "values": values_data(record, names),
    }
