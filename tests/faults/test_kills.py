"""Killed at any moment, a run comes to the same in the end, and does nothing twice but what was under way."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from faults.__main__ import main
from faults.trial import Ended, Trial

from robustbench_dml.evaluation.attack_cache import CACHE_FILE
from robustbench_dml.training.resume import RESUME_FILE, resume_files

SEED = 0
KEPT = {path.name for path in (*resume_files(Path(RESUME_FILE)), Path(CACHE_FILE))}
EndsTheSame = Callable[[Trial], Ended]


def drawn(numbers: list[int], count: int) -> list[int]:
    return sorted(random.Random(SEED).sample(numbers, count))


@pytest.mark.parametrize(("phase", "count"), [("starting", 1), ("training", 3), ("evaluation", 2), ("writing", 5)])
def test_killed_before_a_write(trial: Trial, usual: Ended, ends_the_same: EndsTheSame, phase: str, count: int) -> None:
    for strike in drawn(usual.timeline.writes_in(phase), count):
        cut = trial.attempt(strike=strike)
        assert (cut.code, cut.timeline.phase) == (-signal.SIGKILL, phase)
        again = ends_the_same(trial)
        twice = cut.timeline.work + again.timeline.work - usual.timeline.work
        assert twice.total() <= 1, usual.timeline.writes[strike]
        trial.folder = trial.folder.with_name(f"after-{strike}")


def test_killed_again_and_again(trial: Trial, usual: Ended, ends_the_same: EndsTheSame) -> None:
    # Writing is begun anew each time, and so is what tells of the training and of every attack.
    enough = len(usual.timeline.writes_in("starting", "writing")) + 20
    kills = 0
    while trial.attempt(strike=enough).code == -signal.SIGKILL:
        kills += 1
        assert kills < 20, "it comes no further"
    assert kills >= 3
    ends_the_same(trial)


def test_killed_while_a_record_is_replaced(trial: Trial, whole: Trial, ends_the_same: EndsTheSame) -> None:
    digest = whole.folder_of_record.name
    repeated = whole.copy(trial.folder)
    repeated.more = ("--force",)
    timeline = repeated.attempt().timeline
    renames = [
        number
        for number, (_, what, path) in enumerate(timeline.writes)
        if what == "rename" and path.split("/")[-1] in (digest, f".{digest}.again")
    ]
    assert len(renames) == 2  # the old folder away, the new one into its place
    for number in (*renames, renames[-1] + 1):
        trial = whole.copy(trial.folder.with_name(f"replaced-{number}"))
        trial.more = ("--force",)
        assert trial.attempt(strike=number).code == -signal.SIGKILL
        trial.more = ()
        plain = trial.attempt()
        assert plain.code == 0 and not plain.timeline.work  # the old record is there still, or the new one already
        trial.more = ("--force",)
        ends_the_same(trial)


def test_the_command_that_kills_at_random_moments() -> None:
    answer = CliRunner().invoke(main, ["kills", "--number", "3", "--small"])
    assert answer.exit_code == 0, answer.output
    assert "3 of 3 ended with the same weights, bit by bit, and the same record" in answer.output


def test_nothing_is_given_up_before_what_replaces_it_is_sure_to_stay(whole: Trial, usual: Ended) -> None:
    sure: set[str] = set()  # synced since it was last changed
    above = whole.folder_of_record.parent.name
    removed = 0
    for _, what, path in usual.timeline.writes:
        name = path.rpartition("/")[2]
        if what == "sync":
            sure.add(path)
        elif what == "rename":
            assert path in sure or not name.startswith(".") or name.endswith(".part"), f"{path} is not synced"
            sure.discard(path.rpartition("/")[0])
        elif what == "remove" and name in KEPT:
            assert path.startswith(f"{whole.folder_of_record.name}", len(above) + 1)  # in its place
            assert above in sure
            removed += 1
    assert removed == len(KEPT)
