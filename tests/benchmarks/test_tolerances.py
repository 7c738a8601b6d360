"""Differences between equal evaluations, and between different weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from submission_support import REGULAR, true_run

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.leaderboard.submission.recheck import compare, part_of
from robustbench_dml.runs.record import read_queries, read_record
from robustbench_dml.spec.protocols import protocol_columns


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A true one."""
    return true_run(tmp_path_factory.mktemp("true"), *REGULAR)


def test_nothing_moves_nothing_and_rounded_weights_move_single_values(run: Path) -> None:
    import tolerances  # type: ignore[import-not-found]

    record, dataset = read_record(run), load_dataset("glyphs-mini", DataPaths())
    others = {other.name: other for other in tolerances.OTHERS}
    found, benign = tolerances.gaps(run, record, dataset, others["nothing"])
    assert set(found) == set(protocol_columns("ers"))
    assert not any(gap.any() for gap in found.values())
    assert benign < 1e-9
    assert tolerances.cells(record, found, benign) == ["64", "0.0 %", "0", "0.0", "0", "0", *[f"{benign:.2g}"]]
    rounded, _ = tolerances.gaps(run, record, dataset, others["rounding"])
    assert any(gap.any() for gap in rounded.values())


def test_numbers_of_a_row_are_those_of_the_second_evaluation(run: Path) -> None:
    import tolerances

    record, values = read_record(run), read_queries(run)
    rng = np.random.default_rng(0)
    part = part_of(record, 64, 40)
    found = {name: np.where(rng.random(40) < 0.1, 0.25, 0.0) for name in protocol_columns("ers")}
    attacked = {name: values[name][part] - gap for name, gap in found.items()}
    shares = {name: values[name] for name in ("R@1", "R@2", "mAP", "mAP@R")}
    compared = compare(record, values, part, benign=shares, attacked=attacked, nmi=record.benign["NMI"] / 100)
    count, unequal, column, _, _, score, _ = tolerances.cells(record, found, 0.0)
    assert (count, unequal) == ("40", f"{100 * compared.unequal:.1f} %")
    assert float(column) == pytest.approx(max(abs(compared.points[name]) for name in found), rel=0.05)
    assert float(score) == pytest.approx(abs(compared.points["ERS"]), rel=0.06)
