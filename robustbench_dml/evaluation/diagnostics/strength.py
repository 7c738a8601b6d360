"""Checks that the attacks of an evaluation were as strong as they could be: attacks on a sample of its queries.

All attack the embedding (`es`) and the first place (`ranking-margin`). What finds the protocol's PGD too weak says so
and no more; what finds that gradients do not lead where a search without them gets disqualifies.
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
ENOUGH = 32  # steps that suffice for an attack of any radius
LARGE = 0.1  # recall that may be left at a radius that allows every image
LEVEL = 0.05  # share of what the attack reached that its last tenth may have brought: half of the mean pace
DOUBLED = 0.1  # share of what the attack reached by which twice the steps may pass it
STRONGER = 0.05  # distance by which a search may pass the protocol's; what is less is not worth mentioning
MASKED = 0.1  # distance by which a search without gradients may pass one with them
TRIALS = 8, 200  # of Square: for each step of the evaluation, and at most


def check_strength(arena: AttackContext, items: Items) -> list[Finding]:
    """Attack a sample in ways that the evaluation did not.

    Args:
        arena: the evaluation.
        items: the sample.
    """
    steps = arena.evaluation.threat.steps
    findings = [_large_radius(arena, items)]
    if steps == 0 or arena.evaluation.threat.eps == 0:
        return findings
    doubled = _with(arena, steps=2 * steps)
    curves = {name: _curve(doubled, name, items) for name in OBJECTIVES}
    late, more = (max(share(curve, steps) for curve in curves.values()) for share in (_late_share, _doubled_share))
    findings += [
        Finding("loss not level", {"gain of the last tenth of the steps": late}, late > LEVEL, disqualifies=False),
        Finding("more steps are stronger", {"gain of twice the steps": more}, more > DOUBLED, disqualifies=False),
    ]
    published = {name: curve[steps] for name, curve in curves.items()}
    followed = _with(arena, steps=max(steps, TRIALS[0]))
    gradients = {name: _end(followed, name, items, AutoPGD()) for name in OBJECTIVES}
    trials = Square(queries=min(TRIALS[0] * steps, TRIALS[1]))
    plain = _with(arena)
    blind = {"square": {name: _end(plain, name, items, trials) for name in OBJECTIVES}}
    if arena.surrogate is not None:
        blind["transfer"] = {name: _end(plain, name, items, Transfer()) for name in OBJECTIVES}
    for kind, reached in blind.items():
        for of, other, limit in (("PGD", published, STRONGER), ("gradients", gradients, MASKED)):
            lead = max(other[name] - reached[name] for name in OBJECTIVES)
            measured = {f"lead of {kind} over {of}": lead}
            findings.append(Finding(f"{kind} beats {of}", measured, lead > limit, disqualifies=other is gradients))
    return findings


def _large_radius(arena: AttackContext, items: Items) -> Finding:
    """With any image allowed every honest model loses every query."""
    pixels = arena.split.batch(items.rows[:1]).numel()
    radius = 1.0 if arena.evaluation.threat.norm == "linf" else float(pixels) ** 0.5
    allowed = _with(arena, eps=radius, alpha=radius / 8, steps=ENOUGH)
    attack = ATTACKS.get("ranking-margin").build()
    block = allowed.block(attack, "ranking-margin", items)
    problem = allowed.problem(attack, "ranking-margin", block)
    recall = float(block.recall_at_1(allowed.embed(PGD().run(problem), problem.images, block)).mean())
    return Finding("large eps resisted", {"recall at 1 with any image allowed": recall}, recall > LARGE)


def _with(arena: AttackContext, **threat: float) -> AttackContext:
    return arena.changed(threat=arena.evaluation.threat.model_copy(update=threat), precision="fp32")


def _curve(arena: AttackContext, name: str, items: Items) -> list[float]:
    """Mean objective after 0, 1, ... steps of PGD."""
    means: list[Tensor] = []
    attack = ATTACKS.get(name).build()
    problem = arena.problem(
        attack, name, arena.block(attack, name, items), watch=lambda values, _: means.append(values.mean())
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


def _share(gain: float, whole: float) -> float:
    """Of a whole that is not worth mentioning, none."""
    return gain / whole if whole > STRONGER else 0.0


def _end(arena: AttackContext, name: str, items: Items, search: Solver) -> float:
    attack = ATTACKS.get(name).build()
    problem = arena.problem(attack, name, arena.block(attack, name, items))
    mean = problem.values(search.run(problem), problem.rows).mean()
    check_finite(mean)
    return float(mean)
