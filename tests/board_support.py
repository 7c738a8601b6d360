"""Leaderboards made without any training: records, their per-query values and entries, as they lie on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robustbench_dml.leaderboard.entries import RECORDS, RERUNS, Entry, write_entry
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import QUERIES_FILE, Cost, Diagnostics, Provenance, Record, write_queries, write_record
from robustbench_dml.spec.make import changed_evaluation, make_spec, published_evaluation
from robustbench_dml.spec.protocols import BENIGN_COLUMNS, attacks_of, columns_of, protocol_named
from robustbench_dml.spec.schema import ComputeUsed, ExternalSpec, RunSpec, TrainingEnd
from robustbench_dml.spec.scores import CHANCE, scores_of, summary_of
from robustbench_dml.utils.files import sha256

SUBMITTED = "2026-02-03T04:05:06+00:00"
ENTRY = Entry(submitted=SUBMITTED, by="A. Researcher", paper="arXiv:2203.01439")
SHARES = [name for name in BENIGN_COLUMNS if name != "NMI"]
KNOWN = 12.5  # R@1 by chance
FILES = {"train": "1" * 64, "test": "2" * 64}


def made_spec(defense: str = "regular", dataset: str = "glyphs-mini", **settings: Any) -> RunSpec:
    """The spec of a run; settings as in `specs.make_spec`."""
    return make_spec(defense=defense, dataset=dataset, **settings)


def foreign_spec(model: str = "mine.py:factory", dataset: str = "glyphs-mini", **evaluation: Any) -> ExternalSpec:
    """The spec of a model from outside of the project; `evaluation` as in `specs.changed_evaluation`."""
    changed = changed_evaluation(published_evaluation(dataset), evaluation)
    return ExternalSpec(dataset=dataset, model=model, source="5" * 64, weights="6" * 64, evaluation=changed)


def made_values(spec: RunSpec | ExternalSpec, *, level: float = 0.5, queries: int = 40, seed: int = 0) -> Values:
    """Per-query values as an evaluation keeps them: recalls are 0 or 1, `level` is the mean of every share."""
    rng = np.random.default_rng(seed)
    values: Values = {"query": np.arange(queries) * 3}
    evaluation = spec.evaluation
    for name in (*SHARES, *columns_of(attacks_of(evaluation))):
        spread = np.clip(level + 0.2 * rng.normal(size=queries), 0, 1)
        values[name] = (rng.random(queries) < level).astype(float) if name.startswith("R@") else spread
    return values


def made_record(
    spec: RunSpec | ExternalSpec,
    values: Values,
    *,
    flags: Sequence[str] = (),
    disqualifying: Sequence[str] = (),
    files: dict[str, str] | None = None,
    passes: int = 3_000_000,
    metered: float = 21.25,
    nominal: int | None = None,
) -> Record:
    """The record with the means and the scores of these values; intervals are 2% to either side."""
    evaluation = spec.evaluation
    attacks = protocol_named(evaluation.protocol).attacks
    columns = columns_of((*attacks, *evaluation.extra_attacks))
    scores = scores_of(evaluation.protocol, columns_of(attacks))
    means = {name: values[name].mean() for name in (*SHARES, *columns)}
    shown = {name: float(value) for name, value in summary_of(columns, scores, {CHANCE: KNOWN})(means).items()}
    ours = isinstance(spec, RunSpec)
    spent = ComputeUsed(
        forward_only=300, to_input=passes - 1_000_000, to_weights=999_900, seconds=90.0, iterations=1234
    )
    spent = spent if passes else ComputeUsed()
    cost = Cost(
        spent=spent,
        passes=spent.passes,
        nominal_per_iteration=nominal
        if nominal is not None
        else (spec.training.threat.steps + 1 if isinstance(spec, RunSpec) else 1),
        metered_per_iteration=metered,
        peak_memory_bytes=10**9,
    )
    end = TrainingEnd(last_loss=0.2, collapsed_at=None, collapse_cause=None, stopped=False, device="cpu")
    return Record(
        digest=spec.digest,
        spec=spec,
        cost=cost if ours else None,
        benign={**{name: shown[name] for name in SHARES}, "NMI": 60.0, CHANCE: KNOWN},
        attacked={name: shown[name] for name in columns},
        scores={score.name: shown[score.name] for score in scores},
        intervals={name: (0.98 * value, 1.02 * value) for name, value in shown.items()},
        diagnostics=Diagnostics(
            flags=list(flags), disqualifying=list(disqualifying), measured={"mean_cosine": 0.1, "stronger": 1.25}
        ),
        training_end=end if ours else None,
        provenance=Provenance(
            created="2026-01-02T03:04:05+00:00",
            versions={"python": "3.11.2", "torch": "2.10.0"},
            device="a processor (cpu)",
            cpu="a processor",
            threads=1,
            evaluation_batch_size=128,
            commit="0123456789abcdef0123456789abcdef01234567",
            dirty=False,
            defense_source=spec.source if isinstance(spec, ExternalSpec) else "0" * 64,
            dataset_files=files or FILES,
            weights=spec.weights if isinstance(spec, ExternalSpec) else "3" * 64,
            queries="4" * 64,
        ),
    )


def write_run(folder: Path, record: Record, values: Values) -> Record:
    """Write a record and its per-query values into a folder, as `rbdml run` does; returns what was written."""
    folder.mkdir(parents=True)
    write_queries(folder, values)
    hashed = record.provenance.model_copy(update={"queries": sha256(folder / QUERIES_FILE)})
    record = record.model_copy(update={"provenance": hashed})
    write_record(folder, record)
    return record


def enter(
    leaderboards: Path,
    record: Record,
    values: Values,
    *,
    entry: Entry = ENTRY,
    reruns: Sequence[tuple[Record, Values]] = (),
) -> Path:
    """Put a record with its values, its entry and the runs of the same spec by others in place; returns its folder."""
    folder = leaderboards / record.spec.dataset_folder / RECORDS / record.digest
    write_run(folder, record, values)
    write_entry(folder, entry)
    for rerun, again in reruns:
        write_run(folder / RERUNS / rerun.provenance.weights[:16], rerun, again)
    return folder


def enter_made(
    leaderboards: Path, spec: RunSpec | ExternalSpec, *, level: float = 0.5, entry: Entry = ENTRY, **record: Any
) -> Record:
    """Put a made record of this spec in place; `record` as in `made_record`. Returns it."""
    values = made_values(spec, level=level, seed=spec.seed or 0)
    made = made_record(spec, values, **record)
    enter(leaderboards, made, values, entry=entry)
    return made


def make_leaderboards(folder: Path) -> Path:
    """A small leaderboard below a folder: two defenses over three seeds, a disqualified one, a model from elsewhere.

    All are on the main board of `glyphs-mini`; a second board has another evaluation. Returns its folder.
    """
    leaderboards = folder / "leaderboards"
    leaderboards.mkdir(parents=True)
    for seed in (0, 1, 2):
        enter_made(leaderboards, made_spec("hm-lga-ics", seed=seed), level=0.7, metered=7.5)
        enter_made(leaderboards, made_spec("act", seed=seed, training={"eta": 8}), level=0.5, passes=2_000_000)
    constant = ["collapsed"]
    enter_made(leaderboards, made_spec("madry"), level=0.9, flags=constant, disqualifying=constant)
    declared = ENTRY.model_copy(update={"declared_passes": 5e6, "checkpoint": "https://example.org/weights"})
    enter_made(leaderboards, foreign_spec(), level=0.4, entry=declared, flags=["more steps are stronger"])
    enter_made(leaderboards, made_spec("est", evaluation={"steps": 64}), level=0.3)
    return leaderboards
