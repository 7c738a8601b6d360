"""The names of flags: one list for code, page and documentation."""

from __future__ import annotations

import re
from pathlib import Path

from robustbench_dml.evaluation.diagnostics.findings import MEANINGS

ROOT = Path(__file__).parents[3]


def test_every_flag_has_a_meaning_and_a_row_in_the_documentation() -> None:
    table = (ROOT / "docs" / "attacks.md").read_text().partition("| flag |")[2].partition("\n\n")[0]
    documented = {line.split("|")[1].strip() for line in table.splitlines()[2:]}
    checks = (ROOT / "robustbench_dml" / "evaluation" / "diagnostics").glob("*.py")
    raised = {name for path in checks for name in re.findall(r'Finding\(\s*"([^"]+)"', path.read_text())}
    assert raised == documented == set(MEANINGS)
