"""Scores of a protocol, computed from its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from robustbench_dml.spec.columns import Column

V = TypeVar("V", float, np.ndarray)  # a mean, or many resampled means

CHANCE = "chance"  # the benign value of `fixed_list_recall`


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number for a whole protocol, 0..100 unless it is a radius. More is more robust."""

    name: str  # name of the score's column
    label: str  # axis label
    meaning: str  # description for a reader of the table
    # Computes the score from benign and attacked values in the units of the papers.
    of: Callable[[Mapping[str, np.ndarray]], np.ndarray]
    linear: bool = True  # equals the mean of its per-query values, so that tests on queries apply


def scores_of(protocol: str, columns: Mapping[str, Column]) -> tuple[Score, ...]:
    """Return the scores of a protocol, the score that ranks first.

    Args:
        protocol: name.
        columns: the columns that count, by name.
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
    if protocol == "radius":
        return (
            Score(
                name="MR",
                label="mean radius that breaks a query (1/255)",
                meaning="mean over the queries of the least radius at which the first place is wrong, in 1/255",
                of=lambda values: values["MR:Q"],
            ),
        )
    return (
        Score(
            name="ERS",
            label="Empirical Robustness Score (ERS)",
            meaning="mean of the columns on a scale of 0 to 100",
            of=lambda values: empirical_robustness_score(values, columns.values()),
        ),
        Score(
            name="sERS",
            label="skill-weighted robustness score (sERS)",
            meaning="benign recall at 1 above chance, times the mean of the columns kept within 0 to 100",
            of=lambda values: skill_weighted_score(values, columns.values()),
            linear=False,
        ),
    )


def summary_of(
    columns: Mapping[str, Column], scores: Iterable[Score], known: Mapping[str, float]
) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Return a function from stored means over queries to published units and scores.

    It takes arrays of many means, and for linear scores the values of single queries.

    Args:
        columns: columns of the attacked values; other values are fractions, shown in per cent.
        scores: the scores to compute.
        known: further inputs of the scores that have no per-query values, in the units of the papers.
    """

    def summary(means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        shown = {name: (columns[name].scale if name in columns else 100) * mean for name, mean in means.items()}
        given = {**shown, **{name: np.asarray(value) for name, value in known.items()}}
        return {**shown, **{score.name: score.of(given) for score in scores}}

    return summary


def empirical_robustness_score(published: Mapping[str, V], columns: Iterable[Column]) -> V:
    """Mean of the columns on the score's scale. Zhou et al., T-PAMI 2024, arXiv:2106.03614.

    A collapsed model can score more than an honest one: its embeddings have no order for attacks to change. Always
    show recall and flags beside this score.
    """
    return np.mean([column.ers(published[column.name]) for column in columns], axis=0)  # type: ignore[arg-type]


def skill_weighted_score(published: Mapping[str, V], columns: Iterable[Column]) -> V:
    """Skill times the mean of the columns, each clipped to 0..100. Defined by this project, see docs/scores.md.

    Args:
        published: the columns, `R@1` and `chance`, in the units of the papers; numbers, or arrays of one shape.
        columns: columns of the protocol.

    Returns:
        0..100; 0 for a model that retrieves no better than chance.
    """
    clipped = [np.clip(column.ers(published[column.name]), 0, 100) for column in columns]  # type: ignore[arg-type]
    return skill(published["R@1"], published[CHANCE]) * np.mean(clipped, axis=0)


def skill(recall: V, chance: V) -> V:
    """Benign recall at 1 above chance, as a fraction of the range above chance.

    Args:
        recall: R@1 in per cent, a number or an array.
        chance: chance level of R@1 in per cent; at 100 the skill is 0.

    Returns:
        0..1.
    """
    above = np.maximum(np.asarray(recall, dtype=float) - chance, 0)
    room = np.asarray(100 - np.asarray(chance, dtype=float))
    return np.divide(above, room, out=np.zeros(np.broadcast(above, room).shape), where=room > 0)


def fixed_list_recall(labels: np.ndarray) -> float:
    """Upper bound, in per cent, on the recall at 1 of one fixed list for all queries.

    A query skips itself. A fixed list therefore answers with its first item, or with the second if the query is the
    first. The share of the commonest class bounds its recall. Constant and collapsed embeddings return fixed lists.

    Args:
        labels: (Q,) classes of the queries.
    """
    _, count = np.unique(labels, return_counts=True)
    return 100 * float(count.max()) / len(labels)
