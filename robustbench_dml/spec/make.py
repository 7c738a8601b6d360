"""Specs from a few named settings; the published settings fill in the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from robustbench_dml.spec.budgets import parse_budget
from robustbench_dml.spec.lookup import find_attack, find_defense
from robustbench_dml.spec.losses import loss_spec
from robustbench_dml.spec.options import ALL, DEFAULT_BUDGET, DEFAULT_PROTOCOL
from robustbench_dml.spec.parameters import named_entry, published_params, resolve, resolve_params
from robustbench_dml.spec.protocols import (
    BENIGN_COLUMNS,
    columns_of,
    evaluated_columns,
    protocol_columns,
    protocol_named,
)
from robustbench_dml.spec.published import FAMILIES, PROTOCOLS, Protocol
from robustbench_dml.spec.registry import ATTACKS, BACKBONES, DATASETS, DEFENSES, SOLVERS, DefenseInfo
from robustbench_dml.spec.schema import Budget, Evaluation, LossSpec, RunSpec, SolverSpec, Threat
from robustbench_dml.spec.scores import CHANCE, scores_of
from robustbench_dml.spec.weights import initial_digits, surrogate_digits
from robustbench_dml.utils.errors import RbdmlError, first_invalid


def make_spec(
    *,
    defense: str,
    dataset: str,
    budget: str = DEFAULT_BUDGET,
    backbone: str | None = None,
    pretrained: bool | None = None,
    weights: Path | None = None,
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, Any] | None = None,
) -> RunSpec:
    """Make a full spec. Settings left out use the published values of the data set and its family.

    Args:
        defense: a name, or another form that `lookup.find_defense` reads.
        dataset: name of a data set.
        budget: a name, passes, iterations or a time (see `budgets.parse_budget`). A defense that trains nothing needs
            neither a budget nor settings of training.
        backbone: name; by default the data set's.
        pretrained: start from the backbone's ImageNet weights; by default as the family does.
        weights: a file of initial weights instead of the published weights.
        seed: random seed for weights, batches and triplets.
        params: parameters of the defense, by name.
        training: any of norm, eps, alpha, eta, pairs, lr, weight_decay, on_collapse, transform, batchnorm, precision,
            weight_precision, warmup, and loss, loss_params, loss_miner, loss_lr (the arguments of
            `losses.loss_spec`); None values are left out. `batchnorm` is `frozen` by default, but `train` for networks
            that start from random weights: they have running statistics to learn.
        evaluation: settings of the evaluation, the `changes` of `changed_evaluation`.

    Raises:
        RbdmlError: an unknown name or a value out of range.
    """
    data = DATASETS.get(dataset)
    entry, named = find_defense(defense)
    # Published values replace the numbers that a name implies (&ICS), but not its words.
    words = {name: value for name, value in named.items() if isinstance(value, str)}
    published = published_params(entry, data.name, named)
    resolved = resolve_params(entry, {**named, **published, **words, **(params or {})})
    family = FAMILIES[data.family]
    trains = entry.cls.trains
    chosen = _given(training) if trains else {}
    network = BACKBONES.get(backbone or data.backbone)
    first = initial_digits(network, pretrained=pretrained, weights=weights, default=family.pretrained)
    chosen.setdefault("batchnorm", "train" if first is None else "frozen")
    if "eta" in chosen:
        chosen["steps"] = chosen.pop("eta")
    chosen["loss"] = _loss(chosen, entry, {**named, **(params or {})})
    if chosen.get("weight_precision") == chosen.get("precision", family.training.precision):
        chosen.pop("weight_precision", None)
    threat = _threat_changes(chosen)
    evaluated = changed_evaluation(published_evaluation(data.name), evaluation or {}, dataset=data.name)
    with _named_errors(steps="eta"):
        return RunSpec(
            dataset=data.name,
            backbone=network.name,
            pretrained=first,
            defense=named_entry(entry, resolved, data.name).name,
            params=resolved,
            training=_changed(family.training, {**chosen, "threat": _changed(family.training.threat, threat)}),
            budget=parse_budget(budget, data) if trains else Budget(kind="passes", amount=0),
            seed=seed,
            evaluation=evaluated,
        )


def _loss(chosen: dict[str, Any], entry: DefenseInfo, params: Mapping[str, Any]) -> LossSpec | None:
    """Take the settings of the loss out of those of training; refuse a loss where the triplets are the method."""
    settings = [chosen.pop(name, None) for name in ("loss", "loss_params", "loss_miner", "loss_lr")]
    loss = loss_spec(*settings)
    if loss is not None and not entry.cls.takes_losses:
        able = ", ".join(info.name for info in DEFENSES if info.cls.takes_losses and not info.cls.fake)
        raise RbdmlError(f"defense '{entry.name}' is defined on triplets: leave --loss out, or choose one of {able}")
    if loss is not None and "sampler" in params:
        raise RbdmlError(f"loss '{loss.name}' takes whole batches, no mined triplets: leave --sampler out")
    return loss


def changed_evaluation(evaluation: Evaluation, changes: Mapping[str, Any], *, dataset: str | None = None) -> Evaluation:
    """Return the evaluation with other settings.

    Args:
        evaluation: the evaluation to start from.
        changes: any of protocol, norm, eps, alpha, steps, queries, seed, precision, solver; `solver_params`, its
            parameters by name; `extra_attacks`, names of attacks beside the protocol's; `surrogate`, a checkpoint or
            the first 16 digits of its weights' hash. None values are left out; `queries` may be "all". Another
            protocol brings its solver, and drops surrogate and extra attacks.
        dataset: name. The protocol `radius` then brings the radii of its family, and any other its published threat.
            Another protocol brings its number of queries, unless another number than the former default was chosen.

    Raises:
        RbdmlError: an unknown name, a value out of range, or settings that do not go together.
    """
    changed = _with_radii(_given(changes), evaluation, dataset)
    threat = _threat_changes(changed)
    _check_norm(evaluation.threat, threat)
    solver, params = changed.pop("solver", None), changed.pop("solver_params", None) or {}
    name = changed.get("protocol", evaluation.protocol)
    protocol = protocol_named(name)
    if dataset is not None:
        evaluation = _with_usual_queries(evaluation, name, dataset)
    if evaluation.protocol == "radius" != name and dataset is not None:
        evaluation = evaluation.model_copy(update={"threat": FAMILIES[DATASETS.get(dataset).family].attack})
    if protocol != protocol_named(evaluation.protocol):
        evaluation = evaluation.model_copy(update={"solver": protocol.solver, "surrogate": None, "extra_attacks": ()})
    if protocol.float32:
        _check_precision(name, changed.setdefault("precision", "fp32"))
    changed["solver"] = _solver(solver or evaluation.solver.name, evaluation.solver, params)
    if changed.get("queries") == ALL:
        changed["queries"] = None
    if "extra_attacks" in changed:
        changed["extra_attacks"] = tuple(_extra_attacks(changed["extra_attacks"], name))
    if isinstance(changed.get("surrogate"), Path):
        changed["surrogate"] = surrogate_digits(changed["surrogate"])
    with _named_errors("attack "):
        result = _changed(evaluation, {**changed, "threat": _changed(evaluation.threat, threat)})
    result = _with_surrogate_if_needed(result, protocol, asked="surrogate" in changed)
    evaluated_columns(result)  # refuses settings that leave a column empty
    return result


def _with_radii(changes: dict[str, Any], before: Evaluation, dataset: str | None) -> dict[str, Any]:
    """Return the changes with the family's radii, for an evaluation that becomes one of `radius` or of another norm."""
    protocol, norm = changes.get("protocol", before.protocol), changes.get("norm", before.threat.norm)
    if protocol != "radius" or dataset is None or (protocol, norm) == (before.protocol, before.threat.norm):
        return changes
    radii = FAMILIES[DATASETS.get(dataset).family].radii.get(norm)
    usual = {} if radii is None else radii.changes(norm)
    named = usual.pop("solver_params", {}) if changes.get("solver") is None else {}
    return {**usual, **changes, "solver_params": {**named, **(changes.get("solver_params") or {})}}


