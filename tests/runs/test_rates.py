from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from board_support import made_record, made_spec, made_values, write_run

from robustbench_dml.runs import rates
from robustbench_dml.runs.rates import Rate, Rates, evaluation_passes, plain_rate
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.utils.provenance import device_name
from robustbench_dml.utils.runlog import LOG_FILE

CPU = torch.device("cpu")


def recorded(out: Path, spec: RunSpec, *, seconds: float, evaluation: float | None = None) -> Record:
    """Write the record of a run whose training and evaluation took so long on this machine."""
    values = made_values(spec)
    record = made_record(spec, values)
    assert record.cost is not None and record.training_end is not None
    spent = record.cost.spent.model_copy(update={"seconds": seconds})
    here = device_name(CPU)
    record = record.model_copy(
        update={
            "cost": record.cost.model_copy(update={"spent": spent}),
            "training_end": record.training_end.model_copy(update={"device": here}),
            "provenance": record.provenance.model_copy(update={"device": here}),
        }
    )
    folder = out / spec.dataset_folder / spec.digest
    write_run(folder, record, values)
    if evaluation is not None:
        events = [("start", 0.0), ("trained", 5.0), ("attack", 6.0), ("record", 5.0 + evaluation)]
        lines = [{"time": f"2026-01-01T00:00:{when:09.6f}+00:00", "event": event} for event, when in events]
        (folder / LOG_FILE).write_text("\n".join(map(json.dumps, lines)) + "\n")
    return record


def passes(record: Record) -> float:
    assert record.cost is not None
    return record.cost.passes


@pytest.fixture(autouse=True)
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "plain_rate", lambda *_: 7.0)


def test_rates_are_those_of_records_of_the_same_kind(tmp_path: Path) -> None:
    spec, other = made_spec(), made_spec("act", seed=1)
    first = recorded(tmp_path, spec, seconds=10, evaluation=4)
    second = recorded(tmp_path, other, seconds=30)
    found = Rates(tmp_path, CPU)
    rate = found.rate_of(spec.model_copy(update={"seed": 5}))
    assert rate.training == pytest.approx((passes(first) + passes(second)) / 40)
    assert rate.evaluation == pytest.approx(evaluation_passes(spec) / 4)
    assert first.cost is not None and rate.iteration == first.cost.passes / first.cost.spent.iterations
    [note] = found.notes
    assert note.startswith("From 2 records, glyphs-mini, c2f2: ")


def test_without_a_log_an_evaluation_is_as_fast_as_training(tmp_path: Path) -> None:
    record = recorded(tmp_path, made_spec(), seconds=10)
    rate = Rates(tmp_path, CPU).rate_of(made_spec("est"))
    assert rate == Rate(passes(record) / 10, passes(record) / 10, None)


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"weight_precision": "bf16"}])
def test_records_of_another_kind_are_left_out_and_plain_passes_are_measured(
    tmp_path: Path, change: dict[str, str]
) -> None:
    recorded(tmp_path, made_spec(), seconds=10)
    found = Rates(tmp_path, CPU)
    assert found.rate_of(made_spec(training=change)) == Rate(7.0, 7.0)
    assert list(found.notes) == [
        "Measured here, glyphs-mini, c2f2: 7 plain passes/s; mining and attacks take more time"
    ]


def test_records_of_another_device_and_damaged_ones_are_left_out(tmp_path: Path) -> None:
    values = made_values(made_spec())
    write_run(tmp_path / "glyphs-mini" / made_spec().digest, made_record(made_spec(), values), values)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "record.json").write_text("{}")
    assert Rates(tmp_path, CPU).rate_of(made_spec()) == Rate(7.0, 7.0)


def test_plain_passes_are_measured_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which every batch takes a second."""
    ticks = iter(range(10**6))
    monkeypatch.setattr("robustbench_dml.runs.rates.time.perf_counter", lambda: float(next(ticks)))
    spec = made_spec(training={"pairs": 8})
    assert plain_rate(spec, CPU) == pytest.approx(16 * 2 / 3)  # the clock is read once more than batches are done


def test_a_baseline_without_training_has_no_rate(tmp_path: Path) -> None:
    recorded(tmp_path, made_spec("pixels"), seconds=0)
    assert Rates(tmp_path, CPU).rate_of(made_spec()) == Rate(7.0, 7.0)
