from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_support import COLUMNS, KNOWN, SHARES, random_values, with_values, write_both

from robustbench_dml.report.comparison import compare, comparison_data, comparison_text
from robustbench_dml.report.rows import rows_of
from robustbench_dml.runs.record import QUERIES_FILE, RECORD_FILE, Record, find_records
from robustbench_dml.spec.scores import scores_of
from robustbench_dml.utils.errors import RbdmlError

Make = Callable[..., Record]
LESS_IS_BETTER = {"CA-", "QA-", "TMA", "ES:D"}


class Saver:
    """Writes records below one folder, each made of per-query values."""

    def __init__(self, make: Make, folder: Path) -> None:
        self.make, self.folder = make, folder

    def __call__(self, values: dict[str, np.ndarray], **settings: Any) -> Path:
        record = with_values(self.make(**settings), values)
        return self.folder / write_both(self.folder, record, values).digest


@pytest.fixture
def saver(make_record: Make, tmp_path: Path) -> Saver:
    return Saver(make_record, tmp_path)


def test_every_value_is_compared_in_the_units_of_the_papers(saver: Saver) -> None:
    ours, theirs = random_values(60, seed=0), random_values(60, seed=1, level=0.4)
    found = compare(saver(ours), saver(theirs, seed=1))
    assert [row.column for row in found.rows] == ["ERS", "sERS", *SHARES, *COLUMNS]
    assert found.queries == 60
    for row in found.rows:
        assert row.difference == pytest.approx(row.first - row.second)
        assert row.low <= row.difference <= row.high
        assert 0 < row.p <= row.p_holm <= 1
        if row.column in COLUMNS:
            assert row.first == pytest.approx(COLUMNS[row.column].scale * ours[row.column].mean())
            assert row.second == pytest.approx(COLUMNS[row.column].scale * theirs[row.column].mean())
    assert min(row.p for row in found.rows) * len(found.rows) <= min(row.p_holm for row in found.rows) + 1e-12


def test_the_scores_are_resampled_as_scores(saver: Saver) -> None:
    ours, theirs = random_values(80, seed=0, level=0.6), random_values(80, seed=1)
    found = {row.column: row for row in compare(saver(ours), saver(theirs, seed=1)).rows}
    rows = np.random.default_rng(0).integers(80, size=(2000, 80))
    for score in scores_of("ers", COLUMNS):
        gaps = []
        for row in rows:
            both = []
            for values in (ours, theirs):
                means = {name: np.asarray(column.scale * values[name][row].mean()) for name, column in COLUMNS.items()}
                means |= {"R@1": np.asarray(100 * values["R@1"][row].mean()), "chance": np.asarray(KNOWN)}
                both.append(float(score.of(means)))
            gaps.append(both[0] - both[1])
        low, high = np.percentile(gaps, [2.5, 97.5])
        row = found[score.name]
        assert (row.low, row.high) == pytest.approx((low, high), abs=0.15 * (high - low))


@pytest.mark.parametrize("better", ["A", "B"])
def test_which_is_better_depends_on_the_column(saver: Saver, better: str) -> None:
    values = random_values(80, seed=0)
    worse = {name: one if name in ("query", "AR:loss") else 0.8 * one for name, one in values.items()}
    for name in LESS_IS_BETTER:
        worse[name] = values[name] + 0.2 * values[name]
    folders = [saver(values), saver(worse, seed=1)]
    found = compare(*(folders if better == "A" else folders[::-1]))
    assert {row.column: row.better for row in found.rows} == {row.column: better for row in found.rows}


def test_equal_values_leave_nothing_decided(saver: Saver) -> None:
    values = random_values(20, seed=0)
    found = compare(saver(values), saver(values, seed=1))
    assert {row.better for row in found.rows} == {None}
    assert {row.p for row in found.rows} == {1.0}


def test_the_correction_decides(saver: Saver) -> None:
    """One column that differs a little among many: its own p is below 5%, the corrected one is not."""
    values = random_values(40, seed=0)
    rng = np.random.default_rng(1)
    other = {**values, "TMA": values["TMA"] + 0.08 + 0.2 * rng.normal(size=40)}
    row = next(row for row in compare(saver(values), saver(other, seed=1)).rows if row.column == "TMA")
    assert row.p < 0.05 < row.p_holm
    assert row.better is None


