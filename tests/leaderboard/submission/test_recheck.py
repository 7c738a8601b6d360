"""The second evaluation: honest values agree, altered ones do not, however they are put."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from submission_support import copied, edit, place, remade, revalued

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.evaluation.diagnostics.findings import Finding, Findings
from robustbench_dml.leaderboard.entries import Verification
from robustbench_dml.leaderboard.submission import recheck as rechecking
from robustbench_dml.leaderboard.submission.audit import audit
from robustbench_dml.leaderboard.submission.recheck import (
    BASE,
    ERRORS,
    MORE,
    MOST,
    REPRODUCED,
    Compared,
    compare,
    part_of,
    recheck,
)
from robustbench_dml.leaderboard.submission.trust import claimed_model
from robustbench_dml.runs.external import load_external
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import CHECKPOINT_FILE, Record, read_queries, read_record
from robustbench_dml.spec.protocols import protocol_columns
from robustbench_dml.utils.errors import RbdmlError

CPU = torch.device("cpu")
COLUMNS = protocol_columns("ers")
SHARES = ("R@1", "R@2", "mAP", "mAP@R")


def rechecked(run: Path, source: Path | None = None, *, queries: int = 64, batch_size: int = 128) -> Verification:
    """Of a run, or of a record of the model `exact` in this file."""
    record, where = read_record(run), place(run, batch_size=batch_size)
    dataset = load_dataset("glyphs-mini", DataPaths())
    if source is None:
        model = claimed_model(record, run / CHECKPOINT_FILE, CPU)
    else:
        model = load_external(f"{source}:exact").on_sphere(dataset, where)
    return recheck(record, read_queries(run), model, dataset, where, queries=queries)


def test_honest_values_agree_whatever_the_part_and_the_batch(run: Path, exact: tuple[Path, Path]) -> None:
    """In float32 only in the record's batches: some processors round smaller ones otherwise."""
    source, honest = exact
    for found, queries in (
        (rechecked(run), 64),
        (rechecked(honest, source), 64),
        (rechecked(honest, source, queries=20, batch_size=7), 20),
    ):
        assert found.queries == queries
        assert found.unequal == 0
        assert set(found.differences) == {*COLUMNS, *SHARES, "NMI", "ERS"}
        assert max(map(abs, found.differences.values())) < 1e-6


def test_a_smaller_batch_moves_no_mean_of_honest_values(run: Path) -> None:
    found = rechecked(run, queries=20, batch_size=7)
    assert found.queries == 20 or found.unequal > REPRODUCED
    assert max(map(abs, found.differences.values())) < 1e-3


def worse(name: str) -> float:
    """5 points of 100 less robust to claim, in fractions."""
    return 5 / (COLUMNS[name].ers_slope * COLUMNS[name].scale)


def spread(name: str) -> Callable[[Values], object]:
    """Moves a column by 5 points, all of its queries by the same where that is possible."""

    def change(values: Values) -> None:
        low, high = {"TMA": (-1.0, 1.0), "ES:D": (0.0, 2.0)}.get(name, (0.0, 1.0))
        column, step = values[name], worse(name)
        if column.mean() + step > high or column.mean() + step < low:
            step = -step
        moved, wanted = column.copy(), column.mean() + step
        for _ in range(1000):
            moved = np.clip(moved + (wanted - moved.mean()), low, high)
        assert moved.mean() == pytest.approx(wanted)
        values[name] = moved

    return change


def on_few(name: str) -> Callable[[Values], object]:
    """Moves as few queries as possible, as far as possible, until the mean has moved by 5 points."""

    def change(values: Values) -> None:
        low, high = {"TMA": (-1.0, 1.0), "ES:D": (0.0, 2.0)}.get(name, (0.0, 1.0))
        column = values[name]
        wanted, end = abs(worse(name)) * len(column), high if worse(name) > 0 else low
        if np.abs(end - column).sum() < wanted:
            end = low + high - end
        for query in np.argsort(-np.abs(end - column)):
            step = np.clip(end - column[query], -wanted, wanted)
            column[query] += step
            wanted -= abs(step)

    return change


