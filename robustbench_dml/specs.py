"""From what a user names to a full spec: the rest are the published settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from robustbench_dml.budget import parse_budget
from robustbench_dml.defense import resolve_params
from robustbench_dml.errors import RbdmlError
from robustbench_dml.evaluation import attacks_of
from robustbench_dml.lookup import find_defense, named_entry
from robustbench_dml.pretrained import start_of
from robustbench_dml.protocol import FAMILIES, Evaluation, RunSpec, Threat
from robustbench_dml.registry import BACKBONES, DATASETS

DEFAULT_BUDGET = "quick"


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
    """A full spec from what a user names; the rest are the published settings of the data set's family.

    Args:
        defense: a name, or another form that `lookup.find_defense` reads.
        dataset: name of a data set.
        budget: a name, passes or a time (see `budget.parse_budget`).
        backbone: name; by default the data set's.
        pretrained: whether to start from the backbone's ImageNet weights; by default as the family does.
        weights: a file of weights to start from instead of the published ones.
        seed: of the weights, the batches and the triplets.
        params: of the defense, by name.
        training: any of eps, alpha, eta, pairs, lr, weight_decay, on_collapse, transform, batchnorm, precision;
            None values are left out. `batchnorm` is `frozen` unless given, but `train` for networks that start from
            random weights: they have running statistics to learn.
        evaluation: any of protocol, eps, alpha, steps, queries, seed, precision; likewise.

    Raises:
        RbdmlError: an unknown name or a value out of range.
    """
    data = DATASETS.get(dataset)
    entry, named = find_defense(defense)
    resolved = resolve_params(entry, {**named, **(params or {})})
    family = FAMILIES[data.family]
    chosen, attack = _given(training), _given(evaluation)
    network = BACKBONES.get(backbone or data.backbone)
    first = start_of(network, pretrained=pretrained, weights=weights, default=family.pretrained)
    chosen.setdefault("batchnorm", "train" if first is None else "frozen")
    if "eta" in chosen:
        chosen["steps"] = chosen.pop("eta")
    threat, attack_threat = _threat_changes(chosen), _threat_changes(attack)
    attacks_of(attack.setdefault("protocol", "ers"))
    with _named_errors("attack "):
        evaluated = Evaluation(
            **{"queries": None, "seed": 0, **attack, "threat": _changed(family.attack, attack_threat)}
        )
    with _named_errors(steps="eta"):
        return RunSpec(
            dataset=data.name,
            backbone=network.name,
            pretrained=first,
            defense=named_entry(entry, resolved).name,
            params=resolved,
            training=_changed(family.training, {**chosen, "threat": _changed(family.training.threat, threat)}),
            budget=parse_budget(budget, data),
            seed=seed,
            evaluation=evaluated,
        )


def with_evaluation(spec: RunSpec, changes: Mapping[str, Any]) -> RunSpec:
    """The same run, evaluated another way; `changes` as in `make_spec`."""
    changed = _given(changes)
    threat = _threat_changes(changed)
    attacks_of(changed.get("protocol", spec.evaluation.protocol))
    with _named_errors("attack "):
        evaluation = _changed(spec.evaluation, {**changed, "threat": _changed(spec.evaluation.threat, threat)})
        return spec.model_copy(update={"evaluation": evaluation})


def _given(values: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (values or {}).items() if value is not None}


def _threat_changes(settings: dict[str, Any]) -> dict[str, Any]:
    """Take what belongs to the threat out of the settings."""
    return {name: settings.pop(name) for name in Threat.model_fields if name in settings}


M = TypeVar("M", bound=BaseModel)


def _changed(model: M, changes: Mapping[str, Any]) -> M:
    return type(model).model_validate({**dict(model), **changes})


@contextmanager
def _named_errors(prefix: str = "", **options: str) -> Iterator[None]:
    """Say in one line which value is out of range, by the name that users know it by."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or error.title
        raise RbdmlError(f"{prefix}{options.get(name, name)} = {first['input']!r}: {first['msg'].lower()}") from None
