"""Files that a run would go on from and that are torn or rotten: the one before serves, or the work is done again."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.trial import Ended, Trial

from robustbench_dml.evaluation.attack_cache import CACHE_FILE
from robustbench_dml.training.resume import RESUME_FILE

SEED = 1
EndsTheSame = Callable[[Trial], Ended]


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: random.Random(SEED).randrange(len(content))])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = random.Random(SEED).randrange(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


def change_a_number(path: Path) -> None:
    content = path.read_bytes()
    assert content.count(b'iterations\\":2') == 1
    path.write_bytes(content.replace(b'iterations\\":2', b'iterations\\":3'))  # one bit: 2 is 0x32, 3 is 0x33


@pytest.fixture
def cut_in_training(trial: Trial, usual: Ended) -> Trial:
    """Killed when it had kept the states of two iterations, or three."""
    renames = [
        number for number in usual.timeline.writes_in("training") if usual.timeline.writes[number][1] == "rename"
    ]
    assert trial.attempt(strike=renames[3]).code == -signal.SIGKILL
    return trial


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, change_a_number])
def test_a_damaged_state(
    cut_in_training: Trial, usual: Ended, ends_the_same: EndsTheSame, damage: Callable[[Path], None]
) -> None:
    damage(cut_in_training.kept(RESUME_FILE))
    again = ends_the_same(cut_in_training)
    assert "going on from the one before it" in again.printed
    assert 0 < again.timeline.work["iteration"] < usual.timeline.work["iteration"]  # not from the beginning


@pytest.mark.parametrize("damage", [truncate, flip_a_bit])
def test_damaged_values_of_attacks(
    trial: Trial, usual: Ended, ends_the_same: EndsTheSame, damage: Callable[[Path], None]
) -> None:
    assert trial.attempt(strike=usual.timeline.writes_in("evaluation")[-1]).code == -signal.SIGKILL
    damage(trial.kept(CACHE_FILE))
    again = ends_the_same(trial)
    assert again.timeline.work["iteration"] == 0
    assert again.timeline.work["attack"] == usual.timeline.work["attack"]  # what cannot be believed is found anew
