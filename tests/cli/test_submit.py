"""`rbdml submit` from the submitter's side."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from cli_support import Made, rbdml, refusal
from submission_support import edit, snapshot

from robustbench_dml.leaderboard import build as building
from robustbench_dml.leaderboard.entries import read_all
from robustbench_dml.runs.record import CHECKPOINT_FILE

pytestmark = pytest.mark.usefixtures("described_figures")


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    (tmp_path / "leaderboards").mkdir()
    return tmp_path / "leaderboards"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "build", lambda _: [])


def submit(made: Made, boards: Path, *more: str | Path) -> tuple[str | Path, ...]:
    return ("submit", made.folder, "--boards", boards, "--device", "cpu", *more)


def test_from_a_run_to_a_page(made: Made, boards: Path) -> None:
    answer = rbdml(*submit(made, boards, "--by", "A. Researcher", "--recheck", "4", "--yes"))
    assert answer.code == 0, answer.err
    assert "a new entry, verified" in answer.out
    assert answer.out.endswith(f"Written to {boards}.\n")
    assert answer.err == f"rbdml: {made.record.digest}: evaluating regular again\n"
    [listed] = read_all(boards)
    assert listed.record == made.record
    assert made.record.digest in (boards / "index.html").read_text()
    assert rbdml("leaderboard", "check", "--boards", boards).code == 0
    written = snapshot(boards)
    assert "entered already, with these weights and values" in refusal(rbdml(*submit(made, boards, "--yes")))
    assert snapshot(boards) == written


def test_a_dry_run_writes_nothing(made: Made, boards: Path) -> None:
    answer = rbdml(*submit(made, boards, "--self-reported", "--dry-run"))
    assert answer.code == 0
    assert answer.out.endswith("Nothing was written (--dry-run).\n")
    assert snapshot(boards) == {}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("said", "entries"), [("y\n", 1), ("n\n", 0), ("\n", 0)])
def test_it_asks_on_a_terminal(
    made: Made, boards: Path, quick: None, monkeypatch: pytest.MonkeyPatch, said: str, entries: int
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(said))
    answer = rbdml(*submit(made, boards, "--self-reported"))
    assert answer.code == 0
    assert f"Write this to {boards}?" in answer.out + answer.err
    assert len(read_all(boards)) == entries
    assert ("Nothing was written." in answer.out) == (entries == 0)


def test_where_nobody_can_be_asked_it_wants_a_word(made: Made, boards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    answer = rbdml(*submit(made, boards, "--self-reported"))
    assert answer.code == 2
    assert "nobody to ask whether to write this: give --yes, or --dry-run" in answer.err
    assert snapshot(boards) == {}


def test_a_revision_and_a_withdrawal(made: Made, boards: Path, tmp_path: Path, quick: None) -> None:
    assert rbdml(*submit(made, boards, "--self-reported", "--yes")).code == 0
    copy = made.copy(tmp_path / "runs") / "glyphs-mini" / made.record.digest
    edit(copy, lambda data: data["provenance"].update(cpu="another processor"))
    terms = ("--self-reported", "--yes", "--replace", made.record.digest, "--why", "the processor was wrong")
    assert rbdml("submit", copy, "--boards", boards, *terms).code == 0
    assert rbdml("leaderboard", "withdraw", made.record.digest, "--why", "taken back", "--boards", boards).code == 0
    assert read_all(boards) == []
    ended = [one.entry.ended for one in read_all(boards, "history")]
    assert sorted((one.how, one.why) for one in ended if one) == [
        ("revised", "the processor was wrong"),
        ("withdrawn", "taken back"),
    ]


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "an address that is none": (("--checkpoint-url", "ftp://x"), "--checkpoint-url 'ftp://x'"),
    "a cost that is none": (("--declared-passes", "10min"), "--declared-passes 10min: give a number of passes"),
    "a named cost": (("--declared-passes", "quick"), "--declared-passes quick: give a number of passes"),
    "a cost of what was metered": (("--declared-passes", "20M"), "its cost was metered"),
    "no queries": (("--recheck", "0"), "'--recheck'"),
    "a file that is not there": (("--defense", "absent.py:x"), "absent.py: no Python file"),
    "an unknown digest": (("--replace", "0" * 16, "--why", "x"), "no entry '0000000000000000'"),
    "no boards": (("--boards", "absent"), "absent: no such folder"),
    "no checkpoint": (("--checkpoint", "absent"), "absent: no checkpoint there"),
}


@pytest.mark.parametrize(("more", "part"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_one_line(made: Made, boards: Path, more: tuple[str, ...], part: str) -> None:
    assert part in refusal(rbdml(*submit(made, boards, "--yes", *more)))
    assert snapshot(boards) == {}


def test_no_checkpoint_beside_it(made: Made, boards: Path, tmp_path: Path) -> None:
    copy = made.copy(tmp_path / "runs") / "glyphs-mini" / made.record.digest
    (copy / CHECKPOINT_FILE).unlink()
    answer = rbdml("submit", copy, "--boards", boards, "--yes")
    assert "give --checkpoint FILE, or enter it with --self-reported" in refusal(answer)
    assert snapshot(boards) == {}