@pytest.mark.parametrize("how", [spread, on_few], ids=["on all queries", "on few queries"])
@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_that_is_moved_by_five_with_all_hashes_redone_is_caught(
    run: Path, tmp_path: Path, name: str, how: Callable[[str], Callable[[Values], object]]
) -> None:
    """Without attacking anything: what the checkpoint has is what its honest record says."""
    copy = copied(run, tmp_path)
    honest = read_queries(run)
    record = revalued(copy, how(name))
    assert audit(record, copy, DataPaths()).problems == ()
    found = compared(record, read_queries(copy), honest, part_of(record, 64, 64))
    points = abs(found.points[name])
    assert points == pytest.approx(5, abs=1e-6)
    assert any(problem.startswith(f"{name} differs by ") for problem in found.problems)


def compared(record: Record, claimed: Values, true: Values, part: np.ndarray) -> Compared:
    return compare(
        record,
        claimed,
        part,
        benign={name: true[name] for name in SHARES},
        attacked={name: true[name][part] for name in COLUMNS},
        nmi=record.benign["NMI"] / 100,
    )


@pytest.mark.parametrize("how", [spread, on_few], ids=["on all queries", "on few queries"])
def test_such_a_record_is_refused(run: Path, tmp_path: Path, how: Callable[[str], Callable[[Values], object]]) -> None:
    copy = copied(run, tmp_path)
    revalued(copy, how("ES:D"))
    with pytest.raises(RbdmlError, match=r"does not have the values of the record on 64 queries: ES:D differs by"):
        rechecked(copy)


@pytest.mark.parametrize("name", SHARES)
def test_benign_values_are_compared_on_all_queries(run: Path, tmp_path: Path, name: str) -> None:
    copy = copied(run, tmp_path)

    def change(values: Values) -> None:
        wrong = np.flatnonzero(values[name] < 1)[:6]
        values[name][wrong] = 1
        values["R@2"][wrong] = 1

    revalued(copy, change)
    with pytest.raises(RbdmlError, match=f"{name} differs by"):
        rechecked(copy, queries=1)


def test_nmi_and_collapse_are_compared(run: Path, tmp_path: Path) -> None:
    copy = copied(run, tmp_path)
    edit(copy, lambda data: data["benign"].update(NMI=data["benign"]["NMI"] - 5))
    with pytest.raises(RbdmlError, match="NMI differs by -5"):
        rechecked(copy, queries=1)
    other = copied(run, tmp_path / "other")
    edit(other, lambda data: data["diagnostics"]["measured"].update({"mean cosine": 0.01}))
    with pytest.raises(RbdmlError, match="mean cosine and effective rank are claimed"):
        rechecked(other, queries=1)


def test_the_part_follows_from_the_file_of_values(run: Path, second: Path) -> None:
    record, other = read_record(run), read_record(second)
    whole = part_of(record, 64, 64)
    assert sorted(whole) == list(range(64))
    assert np.array_equal(part_of(record, 64, 10), whole[:10])
    assert not np.array_equal(part_of(other, 64, 64), whole)
    assert len(part_of(record, 64, 1000)) == 64


def simulated(run: Path, queries: int = 3000) -> tuple[Record, Values]:
    """A claim over many queries."""
    rng = np.random.default_rng(0)
    values: Values = {name: (rng.random(queries) < 0.5).astype(float) for name in (*SHARES, *COLUMNS)}
    return remade(read_record(run), values, "0" * 64), values


RECALLS = ("ES:R", "LTM", "GTM", "GTT")


def jittered(values: Values, *, seed: int) -> Values:
    """What another machine would find: other rounding everywhere, and one recall in sixteen wholly changed."""
    rng = np.random.default_rng(seed + 100)
    found = {}
    for name, column in values.items():
        changed = rng.random(len(column)) < (1 / 16 if name in RECALLS else 0)
        shift = 0.01 * rng.normal(size=len(column)) if name in COLUMNS and name not in RECALLS else 0.0
        found[name] = np.where(changed, 1 - column, column) + shift
    return found


