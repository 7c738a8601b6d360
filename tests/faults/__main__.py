"""Interrupting runs and comparing what they come to: `python -m faults kills`, `python -m faults writes`."""

from __future__ import annotations

import random
import signal
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from faults.trial import Ended, Forked, Result, Trial, started
from faults.victim import PHASES

AIMED = PHASES[1:4]  # training, evaluation, writing
TRIES = 10  # for each kill: a short phase can be over before the signal comes


@click.group()
def main() -> None:
    """Interrupt runs and compare what they come to with a run that was not interrupted."""


@main.command()
@click.option("--number", default=30, show_default=True, help="Kills.")
@click.option("--per-run", default=1, show_default=True, help="Kills of each run before it may end.")
@click.option("--seed", default=0, show_default=True, help="Of the moments.")
@click.option("--defense", default="hm-lga-ics", show_default=True)
@click.option("--small", is_flag=True, help="60 small images and one linear layer, in forked processes.")
def kills(number: int, per_run: int, seed: int, defense: str, small: bool) -> None:
    """Kill runs at random moments: as many in training as in evaluation and in writing."""
    rng, fallen, done, equal = random.Random(seed), Counter[str](), 0, 0
    with TemporaryDirectory() as folder:
        whole = _trial(Path(folder) / "whole", defense, small)
        lengths, wanted = whole.attempt().timeline.seconds, whole.result()
        click.echo("uninterrupted: " + ", ".join(f"{phase} {length:.2f} s" for phase, length in lengths.items()))
        for place in range(TRIES * number):
            trial = _trial(Path(folder) / f"killed-{place}", defense, small)
            aims = sorted((AIMED[one % 3] for one in range(done, min(done + per_run, number))), key=AIMED.index)
            phases = _killed(trial, [(aim, rng.random() * lengths[aim]) for aim in aims])
            fallen.update(phases)
            done += len(phases)
            if phases:
                same = _same(trial, wanted)
                equal += len(phases) if same else 0
                click.echo(f"{done}: killed in {', '.join(phases)}: {'the same' if same else 'another one'}")
            if done == number:
                break
    click.echo(f"{done} kills: {_counted(fallen)}")
    click.echo(f"{equal} of {done} ended with the same weights, bit by bit, and the same record")
    sys.exit(equal < number)


@main.command()
@click.option("--signal", "name", type=click.Choice(["KILL", "TERM", "INT", "HUP"]), default="KILL", show_default=True)
@click.option("--every", default=1, show_default=True, help="Strike before each write, or before one in so many.")
@click.option("--defense", default="hm-lga-ics", show_default=True)
@click.option("--again", is_flag=True, help="Of a run that replaces a record (--force).")
def writes(name: str, every: int, defense: str, again: bool) -> None:
    """Interrupt a small run right before each of its writes: opening, syncing, renaming, removing."""
    number = signal.Signals[f"SIG{name}"]
    code = -number if number == signal.SIGKILL else 130
    with TemporaryDirectory() as folder:
        whole = Trial(Path(folder) / "whole", defense)
        ended = whole.attempt()
        wanted = whole.result()
        if again:
            ended = Trial(whole.folder, defense, more=("--force",)).attempt()
        struck, failed = Counter[str](), 0
        for strike in range(0, len(ended.timeline.writes), every):
            trial = Trial(Path(folder) / f"struck-{strike}", defense)
            if again:
                trial = whole.copy(trial.folder)
                trial.more = ("--force",)
            cut = trial.attempt(strike=strike, number=number)
            phase, what, path = ended.timeline.writes[strike]
            struck[phase] += 1
            if cut.code != code or not _same(trial, wanted, None if again else (cut, ended)):
                failed += 1
                click.echo(
                    f"before write {strike} ({what} {path}, {phase}): exit code {cut.code}\n{cut.printed[-300:]}"
                )
    total = sum(struck.values())
    click.echo(f"{total} runs, each sent SIG{name} before another write: {_counted(struck)}")
    click.echo(f"{total - failed} of {total} ended with the same weights, bit by bit, and the same record")
    sys.exit(failed > 0)


def _trial(folder: Path, defense: str, small: bool) -> Trial:
    return Trial(folder, defense, small, Forked if small else started, draws=not small)


def _killed(trial: Trial, moments: Iterable[tuple[str, float]]) -> list[str]:
    """Kill a run at each of these moments, seconds into a phase, unless it has ended before; returns where it was."""
    phases = []
    for moment in moments:
        cut = trial.attempt(kill_in=moment)
        if cut.code != -signal.SIGKILL:
            break
        phases.append(cut.timeline.phase)
    return phases


def _counted(phases: Counter[str]) -> str:
    return ", ".join(f"{phases[phase]} in {phase}" for phase in PHASES if phases[phase])


def _same(trial: Trial, wanted: Result, work: tuple[Ended, Ended] | None = None) -> bool:
    """Let the same command end, and tell in what it came to something else, or did more than once.

    Args:
        trial: that was interrupted.
        wanted: what an uninterrupted one came to.
        work: how the interrupted attempt and an uninterrupted one ended, to compare what was done.
    """
    ended = trial.attempt()
    if ended.code != 0:
        click.echo(f"the same command ended with {ended.code}: {ended.printed[-500:]}")
        return False
    differences = trial.result().differences(wanted)
    for difference in differences:
        click.echo(f"another one: {difference}")
    if work is not None:
        cut, whole = work
        twice = cut.timeline.work + ended.timeline.work - whole.timeline.work
        if twice.total() > 1:  # the one that was under way
            click.echo(f"done twice: {dict(twice)}")
            return False
    return not differences


if __name__ == "__main__":
    main()
