from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_support import ENTRY, made_record, made_spec, made_values, write_run

from robustbench_dml.leaderboard.board import boards_of
from robustbench_dml.leaderboard.entries import Listed
from robustbench_dml.report.comparison import compare
from robustbench_dml.report.completeness import require_complete
from robustbench_dml.report.grouping import comparable_records, groups_of_records
from robustbench_dml.report.rows import rows_of
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.scores import CHANCE
from robustbench_dml.utils.errors import RbdmlError


def record(seed: int = 0) -> Record:
    spec = made_spec(seed=seed)
    return made_record(spec, made_values(spec))


def without(part: str, *names: str) -> Record:
    whole = record()
    left = {name: value for name, value in getattr(whole, part).items() if names and name not in names}
    return whole.model_copy(update={part: left})


PARTIAL = {
    "no GTM": without("attacked", "GTM"),
    "no interval of GTM": without("intervals", "GTM"),
    "no interval of ERS": without("intervals", "ERS"),
    "no R@1": without("benign", "R@1"),
    f"no {CHANCE}": without("benign", CHANCE),
    "no score": without("scores"),
}


def test_a_written_record_is_complete() -> None:
    require_complete(record())


@pytest.mark.parametrize(("message", "partial"), PARTIAL.items(), ids=PARTIAL)
def test_a_record_without_a_value_is_in_no_table(tmp_path: Path, message: str, partial: Record) -> None:
    values = made_values(made_spec())
    folder = tmp_path / partial.digest
    write_run(folder, partial, values)
    with pytest.raises(RbdmlError, match=f"{partial.digest}: its record has {message}: "):
        compare(folder, folder)
    with pytest.raises(RbdmlError, match=message):
        boards_of([Listed(partial, ENTRY, folder)], tmp_path)
    with pytest.raises(RbdmlError, match=message):
        comparable_records(partial, tmp_path)
    other = write_run(tmp_path / "other", record(seed=1), values)
    groups, damaged = groups_of_records(tmp_path)
    assert groups == [[other]]
    assert len(damaged) == 1 and message in damaged[0]
    shown, damaged = comparable_records(other, tmp_path)
    assert shown == [other]
    assert message in damaged[0]


def test_a_protocol_that_is_gone_leaves_the_others_alone(tmp_path: Path) -> None:
    evaluation = made_spec().evaluation.model_copy(update={"protocol": "gone"})
    gone = record()
    spec = gone.spec.model_copy(update={"evaluation": evaluation})
    write_run(tmp_path / "gone", gone.model_copy(update={"spec": spec, "digest": spec.digest}), {"query": np.arange(3)})
    other = write_run(tmp_path / "other", record(), made_values(made_spec()))
    groups, damaged = groups_of_records(tmp_path)
    assert groups == [[other]]
    assert "gone" in damaged[0]


def test_seeds_of_two_versions_keep_their_common_values() -> None:
    first, second = record(), record(seed=1)
    older = second.model_copy(
        update={
            "benign": {name: value for name, value in second.benign.items() if name != "mAP@R"},
            "intervals": {name: value for name, value in second.intervals.items() if name != "mAP@R"},
        }
    )
    [row] = rows_of([first, older])
    assert "mAP@R" not in row.values and "mAP@R" not in row.intervals
    assert row.values["ERS"] == np.mean([first.scores["ERS"], older.scores["ERS"]])


def test_values_without_a_column_are_not_resampled() -> None:
    records = [record(), record(seed=1)]
    values: dict[str, Values] = {one.digest: made_values(one.spec) for one in records}
    whole = rows_of(records, values)[0]
    del values[records[1].digest]["GTM"]
    partial = rows_of(records, values)[0]
    means = rows_of(records)[0]
    assert partial.intervals == means.intervals != whole.intervals


@pytest.mark.parametrize("name", ["GTM", "R@1", "query"])
def test_values_without_a_column_are_not_compared(tmp_path: Path, name: str) -> None:
    values: dict[str, Any] = dict(made_values(made_spec()))
    del values[name]
    write_run(tmp_path / "a", record(), values)
    with pytest.raises(RbdmlError, match=f"have not both per-query values of {name}: evaluate both"):
        compare(tmp_path / "a", tmp_path / "a")
