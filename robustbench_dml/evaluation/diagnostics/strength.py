"""Checks of what gradients find, in mean radii over a sample of queries.

A radius is the least one at which a search breaks a query. The searches by gradients come first; those without
gradients of the model then try to go below. An honest model gives them little.
"""

from __future__ import annotations

import math
from functools import partial

from torch import Tensor

from robustbench_dml.evaluation.context import AttackContext
from robustbench_dml.evaluation.diagnostics.findings import Finding
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.solvers.apgd import AutoPGD
from robustbench_dml.solvers.base import FORWARD, Problem, Solver
from robustbench_dml.solvers.blend import Blend
from robustbench_dml.solvers.least_radii import LeastRadii
from robustbench_dml.solvers.minimal_radius import UNIT, bisect, radius_grid
from robustbench_dml.solvers.pgd import PGD
from robustbench_dml.solvers.shrinking_ball import shrink
from robustbench_dml.solvers.square import Square
from robustbench_dml.solvers.transfer import Transfer
from robustbench_dml.spec.registry import ATTACKS
from robustbench_dml.spec.schema import Threat

NAME = "ranking-margin"  # its objective is below 0 where a query is broken
FINEST = 0.25  # least radius of the searches, in 1/255
LARGE = 0.1  # highest recall at 1 allowed at a radius that permits every image
ENOUGH = 32  # PGD steps for an attack of any radius
LEAST = 8  # steps of APGD and of a descent
TRIALS = 8, 200  # queries of Square: for each step of the evaluation, and at most
BELOW = 1 / 16  # searches without gradients go below the radius by this share
MASKED = 0.05  # highest share of the mean radius that searches without gradients take off, but for one query
OVERSTATED = 0.5  # highest share of the mean radius by PGD that all searches take off


def check_strength(context: AttackContext, items: Items) -> list[Finding]:
    """Search the least radii of a sample of queries, with gradients and without."""
    threat = context.evaluation.threat
    found = [_large_radius(context, items)]
    if threat.steps == 0 or threat.eps == 0:
        return found
    radii = _radii(_in_fp32(context), items)
    means = {name: float(each.mean()) for name, each in radii.items()}
    gradients, pgd = (radii[name] - radii["all checks"] for name in ("gradients", "PGD"))
    masked = float(gradients.sum() - gradients.max()) / len(items) / max(means["gradients"], FINEST)
    over = float(pgd.mean()) / max(means["PGD"], FINEST)
    measured = {f"MR by {name}": mean for name, mean in means.items()}
    return [
        *found,
        Finding("masked gradients", {**measured, "MR lost without gradients": masked}, masked > MASKED),
        Finding("PGD overstates", {"MR overstated by PGD": over}, over > OVERSTATED, disqualifies=False),
    ]


def check_passes(threat: Threat, *, transfers: bool) -> float:
    """Passes of the checks of strength on one query whose radius no search without gradients lowers."""
    large = ENOUGH + FORWARD
    if threat.steps == 0 or threat.eps == 0:
        return large
    longer = threat.model_copy(update={"steps": max(threat.steps, LEAST)})
    bisections = (
        math.ceil(math.log2(len(radius_grid(FINEST * UNIT, threat.eps, per_octave=per_octave)) + 1)) * (each + FORWARD)
        for per_octave, each in ((4, threat.steps), (1, AutoPGD().passes(longer)))
    )
    below = [*_without_gradients(threat), *([Transfer(solver="apgd")] if transfers else [])]
    searches = 2 * (longer.steps + FORWARD) + sum(search.passes(threat) + FORWARD for search in below)
    return large + sum(bisections) + searches


def _without_gradients(threat: Threat) -> tuple[Solver, ...]:
    """The searches by values alone."""
    return Blend(), Square(queries=min(TRIALS[0] * threat.steps, TRIALS[1]))


def _radii(context: AttackContext, items: Items) -> dict[str, Tensor]:
    """(B,) radii in 1/255 by the evaluation's PGD, by stronger searches with gradients, and by those without as well.

    A radius is 0 where a query is wrong untouched.
    """
    attack, threat = ATTACKS.get(NAME).build(), context.evaluation.threat
    every = context.block(attack, NAME, items)
    intact = every.recall_at_1(every.benign).nonzero().squeeze(1)
    block, problem = every.take(intact), context.problem(attack, NAME, every).take(intact)

    def judge(images: Tensor, rows: Tensor) -> Tensor:
        part = block.take(rows)
        return part.recall_at_1(context.embed(images, problem.images[rows], part)) == 0

    start = partial(LeastRadii, problem.images, threat.norm, threat.eps, judge)
    pgd, least = start(), start()
    bisect(problem, pgd, _scaled_pgd, radius_grid(FINEST * UNIT, threat.eps, per_octave=4), stage=0)
    _by_gradients(problem, least, max(threat.steps, LEAST))
    by_gradients = least.reach.clone()
    for search in (*_without_gradients(threat), *([Transfer(solver="apgd")] if context.surrogate else [])):
        _go_below(problem, least, search)
    found = {"PGD": pgd.reach, "gradients": by_gradients, "all checks": least.reach}
    none = least.radii.new_zeros(len(items))
    return {name: none.index_put((intact,), radii / UNIT) for name, radii in found.items()}


def _by_gradients(problem: Problem, least: LeastRadii, steps: int) -> None:
    """APGD at radii an octave apart, then descents from the benign image and from the nearest broken one."""
    longer = problem.within(least.reach, steps=steps)
    bisect(longer, least, AutoPGD().run, radius_grid(FINEST * UNIT, least.cap, per_octave=1), stage=0)
    for start, factor in ((problem.images, 2), (least.images, 1)):
        shrink(problem, least, problem.rows, None, start, factor=factor, steps=steps, stage=0)


def _go_below(problem: Problem, least: LeastRadii, search: Solver) -> None:
    """Search a little below the least radii; where that breaks a query, by bisection further below."""
    below = problem.within(least.reach * (1 - BELOW), steps=problem.threat.steps)
    broken = least.offer(search.run(below), problem.rows, 0).nonzero().squeeze(1)
    grid = radius_grid(FINEST * UNIT, least.cap, per_octave=4)
    bisect(problem, least, search.run, grid, stage=0, rows=broken)


def _scaled_pgd(problem: Problem) -> Tensor:
    """The evaluation's PGD with steps in proportion to each radius."""
    ball, threat, images = problem.ball, problem.threat, problem.images
    for _ in range(threat.steps):
        _, gradient = problem.gradient(images, problem.rows)
        step = threat.alpha / threat.eps * ball.radius
        images = ball.project(images - step * ball.direction(gradient))
    return images


def _large_radius(context: AttackContext, items: Items) -> Finding:
    """Allow any image: every honest model then loses every query."""
    pixels = context.split.batch(items.rows[:1]).numel()
    radius = 1.0 if context.evaluation.threat.norm == "linf" else float(pixels) ** 0.5
    threat = context.evaluation.threat.model_copy(update={"eps": radius, "alpha": radius / 8, "steps": ENOUGH})
    allowed = _in_fp32(context).changed(threat=threat)
    attack = ATTACKS.get(NAME).build()
    block = allowed.block(attack, NAME, items)
    problem = allowed.problem(attack, NAME, block)
    recall = float(block.recall_at_1(allowed.embed(PGD().run(problem), problem.images, block)).mean())
    return Finding("large eps resisted", {"recall at 1 with any image allowed": recall}, recall > LARGE)


def _in_fp32(context: AttackContext) -> AttackContext:
    return context.changed(precision="fp32")
