"""The claims of a record, checked against the registries, its own numbers and the limits of a page."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator
from typing import Any

from robustbench_dml.evaluation.diagnostics import gradients, strength
from robustbench_dml.runs.record import Cost, Record
from robustbench_dml.spec.make import changed_evaluation, published_evaluation
from robustbench_dml.spec.options import ALL
from robustbench_dml.spec.parameters import build_defense, resolve_params
from robustbench_dml.spec.registry import ATTACKS, BACKBONES, DATASETS, DEFENSES
from robustbench_dml.spec.schema import ComputeUsed, Evaluation, ExternalSpec, Frozen, RunSpec, TrainingEnd
from robustbench_dml.training.collapse import collapse_cause
from robustbench_dml.training.defense import Defense
from robustbench_dml.utils.errors import RbdmlError

MODEL = re.compile(r"[\w.+-]{1,80}\.py:[A-Za-z_]\w{0,79}")
MARKUP = re.compile(r"<[A-Za-z/!?]")
LONGEST = 200  # largest number of characters of a text in a record
HASH, COMMIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
COUNT = 10**15  # no honest count is larger
STEPS = 10_000  # largest number of steps of an attack
ROUNDING = 1e-9
HICCUP = 60.0  # seconds that other programs may have added to the last iteration
COSTLIEST = 3  # cost of the most expensive iteration, relative to the mean

# Flags of attacks that were merely short; all others disqualify. Only records of older checks have the last four.
MILD = {"PGD overstates", "loss not level", "more steps are stronger", "square beats PGD", "transfer beats PGD"}
OLDER = "gain of twice the steps"  # measured by older checks alone
# The measured value behind each flag, and the limit above which the flag is raised.
SEARCHED = {
    "masked gradients": ("MR lost without gradients", strength.MASKED),
    "PGD overstates": ("MR overstated by PGD", strength.OVERSTATED),
}
LIMITS = {
    "no gradient": ("images without gradient", gradients.DEAD),
    "random": ("difference of two calls", gradients.REPEATED_HALF),
    "not benign at eps 0": ("difference at eps 0", gradients.REPEATED_HALF),
    "large eps resisted": ("recall at 1 with any image allowed", strength.LARGE),
    **SEARCHED,
    "false gradient": ("error of the gradient", gradients.FALSE),
}
LATER = {"false gradient"}  # flags of a check that records may be older than


def same(one: float, other: float) -> bool:
    """Return whether two values are equal up to rounding."""
    return math.isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING)


def line_problem(text: str) -> str | None:
    """Return why a page cannot show a text as a line, or None if it can."""
    if len(text) > LONGEST:
        return f"longer than {LONGEST} characters"
    if not text.isprintable():
        return "holds control characters"
    return "holds HTML" if MARKUP.search(text) else None


def plain_problems(data: Frozen) -> Iterator[str]:
    """Find texts that a page cannot show as a line."""
    for where, text in _texts(data.model_dump(mode="json")):
        problem = line_problem(text)
        if problem:
            yield f"{where} {text[:60]!r} {problem}: use plain words"


def text_problems(record: Record) -> Iterator[str]:
    """Find texts that no page should show, and malformed hashes and times."""
    yield from plain_problems(record)
    made = record.provenance
    if isinstance(record.spec, ExternalSpec) and not MODEL.fullmatch(record.spec.model):
        yield f"spec.model {record.spec.model[:60]!r} is not of the form file.py:factory: rename either"
    hashes = {"defense_source": made.defense_source, "weights": made.weights, "queries": made.queries}
    hashes |= {f"dataset_files {name}": digest for name, digest in made.dataset_files.items()}
    for where, text in hashes.items():
        if not HASH.fullmatch(text):
            yield f"provenance: {where} is no SHA-256: run again"
    if made.commit is not None and not COMMIT.fullmatch(made.commit):
        yield "provenance: commit is no commit: run again"
    try:
        zone = datetime.datetime.fromisoformat(made.created).tzinfo
    except ValueError:
        zone = None
    if zone is None:
        yield "provenance: created is no time with a zone: run again"


def spec_problems(record: Record) -> Iterator[str]:
    """Find names that are not registered, and parameters and settings out of range."""
    spec = record.spec
    if spec.dataset not in DATASETS:
        yield (
            f"data set '{spec.dataset[:60]}' is not one that everybody can have: leaderboards take registered ones "
            "(`rbdml list datasets`)"
        )
        return
    yield from _evaluation_problems(spec.dataset, spec.evaluation)
    if isinstance(spec, RunSpec):
        yield from _run_problems(spec)
    elif (spec.source, spec.weights) != (record.provenance.defense_source, record.provenance.weights):
        yield "provenance: not of the source and the weights that the spec names: it was altered; evaluate again"


def cost_problems(record: Record) -> Iterator[str]:
    """Find costs that contradict their parts, the budget or the defense. The spec must be free of problems."""
    spec, cost, end = record.spec, record.cost, record.training_end
    if not isinstance(spec, RunSpec):
        if cost is not None or end is not None:
            yield "cost: a model from elsewhere has none that was metered: use --declared-passes"
        return
    assert cost is not None
    assert end is not None
    counted = {**cost.spent.model_dump(), **cost.model_dump(include={"peak_memory_bytes", "nominal_per_iteration"})}
    wrong = [name for name, value in counted.items() if not 0 <= value <= COUNT]
    if not wrong and not DEFENSES.get(spec.defense).cls.trains:
        if (cost.spent, cost.passes, cost.nominal_per_iteration) != (ComputeUsed(), 0, 0):
            yield f"cost: '{spec.defense}' trains nothing, and its record counts a training: run again"
        return
    if wrong or cost.spent.iterations < 1:
        yield f"cost: {', '.join(wrong) or 'iterations'} out of range: run again"
        return
    yield from _count_problems(spec, cost)
    yield from _budget_problems(spec, cost, end)
    iterations = cost.spent.iterations
    if end.collapsed_at is not None and not 0 <= end.collapsed_at < iterations:
        yield f"training_end: collapsed at iteration {end.collapsed_at} of {iterations}: run again"
    if end.stopped and (spec.training.on_collapse != "stop" or end.collapsed_at is None):
        yield "training_end: stopped without a collapse to stop at: run again"


def flag_problems(record: Record) -> Iterator[str]:
    """Find flags that contradict the measured values."""
    checks = record.diagnostics
    if not set(checks.disqualifying) <= set(checks.flags):
        yield "diagnostics: disqualifying flags that are not among the flags: it was altered; evaluate again"
    hidden = set(checks.flags) - MILD - set(checks.disqualifying)
    if hidden:
        yield f"diagnostics: {', '.join(sorted(hidden))} disqualifies and is not said to: evaluate again"
    if not {"mean cosine", "effective rank"} <= set(checks.measured):
        yield "diagnostics: no mean cosine and effective rank of the embeddings: evaluate again"
        return
    cause = collapse_cause(checks.measured["mean cosine"], checks.measured["effective rank"])
    if (cause is not None) != ("collapsed" in checks.flags):
        yield f"diagnostics: 'collapsed' and what was measured disagree ({cause or 'no collapse'}): evaluate again"
    unmeasured = sorted(_measured(record) - set(checks.measured))
    if unmeasured:
        yield f"diagnostics: no {unmeasured[0]}: evaluate again"
    exact = _evaluated_as_trained(record.spec)
    for flag, (name, most) in LIMITS.items():
        limit = gradients.REPEATED if exact and most == gradients.REPEATED_HALF else most
        value = checks.measured.get(name, 0.0)
        if value > limit and flag not in checks.flags:
            yield f"diagnostics: {name} is {value:.3g}, and the flag '{flag}' is missing: evaluate again"


def _evaluated_as_trained(spec: RunSpec | ExternalSpec) -> bool:
    """Return whether the attacked weights are the trained ones, in float32."""
    if spec.defense is None or spec.defense not in DEFENSES:
        return False
    return DEFENSES.get(spec.defense).cls.deploy is Defense.deploy


def _measured(record: Record) -> set[str]:
    """Names of the values that the checks measured of every model under the record's evaluation."""
    threat = record.spec.evaluation.threat
    searched = threat.steps > 0 and threat.eps > 0 and OLDER not in record.diagnostics.measured
    return {name for flag, (name, _) in LIMITS.items() if flag not in LATER and (searched or flag not in SEARCHED)}


