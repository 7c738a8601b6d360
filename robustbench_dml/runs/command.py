"""The command that repeats a run: what of its spec is not the default, as options of `rbdml`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from robustbench_dml.runs.record import CHECKPOINT_FILE
from robustbench_dml.spec.budgets import UNITS, budget_name
from robustbench_dml.spec.make import DEFAULT_BUDGET, published_evaluation
from robustbench_dml.spec.parameters import resolve
from robustbench_dml.spec.protocols import protocol_named
from robustbench_dml.spec.published import FAMILIES
from robustbench_dml.spec.registry import ATTACKS, BACKBONES, DATASETS, DEFENSES, SOLVERS
from robustbench_dml.spec.resolve import usual_params
from robustbench_dml.spec.schema import Budget, Evaluation, ExternalSpec, RunSpec, SolverSpec, Threat

FILE = "FILE.py"  # stands for the file of a defense or an attack that is not one of the project's
SURROGATE, WEIGHTS = "SURROGATE-", "WEIGHTS-"  # stand for files; what follows is the start of their hash

LENGTHS = ("eps", "alpha")
PRECISIONS = ("precision", "weight_precision")
IN_TRAINING = ("eta", *LENGTHS, "pairs", "lr", "weight_decay", "on_collapse", *PRECISIONS, "batchnorm")


def command_for(spec: RunSpec | ExternalSpec) -> str:
    """The command that repeats what this spec says: `rbdml run ...`, or `rbdml evaluate --model ...`.

    A few settings of training have no option; a run with one of them is a line of Python. Files that only their hash
    is known of are named in capitals.
    """
    if isinstance(spec, ExternalSpec):
        changes = _evaluation_changes(spec.evaluation, published_evaluation(spec.dataset))
        words = ["evaluate", "--model", spec.model, CHECKPOINT_FILE, "--dataset", spec.dataset]
        return shlex.join(["rbdml", *words, *_evaluation_options(changes)])
    settings = settings_of(spec)
    if set(settings.get("training", {})) <= set(IN_TRAINING):
        return shlex.join(["rbdml", "run", *_run_options(settings)])
    keywords = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    return shlex.join(["python", "-c", f"import robustbench_dml; robustbench_dml.run({keywords})"])


def settings_of(spec: RunSpec) -> dict[str, Any]:
    """The arguments of `specs.make_spec` that make this spec; those that are the default are left out."""
    data = DATASETS.get(spec.dataset)
    known = spec.defense in DEFENSES
    usual = usual_params(DEFENSES.get(spec.defense), spec.dataset) if known else {}
    settings = {
        "defense": spec.defense if known else f"{FILE}:{spec.defense}",
        "dataset": spec.dataset,
        "budget": _budget(spec.budget, spec.dataset),
        "backbone": spec.backbone,
        **_first_weights(spec),
        "seed": spec.seed,
        "params": _changed(spec.params, usual),
        "training": _training_changes(spec),
        "evaluation": _evaluation_changes(spec.evaluation, published_evaluation(spec.dataset)),
    }
    defaults = {"budget": DEFAULT_BUDGET, "backbone": data.backbone, "seed": 0}
    return {name: value for name, value in settings.items() if value != {} and value != defaults.get(name)}


def _first_weights(spec: RunSpec) -> dict[str, Any]:
    """What the network starts from, where it is not what the family starts from."""
    published = BACKBONES.get(spec.backbone).weights
    if spec.pretrained is not None and (published is None or published.digits != spec.pretrained):
        return {"weights": WEIGHTS + spec.pretrained}
    usual = FAMILIES[DATASETS.get(spec.dataset).family].pretrained
    started = spec.pretrained is not None
    return {} if started == usual else {"pretrained": started}


def _training_changes(spec: RunSpec) -> dict[str, Any]:
    usual = FAMILIES[DATASETS.get(spec.dataset).family].training
    usual = usual.model_copy(update={"batchnorm": "train" if spec.pretrained is None else "frozen"})
    threat = _changed(dict(spec.training.threat), dict(usual.threat))
    if "steps" in threat:
        threat["eta"] = threat.pop("steps")
    others = {name: value for name, value in spec.training if name != "threat"}
    return {**threat, **_changed(others, dict(usual))}


def _evaluation_changes(evaluation: Evaluation, usual: Evaluation) -> dict[str, Any]:
    """The arguments of `specs.changed_evaluation` that lead from the usual evaluation to this one."""
    protocol = protocol_named(evaluation.protocol)
    threat = _changed(dict(evaluation.threat), dict(usual.threat))
    if "norm" in threat:  # radius and step mean something else in another norm, and are asked for
        threat |= {name: getattr(evaluation.threat, name) for name in LENGTHS}
    others = {
        name: value for name, value in evaluation if name not in ("threat", "solver") and value != getattr(usual, name)
    }
    if "extra_attacks" in others:
        others["extra_attacks"] = [name if name in ATTACKS else f"{FILE}:{name}" for name in evaluation.extra_attacks]
    if evaluation.surrogate is not None:
        others["surrogate"] = SURROGATE + evaluation.surrogate
    before = usual.solver if evaluation.protocol == usual.protocol else protocol.solver
    return {**threat, **others, **_solver_changes(evaluation.solver, before)}


def _solver_changes(solver: SolverSpec, before: SolverSpec) -> dict[str, Any]:
    other = solver.name != before.name
    usual = resolve(SOLVERS.get(solver.name).cls, {}, owner="") if other else before.params
    params = _changed(solver.params, usual)
    return {**({"solver": solver.name} if other else {}), **({"solver_params": params} if params else {})}


def _budget(budget: Budget, dataset: str) -> str:
    unit = "" if budget.kind == "passes" else UNITS[budget.kind]
    return budget_name(budget, dataset) or f"{budget.amount}{unit}"


def _changed(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in usual or usual[name] != value}


def _run_options(settings: dict[str, Any]) -> Iterator[str]:
    for name in ("defense", "dataset", "backbone", "budget", "seed", "weights"):
        if name in settings:
            yield from (_option(name), str(settings[name]))
    if "pretrained" in settings:
        yield "--pretrained" if settings["pretrained"] else "--no-pretrained"
    for name, value in settings.get("params", {}).items():
        yield from ("--set", f"{name}={value}")
    for name, value in settings.get("training", {}).items():
        yield from (_option(name), _text(name, value))
    yield from _evaluation_options(settings.get("evaluation", {}))


def _evaluation_options(changes: Mapping[str, Any]) -> Iterator[str]:
    attack = {*Threat.model_fields, "seed", "precision"}
    for name, value in changes.items():
        if name == "solver_params":
            for param, chosen in value.items():
                yield from ("--solver-param", f"{param}={chosen}")
        elif name == "extra_attacks":
            for other in value:
                yield from ("--also", other)
        elif value is not None:
            yield from (_option(f"attack_{name}" if name in attack else name), _text(name, value))


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _text(name: str, value: Any) -> str:
    """A value as a user would write it; lengths are in 255ths where they are so exactly."""
    if name in LENGTHS:
        quotient = round(value * 255)
        return f"{quotient}/255" if quotient / 255 == value else repr(value)
    return str(value)
