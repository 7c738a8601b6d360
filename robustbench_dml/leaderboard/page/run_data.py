"""A run of a row: its record and its entry, as the page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustbench_dml.leaderboard.entries import SHORT, Entry, Listed, Verification
from robustbench_dml.leaderboard.page.compact import Shared, brief
from robustbench_dml.runs.command import command_for
from robustbench_dml.runs.record import Cost, Provenance, Record
from robustbench_dml.spec.schema import Frozen

SHOWN = 3  # digits of the measured values of checks


def run_data(listed: Listed, judged: Record, names: Sequence[str], shared: Shared, *, alone: bool) -> dict[str, Any]:
    """Return a run as plain data.

    Args:
        judged: the record with the flags of both evaluations.
        shared: receives the values that runs have in common; numbers under `common` are indices in it.
        alone: leave out the values, which the row has already if this is its only run.
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
        "end": record.training_end
        and _picked(
            record.training_end,
            loss="last_loss",
            collapsed="collapsed_at",
            cause="collapse_cause",
            stopped="stopped",
            device="device",
        ),
        "made": _made(record.provenance, shared),
        "entry": _entry(listed.entry, shared),
        "reruns": [_rerun(rerun, names) for rerun in listed.reruns],
    }


def values_data(record: Record, names: Sequence[str]) -> list[float | None]:
    """Return the value of every column, None if the record has none."""
    values = record.values
    return [brief(values[name]) if name in values else None for name in names]


def _named(values: Mapping[str, float], shared: Shared) -> list[Any]:
    """The index of the names, which many runs share, and the values."""
    return [shared.index(list(values)), [brief(value, SHOWN) for value in values.values()]]


def _picked(data: Frozen, **fields: str) -> dict[str, Any]:
    """Fields of a model under the page's names, in this order."""
    values = {name: getattr(data, field) for name, field in fields.items()}
    return {name: brief(value) if isinstance(value, float) else value for name, value in values.items()}


def _cost(cost: Cost) -> dict[str, Any]:
    return {
        **_picked(cost.spent, forward="forward_only", input="to_input", weights="to_weights"),
        **_picked(cost.spent, iterations="iterations", seconds="seconds"),
        **_picked(cost, metered="metered_per_iteration", memory="peak_memory_bytes"),
    }


def _made(made: Provenance, shared: Shared) -> dict[str, Any]:
    common = {
        **_picked(made, versions="versions", device="device", cpu="cpu", threads="threads"),
        **_picked(made, batch="evaluation_batch_size", commit="commit", dirty="dirty"),
        "files": {name: digest[:SHORT] for name, digest in made.dataset_files.items()},
        "source": made.defense_source[:SHORT],
    }
    return {
        "created": made.created,
        "weights": made.weights[:SHORT],
        "queries": made.queries[:SHORT],
        "common": shared.index(common),
    }


def _entry(entry: Entry, shared: Shared) -> dict[str, Any]:
    return {
        **_picked(entry, submitted="submitted", by="by", paper="paper", checkpoint="checkpoint", status="status"),
        "declared": entry.declared_passes,
        "verification": None if entry.verification is None else _verification(entry.verification, shared),
    }


def _verification(second: Verification, shared: Shared) -> dict[str, Any]:
    return {
        **_picked(second, created="created", queries="queries", unequal="unequal"),
        "differences": _named(second.differences, shared),
        **_picked(second, flags="flags", disqualifying="disqualifying"),
        "common": shared.index(_picked(second, versions="versions", device="device", commit="commit", dirty="dirty")),
    }


def _rerun(record: Record, names: Sequence[str]) -> dict[str, Any]:
    return {
        "created": record.provenance.created,
        "device": record.provenance.device,
        "weights": record.provenance.weights[:SHORT],
        "flags": record.flags,
        "values": values_data(record, names),
    }
