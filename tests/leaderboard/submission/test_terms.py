"""Entries that take the place of others, models and defenses that come with a file, and what is said of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from submission_support import (
    UNSEEN,
    copied,
    defense_file,
    edit,
    enter,
    of_defense,
    place,
    refused,
    renamed,
    submitted,
    with_lr,
)

from robustbench_dml.leaderboard.entries import Entry, read_all, read_entry, read_listed
from robustbench_dml.leaderboard.submission.plan import Terms
from robustbench_dml.leaderboard.submission.submit import prepared
from robustbench_dml.leaderboard.submission.withdraw import withdraw
from robustbench_dml.runs.record import read_record
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.progress import Progress

pytestmark = pytest.mark.usefixtures("built")


def test_a_revision_keeps_the_old_entry_in_the_history(run: Path, board: Path, tmp_path: Path) -> None:
    submitted(run, board, Terms(self_reported=True, by="me"))
    copy = copied(run, tmp_path)
    edit(copy, lambda data: data["provenance"].update(cpu="another processor"))
    report = submitted(copy, board, Terms(self_reported=True, replace=(run.name,), why="the processor was wrong"))
    [listed] = read_all(board)
    assert listed.record == read_record(copy)
    [old] = read_all(board, "history")
    assert old.record == read_record(run)
    assert old.folder.name == f"{run.name}-{old.record.provenance.weights[:16]}"
    assert old.entry.ended is not None
    assert (old.entry.ended.how, old.entry.ended.why) == ("revised", "the processor was wrong")
    assert "a new entry" in report


def test_a_revision_of_an_unknown_entry_or_without_a_reason(run: Path, second: Path, board: Path) -> None:
    enter(board, run)
    wrong = run.name[:-1] + ("0" if run.name[-1] != "0" else "1")
    message = refused(second, board, Terms(self_reported=True, replace=(wrong,), why="x"))
    assert f"no entry '{wrong}': did you mean '{run.name}'?" in message
    assert "--replace DIGEST needs --why TEXT" in refused(second, board, Terms(self_reported=True, replace=(wrong,)))
    assert "--why goes with --replace alone" in refused(second, board, Terms(self_reported=True, why="x"))


def test_of_two_submissions_at_once_the_second_is_told_to_look_again(run: Path, second: Path, board: Path) -> None:
    with prepared(run, board, place(board), UNSEEN) as one, prepared(run, board, place(board), UNSEEN) as other:
        one.write()
        with pytest.raises(RbdmlError, match="has changed since the report"):
            other.write()
    assert len(read_all(board)) == 1


def test_a_revision_that_leaves_picked_seeds(run: Path, second: Path, runs: Path, board: Path, tmp_path: Path) -> None:
    submitted(runs, board)
    other = renamed(copied(run, tmp_path), training=with_lr(run, 0.5))
    terms = Terms(self_reported=True, replace=(run.name,), why="another learning rate")
    message = refused(other, board, terms)
    assert f"beside the other entries (without {run.name}): regular on glyphs-mini has seeds 1 and not 0" in message
    both = Terms(self_reported=True, replace=(run.name, second.name), why="another learning rate")
    submitted(other, board, both)
    assert [one.record.digest for one in read_all(board)] == [other.name]
    assert len(read_all(board, "history")) == 2


def test_a_withdrawn_entry_can_be_entered_again(run: Path, board: Path) -> None:
    submitted(run, board)
    withdraw(board, run.name, "for a while")
    submitted(run, board)
    assert len(read_all(board)) == len(read_all(board, "history")) == 1


def test_a_model_from_elsewhere(exact: tuple[Path, Path], board: Path) -> None:
    source, run = exact
    assert "give the file with --model path/to/mine.py:exact" in refused(run, board, Terms())
    assert "--trust-code" in refused(run, board, Terms(model=f"{source}:exact"))
    terms = Terms(model=f"{source}:exact", trust_code=True, declared_passes=20e6, queries=8)
    assert "mine.py: 0 places that a reader should look at\n\n" in submitted(run, board, terms)
    [listed] = read_all(board)
    assert listed.entry.declared_passes == 20e6
    assert listed.entry.verification is not None
    assert listed.entry.verification.unequal == 0


def test_a_new_defense_is_kept_beside_the_others(
    run: Path, board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, trace = defense_file(tmp_path, "mine-kept")
    copy = of_defense(run, tmp_path / "given", "mine-kept", source)
    named = f"{source}:mine-kept"
    assert "unknown defense 'mine-kept'" in refused(copy, board)
    assert "read it, then give --trust-code" in refused(copy, board, Terms(self_reported=True, defense=named))
    aloud = place(board, progress=Progress())
    with pytest.raises(RbdmlError), prepared(copy, board, aloud, Terms(self_reported=True, defense=named)):
        pass
    assert "5 places that a reader should look at\nrbdml: line 1: file or" in capsys.readouterr().err
    assert not trace.exists()
    trusted = Terms(self_reported=True, defense=named, trust_code=True)
    kept = board.parent / "defenses" / source.name
    kept.write_text("another defense")
    assert "there already, with other content: rename your file" in refused(copy, board, trusted)
    kept.unlink()
    report = submitted(copy, board, trusted)
    assert (
        f"{source.name}: 5 places that a reader should look at\n  line 1: file or network access: pathlib.Path"
        in report
    )
    assert "\n  line 6: file or network access: (...).write_text\n" in report
    assert kept.read_bytes() == source.read_bytes()
    assert read_all(board)[0].record.spec.label == "mine-kept"
    shutil.rmtree(board.parent / "defenses")
    assert "submit in a checkout" in refused(copy, board, trusted)


def test_a_declared_cost_is_of_models_that_were_not_metered(run: Path, board: Path) -> None:
    assert "its cost was metered" in refused(run, board, Terms(self_reported=True, declared_passes=1e6))


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (Terms(by="<script>"), "--by '<script>' holds HTML"),
        (Terms(paper="a\nb"), "--paper 'a\\\\nb' holds control characters"),
        (Terms(checkpoint_url="javascript:alert(1)"), "--checkpoint-url 'javascript:alert"),
        (Terms(declared_passes=-1.0), "--declared-passes -1.0"),
        (Terms(self_reported=True, checkpoint=Path("x")), "leave one of the two out"),
    ],
)
def test_terms_that_are_no_plain_lines(run: Path, board: Path, terms: Terms, message: str) -> None:
    assert message.replace("\\\\", "\\") in refused(run, board, terms)


def test_an_entry_file_is_made_by_the_submission_alone(run: Path, board: Path, tmp_path: Path) -> None:
    """What lies beside a record and is not asked for does not come along."""
    copy = copied(run, tmp_path)
    (copy / "entry.json").write_text('{"version": 1, "submitted": "x", "by": "somebody else"}')
    (copy / "run.py").write_text("raise SystemExit")
    submitted(copy, board, Terms(self_reported=True, by="me"))
    [listed] = read_all(board)
    assert read_entry(listed.folder).by == "me"
    assert not (listed.folder / "run.py").exists()
    assert read_listed(listed.folder).entry == Entry(submitted=listed.entry.submitted, by="me")
