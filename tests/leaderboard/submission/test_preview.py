"""What a submission would change, before it does."""

from __future__ import annotations

from pathlib import Path

from board_support import enter_made, made_spec

from robustbench_dml.leaderboard.board import boards_of
from robustbench_dml.leaderboard.entries import read_all
from robustbench_dml.leaderboard.submission.preview import preview


def lines(text: str) -> dict[str, str]:
    """The rows by their first word."""
    return {line.split()[0]: line for line in text.splitlines()[3:] if line.strip()}


def test_rows_that_are_added_moved_changed_removed_and_left(tmp_path: Path) -> None:
    boards = tmp_path / "leaderboards"
    for place, name in enumerate(("est", "act", "madry")):
        for seed in range(3):
            enter_made(boards, made_spec(name, seed=seed), level=0.2 + 0.15 * place)
    enter_made(boards, made_spec("regular"), level=0.1)
    before = read_all(boards)
    for seed in range(3):
        enter_made(boards, made_spec("hm-lga-ics", seed=seed), level=0.45)
    enter_made(boards, made_spec("madry", seed=3), level=0.55)
    after = [one for one in read_all(boards) if one.record.spec.label != "est"]
    text = preview(before, after, boards)
    assert text.startswith("Board glyphs-mini: glyphs-mini, c2f2, protocol ers")
    [old], [new] = boards_of(before, boards), boards_of(after, boards)
    ranks = [{row.label: row.rank for row in board.rows} for board in (old, new)]
    shown = lines(text)
    assert "hm-lga-ics" in shown["new"]
    assert "est" in shown["removed"]
    assert "madry" in shown["changed"]
    assert "0, 1, 2, 3" in shown["changed"]
    assert ranks[0]["act"] != ranks[1]["act"]
    assert f"{ranks[0]['act']} -> {ranks[1]['act']}" in shown["moved"]
    assert "1 other row stays as before" in text


def test_other_boards_are_not_spoken_of(tmp_path: Path) -> None:
    boards = tmp_path / "leaderboards"
    enter_made(boards, made_spec("regular"))
    before = read_all(boards)
    assert preview(before, before, boards) == "No board changes."
    enter_made(boards, made_spec("regular", evaluation={"steps": 64}))
    text = preview(before, read_all(boards), boards)
    assert text.count("Board ") == 1
    assert "PGD-64" in text
