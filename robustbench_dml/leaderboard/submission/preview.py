"""The changes of the boards by a submission, shown before they are written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustbench_dml.leaderboard.board import Board, boards_of
from robustbench_dml.leaderboard.entries import Listed
from robustbench_dml.leaderboard.tables import settings_of
from robustbench_dml.report.rows import Row
from robustbench_dml.report.tables import cell, doubts, rank_cell
from robustbench_dml.utils.terminal import text_table

Cells = dict[str, object]


def preview(before: Sequence[Listed], after: Sequence[Listed], leaderboards: Path) -> str:
    """List the rows that are added, changed, moved or removed, board by board.

    Args:
        after: all entries after the submission; their folders may be elsewhere.
    """
    old = {board.name: board for board in boards_of(before, leaderboards)}
    new = {board.name: board for board in boards_of(after, leaderboards)}
    texts = [_board_text(name, old.get(name), new.get(name)) for name in {**old, **new}]
    return "\n\n".join(filter(None, texts)) or "No board changes."


def _board_text(name: str, old: Board | None, new: Board | None) -> str:
    before, after = (
        {} if board is None else {row.key: _cells(board, row) for row in board.rows} for board in (old, new)
    )
    changes = [_change(before.get(key), after.get(key)) for key in {**after, **before}]
    shown = list(filter(None, changes))
    if not shown:
        return ""
    still = len(changes) - len(shown)
    title = (new or old).title  # type: ignore[union-attr]
    others = f"\n{still} other row{'s stay' if still > 1 else ' stays'} as before" if still else ""
    return f"Board {name}: {title}\n{text_table(shown)}{others}"


def _change(before: Cells | None, after: Cells | None) -> Cells | None:
    """Return a line of the preview; None for an unchanged row."""
    if before == after:
        return None
    if before is None or after is None:
        return {"": "new" if before is None else "removed", **(after or before or {})}
    moved = {**before, "rank": 0} == {**after, "rank": 0}
    return {"": "moved" if moved else "changed", **after, "rank": f"{before['rank']} -> {after['rank']}"}


def _cells(board: Board, row: Row) -> Cells:
    return {
        "rank": rank_cell(row),
        "defense": row.name,
        "eta": "-" if row.eta is None else row.eta,
        "settings": settings_of(row),
        "seeds": ", ".join(map(str, row.seeds)) or "-",
        # Without the interval, which other rows change, too.
        "score": f"{row.score} {cell(row.score, row.values[row.score])}",
        "R@1": f"{row.values['R@1']:.1f}",
        "status": board.status(row),
        "flags": ", ".join(doubts(row)),
    }
