"""The findings hold what the records say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from robustbench_dml.spec import make

PAGE = (Path(__file__).parents[2] / "docs" / "findings.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def findings(folder: None) -> Iterator[ModuleType]:
    """The script; outside of these tests `radius` is the default, which decides the main boards."""
    import findings as script  # type: ignore[import-not-found]

    assert isinstance(script, ModuleType)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make, "DEFAULT_PROTOCOL", "radius")
        yield script


def test_every_table_is_that_of_the_records(findings: ModuleType) -> None:
    assert findings.filled(PAGE) == PAGE
    changed = re.sub(r"\d\d\.\d +\|", "99.9 |", PAGE, count=1)
    assert changed != PAGE
    assert findings.filled(changed) == PAGE


def test_a_mark_names_one_row(findings: ModuleType) -> None:
    board = findings.boards()["fashion-c2f2-ers-77c78e"]
    assert findings.row_of(board, "act/8@quick").eta == 8
    for text in ("act/8", "nobody"):
        with pytest.raises(SystemExit, match=r"rows of fashion-c2f2-ers-77c78e are"):
            findings.row_of(board, text)


def test_the_page_is_short_and_its_prose_has_few_numbers() -> None:
    prose = re.sub(r"^\|.*$|<!--.*?-->|```.*?```", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    words = prose.split()
    numbers = [word for word in words if re.match(r"[-+(]*\d", word)]
    assert len(words) <= 1100
    assert len(numbers) / len(words) < 0.06