def _with_usual_queries(before: Evaluation, protocol: str, dataset: str) -> Evaluation:
    """Return the evaluation with another protocol's number of queries, if its number is the default of its own."""
    if before.queries != usual_queries(dataset, before.protocol):
        return before
    return before.model_copy(update={"queries": usual_queries(dataset, protocol)})


def _check_norm(before: Threat, changes: Mapping[str, Any]) -> None:
    """Refuse another norm without its radius and step: lengths of one norm mean nothing in another."""
    norm = changes.get("norm", before.norm)
    missing = [name for name in ("eps", "alpha") if name not in changes]
    if norm != before.norm and missing:
        options = " and ".join(f"--attack-{name}" for name in missing)
        raise RbdmlError(
            f"attack norm {norm} without its own {' and '.join(missing)}: those of the evaluation are {before.norm} "
            f"lengths; give {options} too"
        )


def _check_precision(protocol: str, precision: str) -> None:
    apart = {"bf16": 256, "tf32": 2048}.get(precision)
    if apart is not None:
        raise RbdmlError(
            f"protocol '{protocol}' searches in fp32: pixels in {precision} lie up to 1/{apart} apart, too far for its "
            "radii; leave --attack-precision out"
        )


def _with_surrogate_if_needed(evaluation: Evaluation, protocol: Protocol, *, asked: bool) -> Evaluation:
    """Keep the surrogate if attacks transfer from it, refuse a missing or a useless one."""
    own = protocol.solver.name
    if protocol.alone and evaluation.solver.name != own:
        raise RbdmlError(f"protocol '{evaluation.protocol}' searches with '{own}' alone: leave --solver out")
    needed = protocol.surrogate or SOLVERS.get(evaluation.solver.name).cls.needs_surrogate
    if needed and evaluation.surrogate is None:
        subject = f"protocol '{evaluation.protocol}'" if protocol.surrogate else f"'{evaluation.solver.name}'"
        raise RbdmlError(
            f"{subject} transfers from an undefended model: give --surrogate CHECKPOINT, for instance what "
            "`rbdml run --defense regular` wrote"
        )
    allowed = needed or protocol.may_transfer
    if evaluation.surrogate is not None and not allowed and asked:
        raise RbdmlError("nothing here transfers from a surrogate: leave --surrogate out, or add --solver transfer")
    return evaluation if allowed else evaluation.model_copy(update={"surrogate": None})


