"""Checks of the strength of an evaluation's attacks, by stronger attacks on a sample of its queries.

All attack the embedding (`es`) and the first place (`ranking-margin`). A flag that finds the protocol's PGD too weak is
only reported. A flag that finds gradient-free solvers ahead of gradients disqualifies.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_dml.evaluation.context import AttackContext, check_finite
from robustbench_dml.evaluation.diagnostics.findings import Finding
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.solvers.apgd import AutoPGD
from robustbench_dml.solvers.base import Solver
from robustbench_dml.solvers.pgd import PGD
from robustbench_dml.solvers.square import Square
from robustbench_dml.solvers.transfer import Transfer
from robustbench_dml.spec.registry import ATTACKS

OBJECTIVES = ("es", "ranking-margin")  # both in units of distance
ENOUGH = 32  # PGD steps for an attack of any radius
LARGE = 0.1  # highest recall at 1 allowed at a radius that permits every image
LEVEL = 0.05  # highest share of the total gain from the last tenth of the steps: half the mean pace
DOUBLED = 0.1  # highest further gain from twice the steps, as a share of the total gain
STRONGER = 0.05  # distance by which a solver may pass the protocol's PGD; smaller gains do not count
MASKED = 0.1  # distance by which a gradient-free solver may pass gradients
TRIALS = 8, 200  # queries of Square: for each step of the evaluation, and at most


def check_strength(context: AttackContext, items: Items) -> list[Finding]:
    """Attack a sample of images with stronger solvers than the evaluation's."""
    steps = context.evaluation.threat.steps
    findings = [_large_radius(context, items)]
    if steps == 0 or context.evaluation.threat.eps == 0:
        return findings
    doubled = _with(context, steps=2 * steps)
    curves = {name: _curve(doubled, name, items) for name in OBJECTIVES}
    late, more = (max(share(curve, steps) for curve in curves.values()) for share in (_late_share, _doubled_share))
    findings += [
        Finding("loss not level", {"gain of the last tenth of the steps": late}, late > LEVEL, disqualifies=False),
        Finding("more steps are stronger", {"gain of twice the steps": more}, more > DOUBLED, disqualifies=False),
    ]
    published = {name: curve[steps] for name, curve in curves.items()}
    followed = _with(context, steps=max(steps, TRIALS[0]))
    gradients = {name: _end(followed, name, items, AutoPGD()) for name in OBJECTIVES}
    trials = Square(queries=min(TRIALS[0] * steps, TRIALS[1]))
    exact = _with(context)
    black_box = {"square": {name: _end(exact, name, items, trials) for name in OBJECTIVES}}
    if context.surrogate is not None:
        black_box["transfer"] = {name: _end(exact, name, items, Transfer()) for name in OBJECTIVES}
    for kind, reached in black_box.items():
        for of, other, limit in (("PGD", published, STRONGER), ("gradients", gradients, MASKED)):
            lead = max(other[name] - reached[name] for name in OBJECTIVES)
            measured = {f"lead of {kind} over {of}": lead}
            findings.append(Finding(f"{kind} beats {of}", measured, lead > limit, disqualifies=other is gradients))
    return findings


def _large_radius(context: AttackContext, items: Items) -> Finding:
    """Allow any image: every honest model then loses every query."""
    pixels = context.split.batch(items.rows[:1]).numel()
    radius = 1.0 if context.evaluation.threat.norm == "linf" else float(pixels) ** 0.5
    allowed = _with(context, eps=radius, alpha=radius / 8, steps=ENOUGH)
    attack = ATTACKS.get("ranking-margin").build()
    block = allowed.block(attack, "ranking-margin", items)
    problem = allowed.problem(attack, "ranking-margin", block)
    recall = float(block.recall_at_1(allowed.embed(PGD().run(problem), problem.images, block)).mean())
    return Finding("large eps resisted", {"recall at 1 with any image allowed": recall}, recall > LARGE)


def _with(context: AttackContext, **threat: float) -> AttackContext:
    return context.changed(threat=context.evaluation.threat.model_copy(update=threat), precision="fp32")


def _curve(context: AttackContext, name: str, items: Items) -> list[float]:
    """Return the mean objective after 0, 1, ... steps of PGD."""
    means: list[Tensor] = []
    attack = ATTACKS.get(name).build()
    problem = context.problem(
        attack, name, context.block(attack, name, items), watch=lambda values, _: means.append(values.mean())
    )
    end = problem.values(PGD().run(problem), problem.rows)
    means[-1] = end.mean()
    curve = torch.stack(means)
    check_finite(curve)
    return curve.tolist()


def _late_share(curve: list[float], steps: int) -> float:
    last = max(1, steps // 10)
    return _share(curve[steps - last] - curve[steps], curve[0] - curve[steps])


def _doubled_share(curve: list[float], steps: int) -> float:
    return _share(curve[steps] - curve[2 * steps], curve[0] - curve[steps])


def _share(gain: float, total: float) -> float:
    """Share of a total gain; 0 if the total is too small to count."""
    return gain / total if total > STRONGER else 0.0


def _end(context: AttackContext, name: str, items: Items, solver: Solver) -> float:
    attack = ATTACKS.get(name).build()
    problem = context.problem(attack, name, context.block(attack, name, items))
    mean = problem.values(solver.run(problem), problem.rows).mean()
    check_finite(mean)
    return float(mean)
