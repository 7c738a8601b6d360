"""From what is submitted to what stands on the board: all of it, or nothing."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from submission_support import (
    UNSEEN,
    copied,
    edit,
    enter,
    place,
    refused,
    renamed,
    revalued,
    snapshot,
    submitted,
    with_lr,
)

from robustbench_dml.leaderboard import build as building
from robustbench_dml.leaderboard.entries import Verification, read_all
from robustbench_dml.leaderboard.submission import submit as submitting
from robustbench_dml.leaderboard.submission.plan import Terms
from robustbench_dml.leaderboard.submission.submit import prepared
from robustbench_dml.leaderboard.submission.withdraw import withdraw
from robustbench_dml.leaderboard.submission.zoo import zoo_problems
from robustbench_dml.models.zoo import read_index
from robustbench_dml.runs.record import CHECKPOINT_FILE, QUERIES_FILE, RECORD_FILE, Record, read_record, write_record
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256

pytestmark = pytest.mark.usefixtures("built")


@pytest.fixture
def believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second evaluation is tested elsewhere."""

    def recheck(record: Record, *_: object, queries: int, **__: object) -> Verification:
        return Verification(
            created="2026-01-01T00:00:00+00:00",
            queries=queries,
            differences={"TMA": 0.0},
            unequal=0.0,
            flags=[*record.diagnostics.flags, "random"],
            disqualifying=["random"],
            versions={},
            device="a processor",
            commit=None,
            dirty=None,
        )

    monkeypatch.setattr(submitting, "recheck", recheck)


def test_a_true_run_is_verified_and_entered(run: Path, board: Path, built: list[Path]) -> None:
    terms = Terms(by="A. Researcher", paper="arXiv:2203.01439", checkpoint_url="https://example.org/w", queries=32)
    report = submitted(run, board, terms)
    [listed] = read_all(board)
    assert listed.folder == board / "glyphs-mini" / "records" / run.name
    assert sorted(path.name for path in listed.folder.iterdir()) == ["entry.json", QUERIES_FILE, RECORD_FILE]
    for name in (QUERIES_FILE, RECORD_FILE):
        assert (listed.folder / name).read_bytes() == (run / name).read_bytes()
    entry = listed.entry
    assert (entry.by, entry.paper, entry.checkpoint) == (terms.by, terms.paper, terms.checkpoint_url)
    assert entry.status == "verified"
    assert entry.verification is not None
    assert (entry.verification.queries, entry.verification.unequal) == (32, 0)
    assert built == [board]
    assert "32 queries evaluated again" in report
    [row] = [line for line in report.splitlines() if line.startswith("new ")]
    assert "regular" in row
    assert "verified" in row
    assert f"ERS {listed.record.primary_score:.1f}" in row
    assert not list(board.glob(".*"))


def test_what_is_shown_is_not_written_before_it_is_asked_for(run: Path, board: Path) -> None:
    before = snapshot(board.parent)
    with prepared(run, board, place(board), UNSEEN) as submission:
        assert "self-reported" in submission.report
    assert snapshot(board.parent) == before


def test_flags_of_the_second_evaluation_count_on_the_board(run: Path, board: Path, believed: None) -> None:
    report = submitted(run, board, Terms())
    assert "flags that the second evaluation raised: random" in report
    [listed] = read_all(board)
    assert "random" in listed.judged.disqualifying
    assert "random" not in listed.record.flags


def test_an_address_fills_the_zoo_until_the_entry_is_withdrawn(run: Path, board: Path, believed: None) -> None:
    report = submitted(run, board, Terms(checkpoint_url="https://example.org/zoo/"))
    [model], [listed] = read_index(board / "zoo").models, read_all(board)
    assert model.url == listed.entry.checkpoint == "https://example.org/zoo/glyphs-mini/regular-seed0.safetensors"
    assert f"in the zoo as {model.name}, from {model.url}" in report
    assert (model.entry, model.sha256) == (run.name, sha256(run / CHECKPOINT_FILE))
    assert zoo_problems([listed], board) == []
    assert "is not of an entry on a board" in zoo_problems([], board)[0]
    withdraw(board, run.name, "a test")
    assert read_index(board / "zoo").models == ()


def test_several_checkpoints_need_the_address_of_a_folder(runs: Path, board: Path, believed: None) -> None:
    assert "ending in /" in refused(runs, board, Terms(checkpoint_url="https://example.org/w"))
    submitted(runs, board, Terms(checkpoint_url="https://example.org/w/"))
    assert [model.name for model in read_index(board / "zoo").models] == [
        f"glyphs-mini/regular-seed{seed}" for seed in (0, 1)
    ]


