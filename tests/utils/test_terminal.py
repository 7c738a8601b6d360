from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_dml.utils.terminal import echo, inert, one_line, text_table

HOSTILE = "\x1b[2J\x9b31m\u202egnp\x07\r\x7f\ud800"


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