def test_the_text_and_the_data_agree(saver: Saver) -> None:
    ours, theirs = random_values(60, seed=0), random_values(60, seed=1, level=0.3)
    found = compare(saver(ours), saver(theirs, seed=1, flags=("collapsed",)) / RECORD_FILE)
    text, data = comparison_text(found), comparison_data(found)
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line}
    for row in data["rows"]:
        cells = lines[row["column"]]
        assert float(cells[1]) == pytest.approx(row["first"], abs=0.051)
        assert float(cells[3]) == pytest.approx(row["difference"], abs=0.051)
        assert cells[-1] == (row["better"] or "-")
    assert "two trained models" in text
    assert "two trained models" in data["note"]
    assert f"A: regular, seed 0, {data['A']['digest']}" in text
    assert "flagged collapsed" in text.split("\n\n")[0].splitlines()[2]
    assert data["B"]["flags"] == ["collapsed"]


def test_records_are_compared_by_their_common_scores(saver: Saver, make_record: Make) -> None:
    values = random_values(20, seed=0)
    whole = saver(values)
    old = with_values(make_record(seed=1), values)
    old = old.model_copy(update={"scores": {"ERS": old.scores["ERS"]}})
    found = compare(whole, saver.folder / write_both(saver.folder, old, values).digest)
    assert "sERS" not in [row.column for row in found.rows]
    assert "ERS" in [row.column for row in found.rows]


def test_defenses_are_compared_over_the_seeds_beside_the_records(saver: Saver, make_record: Make) -> None:
    def saved(defense: str, seed: int, level: float) -> Path:
        values = random_values(40, seed=seed, level=level)
        record = with_values(make_record(defense, seed=seed), values)
        return saver.folder / write_both(saver.folder, record, values).digest

    ours, theirs = ([saved(name, seed, level) for seed in range(3)] for name, level in (("act", 0.6), ("est", 0.4)))
    found = compare(ours[0], theirs[2])
    assert found.over_seeds is not None
    assert found.over_seeds.seeds == ((0, 1, 2), (0, 1, 2))
    rows = {row.label: row for row in rows_of(find_records(saver.folder))}
    assert found.over_seeds.first == pytest.approx(rows["act"].values["ERS"])
    assert found.over_seeds.second == pytest.approx(rows["est"].values["ERS"])
    assert found.over_seeds.spread == 4
    assert "A - B" in comparison_text(found).splitlines()[-2]
    assert comparison_data(found)["over_seeds"]["probability_A_above_B"] == found.over_seeds.difference.above > 0.9
    back = compare(theirs[2], ours[0]).over_seeds
    assert back is not None
    assert back.difference.above == pytest.approx(1 - found.over_seeds.difference.above)
    assert compare(ours[0], ours[1]).over_seeds is None


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"in_spec": {"dataset": "fashion"}}, "'glyphs-mini' and B of 'fashion'"),
    ({"files": {"train": "1" * 64, "test": "f" * 64}}, "other files of 'glyphs-mini'"),
    ({"evaluation": {"queries": 64}}, "queries = None and B with 64"),
    ({"evaluation": {"steps": 1}}, "threat.steps = 32 and B with 1"),
    ({"evaluation": {"seed": 1}}, "seed = 0 and B with 1"),
    ({"evaluation": {"protocol": "ers-published"}}, "protocol = ers and B with ers-published"),
]


@pytest.mark.parametrize(("change", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_incomparable_records_are_refused(saver: Saver, change: dict[str, Any], said: str) -> None:
    values = random_values(20, seed=0)
    with pytest.raises(RbdmlError) as error:
        compare(saver(values), saver(values, seed=1, **change))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_another_backbone_can_be_compared(saver: Saver) -> None:
    values = random_values(20, seed=0)
    assert compare(saver(values), saver(values, in_spec={"backbone": "other"})).rows


def test_other_queries_are_refused(saver: Saver) -> None:
    values = random_values(20, seed=0)
    other = {**values, "query": values["query"] + 1}
    with pytest.raises(RbdmlError, match="other queries"):
        compare(saver(values), saver(other, seed=1))


def test_missing_altered_and_damaged_values_are_refused(saver: Saver, make_record: Make) -> None:
    values = random_values(20, seed=0)
    whole, broken = saver(values), saver(values, seed=1)
    path = broken / QUERIES_FILE
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(RbdmlError, match=r"queries\.npz: no per-query values"):
        compare(whole, broken)
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(RbdmlError, match=r"queries\.npz: not the per-query values of its record"):
        compare(broken, whole)


def test_a_record_that_is_not_there_is_refused(saver: Saver, tmp_path: Path) -> None:
    whole = saver(random_values(20, seed=0))
    with pytest.raises(RbdmlError, match=r"none/record\.json: cannot be read"):
        compare(whole, tmp_path / "none")