def published_evaluation(dataset: str, protocol: str | None = None) -> Evaluation:
    """Return the default evaluation of a data set, by default under the protocol that ranks."""
    name = protocol or DEFAULT_PROTOCOL
    attack = FAMILIES[DATASETS.get(dataset).family].attack
    evaluation = Evaluation(protocol="ers", threat=attack, queries=usual_queries(dataset, "ers"), seed=0)
    if name == "radius":
        return changed_evaluation(evaluation, {"protocol": name}, dataset=dataset)
    queries, solver = usual_queries(dataset, name), protocol_named(name).solver
    return evaluation.model_copy(update={"protocol": name, "queries": queries, "solver": solver})


def usual_queries(dataset: str, protocol: str) -> int | None:
    """Return the default number of queries: the smaller of the data set's and the protocol's; None is all."""
    data = DATASETS.get(dataset)
    named = (data.queries, protocol_named(protocol).queries)
    fewest = min(number for number in (*named, data.test_images) if number is not None)
    return None if fewest == data.test_images else fewest


def with_evaluation(spec: RunSpec, changes: Mapping[str, Any]) -> RunSpec:
    """Return the run with another evaluation; `changes` as in `changed_evaluation`."""
    return spec.model_copy(update={"evaluation": changed_evaluation(spec.evaluation, changes, dataset=spec.dataset)})


def _solver(name: str, before: SolverSpec, overrides: Mapping[str, Any]) -> SolverSpec:
    """Return a solver with all its parameters, starting from its former parameters."""
    cls = SOLVERS.get(name).cls
    kept = before.params if before.name == name else {}
    params = resolve(cls, {**kept, **overrides}, owner=f"solver '{name}'")
    cls(**params)  # the solver refuses values out of range, too
    return SolverSpec(name=name, params=params)


def _extra_attacks(names: Iterable[str], of: str) -> list[str]:
    """Find attacks beside those of a protocol; refuse two that fill the same column."""
    chosen: list[str] = []
    protocol, counting = protocol_named(of), protocol_columns(of)
    scores = (score.name for score in scores_of(of, counting))
    filled = {*counting, *BENIGN_COLUMNS, CHANCE, "query", *scores}
    for name in names:
        for attack in protocol.further if name == "published" else [find_attack(name)]:
            own = ATTACKS.get(attack).cls.requires_solver
            if own not in (None, protocol.solver.name):
                raise RbdmlError(f"attack '{attack}' searches with '{own}' alone: use --protocol {_protocol_with(own)}")
            columns = set(columns_of([attack]))
            if attack not in chosen and columns & filled:
                raise RbdmlError(
                    f"attack '{attack}' fills column {min(columns & filled)}, which is filled: leave it out"
                )
            chosen += [attack] if attack not in chosen else []
            filled |= columns
    return chosen


def _protocol_with(solver: str) -> str:
    """The protocol that searches with a solver."""
    return next(name for name, protocol in PROTOCOLS.items() if protocol.solver.name == solver)


def _given(values: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (values or {}).items() if value is not None}


def _threat_changes(settings: dict[str, Any]) -> dict[str, Any]:
    """Take the fields of a threat out of the settings."""
    return {name: settings.pop(name) for name in Threat.model_fields if name in settings}


M = TypeVar("M", bound=BaseModel)


def _changed(model: M, changes: Mapping[str, Any]) -> M:
    return type(model).model_validate({**dict(model), **changes})


@contextmanager
def _named_errors(prefix: str = "", **options: str) -> Iterator[None]:
    """Report the first value out of range in one line, under the name of its option."""
    try:
        yield
    except ValidationError as error:
        invalid = first_invalid(error)
        name = invalid.name or error.title
        raise RbdmlError(f"{prefix}{invalid._replace(name=options.get(name, name))}") from None