def test_several_records_are_taken_or_none(runs: Path, board: Path, tmp_path: Path) -> None:
    given = Path(shutil.copytree(runs, tmp_path / "runs"))
    bad = next(
        path for path in given.iterdir() if path.is_dir() and '"seed": 1,\n  "ev' in (path / RECORD_FILE).read_text()
    )
    edit(bad, lambda data: data["scores"].update(ERS=99.0))
    assert f"{bad}: ERS is 99" in refused(given, board)
    assert "a new entry, self-reported" in submitted(runs, board)
    assert [one.record.spec.seed for one in read_all(board)].count(1) == 1
    assert len(read_all(board)) == 2


def test_the_same_record_again_is_refused_alone_and_left_out_among_others(run: Path, runs: Path, board: Path) -> None:
    submitted(run, board)
    assert f"{run.name} is entered already, with these weights and values" in refused(run, board)
    assert f"{run.name} (regular) is entered already: left out" in submitted(runs, board)
    assert len(read_all(board)) == 2


def test_a_checkpoint_that_comes_later_verifies(run: Path, board: Path, believed: None) -> None:
    submitted(run, board, Terms(self_reported=True, by="me", paper="a paper"))
    first = read_all(board)[0].entry
    report = submitted(run, board, Terms(paper="a better paper"))
    [listed] = read_all(board)
    assert listed.entry.status == "verified"
    assert (listed.entry.by, listed.entry.paper) == ("me", "a better paper")
    assert listed.entry.submitted == first.submitted
    assert "an entry that is verified now" in report
    [row] = [line for line in report.splitlines() if line.startswith("changed ")]
    assert "baseline -> - " in row  # disqualified by the second evaluation


def test_without_a_checkpoint_only_as_self_reported(run: Path, board: Path, tmp_path: Path) -> None:
    copy = copied(run, tmp_path, checkpoint=False)
    assert "no checkpoint beside the record: give --checkpoint FILE" in refused(copy, board, Terms())
    submitted(copy, board)
    assert read_all(board)[0].entry.status == "self-reported"


def rerun_of(run: Path, second: Path, folder: Path) -> Path:
    """The weights and values of another run, under the spec of this one: what another machine could come to."""
    copy = copied(second, folder)
    own = read_record(run)
    other = read_record(copy)
    write_record(copy, other.model_copy(update={"spec": own.spec, "digest": own.digest}))
    return copy.rename(copy.with_name(own.digest))


def test_a_rerun_stands_beside_the_entry_and_does_not_replace_it(
    run: Path, second: Path, board: Path, tmp_path: Path
) -> None:
    submitted(run, board)
    again = rerun_of(run, second, tmp_path)
    before = snapshot(board)
    report = submitted(again, board)
    [listed] = read_all(board)
    assert {path: data for path, data in snapshot(board).items() if path in before} == before
    assert listed.record == read_record(run)
    assert listed.reruns == (read_record(again),)
    inner = listed.folder / "reruns" / read_record(again).provenance.weights[:16]
    assert sorted(path.name for path in inner.iterdir()) == ["entry.json", QUERIES_FILE, RECORD_FILE]
    assert "an entry that was run again" in report
    assert "A is the entry, B this run" in report
    assert "ERS" in report
    assert "No board changes." in report
    assert "is entered already" in refused(again, board)


def test_an_interruption_leaves_the_board_as_it_was(
    run: Path, second: Path, board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(run, board)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target.parent.name == "records":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    assert "No space left on device" in refused(second, board)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupt)
    before = snapshot(board)
    with pytest.raises(KeyboardInterrupt):
        submitted(second, board)
    assert snapshot(board) == before


