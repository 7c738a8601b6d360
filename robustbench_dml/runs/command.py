"""Commands that repeat a run: options of `rbdml` for the settings that differ from the defaults."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from robustbench_dml.runs.record import CHECKPOINT_FILE
from robustbench_dml.spec.budgets import UNITS, budget_name
from robustbench_dml.spec.loss_names import NO_MINER
from robustbench_dml.spec.losses import PROXY_LR, loss_spec
from robustbench_dml.spec.make import published_evaluation
from robustbench_dml.spec.options import ALL, DEFAULT_BUDGET, EVALUATE, OPTIONS, TRAIN, Kind, Option, words_of
from robustbench_dml.spec.parameters import resolve, usual_params
from robustbench_dml.spec.protocols import protocol_named
from robustbench_dml.spec.published import FAMILIES
from robustbench_dml.spec.registry import ATTACKS, BACKBONES, DATASETS, DEFENSES, SOLVERS
from robustbench_dml.spec.schema import Budget, Evaluation, ExternalSpec, LossSpec, RunSpec, SolverSpec

FILE = "FILE.py"  # stands for the file of a defense or an attack from outside the project
SURROGATE, WEIGHTS = "SURROGATE-", "WEIGHTS-"  # stand for files, with the start of their hash


def command_for(spec: RunSpec | ExternalSpec) -> str:
    """Return the command that repeats a spec: `rbdml run ...`, or `rbdml evaluate --model ...`.

    The command names its precisions: their defaults depend on the device.

    A few settings of training have no option; a run with one of them is a line of Python. Files known only by their
    hash are named in capitals.
    """
    if isinstance(spec, ExternalSpec):
        changes = _evaluation_changes(spec.evaluation, spec.dataset)
        words = ["evaluate", "--model", spec.model, CHECKPOINT_FILE, "--dataset", spec.dataset]
        return shlex.join(["rbdml", *words, *written(words_of({EVALUATE: changes}))])
    settings = settings_of(spec)
    if set(settings.get(TRAIN, {})) <= {option.key for option in OPTIONS if option.part == TRAIN}:
        return shlex.join(["rbdml", "run", *written(words_of(settings))])
    keywords = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    return shlex.join(["python", "-c", f"import robustbench_dml; robustbench_dml.run({keywords})"])


def settings_of(spec: RunSpec) -> dict[str, Any]:
    """Return the arguments with which `spec.make.make_spec` makes a spec, without arguments at their defaults.

    Precisions are there in any case.
    """
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
        "evaluation": _evaluation_changes(spec.evaluation, spec.dataset),
    }
    defaults = {"budget": DEFAULT_BUDGET, "backbone": data.backbone, "seed": 0}
    return {name: value for name, value in settings.items() if value != {} and value != defaults.get(name)}


def _first_weights(spec: RunSpec) -> dict[str, Any]:
    """The argument for the initial weights, if they differ from the family's."""
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
    others = _changed({name: value for name, value in spec.training if name not in ("threat", "loss")}, dict(usual))
    precision = {"precision": spec.training.precision} if spec.budget.amount > 0 else {}
    return {**threat, **others, **precision, **_loss_changes(spec.training.loss)}


def _loss_changes(loss: LossSpec | None) -> dict[str, Any]:
    if loss is None:
        return {}
    usual = loss_spec(loss.name)
    assert usual is not None
    params, miner = _changed(loss.params, usual.params), loss.miner or NO_MINER
    changes = {"loss_params": params, "loss_miner": None if loss.miner == usual.miner else miner}
    rate = {} if loss.lr in (None, PROXY_LR) else {"loss_lr": loss.lr}
    return {"loss": loss.name, **{name: value for name, value in changes.items() if value}, **rate}


def _evaluation_changes(evaluation: Evaluation, dataset: str) -> dict[str, Any]:
    """Return the arguments with which `spec.make.changed_evaluation` makes this evaluation from the default."""
    usual = published_evaluation(dataset, evaluation.protocol)
    threat = _changed(dict(evaluation.threat), dict(usual.threat))
    if "norm" in threat:  # a different norm needs a different radius and step
        threat |= {name: getattr(evaluation.threat, name) for name in ("eps", "alpha")}
    others = {
        name: value for name, value in evaluation if name not in ("threat", "solver") and value != getattr(usual, name)
    }
    if "queries" in others:
        others["queries"] = evaluation.queries or ALL
    if not protocol_named(evaluation.protocol).float32:
        others["precision"] = evaluation.precision
    if evaluation.protocol != published_evaluation(dataset).protocol:
        others = {"protocol": evaluation.protocol, **others}
    if "extra_attacks" in others:
        others["extra_attacks"] = [name if name in ATTACKS else f"{FILE}:{name}" for name in evaluation.extra_attacks]
    if evaluation.surrogate is not None:
        others["surrogate"] = SURROGATE + evaluation.surrogate
    return {**threat, **others, **_solver_changes(evaluation.solver, usual.solver)}


def _solver_changes(solver: SolverSpec, before: SolverSpec) -> dict[str, Any]:
    other = solver.name != before.name
    usual = resolve(SOLVERS.get(solver.name).cls, {}, owner="") if other else before.params
    params = _changed(solver.params, usual)
    return {**({"solver": solver.name} if other else {}), **({"solver_params": params} if params else {})}


def _budget(budget: Budget, dataset: str) -> str:
    if budget.amount == 0:  # of a defense that trains nothing
        return DEFAULT_BUDGET
    unit = "" if budget.kind == "passes" else UNITS[budget.kind]
    return budget_name(budget, dataset) or f"{budget.amount}{unit}"


def _changed(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in usual or usual[name] != value}


def written(options: Iterable[tuple[Option, Any]]) -> Iterator[str]:
    """Write options and their values as the words of a command."""
    for option, value in options:
        if option.kind in (Kind.FLAG, Kind.SWITCH):
            without = [f"--no-{option.name}"] if option.kind is Kind.SWITCH else []
            yield from [f"--{option.name}"] if value else without
            continue
        values = [value]
        if option.kind is Kind.TABLE:
            values = [f"{name}={inner}" for name, inner in value.items()]
        elif option.kind is Kind.LIST:
            values = value
        for one in values:
            yield from (f"--{option.name}", _quotient(one) if option.kind is Kind.QUOTIENT else str(one))


def _quotient(value: float) -> str:
    """Write a length in 255ths if it is a whole number of 255ths."""
    quotient = round(value * 255)
    return f"{quotient}/255" if quotient / 255 == value else repr(value)
