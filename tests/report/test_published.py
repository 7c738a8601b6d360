"""The reported layer is the file, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from robustbench_dml.report.published import NAMES, read_published
from robustbench_dml.utils.errors import RbdmlError

ROOT = Path(__file__).parents[2]
FILE = ROOT / "leaderboards" / "published" / "published.csv"


def test_every_row_and_value_of_the_file_is_read() -> None:
    """Against pandas."""
    table = pd.read_csv(FILE)
    rows = read_published()
    assert len(rows) == len(table) == 103
    for row, (_, line) in zip(rows, table.iterrows(), strict=True):
        assert (row.dataset, row.backbone, row.defense, row.source) == tuple(
            line[["dataset", "backbone", "defense", "source"]]
        )
        assert row.eta == (None if pd.isna(line["eta"]) else int(line["eta"]))
        assert row.collapsed == bool(line["collapsed"])
        given = {ours: line[theirs] for theirs, ours in NAMES.items() if not pd.isna(line[theirs])}
        assert row.values == given
        assert ("" if pd.isna(line["commit"]) else line["commit"], row.date) == (
            row.commit,
            line["date"] if row.date else "",
        )
        assert row.values or row.collapsed


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a value that is no number", "cub,resnet18,ACT[R],8,0,high" + ",1" * 14 + ",source,,"),
        ("not a number", "cub,resnet18,ACT[R],8,0,nan" + ",1" * 14 + ",source,,"),
        ("infinity", "cub,resnet18,ACT[R],8,0,inf" + ",1" * 14 + ",source,,"),
        ("too short", "cub,resnet18,ACT[R],8"),
        ("a path", "../cub,resnet18,ACT[R],8,0" + ",1" * 15 + ",source,,"),
        ("a huge field", "cub,resnet18,ACT[R],8,0" + ",1" * 15 + "," + "x" * 200_000),
        ("another mark of collapse", "cub,resnet18,ACT[R],8,maybe" + ",1" * 15 + ",source,,"),
        ("no whole eta", "cub,resnet18,ACT[R],8.5,0" + ",1" * 15 + ",source,,"),
        ("no commit", "cub,resnet18,ACT[R],8,0" + ",1" * 15 + ",source,main,2022-03"),
        ("no date", "cub,resnet18,ACT[R],8,0" + ",1" * 15 + ",source,,2022"),
    ],
)
def test_a_row_that_is_not_one_is_named(what: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(FILE.read_text().splitlines()[0] + "\n" + line + "\n")
    with pytest.raises(RbdmlError, match=r"rows\.csv: (line 2 is not a row of published results|not readable as CSV)"):
        read_published(path)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(FILE.read_bytes() + b"\xff")
    with pytest.raises(RbdmlError, match="not in UTF-8"):
        read_published(tmp_path / "rows.csv")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match="cannot be read"):
        read_published(tmp_path / "none.csv")
