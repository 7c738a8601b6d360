"""Text reports of a sweep: progress lines and tables."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from robustbench_dml.report.tables import short_passes
from robustbench_dml.runs.record import Record
from robustbench_dml.runs.sweeps.estimate import Estimate, Kind, total
from robustbench_dml.runs.sweeps.logs import Attempt, last_attempt
from robustbench_dml.runs.sweeps.plan import Job
from robustbench_dml.runs.sweeps.state import State, Status
from robustbench_dml.utils.terminal import text_table

COLUMNS = ("--defense", "--dataset", "--seed")  # options shown as columns


class SweepReporter:
    """Print a sweep's progress and store its results."""

    def __init__(self, jobs: Sequence[Job], *, say: Callable[[str], object]) -> None:
        """
        Args:
            jobs: the jobs of the sweep.
            say: prints a line.
        """
        self.found: dict[str, Status] = {}
        self._names, self._say = short_names(jobs), say
        self._told: set[str] = set()
        self._begun = time.time()

    def finished(self, found: Status) -> None:
        """Report a finished or failed run."""
        digest = found.job.spec.digest
        self.found[digest] = found
        place = f"[{len(self.found)}/{len(self._names)}] {self._names[digest]}: "
        if found.record is None:
            self._say(f"{place}failed: {found.why}; log: {found.job.folder.process_log}")
        elif found.job.folder.record_file.stat().st_mtime < self._begun:
            self._say(f"{place}{score_with_interval(found.record)}, recorded before")
        else:
            attempt = last_attempt(found.job.folder.process_log)
            minutes = f", {attempt.seconds / 60:.1f} min" if attempt and attempt.code is not None else ""
            self._say(f"{place}{score_with_interval(found.record)}{minutes}")

    def stopping(self, running: int) -> None:
        """Report an interrupt."""
        if running:
            runs = f"{running} run{'' if running == 1 else 's'}"
            self._say(f"stopping {runs}; progress is kept (Ctrl-C again: stop now)")

    def again(self, job: Job, attempt: Attempt | None) -> None:
        """Report a run that will be retried."""
        why = attempt.why if attempt else "its process was lost"
        self._say(f"{self._names[job.spec.digest]}: {why}: trying again; log: {job.folder.process_log}")

    def elsewhere(self, job: Job) -> None:
        """Report a run that another process is working on."""
        if job.spec.digest not in self._told:
            self._told.add(job.spec.digest)
            self._say(f"{self._names[job.spec.digest]}: running in another process; will be checked again")


def short_names(jobs: Sequence[Job]) -> dict[str, str]:
    """Map each digest to its defense, data set, varying options and seed."""
    settings = varying_options(jobs)
    return {
        job.spec.digest: ", ".join(
            filter(None, (job.spec.defense, job.spec.dataset, settings[job.spec.digest], f"seed {job.spec.seed}"))
        )
        for job in jobs
    }


def varying_options(jobs: Sequence[Job]) -> dict[str, str]:
    """Map each digest to the options that vary between runs and have no column."""
    given = {job.spec.digest: _options(job) for job in jobs}
    many = Counter(option for options in given.values() for option in options)
    return {
        digest: shlex.join(option for option in options if many[option] < len(jobs))
        for digest, options in given.items()
    }


def _options(job: Job) -> list[str]:
    """Return a command's options, such as `eta=8`, except those with a column."""
    found: list[str] = []
    for word in job.words[1:]:
        if word.startswith("--"):
            found.append(word)
        else:
            found[-1] += f"={word}"
    own = [option for option in found if option.partition("=")[0] not in COLUMNS]
    return [option.removeprefix("--").removeprefix("param=").removeprefix("solver-param=") for option in own]


def score_with_interval(record: Record) -> str:
    """Return the ranking score with its interval."""
    low, high = record.intervals[record.score]
    return f"{record.score} {record.primary_score:.1f} +- {(high - low) / 2:.1f}"


def sweep_rows(looks: Sequence[Status]) -> list[dict[str, Any]]:
    """Return the rows for JSON, one per run."""
    settings = varying_options([one.job for one in looks])
    return [
        {
            "defense": one.job.spec.defense,
            "dataset": one.job.spec.dataset,
            "seed": one.job.spec.seed,
            "settings": settings[one.job.spec.digest],
            "state": str(one.state),
            "scores": one.record.scores if one.record else None,
            "flags": one.record.flags if one.record else [],
            "trained": one.kept.trained if one.kept else (1.0 if one.record else 0.0),
            "evaluated": one.kept.evaluated if one.kept else (1.0 if one.record else 0.0),
            "why": one.why,
            "digest": one.job.spec.digest,
            "folder": str(one.job.folder.path),
            "log": str(one.job.folder.process_log),
            "command": one.job.command,
        }
        for one in looks
    ]


def sweep_table(looks: Sequence[Status]) -> str:
    """Return a table of the runs, with the number in each state."""
    settings = varying_options([one.job for one in looks])
    rows = [
        {
            "defense": one.job.spec.defense,
            "data set": one.job.spec.dataset,
            **({"settings": settings[one.job.spec.digest]} if any(settings.values()) else {}),
            "seed": one.job.spec.seed,
            "state": str(one.state),
            "score": score_with_interval(one.record) if one.record else "",
            "R@1": f"{one.record.benign['R@1']:.1f}" if one.record else "",
            "notes": _notes(one),
        }
        for one in looks
    ]
    return f"{text_table(rows)}\n\n{state_counts(looks)}"


def state_counts(looks: Sequence[Status]) -> str:
    """`12 runs: 3 done, 1 failed, 8 waiting`."""
    many = Counter(one.state for one in looks)
    runs = f"{len(looks)} run{'' if len(looks) == 1 else 's'}"
    return f"{runs}: " + ", ".join(f"{many[state]} {state}" for state in State if many[state])


def _notes(one: Status) -> str:
    if one.record is not None:
        return ", ".join(one.record.flags)
    kept = str(one.kept) if one.kept else ""
    failed = f"{one.why}; log: {one.job.folder.process_log}" if one.state is State.FAILED else ""
    return "; ".join(filter(None, (kept, failed)))


def estimate_table(parts: Mapping[Kind, Estimate]) -> str:
    """Return the remaining cost per kind of run, and its total."""
    rows = [{"data set": dataset, "backbone": backbone, **_costs(one)} for (dataset, backbone), one in parts.items()]
    if len(rows) > 1:
        rows.append({"data set": "total", "backbone": "", **_costs(total(list(parts.values())))})
    return text_table(rows)


def _costs(one: Estimate) -> dict[str, str]:
    return {
        "runs": str(one.runs),
        "recorded": str(one.recorded),
        "training": short_passes(one.training),
        "evaluation": short_passes(one.evaluation),
        "hours": f"{one.hours:.2f}" if one.hours < 1 else f"{one.hours:.3g}",
    }
