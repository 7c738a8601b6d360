"""What a submission would change on the boards, for a person to read before it is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustbench_dml.leaderboard.board import Board, boards_of
from robustbench_dml.leaderboard.entries import Listed
from robustbench_dml.leaderboard.tables import settings_of
from robustbench_dml.report.rows import Row
from robustbench_dml.utils.terminal import text_table

Cells = dict[str, object]


def preview(before: Sequence[Listed], after: Sequence[Listed], leaderboards: Path) -> str:
    """Rows that are added, changed, moved or removed, board by board.

    Args:
        before: all entries.
        after: all entries once the submission is written; their folders may be elsewhere.
        leaderboards: the folder of all data sets.
    """
    old = {board.name: board for board in boards_of(before, leaderboards)}
    new = {board.name: board for board in boards_of(after, leaderboards)}
    texts = [_board(name, old.get(name), new.get(name)) for name in {**old, **new}]
    return "\n\n".join(text for text in texts if text) or "No board changes."


def _board(name: str, old: Board | None, new: Board | None) -> str:
    rows = {} if old is None else {row.key: (old, row) for row in old.rows}
    later = {} if new is None else {row.key: (new, row) for row in new.rows}
    cells = [_changed(rows.get(key), later.get(key)) for key in {**later, **rows}]
    shown = [cell for cell in cells if cell is not None]
    if not shown:
        return ""
    still = len(cells) - len(shown)
    title = (new or old).title  # type: ignore[union-attr]
    others = f"\n{still} other row{'s stay' if still > 1 else ' stays'} as before" if still else ""
    return f"Board {name}: {title}\n{text_table(shown)}{others}"


def _changed(old: tuple[Board, Row] | None, new: tuple[Board, Row] | None) -> Cells | None:
    """A line of the preview; None for a row that stays as it is."""
    before, after = (None if one is None else _cells(*one) for one in (old, new))
    if before == after:
        return None
    shown = after or before
    assert shown is not None
    ranks = [cells["rank"] for cells in (before, after) if cells is not None]
    how = "new" if before is None else "removed" if after is None else "changed"
    if before is not None and after is not None and {**before, "rank": 0} == {**after, "rank": 0}:
        how = "moved"
    rank = f"{ranks[0]} -> {ranks[-1]}" if how in ("moved", "changed") else ranks[-1]
    return {"": how, **shown, "rank": rank}


def _cells(board: Board, row: Row) -> Cells:
    low, high = row.intervals[row.score]
    return {
        "rank": "none" if row.rank is None else row.rank,
        "defense": row.name,
        "eta": "-" if row.eta is None else row.eta,
        "settings": settings_of(row),
        "seeds": ", ".join(map(str, row.seeds)) or "-",
        "score": f"{row.score} {row.values[row.score]:.1f} ({low:.1f} to {high:.1f})",
        "R@1": f"{row.values['R@1']:.1f}",
        "status": board.status(row),
        "flags": ", ".join(row.flags),
    }
