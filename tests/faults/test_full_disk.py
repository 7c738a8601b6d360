"""A disk that fills: one line, nothing torn, and with room again the same command ends as if nothing had been."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from faults.trial import Ended, Trial
from faults.victim import BALLAST

from robustbench_dml.runs.folder import LOCKS
from robustbench_dml.training.resume import RESUME_FILE, resume_files
from robustbench_dml.utils.runlog import LOG_FILE

SIZE = "3m"


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A small disk in memory in this folder."""
    folder.mkdir(parents=True)
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk (mount -t tmpfs) needs the right to mount, which root has")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def small_disk(trial: Trial) -> Iterator[Trial]:
    with mounted(trial.out):
        yield trial


def refused(ended: Ended) -> str:
    """The one line."""
    assert ended.code == 2, ended.printed
    assert ended.printed.startswith("rbdml: ") and ended.printed.count("\n") == 1
    assert "No space left on device" in ended.printed and "free some space" in ended.printed
    return ended.printed


def unfinished(trial: Trial) -> set[str]:
    """Files that are neither the disk's filling nor a lock."""
    files = (path for path in trial.out.rglob("*") if path.is_file() and path.parent.name != LOCKS)
    return {path.name for path in files} - {BALLAST}


@pytest.mark.parametrize(
    ("phase", "pages"),  # that are left: none, or enough to begin with what is written
    [
        ("training", 0),
        ("training", 10),
        ("evaluation", 0),
        ("evaluation", 1),
        ("writing", 0),
        ("writing", 3),
        ("writing", 7),
    ],
)
def test_a_disk_that_fills(
    small_disk: Trial, usual: Ended, ends_the_same: Callable[[Trial], Ended], phase: str, pages: int
) -> None:
    cut = small_disk.attempt(full_in=phase, room=4096 * pages)
    assert "could not write below" in refused(cut)
    assert cut.timeline.phase == phase
    kept = {path.name for path in resume_files(Path(RESUME_FILE))} | {"evaluation.safetensors", LOG_FILE}
    assert unfinished(small_disk) <= kept  # nothing torn, nothing left behind
    if (phase, pages) == ("training", 0):
        refused(small_disk.attempt())  # still full: still one line
    (small_disk.out / BALLAST).unlink()
    again = ends_the_same(small_disk)
    if phase == "writing":
        assert not again.timeline.work  # all that was found had been kept


def test_a_disk_that_is_full_before_the_plots_are_drawn(
    small_disk: Trial, ends_the_same: Callable[[Trial], Ended]
) -> None:
    drawing = replace(small_disk, draws=True)
    assert "cannot write figures" in drawing.attempt(full_in="drawing").printed.splitlines()[-1]
    (small_disk.out / BALLAST).unlink()
    assert not ends_the_same(drawing).timeline.work
    assert list(small_disk.out.rglob("efficiency.png"))


def test_a_record_on_a_disk_that_can_only_be_read_is_shown(small_disk: Trial) -> None:
    assert small_disk.attempt().code == 0
    subprocess.run(["mount", "-o", "remount,ro", small_disk.out], check=True)
    again = small_disk.attempt()
    assert again.code == 0, again.printed
    assert "already recorded" in again.printed and not again.timeline.work
