"""Per-query values stored beside a record, verified against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import QUERIES_FILE, Record, read_queries
from robustbench_dml.spec.protocols import evaluated_columns, protocol_columns
from robustbench_dml.spec.scores import CHANCE, Score, scores_of, summary_of
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256
from robustbench_dml.utils.statistics import Summary


def read_values(record: Record, folder: Path) -> Values:
    """Read (Q,) arrays of fractions, and `query`, their rows in the test split, from the record's folder.

    Raises:
        RbdmlError: the file is missing, unreadable, or not the one hashed in the record.
    """
    path = folder / QUERIES_FILE
    try:
        if sha256(path) != record.provenance.queries:
            raise RbdmlError(f"{path}: not the per-query values of its record: get the file anew, or run again")
    except OSError as error:
        raise RbdmlError(
            f"{path}: no per-query values ({error.strerror}): get the file from where the record is from, or run again"
        ) from None
    return read_queries(folder)


def readable_values(records: Iterable[Record], folders: Mapping[str, Path]) -> dict[str, Values]:
    """Read the per-query values of records, by digest; records without readable values are left out.

    Args:
        records: any records.
        folders: the folder of each record, by digest.
    """
    known = {}
    for record in records:
        with suppress(RbdmlError, KeyError):
            known[record.digest] = read_values(record, folders[record.digest])
    return known


def summary_for(record: Record, scores: Iterable[Score] | None = None) -> Summary:
    """Return the map from means of per-query values to all shown values, by default with all scores of the record."""
    evaluation = record.spec.evaluation
    known = {CHANCE: record.benign[CHANCE]} if CHANCE in record.benign else {}
    if scores is None:
        scores = scores_of(evaluation.protocol, protocol_columns(evaluation.protocol))
        scores = [score for score in scores if score.name in record.scores]
    return summary_of(evaluated_columns(evaluation), list(scores), known)


def ranking_values(record: Record, values: Values) -> np.ndarray | None:
    """(Q,) values of the ranking score; None if it is no mean over queries, or another version stored the values."""
    protocol = record.spec.evaluation.protocol
    score, *_ = scores_of(protocol, protocol_columns(protocol))
    if not score.linear:
        return None
    try:
        return summary_for(record, [score])(shown_values(record, values))[score.name]
    except KeyError:
        return None


def shown_values(record: Record, values: Values) -> Values:
    """Return the values whose means the record shows, without query rows and extra values of attacks."""
    return {name: values[name] for name in values if name in record.benign or name in record.attacked}