def test_a_board_that_cannot_be_written_to(run: Path, board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = Path.mkdir

    def deny(self: Path, *arguments: Any, **named: Any) -> None:
        if board in self.parents:
            raise PermissionError(errno.EACCES, "Permission denied")
        mkdir(self, *arguments, **named)

    monkeypatch.setattr(Path, "mkdir", deny)
    assert "Permission denied" in refused(run, board)


def test_tables_that_cannot_be_built_are_said_with_the_remedy(
    run: Path, board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise RbdmlError("README.md: marks a board 'x'")

    monkeypatch.setattr(building, "build", fail)
    with pytest.raises(RbdmlError, match="the entries are written, and their tables and pages are not"):
        submitted(run, board)
    assert len(read_all(board)) == 1


Alter = Callable[[Path], object]
BAD: dict[str, tuple[Alter, str]] = {
    "an older schema": (lambda run: edit(run, lambda data: data.update(version=1)), "version 1 of records"),
    "a tampered value": (lambda run: edit(run, lambda data: data["attacked"].update({"CA+": 50.0})), "CA+ is 50"),
    "tampered queries": (
        lambda run: revalued(run, lambda values: values["CA+"].put([0], 0.9), again=False),
        "is not the file that the record was made with",
    ),
    "NaN in JSON": (
        lambda run: (run / RECORD_FILE).write_text((run / RECORD_FILE).read_text().replace("0.0,", "NaN,")),
        "not a valid record",
    ),
    "NaN among the values": (
        lambda run: revalued(run, lambda values: values["TMA"].put([0], np.nan), again=False),
        "TMA holds values that are not finite",
    ),
    "other data files": (
        lambda run: edit(run, lambda data: data["provenance"]["dataset_files"].update({"x": "0" * 64})),
        "made from other files",
    ),
    "HTML in the name": (lambda run: renamed(run, defense="<img src=x onerror=alert(1)>"), "holds HTML"),
    "1 GB of JSON": (lambda run: (run / RECORD_FILE).open("wb").truncate(10**9), "larger than 1000000 bytes"),
    "a fake": (lambda run: renamed(run, defense="fake-constant"), "is a fake, made to be caught"),
    "a folder of images": (lambda run: renamed(run, dataset="folder:/tmp"), "not one that everybody can have"),
    "an unknown protocol": (
        lambda run: renamed(run, evaluation=read_record(run).spec.evaluation.model_copy(update={"protocol": "mine"})),
        "unknown protocol 'mine'",
    ),
    "a missing seed": (lambda run: renamed(run, seed=3), "regular on glyphs-mini has seeds 0, 3 and not 1"),
    "a zip bomb": (
        lambda run: revalued(run, lambda values: values.update({"TMA": np.zeros(10**7)}), again=False),
        "TMA.npy unpacks to 80000128 bytes",
    ),
    "objects": (
        lambda run: revalued(run, lambda values: values.update({"x": np.array([{}] * 64)}), again=False),
        "Object arrays cannot be loaded",
    ),
    "another defense's source": (
        lambda run: edit(run, lambda data: data["provenance"].update(defense_source="0" * 64)),
        "the source of 'regular' is not the one",
    ),
}


@pytest.mark.parametrize(("alter", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_by_name_with_the_board_as_it_was(
    run: Path, second: Path, board: Path, tmp_path: Path, alter: Alter, message: str
) -> None:
    enter(board, run)
    copy = copied(second, tmp_path / "given")
    alter(copy)
    assert message in refused(tmp_path / "given", board)


def test_claims_that_only_the_checkpoint_shows(run: Path, board: Path, tmp_path: Path) -> None:
    copy = copied(run, tmp_path)
    revalued(copy, lambda values: np.add(values["ES:D"], 0.1, out=values["ES:D"]))
    assert "ES:D differs by" in refused(copy, board, Terms(queries=16))


def test_a_checkpoint_that_is_not_the_records(run: Path, second: Path, board: Path, tmp_path: Path) -> None:
    message = refused(run, board, Terms(checkpoint=second / CHECKPOINT_FILE))
    assert "and the record is of" in message
    copy = copied(run, tmp_path)
    data = (copy / CHECKPOINT_FILE).read_bytes()
    (copy / CHECKPOINT_FILE).write_bytes(data[: len(data) // 2])
    assert "not a readable safetensors file" in refused(copy, board, Terms())


def test_duplicates_under_another_name(run: Path, board: Path, tmp_path: Path) -> None:
    enter(board, run)
    copy = renamed(copied(run, tmp_path), training=with_lr(run, 0.5))
    assert "has the same weights under the same evaluation as" in refused(copy, board)
    values = copied(run, tmp_path)
    edit(values, lambda data: data["provenance"].update(created="2026-05-06T07:08:09+00:00"))  # run again, here
    assert f"{run.name} is entered already, with these weights and values" in refused(values, board)
    edit(values, lambda data: data["benign"].update(NMI=data["benign"]["NMI"] + 1))
    assert f"give --replace {run.name} --why TEXT" in refused(values, board)


def test_one_spec_twice_in_one_submission(run: Path, second: Path, board: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    copied(run, given / "a")
    rerun_of(run, second, given / "b")
    assert "is submitted twice" in refused(given, board)
