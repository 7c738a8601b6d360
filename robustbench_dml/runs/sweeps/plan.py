"""From a matrix to jobs: every run is planned and checked before any starts."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from robustbench_dml.runs.command import settings_of, written
from robustbench_dml.runs.folder import RunFolder
from robustbench_dml.runs.launch import check_devices
from robustbench_dml.runs.sweeps.matrix import multiply_out, read_file
from robustbench_dml.runs.task import Task, anywhere
from robustbench_dml.spec.lookup import IN_A_FILE
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.options import CONTEXT_OPTIONS, EVALUATE, SPEC_OPTIONS, arguments_of, word_of, words_of
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.spec.weights import surrogate_digits
from robustbench_dml.utils.errors import RbdmlError

EXAMPLES = {"defense": "hm-lga-ics", "dataset": "glyphs"}  # of the options that every run needs
SETTINGS = {option.word: option.default for option in SPEC_OPTIONS}
WHERE = {option.word: option.default for option in CONTEXT_OPTIONS}


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    task: Task  # the run, for the process that does it
    words: tuple[str, ...]  # the arguments of `rbdml` that repeat the run, for people

    @property
    def spec(self) -> RunSpec:
        """The spec of the run."""
        return self.task.spec

    @cached_property
    def folder(self) -> RunFolder:
        """The folder of the run."""
        return RunFolder(Path(self.task.options["out"]), self.task.spec)

    @property
    def command(self) -> str:
        """The command that repeats the run, for a shell."""
        return shlex.join(["rbdml", *self.words])


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep, in the order of the matrix."""

    jobs: list[Job]  # the runs, each with its own record
    where: dict[str, Any]  # the options of the shared context, with underscores
    duplicates: int = 0  # the number of combinations that repeat an earlier run

    def on_devices(self, devices: int) -> Sweep:
        """Return the sweep with each run on several devices.

        Raises:
            RbdmlError: more devices than there are here, or than pairs in a batch of some run.
        """
        if devices == 1:
            return self
        for job in self.jobs:
            check_devices(job.spec, job.task.context(), devices)
        return replace(self, jobs=[replace(job, task=job.task.on_devices(devices)) for job in self.jobs])


def plan(
    file: Path | None, *, instead: Mapping[str, Any] | None = None, where: Mapping[str, Any] | None = None
) -> Sweep:
    """Plan the sweep of a file, of options, or of a file with options that replace some of its settings.

    Args:
        file: a TOML file.
        instead: settings, or lists of settings, that replace the settings of every block of the file.
        where: options of the context that replace those of the file.

    Raises:
        RbdmlError: a run that cannot succeed, as far as known without its data.
    """
    tree = {} if file is None else read_file(file)
    return plan_tree(tree, source="the command line" if file is None else str(file), instead=instead, where=where)


def plan_tree(
    tree: Mapping[str, Any],
    *,
    source: str,
    instead: Mapping[str, Any] | None = None,
    where: Mapping[str, Any] | None = None,
) -> Sweep:
    """Plan the sweep of a TOML tree; arguments as in `plan`."""
    matrix = multiply_out(tree, source=source, instead=instead, where=where)
    shared = {**WHERE, **_words(matrix.where)}
    specs, found = dict[str, RunSpec](), dict[str, Job]()
    for place, given in matrix.runs:
        for name, example in EXAMPLES.items():
            if name not in given:
                raise RbdmlError(f'{place}: no {name}: add, for instance, {name} = "{example}"')
        words = {**SETTINGS, **_words(given)}
        key = repr({**words, "seed": 0})  # specs that differ by their seeds alone are made once
        if key not in specs:
            specs[key] = _spec(words, place)
        spec = specs[key].model_copy(update={"seed": words["seed"]})
        if spec.digest not in found:
            found[spec.digest] = _job(spec, {**words, **shared})
    if not found:
        raise RbdmlError(f"{source}: every combination is excluded: there is nothing to run")
    return Sweep(list(found.values()), shared, duplicates=len(matrix.runs) - len(found))


def _words(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {word_of(name): value for name, value in settings.items()}


def _spec(words: Mapping[str, Any], place: str) -> RunSpec:
    """Return the spec of the settings at this place in the matrix."""
    try:
        arguments = arguments_of(anywhere(words))
        if words["surrogate"] is not None:
            arguments[EVALUATE]["surrogate"] = _surrogate_digits(arguments[EVALUATE]["surrogate"])
        return make_spec(**arguments)
    except RbdmlError as error:
        raise RbdmlError(f"{place}: {error}") from None
    except OSError as error:
        raise RbdmlError(f"{place}: {error.filename or 'a file'} cannot be read ({error.strerror})") from None


_surrogate_digits = functools.cache(surrogate_digits)  # many runs transfer from one model


def _job(spec: RunSpec, words: Mapping[str, Any]) -> Job:
    """Return a run with its command: the settings that are not as published, and files by absolute paths."""
    words = anywhere({**words, "dataset": spec.dataset})
    files = ["extra_attack", "weights", "surrogate", *(["defense"] if IN_A_FILE.fullmatch(words["defense"]) else [])]
    changed = [
        (option, words[option.word] if option.word in files else value) for option, value in words_of(settings_of(spec))
    ]
    context = [(option, words[option.word]) for option in CONTEXT_OPTIONS]
    changed += [(option, value) for option, value in context if value not in (None, option.default)]
    return Job(Task.of(spec, words), ("run", *written(changed)))
