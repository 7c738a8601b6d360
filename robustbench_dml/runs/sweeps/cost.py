"""The cost of an evaluation in passes, known before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator

from robustbench_dml.evaluation.attack import Attack
from robustbench_dml.evaluation.diagnostics.strength import ENOUGH, OBJECTIVES, TRIALS
from robustbench_dml.evaluation.diagnostics.suite import ATTACKED, SAMPLE
from robustbench_dml.evaluation.ensemble import WorstCase
from robustbench_dml.evaluation.radius import RadiusAttack
from robustbench_dml.solvers.apgd import AutoPGD
from robustbench_dml.solvers.base import FORWARD, Solver
from robustbench_dml.solvers.ensemble import Ensemble
from robustbench_dml.solvers.minimal_radius import MinimalRadius
from robustbench_dml.solvers.pgd import PGD
from robustbench_dml.solvers.square import Square
from robustbench_dml.solvers.transfer import Transfer
from robustbench_dml.spec.protocols import attacks_of
from robustbench_dml.spec.registry import ATTACKS, DATASETS, SOLVERS
from robustbench_dml.spec.schema import Evaluation, ExternalSpec, RunSpec, Threat


def evaluation_passes(spec: RunSpec | ExternalSpec) -> float:
    """Return the image passes of an evaluation, including the passes of a surrogate.

    AutoRank takes fewer, since it skips queries that are already lost. An evaluation of all queries is counted with
    all test images.

    Raises:
        RbdmlError: an unknown data set or attack.
    """
    evaluation, images = spec.evaluation, DATASETS.get(spec.dataset).test_images
    queries, galleries = evaluation.queries or images, 1 if evaluation.surrogate is None else 2
    attacks = sum(_attack_passes(ATTACKS.get(name).build(), evaluation) for name in attacks_of(evaluation))
    return galleries * images * FORWARD + queries * attacks + _check_passes(evaluation, queries)


def _attack_passes(attack: Attack, evaluation: Evaluation) -> float:
    """The passes of one attack on one query."""
    solver = SOLVERS.get(evaluation.solver.name).cls(**evaluation.solver.params)
    threat, transfers = evaluation.threat, evaluation.surrogate is not None
    if isinstance(attack, RadiusAttack) and isinstance(solver, MinimalRadius):
        return attack.passes(solver, threat.eps, transfers=transfers)
    searches = _searches(attack, solver, threat, transfers=transfers)
    return sum(search.passes(within) + FORWARD for search, within in searches)  # the result of each search is embedded


def _searches(attack: Attack, solver: Solver, threat: Threat, *, transfers: bool) -> Iterator[tuple[Solver, Threat]]:
    """The searches of one attack."""
    if isinstance(attack, WorstCase) and isinstance(solver, Ensemble):
        longer = threat.model_copy(update={"steps": solver.steps})
        for stage in attack.stages(solver):
            yield stage.solver, longer if stage.longer else threat
        return
    yield solver, threat
    if isinstance(solver, Ensemble) and transfers:
        yield Transfer(), threat


def _check_passes(evaluation: Evaluation, queries: int) -> float:
    """The passes of the checks (`evaluation.diagnostics`): gradients of a sample, and attacks on a part of it."""
    threat, sample = evaluation.threat, min(queries, SAMPLE)
    searches: list[tuple[Solver, int]] = []
    if threat.steps and threat.eps:
        steps, trials = threat.steps, Square(queries=min(TRIALS[0] * threat.steps, TRIALS[1]))
        searches = [(PGD(), 2 * steps), (AutoPGD(), max(steps, TRIALS[0])), (trials, steps)]
        searches += [(Transfer(), steps)] if evaluation.surrogate is not None else []
    searches = [(PGD(), ENOUGH), *len(OBJECTIVES) * searches]
    each = sum(solver.passes(threat.model_copy(update={"steps": steps})) + FORWARD for solver, steps in searches)
    return sample * (1 + FORWARD) + min(sample, ATTACKED) * each
