"""Protocols by name, their attacks and columns."""

from __future__ import annotations

from collections.abc import Iterable

from robustbench_dml.spec.columns import Column
from robustbench_dml.spec.published import PROTOCOLS, Protocol
from robustbench_dml.spec.registry import ATTACKS
from robustbench_dml.spec.schema import Evaluation
from robustbench_dml.utils.errors import RbdmlError, did_you_mean

BENIGN_COLUMNS = {
    "R@1": "recall at 1",
    "R@2": "recall at 2",
    "mAP": "mean average precision over the whole gallery",
    "mAP@R": "mean average precision over the R nearest",
    "NMI": "normalised mutual information of k-means clusters",
}


def protocol_columns(protocol: str) -> dict[str, Column]:
    """Return the columns that count for a protocol's score, by name, in the order of the papers."""
    return columns_of(protocol_named(protocol).attacks)


def evaluated_columns(evaluation: Evaluation) -> dict[str, Column]:
    """Return all columns of an evaluation, those of its protocol first."""
    attacks = attacks_of(evaluation)
    further = (column for name in attacks for column in ATTACKS.get(name).cls.further_columns(evaluation))
    return {**columns_of(attacks), **{column.name: column for column in further}}


def median_columns(evaluation: Evaluation) -> list[str]:
    """Return the names of the columns that are medians over the queries; all others are means."""
    return [name for name, column in evaluated_columns(evaluation).items() if column.median]


def attacks_of(evaluation: Evaluation) -> tuple[str, ...]:
    """Return all attacks of an evaluation: those of its protocol, then the extra ones."""
    return (*protocol_named(evaluation.protocol).attacks, *evaluation.extra_attacks)


def columns_of(attacks: Iterable[str]) -> dict[str, Column]:
    """Return the columns of attacks, by name."""
    return {column.name: column for name in attacks for column in ATTACKS.get(name).columns}


def protocol_named(name: str) -> Protocol:
    """Return a protocol.

    Raises:
        RbdmlError: unknown name.
    """
    if name not in PROTOCOLS:
        raise RbdmlError(f"unknown protocol '{name}': {did_you_mean(name, PROTOCOLS)}use one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
