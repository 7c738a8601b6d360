"""Scores: what a protocol makes of its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from robustbench_dml.spec.columns import Column

V = TypeVar("V", float, np.ndarray)  # a mean, or many resampled ones

CHANCE = "chance"  # the benign value that `fixed_list_recall` gives


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number, 0..100, for a whole protocol: more is more robust.

    Attributes:
        name: of its column.
        label: its long name, for an axis.
        meaning: for a reader of the table.
        of: from the benign and attacked values of a model, in the units of the papers, to the score.
        linear: whether it is the mean of its values for each query, so that a test on queries applies to it.
    """

    name: str
    label: str
    meaning: str
    of: Callable[[Mapping[str, np.ndarray]], np.ndarray]
    linear: bool = True


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
    """A function from what is kept per query, as fractions, to what is shown: the units of the papers, and the scores.

    It takes means over queries, many at once if arrays; the values of single queries too, for linear scores.

    Args:
        columns: the attacked ones among the values; the others are shares, shown in per cent.
        scores: to be worked out.
        known: values that scores need and that are not of single queries, in the units of the papers.
    """

    def summary(means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        shown = {name: (columns[name].scale if name in columns else 100) * mean for name, mean in means.items()}
        given = {**shown, **{name: np.asarray(value) for name, value in known.items()}}
        return {**shown, **{score.name: score.of(given) for score in scores}}

    return summary


def empirical_robustness_score(published: Mapping[str, V], columns: Iterable[Column]) -> V:
    """Mean of the columns on the score's scale. Zhou et al., T-PAMI 2024, arXiv:2106.03614.

    A collapsed model can score more than an honest one, because attacks on ranks cannot move what has no order:
    never show this without recall and the flags.
    """
    return np.mean([column.ers(published[column.name]) for column in columns], axis=0)  # type: ignore[arg-type]


def skill_weighted_score(published: Mapping[str, V], columns: Iterable[Column]) -> V:
    """Skill times the mean of the columns, each kept within 0..100. This project's own, see docs/scores.md.

    Args:
        published: the columns, `R@1` and `chance`, in the units of the papers; numbers, or arrays of one shape.
        columns: of the protocol.

    Returns:
        0..100: 0 where a model retrieves no better than chance, whatever its columns are.
    """
    kept = [np.clip(column.ers(published[column.name]), 0, 100) for column in columns]  # type: ignore[arg-type]
    return skill(published["R@1"], published[CHANCE]) * np.mean(kept, axis=0)


def skill(recall: V, chance: V) -> V:
    """Benign recall at 1 above chance, as a share of what there is above it.

    Args:
        recall: R@1 in per cent, a number or an array.
        chance: in per cent; at 100 nothing is above it and the skill is 0.

    Returns:
        0..1.
    """
    above = np.maximum(np.asarray(recall, dtype=float) - chance, 0)
    room = np.asarray(100 - np.asarray(chance, dtype=float))
    return np.divide(above, room, out=np.zeros(np.broadcast(above, room).shape), where=room > 0)


def fixed_list_recall(labels: np.ndarray) -> float:
    """The recall at 1, in per cent, that no model exceeds which returns the same list for every query.

    A query skips itself, so a fixed list answers with one item, and the query that is this item with a second: what
    it answers rightly is at most the commonest class among the queries. Constant and collapsed embeddings do this.

    Args:
        labels: (Q,) classes of the queries.
    """
    _, count = np.unique(labels, return_counts=True)
    return 100 * float(count.max()) / len(labels)
