"""Tables say what the board says: read back and compared with the records."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from board_support import enter_made, foreign_spec, made_spec, make_leaderboards

from robustbench_dml.leaderboard.board import Board, read_boards
from robustbench_dml.leaderboard.page.appearance import name_of
from robustbench_dml.leaderboard.tables import (
    board_csv,
    board_latex,
    board_markdown,
    board_text,
    board_top,
    plain,
    reported_markdown,
)
from robustbench_dml.report.published import read_published
from robustbench_dml.report.ranking import Standing


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return read_boards(make_leaderboards(tmp_path))[0]


def tables_in(markdown: str) -> list[pd.DataFrame]:
    """The tables of a Markdown text, cells as text."""
    blocks = [block.splitlines() for block in markdown.split("\n\n") if block.startswith("|")]
    rows = [[[cell.strip() for cell in line.strip("|").split("|")] for line in block] for block in blocks]
    return [pd.DataFrame(block[2:], columns=block[0]) for block in rows]


def test_the_csv_has_every_value_of_every_row(board: Board) -> None:
    table = pd.read_csv(io.StringIO(board_csv(board)))
    assert len(table) == len(board.rows)
    for row, (_, line) in zip(board.rows, table.iterrows(), strict=True):
        assert line["defense"] == row.label
        assert str(line["records"]).split() == [record.digest for record in row.records]
        for name, value in row.values.items():
            assert line[name] == pytest.approx(value, rel=1e-5)
            assert line[f"{name} least seed"] == pytest.approx(row.spread[name][0], rel=1e-5)
            assert line[f"{name} greatest seed"] == pytest.approx(row.spread[name][1], rel=1e-5)
            if name in row.intervals:
                assert line[f"{name} low"] == pytest.approx(row.intervals[name][0], rel=1e-5)
                assert line[f"{name} high"] == pytest.approx(row.intervals[name][1], rel=1e-5)
    assert list(table["passes are"]) == ["metered", "metered", "metered", "declared"]
    assert list(table["standing"]) == ["ranked", "ranked", "disqualified", "model"]
    assert list(table["eta"])[:2] == [32, 8]


def test_latex_has_the_narrow_columns_as_the_terminal_has_them(board: Board) -> None:
    title, _, text = board_text(board).partition("\n\n")
    header, _, *lines = (re.split("  +", line.strip()) for line in text.splitlines())
    comment, begin, _, *rest = board_latex(board).splitlines()
    assert comment == f"% {title}" and begin == rf"\begin{{tabular}}{{lll{'r' * (len(header) - 3)}}}"
    rows = [re.split(r" & ", line.removesuffix(r" \\")) for line in rest if line.endswith(r" \\")]
    assert rows[0] == header
    for row, line, ours in zip(rows[1:], lines, board.rows, strict=True):
        shown = [re.sub(r"\\([&%$#_{}])", r"\1", cell).replace(r"$\pm$", "+-") for cell in row]
        assert (shown[0], shown[2:]) == (line[0], line[2:])
        assert shown[1] == name_of(ours)
    assert rest[-1] == r"\end{tabular}"


def test_markdown_has_both_tables_with_links_to_every_record(board: Board) -> None:
    text = board_markdown(board)
    assert board.title in text.replace("\\", "")
    *costs_in_sections, attacks = tables_in(text)
    costs = pd.concat(costs_in_sections, ignore_index=True)
    for row, (_, cost), (_, attack) in zip(board.rows, costs.iterrows(), attacks.iterrows(), strict=True):
        assert cost["defense"] == attack["defense"] == plain(row.name)
        for record in row.records:
            assert f"(records/{record.digest}/record.json)" in cost["seeds"]
            assert (board.folder / "records" / record.digest / "record.json").is_file()
        for name in ("ERS", "R@1"):
            assert float(cost[name].split()[0]) == pytest.approx(row.values[name], abs=0.051)
        for name in board.columns:
            assert float(attack[name].split()[0]) == pytest.approx(row.values[name], abs=0.051)
    several = [row for row in board.rows if len(row.records) > 1]
    assert several
    for row, shown in zip(board.rows, costs["ERS by seed"], strict=True):
        each = [f"{record.scores['ERS']:.1f}" for record in row.records]
        assert shown == (", ".join(each) if row in several else "-")
    assert list(costs["rank"]) == ["1", "2", "-", "model"]
    assert list(costs["passes"]) == ["3M", "2M", "3M", "5M declared"]
    assert list(costs["status"]) == ["self-reported"] * 4
    assert list(costs["settings"]) == ["quick", "quick", "quick", "-"]


def test_the_top_of_a_board_is_its_first_rows_and_its_baselines(board: Board) -> None:
    [top] = tables_in(board_top(board, 2))
    assert list(top) == ["rank", "defense", "eta", "R@1", "ERS", "passes"]
    assert list(top["defense"]) == [row.name for row in board.rows[:2]]
    baseline = replace(board.rows[2], standing=Standing.BASELINE)
    changed = replace(board, rows=(*board.rows[:2], baseline, *board.rows[3:]))
    [top] = tables_in(board_top(changed, 2))
    assert list(top["defense"]) == [board.rows[0].name, baseline.name]
    assert list(top["rank"]) == ["1", "baseline"]


def test_a_board_below_another_links_to_the_same_records(tmp_path: Path) -> None:
    board = read_boards(make_leaderboards(tmp_path))[1]
    [link] = [one for one in board_markdown(board).split("(") if one.startswith("../records/")]
    assert (board.folder / link.split(")")[0]).resolve().is_file() or not board.folder.exists()


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    """Nothing that a name holds becomes a cell, a link or HTML."""
    enter_made(tmp_path, foreign_spec("a|b[c](d)<img src=x>_e_.py:f"))
    [board] = read_boards(tmp_path)
    text = board_markdown(board)
    assert "<img" not in text and "a\\|b\\[c\\](d)&lt;img src=x&gt;\\_e\\_.py:f" in text
    row = next(csv.DictReader(io.StringIO(board_csv(board))))
    assert row["defense"] == board.rows[0].label


def test_reported_results_are_a_table_for_each_data_set() -> None:
    reported = read_published()
    text = reported_markdown(reported)
    tables = tables_in(text)
    assert sum(map(len, tables)) == len(reported)
    assert text.count("\n## ") == len(tables) == len({(one.dataset, one.backbone) for one in reported})
    shown = [line for table in tables for _, line in table.iterrows()]
    groups = sorted(
        reported, key=lambda one: [(o.dataset, o.backbone) for o in reported].index((one.dataset, one.backbone))
    )
    for one, line in zip(groups, shown, strict=True):
        assert line["source"] == plain(one.source)
        assert {name: float(line[name]) for name in one.values} == one.values


def test_a_changed_setting_is_told(tmp_path: Path) -> None:
    enter_made(tmp_path, made_spec("act", training={"lr": 0.01}, budget="1M"))
    [costs] = [tables_in(board_markdown(board))[0] for board in read_boards(tmp_path)]
    assert list(costs["settings"]) == ["1M, lr=0.01"]


def test_an_eta_that_its_column_does_not_show_is_told(tmp_path: Path) -> None:
    for eta in (8, 32):
        enter_made(tmp_path, made_spec("hm-free", training={"eta": eta}, budget="1M"), level=eta / 100, nominal=1)
    [costs] = [tables_in(board_markdown(board))[0] for board in read_boards(tmp_path)]
    assert sorted(costs["settings"]) == ["1M", "1M, eta=8"]


def test_flags_of_all_rows_are_in_the_caption(tmp_path: Path) -> None:
    for name, flags in (("act", ["loss not level"]), ("est", ["loss not level", "square beats PGD"])):
        enter_made(tmp_path, made_spec(name), flags=flags)
    [board] = read_boards(tmp_path)
    text = board_markdown(board)
    costs, _ = tables_in(text)
    assert "\n\nAll rows: loss not level.\n\n" in text
    assert {row["defense"]: row["flags"] for _, row in costs.iterrows()} == {"act": "", "est": "square beats PGD"}
