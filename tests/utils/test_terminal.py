from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustbench_dml.utils.terminal import echo, inert, one_line, show_all_columns, text_table

HOSTILE = "\x1b[2J\x9b31m\u202egnp\x07\r\x7f\ud800"
WORDS = st.lists(st.sampled_from(["a", "of", "loss", "triplet", "perturb"]), min_size=1, max_size=12).map(" ".join)
TABLES = st.integers(1, 9).flatmap(
    lambda count: st.lists(
        st.fixed_dictionaries({f"col{index}": WORDS for index in range(count)}), min_size=1, max_size=6
    )
)


@given(st.text())
def test_only_lines_of_printable_characters_are_left(text: str) -> None:
    assert all(line.isprintable() for line in inert(text).split("\n"))
    assert one_line(text).isprintable()


def test_printable_text_is_unchanged() -> None:
    text = "HM[S,-\u03b3]  \u2026 a\u0308\nCA+ \U0001f600"
    assert inert(text) == text
    assert inert("\x1b[2J") == "\\u001b[2J"


def test_json_stays_the_same_json() -> None:
    text = json.dumps({HOSTILE: [HOSTILE]}, ensure_ascii=False, indent=1)
    assert json.loads(inert(text)) == {HOSTILE: [HOSTILE]}


def test_nothing_that_is_printed_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    echo(HOSTILE, err=True)
    echo(HOSTILE)
    told = capsys.readouterr()
    assert told.err == told.out == inert(HOSTILE) + "\n"


@pytest.mark.parametrize(("columns", "turned"), [(200, False), (80, True), (50, True), (20, False)])
def test_a_table_fits_a_narrow_terminal(columns: int, turned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"defense": name, **{f"column{number}": "1.25" for number in range(12)}, "flags": "a b " * 20} for name in "ab"
    ]
    assert text_table(rows).startswith("defense    column0")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = text_table(rows).splitlines()
    assert (lines[0].split() == ["defense", "a", "b"]) == turned
    assert not turned or max(map(len, lines)) <= columns


def at_width(width: int, make: Callable[[], str]) -> str:
    """Call a function where standard output is a terminal of this width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        patch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((width, 24)))
        return make()


@settings(max_examples=60, deadline=None)
@given(TABLES, st.integers(30, 120))
def test_a_table_fits_its_terminal_and_loses_no_word(rows: list[dict[str, str]], width: int) -> None:
    text = at_width(width, lambda: text_table(rows))
    lines = text.splitlines()
    left_out = lines.pop().partition("--wide: ")[2].split(", ") if "more columns with --wide" in text else []
    assert max(map(len, lines)) <= width
    shown = " ".join(lines).split()
    for name in rows[0]:
        assert name in (left_out if name in left_out else shown)
        if name not in left_out:
            assert all(word in shown for row in rows for word in row[name].split())


@given(TABLES)
def test_a_file_gets_every_column_unwrapped(rows: list[dict[str, str]]) -> None:
    header, _, *lines = text_table(rows).splitlines()
    assert header.split() == list(rows[0])
    assert len(lines) == len(rows)


def test_short_columns_keep_their_width() -> None:
    rows = [{"name": "act", "summary": "a summary of many words that is wrapped", "paper": "2024"}] * 5
    first, *_ = at_width(40, lambda: text_table(rows)).splitlines()[2:]
    assert first.split()[0] == "act" and first.endswith("2024")


def test_wide_shows_all_columns() -> None:
    rows = [{f"column {index}": "x" * 12 for index in range(10)}] * 20
    assert "more columns with --wide: column 5" in at_width(80, lambda: text_table(rows))
    with click.Context(click.Command("list")) as context:
        show_all_columns(context, True)
        assert at_width(80, lambda: text_table(rows)) == text_table(rows)
