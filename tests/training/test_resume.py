"""Of the last two states of a training one can be lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from robustbench_dml.training.resume import RESUME_FILE, load_newest, resume_files, save_newest
from robustbench_dml.utils.errors import RbdmlError


class States:
    """Text files, of which those that do not begin with `state` are torn."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / RESUME_FILE
        self.loaded: list[str] = []
        self.said: list[str] = []

    def keep(self, text: str) -> None:
        save_newest(self.path, lambda path: path.write_text(text))

    def take_up(self) -> bool:
        return load_newest(self.path, self._load, self.said.append)

    def _load(self, path: Path) -> None:
        if not path.read_text().startswith("state"):
            raise RbdmlError(f"{path}: torn")
        self.loaded.append(path.read_text())


@pytest.fixture
def states(tmp_path: Path) -> States:
    return States(tmp_path)


def test_nothing_is_taken_up_where_nothing_is(states: States) -> None:
    assert not states.take_up()


def test_the_newest_is_taken_up_and_two_are_kept(states: States) -> None:
    for number in range(4):
        states.keep(f"state {number}")
    assert states.take_up() and states.loaded == ["state 3"] and states.said == []
    assert [path.read_text() for path in resume_files(states.path)] == ["state 3", "state 2"]
    assert len(list(states.path.parent.iterdir())) == 2


def test_a_damaged_state_falls_back_with_a_warning(states: States) -> None:
    states.keep("state 0")
    states.keep("torn")
    assert states.take_up() and states.loaded == ["state 0"]
    assert states.said == [f"{states.path}: torn; going on from the one before it"]


def test_a_damaged_state_never_replaces_the_good_one(states: States) -> None:
    def fail(_: Path) -> NoReturn:
        raise OSError("no space left")

    states.keep("state 0")
    states.keep("torn")
    states.take_up()
    with pytest.raises(OSError, match="no space"):
        save_newest(states.path, fail)
    assert states.take_up() and states.loaded == ["state 0", "state 0"]


def test_where_both_are_torn_the_newest_is_named(states: States) -> None:
    states.keep("torn")
    states.keep("torn too")
    with pytest.raises(RbdmlError, match=rf"{states.path}: torn"):
        states.take_up()
    assert states.said == [] and states.loaded == []


def test_an_interrupted_write_leaves_the_previous_state(states: States) -> None:
    def fail(_: Path) -> NoReturn:
        raise OSError("no space left")

    states.keep("state 0")
    with pytest.raises(OSError, match="no space"):
        save_newest(states.path, fail)
    assert states.take_up() and states.loaded == ["state 0"] and states.said == []
    states.keep("state 1")
    assert [path.read_text() for path in resume_files(states.path)] == ["state 1", "state 0"]


WRITER = """
import sys
from pathlib import Path
from robustbench_dml.utils.files import write_atomically
from robustbench_dml.training.resume import save_newest

def save(path):
    write_atomically(path, lambda file: file.write(("state " + str(number) + " " * 1_000_000 + "end").encode()))

number = 0
while True:
    save_newest(Path(sys.argv[1]), save)
    number += 1
    print(number, flush=True)
"""


def test_a_process_that_is_killed_at_any_moment_leaves_a_whole_state(tmp_path: Path) -> None:
    states = States(tmp_path)
    for times in range(1, 9):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(states.path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        for _ in range(times):
            writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        states.loaded.clear()
        assert states.take_up() and states.loaded[0].endswith("end")


def test_another_process_may_have_removed_the_damaged_state(states: States) -> None:
    states.keep("state 0")
    states.keep("torn")

    def load(path: Path) -> None:
        if path == states.path:
            path.unlink()  # the other one is through with it
            raise RbdmlError(f"{path}: torn")
        states.loaded.append(path.read_text())

    assert load_newest(states.path, load, states.said.append)
    assert states.loaded == ["state 0"]
