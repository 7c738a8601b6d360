"""Records with per-query values that are theirs, made without any training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from board_support import write_run

from robustbench_dml.runs.record import Record
from robustbench_dml.spec.protocols import BENIGN_COLUMNS, protocol_columns
from robustbench_dml.spec.scores import CHANCE, empirical_robustness_score, skill_weighted_score

COLUMNS = protocol_columns("ers")
SHARES = [name for name in BENIGN_COLUMNS if name != "NMI"]
KNOWN = 12.5  # R@1 by chance


def random_values(queries: int, *, seed: int, level: float = 0.5) -> dict[str, np.ndarray]:
    """Per-query values as an evaluation keeps them: recalls are 0 or 1, `level` is the mean of every share."""
    rng = np.random.default_rng(seed)
    values: dict[str, np.ndarray] = {"query": np.arange(queries) * 3}
    for name in (*SHARES, *COLUMNS):
        spread = np.clip(level + 0.2 * rng.normal(size=queries), 0, 1)
        values[name] = (rng.random(queries) < level).astype(float) if name.startswith("R@") else spread
    values["AR:loss"] = rng.normal(size=queries)  # what attacks may keep beside their columns
    return values


def with_values(record: Record, values: dict[str, np.ndarray]) -> Record:
    """The record with the means and the scores of these values."""
    benign = {name: 100 * float(values[name].mean()) for name in SHARES} | {"NMI": 60.0, CHANCE: KNOWN}
    attacked = {name: column.published(float(values[name].mean())) for name, column in COLUMNS.items()}
    shown = {**benign, **attacked}
    scores = {
        "ERS": float(empirical_robustness_score(shown, COLUMNS.values())),
        "sERS": float(skill_weighted_score(shown, COLUMNS.values())),
    }
    intervals = {name: (value - 1, value + 1) for name, value in {**shown, **scores}.items()}
    return record.model_copy(update={"benign": benign, "attacked": attacked, "scores": scores, "intervals": intervals})


def write_both(folder: Path, record: Record, values: dict[str, np.ndarray]) -> Record:
    """Write a record and its per-query values below a folder, as `rbdml run` does; returns what was written."""
    return write_run(folder / record.digest, record, values)
