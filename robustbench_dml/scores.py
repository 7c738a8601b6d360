"""Scores: what a protocol makes of its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from robustbench_dml.attack import Column

V = TypeVar("V", float, np.ndarray)  # a mean, or many resampled ones


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number, 0..100, for a whole protocol: more is more robust.

    Attributes:
        name: of its column.
        label: its long name, for an axis.
        meaning: for a reader of the table.
        of: from the benign and attacked values of a model, in the units of the papers, to the score.
    """

    name: str
    label: str
    meaning: str
    of: Callable[[Mapping[str, np.ndarray]], np.ndarray]


def scores_of(protocol: str, columns: Mapping[str, Column]) -> tuple[Score, ...]:
    """The scores of a protocol, the one that ranks first.

    Args:
        protocol: its name.
        columns: those that count, by name.
    """
    if protocol == "autorank":
        return (
            Score(
                name="AutoRank",
                label="recall at 1 in the worst case (AutoRank, %)",
                meaning="recall at 1 in the worst case of every query",
                of=lambda values: values["AR:Q"],
            ),
        )
    return (
        Score(
            name="ERS",
            label="Empirical Robustness Score (ERS)",
            meaning="mean of the columns on a scale of 0 to 100",
            of=lambda values: empirical_robustness_score(values, columns.values()),
        ),
    )


def empirical_robustness_score(published: Mapping[str, V], columns: Iterable[Column]) -> V:
    """Mean of the columns on the score's scale. Zhou et al., T-PAMI 2024, arXiv:2106.03614.

    A collapsed model can score more than an honest one, because attacks on ranks cannot move what has no order:
    never show this without recall and the flags.
    """
    return np.mean([column.ers(published[column.name]) for column in columns], axis=0)  # type: ignore[arg-type]
