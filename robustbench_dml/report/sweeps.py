"""Text reports of a sweep: progress lines and tables."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from robustbench_dml.report.tables import score_cell
from robustbench_dml.runs.record import Record
from robustbench_dml.runs.sweeps.estimate import Estimate, Kind, total
from robustbench_dml.runs.sweeps.logs import Attempt, last_attempt
from robustbench_dml.runs.sweeps.plan import Job
from robustbench_dml.runs.sweeps.state import State, Status
from robustbench_dml.spec.budgets import short_passes
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
        self._reported: set[str] = set()
        self._begun = time.time()

    def finished(self, status: Status) -> None:
        """Report a finished or failed run."""
        digest, folder = status.job.spec.digest, status.job.folder
        self.found[digest] = status
        if status.record is None:
            result = f"failed: {status.why}; log: {folder.process_log}"
        else:
            result = score_with_interval(status.record)
            if folder.record_file.stat().st_mtime < self._begun:
                result += ", recorded before"
            elif (attempt := last_attempt(folder.process_log)) and attempt.code is not None:
                result += f", {attempt.seconds / 60:.1f} min"
        self._say(f"[{len(self.found)}/{len(self._names)}] {self._names[digest]}: {result}")

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
        """Report, once, a run that another process is working on."""
        if job.spec.digest not in self._reported:
            self._reported.add(job.spec.digest)
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
    counts = Counter(option for options in given.values() for option in options)
    return {
        digest: shlex.join(option for option in options if counts[option] < len(jobs))
        for digest, options in given.items()
    }


def score_with_interval(record: Record) -> str:
    """Return the ranking score and half its interval."""
    return f"{record.score} {score_cell(record.score, record.primary_score, record.intervals[record.score])}"


def sweep_rows(statuses: Sequence[Status]) -> list[dict[str, Any]]:
    """Return a row per run, as plain data for JSON."""
    settings = varying_options([status.job for status in statuses])
    return [
        {
            "defense": status.job.spec.defense,
            "dataset": status.job.spec.dataset,
            "seed": status.job.spec.seed,
            "settings": settings[status.job.spec.digest],
            "state": str(status.state),
            "scores": status.record.scores if status.record else None,
            "flags": status.record.flags if status.record else [],
            "trained": status.kept.trained if status.kept else float(status.record is not None),
            "evaluated": status.kept.evaluated if status.kept else float(status.record is not None),
            "why": status.why,
            "digest": status.job.spec.digest,
            "folder": str(status.job.folder.path),
            "log": str(status.job.folder.process_log),
            "command": status.job.command,
        }
        for status in statuses
    ]


def sweep_table(statuses: Sequence[Status]) -> str:
    """Return the runs as a table, and the number of runs in each state."""
    settings = varying_options([status.job for status in statuses])
    rows = [
        {
            "defense": status.job.spec.defense,
            "data set": status.job.spec.dataset,
            **({"settings": settings[status.job.spec.digest]} if any(settings.values()) else {}),
            "seed": status.job.spec.seed,
            "state": str(status.state),
            "score": score_with_interval(status.record) if status.record else "",
            "R@1": f"{status.record.benign['R@1']:.1f}" if status.record else "",
            "notes": _notes(status),
        }
        for status in statuses
    ]
    return f"{text_table(rows)}\n\n{state_counts(statuses)}"


def state_counts(statuses: Sequence[Status]) -> str:
    """Return the number of runs in each state: `12 runs: 3 done, 1 failed, 8 waiting`."""
    counts = Counter(status.state for status in statuses)
    runs = f"{len(statuses)} run{'' if len(statuses) == 1 else 's'}"
    return f"{runs}: " + ", ".join(f"{counts[state]} {state}" for state in State if counts[state])


def estimate_table(parts: Mapping[Kind, Estimate]) -> str:
    """Return the remaining cost of each kind of run, and their sum."""
    rows = [{"data set": dataset, "backbone": backbone, **_costs(cost)} for (dataset, backbone), cost in parts.items()]
    if len(rows) > 1:
        rows.append({"data set": "total", "backbone": "", **_costs(total(list(parts.values())))})
    return text_table(rows)


def _options(job: Job) -> list[str]:
    """Return a command's options, such as `eta=8`, except those with a column."""
    options: list[str] = []
    for word in job.words[1:]:
        if word.startswith("--"):
            options.append(word)
        else:
            options[-1] += f"={word}"
    kept = [option for option in options if option.partition("=")[0] not in COLUMNS]
    return [option.removeprefix("--").removeprefix("param=").removeprefix("solver-param=") for option in kept]


def _notes(status: Status) -> str:
    if status.record is not None:
        return ", ".join(status.record.flags)
    kept = str(status.kept) if status.kept else ""
    failed = f"{status.why}; log: {status.job.folder.process_log}" if status.state is State.FAILED else ""
    return "; ".join(filter(None, (kept, failed)))


def _costs(cost: Estimate) -> dict[str, str]:
    return {
        "runs": str(cost.runs),
        "recorded": str(cost.recorded),
        "training": short_passes(cost.training),
        "evaluation": short_passes(cost.evaluation),
        "hours": f"{cost.hours:.2f}" if cost.hours < 1 else f"{cost.hours:.3g}",
    }
