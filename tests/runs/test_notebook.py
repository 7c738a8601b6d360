"""Defenses defined in a notebook's cells, results that show themselves, and the notebook of the documentation."""

from __future__ import annotations

import linecache
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import robustbench_dml as rb
from robustbench_dml.spec.lookup import defense_of
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.spec.source import cell_hash, defense_source

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
CELL = """
from dataclasses import dataclass
import robustbench_dml as rb

@dataclass(kw_only=True)
class CellMade(rb.Defense):
    "A defense of a cell."
    margin: float = 0.2

    def perturb(self, model, batch):
        return rb.Perturbed(self.mine(model, batch)[0])

    def loss(self, model, batch, perturbed):
        return rb.triplet_loss(*model(batch.images)[perturbed.triplets.rows].unbind(1), margin=self.margin)
"""
NAMED = "@rb.register_defense('cell-made', summary='of a cell', paper='none')"
DECORATED = CELL.replace("@dataclass", f"{NAMED}\n@dataclass")
SMALL: Any = {"device": "cpu", "quiet": True, "pairs": 8, "queries": 8, "protocol": "ers", "attack_steps": 1}


class Cells:
    """Runs the cells of a notebook: text in linecache, one namespace, a `__main__` without a file."""

    def __init__(self) -> None:
        self.count = 0

    def run(self, text: str) -> type[rb.Defense]:
        self.count += 1
        name = f"<cell {self.count}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), vars(sys.modules["__main__"]))
        return vars(sys.modules["__main__"])["CellMade"]


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    yield Cells()
    for name in ("CellMade", "cell-made"):
        DEFENSES._entries.pop(name, None)
    vars(sys.modules["__main__"]).pop("CellMade", None)


def test_a_class_of_a_cell_is_trained_and_the_cell_run_again_replaces_it(cells: Cells, tmp_path: Path) -> None:
    first = rb.run(cells.run(CELL), "glyphs-mini", budget=200, out=tmp_path, **SMALL)
    assert first.spec.defense == "CellMade" and first.spec.params["margin"] == 0.2
    again = rb.run(cells.run(CELL.replace("0.2", "0.4")), "glyphs-mini", budget=200, out=tmp_path, **SMALL)
    assert again.spec.params["margin"] == 0.4
    assert again.provenance.defense_source != first.provenance.defense_source
    assert DEFENSES.get("CellMade").cls is vars(sys.modules["__main__"])["CellMade"]


def test_a_decorated_class_keeps_its_name_and_can_be_run_again(cells: Cells) -> None:
    assert defense_of(cells.run(DECORATED)) == "cell-made"
    later = cells.run(DECORATED)
    assert defense_of(later) == "cell-made" and DEFENSES.get("cell-made").cls is later


def test_the_source_is_that_of_the_cells_definitions(cells: Cells) -> None:
    plain = cell_hash(cells.run(CELL))
    assert cell_hash(cells.run("# a comment\nnumber = 3\n" + CELL + "\nprint(end='')\n")) == plain
    assert cell_hash(cells.run(CELL + "\ndef helper():\n    return 1\n")) != plain
    cls = cells.run(CELL)
    linecache.cache.pop(f"<cell {cells.count}>")
    with pytest.raises(rb.RbdmlError, match="define it in a notebook's cell or in a file"):
        cell_hash(cls)


def test_a_class_of_a_file_has_the_source_of_its_file() -> None:
    from robustbench_dml.defenses.regular import Regular

    assert defense_of(Regular) == "regular"
    assert defense_source(DEFENSES.get("regular")).startswith("f1f4cdfb")  # as the boards' records know it


@pytest.mark.parametrize("cls", [int, torch.nn.Module, 3])
def test_other_classes_are_refused(cls: Any) -> None:
    with pytest.raises(rb.RbdmlError, match="is no defense: give a name, or a subclass of"):
        rb.run(cls, "glyphs-mini", **SMALL)


def test_a_run_on_torch_datasets_is_recorded_and_read_again(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (64, 1, 28, 28), dtype=torch.uint8)
    labels = torch.arange(64) % 4
    data = TensorDataset(images, labels)
    record = rb.run("regular", data, budget=200, out=tmp_path, **SMALL)
    assert record.spec.dataset.startswith("data:1x28-")
    assert repr(record) == str(record) and record.digest in repr(record) and len(repr(record)) < 160
    assert set(record.per_query) > {"query", "R@1", "CA+"}
    loaded = rb.load_record(tmp_path / record.spec.dataset_folder / record.digest)
    assert loaded == record and rb.load_records(tmp_path) == [record]
    assert np.array_equal(loaded.per_query["CA+"], record.per_query["CA+"])
    assert float(record.to_frame().loc["CA+", "value"]) == record.attacked["CA+"]  # type: ignore[arg-type]
    assert rb.run("regular", data, budget=200, out=tmp_path, **SMALL).provenance == record.provenance
    with pytest.raises(rb.RbdmlError, match="the folder of this record is not known"):
        _ = type(record).model_validate_json(record.model_dump_json()).per_query


def test_a_budget_can_be_a_number_of_passes() -> None:
    trained = rb.train("regular", "glyphs-mini", budget=300, device="cpu", quiet=True, pairs=8)
    assert trained.spec.budget.amount == 300 and 0 < trained.spent.passes <= 300


def test_protocols_and_budgets_are_listed() -> None:
    assert {info.name for info in rb.list_protocols()} >= {"radius", "ers", "autorank"}
    assert [info.name for info in rb.list_budgets()] == ["quick", "standard", "paper", "schedule"]
    assert all(info.summary for info in (*rb.list_protocols(), *rb.list_budgets()))


def test_the_notebook_of_the_documentation_runs(tmp_path: Path) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert any("Harder" in str(output.get("data", "")) for output in outputs)
    assert not [output for output in outputs if output.get("name") == "stderr"]
