"""The per-query values beside a record, made sure that they are the record's."""

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
    """(Q,) arrays as fractions, and `query`, the rows; from the folder of the record.

    Raises:
        RbdmlError: the file is missing, unreadable, or not the one that the record was made with.
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


def summary_for(record: Record, scores: Iterable[Score] | None = None) -> Summary:
    """From means of a record's per-query values to all that is shown of them; by default with every score it has."""
    evaluation = record.spec.evaluation
    known = {CHANCE: record.benign[CHANCE]} if CHANCE in record.benign else {}
    if scores is None:
        scores = [
            one
            for one in scores_of(evaluation.protocol, protocol_columns(evaluation.protocol))
            if one.name in record.scores
        ]
    return summary_of(evaluated_columns(evaluation), list(scores), known)


def readable_values(records: Iterable[Record], folders: Mapping[str, Path]) -> dict[str, Values]:
    """The per-query values of records by their digests; a record without readable ones is left out.

    Args:
        records: any.
        folders: of the records, by their digests.
    """
    found = {}
    for record in records:
        with suppress(RbdmlError, KeyError):
            found[record.digest] = read_values(record, folders[record.digest])
    return found


def ranking_values(record: Record, values: Values) -> np.ndarray | None:
    """(Q,) values of the score that ranks; None where it is no mean of such, or the values are of another version."""
    protocol = record.spec.evaluation.protocol
    score, *_ = scores_of(protocol, protocol_columns(protocol))
    if not score.linear:
        return None
    try:
        return summary_for(record, [score])(shown_values(record, values))[score.name]
    except KeyError:
        return None


def shown_values(record: Record, values: Values) -> Values:
    """Those that the record shows a mean of: not the rows, nor what attacks keep beside their columns."""
    return {name: values[name] for name in values if name in record.benign or name in record.attacked}
