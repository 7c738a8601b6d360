"""The cost of an evaluation in passes, known before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator

from robustbench_dml.evaluation.diagnostics.strength import ENOUGH, OBJECTIVES, TRIALS
from robustbench_dml.evaluation.diagnostics.suite import ATTACKED, SAMPLE
from robustbench_dml.evaluation.ensemble import WorstCase
from robustbench_dml.solvers.apgd import AutoPGD
from robustbench_dml.solvers.base import FORWARD, Solver
from robustbench_dml.solvers.ensemble import Ensemble
from robustbench_dml.solvers.pgd import PGD
from robustbench_dml.solvers.square import Square
from robustbench_dml.solvers.transfer import Transfer
from robustbench_dml.spec.protocols import attacks_of
from robustbench_dml.spec.registry import ATTACKS, DATASETS, SOLVERS
from robustbench_dml.spec.schema import Evaluation, ExternalSpec, RunSpec, Threat


def evaluation_passes(spec: RunSpec | ExternalSpec) -> float:
    """Return the image passes of an evaluation, those of a surrogate included.

    AutoRank takes fewer, since it attacks no query that is lost already. An evaluation of all queries is counted with
    all test images.

    Raises:
        RbdmlError: an unknown data set or attack.
    """
    evaluation, images = spec.evaluation, DATASETS.get(spec.dataset).test_images
    queries, galleries = evaluation.queries or images, 1 if evaluation.surrogate is None else 2
    attacks = sum(solver.passes(threat) + FORWARD for solver, threat in _searches(evaluation))
    return galleries * images * FORWARD + queries * attacks + _check_passes(evaluation, queries)


def _searches(evaluation: Evaluation) -> Iterator[tuple[Solver, Threat]]:
    """The searches of all attacks on one query; the embedding of each end is counted beside them."""
    solver = SOLVERS.get(evaluation.solver.name).cls(**evaluation.solver.params)
    threat = evaluation.threat
    for name in attacks_of(evaluation):
        attack = ATTACKS.get(name).build()
        if isinstance(attack, WorstCase) and isinstance(solver, Ensemble):
            longer = threat.model_copy(update={"steps": solver.steps})
            for stage in attack.stages(solver):
                yield stage.solver, longer if stage.longer else threat
            continue
        yield solver, threat
        if isinstance(solver, Ensemble) and evaluation.surrogate is not None:
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