def _texts(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of a JSON value, keys included, with its path."""
    if isinstance(value, str):
        yield where or "record", value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield f"name in {where or 'record'}", name
            yield from _texts(part, f"{where}.{name}".lstrip("."))
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part, where)


def _evaluation_problems(dataset: str, evaluation: Evaluation) -> Iterator[str]:
    threat, solver = evaluation.threat, evaluation.solver
    if threat.steps > STEPS:
        yield f"evaluation: {threat.steps} steps, and at most {STEPS} are taken"
    images = DATASETS.get(dataset).test_images
    if evaluation.queries is not None and evaluation.queries > images:
        yield f"evaluation: {evaluation.queries} queries, and '{dataset}' has {images} images"
    unknown = [name for name in evaluation.extra_attacks if name not in ATTACKS]
    if unknown:  # resolving an unknown name below would import a file
        yield f"evaluation: attack {unknown[0][:60]!r} is not one of this project: leaderboards take registered ones"
        return
    given = {
        **threat.model_dump(),
        **evaluation.model_dump(include={"protocol", "seed", "precision", "surrogate"}),
        "queries": evaluation.queries or ALL,
        "extra_attacks": evaluation.extra_attacks,
        "solver": solver.name,
        "solver_params": solver.params,
    }
    try:
        resolved = changed_evaluation(published_evaluation(dataset), given, dataset=dataset)
    except RbdmlError as error:
        yield f"evaluation: {error}"
        return
    if resolved != evaluation:
        yield "evaluation: not all its settings are there, or not as they are written now: evaluate again"


def _run_problems(spec: RunSpec) -> Iterator[str]:
    settings = {"budget": spec.budget.amount, "pairs": spec.training.pairs, "eta": spec.training.threat.steps}
    endless = [name for name, amount in settings.items() if amount > COUNT]
    if endless:
        yield f"spec: {', '.join(endless)} of more than {COUNT:.0e}: it was altered; run again"
        return
    try:
        entry = DEFENSES.get(spec.defense)
        params = resolve_params(entry, spec.params)
        build_defense(spec.defense, params, spec.training.threat)
        BACKBONES.get(spec.backbone)
    except RbdmlError as error:
        yield f"{error}; a defense from outside of the project needs --defense file.py:NAME"
        return
    if entry.cls.fake:
        yield f"'{spec.defense}' is a fake, made to be caught: no leaderboard has it"
    differing = sorted(name for name in {*params, *spec.params} if params.get(name) != spec.params.get(name))
    if differing:
        yield f"parameters of '{spec.defense}' missing or not as it keeps them: {', '.join(differing)}; run again"


def _count_problems(spec: RunSpec, cost: Cost) -> Iterator[str]:
    """Compute the derived costs from the counts."""
    spent, images = cost.spent, spec.training.pairs * cost.spent.iterations
    nominal = build_defense(spec.defense, spec.params, spec.training.threat).nominal_cost
    claimed = {
        "passes": (cost.passes, spent.passes),
        "metered_per_iteration": (cost.metered_per_iteration, spent.passes / (2 * images)),
        "nominal_per_iteration": (cost.nominal_per_iteration, nominal),
    }
    for name, (given, true) in claimed.items():
        if not same(given, true):
            yield f"cost: {name} is {given:g} and what was spent makes it {true:g}: it was altered; run again"
    if spent.to_weights < images:
        yield "cost: fewer images to the weights than one of each pair and iteration: it was altered; run again"


def _budget_problems(spec: RunSpec, cost: Cost, end: TrainingEnd) -> Iterator[str]:
    """Compare the cost with the budget. The most expensive iteration so far may overshoot it."""
    spent, kind, budget = cost.spent, spec.budget.kind, spec.budget.amount
    if kind == "iterations":
        if spent.iterations > budget or (spent.iterations < budget and not end.stopped):
            yield f"cost: {spent.iterations} iterations of a budget of {budget}: it was altered; run again"
        return
    amount = spent.of(spec.budget)
    if spent.iterations > 1 and not end.stopped and 2 * amount < budget:
        yield "cost: less than half of the budget, and training did not stop: it was altered; run again"
    iteration = COSTLIEST * max(cost.nominal_per_iteration, cost.metered_per_iteration) * 2 * spec.training.pairs
    slow = COSTLIEST * spent.seconds / spent.iterations + HICCUP
    if amount > budget + (slow if kind == "seconds" else iteration):
        how = "altered, or held up in its last iteration" if kind == "seconds" else "altered"
        yield f"cost: {amount:g} {kind} of a budget of {budget}: it was {how}; run again"