def test_another_machine_is_believed_and_a_claim_on_top_of_it_is_not(run: Path) -> None:
    record, values = simulated(run)
    part = part_of(record, 3000, MORE)
    for seed in range(20):
        true = jittered(values, seed=seed)
        honest = compared(record, values, true, part)
        assert honest.unequal > 0.5
        assert honest.problems == []
        for how in (spread, on_few):
            claimed = {name: column.copy() for name, column in values.items()}
            how("GTM")(claimed)
            problems = compared(record, claimed, true, part).problems
            assert any(problem.startswith("GTM differs") for problem in problems), (seed, how)


def test_small_claims_in_all_columns_are_caught_by_the_score(run: Path) -> None:
    record, values = simulated(run)
    part = part_of(record, 3000, MORE)
    true = jittered(values, seed=0)
    claimed = {name: column.copy() for name, column in values.items()}
    rng = np.random.default_rng(1)
    for name, column in COLUMNS.items():  # each by 2 points, which its own noise would excuse
        better = 1.0 if column.ers_slope > 0 else 0.0
        wrong = np.flatnonzero(claimed[name] != better)
        size = round(0.02 * 3000 * 100 / abs(column.ers_slope * column.scale))
        claimed[name][rng.choice(wrong, size, replace=False)] = better
    found = compared(record, claimed, true, part)
    assert any(problem.startswith("ERS differs") for problem in found.problems)


def test_differences_and_tolerances_are_those_of_a_loop(run: Path) -> None:
    record, values = simulated(run, 200)
    part = part_of(record, 200, 50)
    for flips in (0.0, 0.2):
        true = {
            name: np.where(np.random.default_rng(7).random(200) < flips, 0.0, column) for name, column in values.items()
        }
        found = compared(record, values, true, part)
        unequal = [values[name][i] != true[name][i] for name in COLUMNS for i in part]
        assert found.unequal == pytest.approx(sum(unequal) / len(unequal))
        score = [0.0] * len(part)
        for name, column in COLUMNS.items():
            gaps = [column.scale * (values[name][i] - true[name][i]) for i in part]
            points = [column.ers_slope * gap for gap in gaps]
            score = [total + point / len(COLUMNS) for total, point in zip(score, points, strict=True)]
            mean = sum(points) / len(points)
            error = (sum((point - mean) ** 2 for point in points) / len(points)) ** 0.5 / len(points) ** 0.5
            assert found.differences[name] == pytest.approx(sum(gaps) / len(gaps))
            assert found.points[name] == pytest.approx(mean)
            expected = BASE + (ERRORS * error if sum(unequal) / len(unequal) > 0.02 else 100 / len(part))
            assert found.tolerated[name] == pytest.approx(min(MOST, expected))
        assert found.points["ERS"] == pytest.approx(sum(score) / len(score))
        for name in SHARES:
            gaps = [100 * (one - other) for one, other in zip(values[name], true[name], strict=True)]
            assert found.points[name] == pytest.approx(sum(gaps) / len(gaps))
            assert found.tolerated[name] == pytest.approx(BASE + 100 / 200)


def test_values_that_are_not_reproduced_are_looked_at_on_more_queries(exact: tuple[Path, Path], tmp_path: Path) -> None:
    """A little rounding in every value, which no average shows."""
    source, honest = exact
    copy = copied(honest, tmp_path)

    def change(values: Values) -> None:
        for name in ("TMA", "CA+", "CA-"):
            values[name] = np.clip(values[name] + 1e-5, 0, 1)

    revalued(copy, change)
    found = rechecked(copy, source, queries=8)
    assert found.queries == 64
    assert 0.1 < found.unequal <= 0.3
    assert rechecked(honest, source, queries=8).queries == 8


def test_flags_of_the_second_evaluation_are_kept(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def check(_: object, rows: torch.Tensor) -> Findings:
        seen.append(rows)
        return Findings((Finding("random", {}, True), Finding("loss not level", {}, True, disqualifies=False)))

    monkeypatch.setattr(rechecking, "check_model", check)
    found = rechecked(run, queries=16)
    assert (found.flags, found.disqualifying) == (["random", "loss not level"], ["random"])
    record = read_record(run)
    rows = read_queries(run)["query"][part_of(record, 64, 16)]
    assert np.array_equal(seen[0].numpy(), np.sort(rows))
