from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_support import RUN, Made, rbdml, refusal

from robustbench_dml.runs.record import QUERIES_FILE, RECORD_FILE, find_records

pytestmark = pytest.mark.usefixtures("described_figures")


@pytest.fixture(scope="module")
def second(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with another seed under the same evaluation."""
    out = tmp_path_factory.mktemp("second")
    answer = rbdml(*RUN, "--seed", "1", "--out", out)
    assert answer.code == 0, answer.err
    [record] = find_records(out)
    return out / "glyphs-mini" / record.digest


def test_two_runs_are_compared_by_folder_and_by_file(made: Made, second: Path) -> None:
    answer = rbdml("compare", made.folder, second)
    assert (answer.code, answer.err) == (0, "")
    assert "two trained models" in answer.out
    assert {"ERS", "sERS", "R@1", "TMA", "GTT"} <= {line.split()[0] for line in answer.out.splitlines() if line}
    assert rbdml("compare", made.folder / RECORD_FILE, second / RECORD_FILE).out == answer.out


def test_json_is_all_that_is_printed(made: Made, second: Path) -> None:
    answer = rbdml("compare", made.folder, second, "--json")
    data = json.loads(answer.out)
    assert (data["A"]["seed"], data["B"]["seed"], data["queries"]) == (0, 1, 8)
    assert {row["column"]: row["first"] for row in data["rows"]}["R@1"] == made.record.benign["R@1"]


def test_another_evaluation_is_refused(made: Made, tmp_path: Path) -> None:
    answer = rbdml("evaluate", made.checkpoint, "--queries", "9", "--out", tmp_path, "--device", "cpu", "--quiet")
    assert "queries = 8 and B with 9" in refusal(rbdml("compare", made.folder, answer.out.strip()))


def test_no_record_no_values_and_other_values_are_refused(made: Made, second: Path, tmp_path: Path) -> None:
    assert "cannot be read" in refusal(rbdml("compare", tmp_path / "none", second))
    copy = made.copy(tmp_path / "copy") / "glyphs-mini" / made.record.digest
    (copy / QUERIES_FILE).write_bytes((second / QUERIES_FILE).read_bytes())
    assert "not the per-query values of its record" in refusal(rbdml("compare", copy, second))
    (copy / QUERIES_FILE).unlink()
    assert "no per-query values" in refusal(rbdml("compare", copy, second))


def test_the_tables_of_a_run_name_baselines(made: Made) -> None:
    rows = [line.split()[0] for line in made.answer.out.splitlines() if " regular" in line]
    assert rows == ["-" if made.record.disqualifying else "baseline"] * 2
