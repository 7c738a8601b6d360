"""Records made without any training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustbench_dml.runs.record import Cost, Diagnostics, Provenance, Record, write_record
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.protocols import BENIGN_COLUMNS, protocol_columns
from robustbench_dml.spec.schema import ComputeUsed, RunSpec, TrainingEnd


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """Makes a record of `defense` with this score; every other value follows from them."""

    def make(
        defense: str = "regular",
        ers: float = 30.0,
        *,
        flags: tuple[str, ...] = (),
        files: dict[str, str] | None = None,
        in_spec: dict[str, Any] | None = None,  # fields of the spec to replace, whether they are registered or not
        **settings: Any,
    ) -> Record:
        spec = make_spec(defense=defense, dataset="glyphs-mini", **settings)
        spec = RunSpec.model_validate({**dict(spec), **(in_spec or {})})
        benign = {name: 50.0 + place for place, name in enumerate(BENIGN_COLUMNS)}
        attacked = {name: ers + place for place, name in enumerate(protocol_columns("ers"))}
        around = {**benign, **attacked, "ERS": ers}
        del around["NMI"]
        spent = ComputeUsed(forward_only=300, to_input=2_000_000, to_weights=999_900, seconds=90.0, iterations=1234)
        return Record(
            digest=spec.digest,
            spec=spec,
            cost=Cost(
                spent=spent,
                passes=spent.passes,
                nominal_per_iteration=33,
                metered_per_iteration=21.25,
                peak_memory_bytes=10**9,
            ),
            benign=benign,
            attacked=attacked,
            scores={"ERS": ers},
            intervals={name: (value - 2, value + 3) for name, value in around.items()},
            diagnostics=Diagnostics(flags=list(flags), disqualifying=list(flags), measured={"mean_cosine": 0.1}),
            training_end=TrainingEnd(
                last_loss=0.2, collapsed_at=None, collapse_cause=None, stopped=False, device="cpu"
            ),
            provenance=Provenance(
                created="2026-01-02T03:04:05+00:00",
                versions={},
                device="a processor (cpu)",
                cpu="a processor",
                threads=1,
                evaluation_batch_size=128,
                commit=None,
                dirty=None,
                defense_source="0" * 64,
                dataset_files=files or {"train": "1" * 64, "test": "2" * 64},
                weights="3" * 64,
                queries="4" * 64,
            ),
        )

    return make


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes records where `rbdml run` would, below one folder, which it returns."""

    def write(*records: Record) -> Path:
        for record in records:
            folder = tmp_path / "runs" / record.spec.dataset / record.digest
            folder.mkdir(parents=True)
            write_record(folder, record)
        return tmp_path / "runs"

    return write
