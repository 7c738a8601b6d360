"""What an evaluation costs in passes, before anything is trained.

Every search of it is run once, on one small image and a network of one layer: what it asks for does not depend on
either, and so is known of every solver, whoever wrote it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.datasets.base import Split
from robustbench_dml.evaluation.context import make_context
from robustbench_dml.evaluation.diagnostics.suite import SAMPLE, check_model
from robustbench_dml.evaluation.ensemble import WorstCase
from robustbench_dml.evaluation.radius import RadiusAttack
from robustbench_dml.solvers.base import Problem, Solver
from robustbench_dml.solvers.ensemble import Ensemble
from robustbench_dml.solvers.minimal_radius import MinimalRadius
from robustbench_dml.spec.protocols import attacks_of
from robustbench_dml.spec.registry import ATTACKS, DATASETS, SOLVERS
from robustbench_dml.spec.schema import Evaluation, RunSpec, Threat
from robustbench_dml.training.meter import PropagationMeter

SHAPE = (1, 12, 12)  # of the image; large enough for the windows of Square
FORWARD = 1 / 3  # passes


class Small(nn.Module):
    """A network of one layer: (B, 1, 12, 12) -> (B, 4) unit vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(SHAPE[1] * SHAPE[2], 4, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, 12, 12) -> (B, 4)."""
        return F.normalize(images.flatten(1) @ self.weights, dim=1)


def evaluation_passes(spec: RunSpec) -> float:
    """Passes of the evaluation of a run, those of a surrogate included; more than AutoRank takes, which attacks no
    query that is lost already.

    Args:
        spec: of the run; where it asks for all queries, all test images are counted.

    Raises:
        RbdmlError: an unknown data set or attack.
    """
    evaluation, images = spec.evaluation, DATASETS.get(spec.dataset).test_images
    queries = evaluation.queries or images
    galleries = 1 if evaluation.surrogate is None else 2
    plain = evaluation.model_copy(update={"queries": None, "seed": 0, "precision": "fp32"}).model_dump_json()
    return galleries * images * FORWARD + queries * attack_passes(plain) + check_passes(plain, min(queries, SAMPLE))


@functools.cache
def attack_passes(written: str) -> float:
    """Passes that all attacks on one query come to; an evaluation is given as its JSON."""
    evaluation = Evaluation.model_validate_json(written)
    search = evaluation.solver
    solver = SOLVERS.get(search.name).cls(**search.params)
    names = attacks_of(evaluation)
    known: dict[str, float] = {}
    total = 0.0
    for name in names:
        attack = ATTACKS.get(name).build()
        if isinstance(attack, RadiusAttack) and isinstance(solver, MinimalRadius):
            total += attack.passes(solver, evaluation.threat.eps, transfers=evaluation.surrogate is not None)
            continue
        for one, threat in _searches(name, solver, evaluation.threat):
            key = f"{one} {threat}"
            if key not in known:
                known[key] = search_passes(one, threat)
            total += known[key] + FORWARD  # what it ended with is embedded
    return total


def search_passes(solver: Solver, threat: Threat) -> float:
    """Passes that one search for one image costs, those through a surrogate included."""
    model = Small()
    images = torch.full((1, *SHAPE), 0.5)

    def problem() -> Problem:
        return Problem(
            model=model,
            images=images,
            objective=lambda embeddings, _: embeddings.sum(1),
            threat=threat,
            items=torch.zeros(1, dtype=torch.long),
            key=("count",),
            rows=torch.zeros(1, dtype=torch.long),
            surrogate=problem,
        )

    with PropagationMeter(model) as meter, torch.no_grad():
        solver.run(problem())
    return _passes(meter)


@functools.cache
def check_passes(written: str, queries: int) -> float:
    """Passes that the checks of an evaluation cost, given as its JSON, on as many queries."""
    evaluation, model = Evaluation.model_validate_json(written), Small()
    images = torch.randint(0, 256, (queries + 2, *SHAPE), generator=torch.Generator().manual_seed(0))
    split = Split(images.to(torch.uint8), torch.arange(queries + 2) % 2)
    cpu = torch.device("cpu")
    small = functools.partial(make_context, split=split, evaluation=evaluation, dataset="count", device=cpu)
    arena = small(model, surrogate=None if evaluation.surrogate is None else small(model))
    with PropagationMeter(model) as meter:
        check_model(arena, torch.arange(queries))
    return _passes(meter)


def _searches(name: str, solver: Solver, threat: Threat) -> Iterator[tuple[Solver, Threat]]:
    """The searches of an attack: its own stages, if it is an ensemble, else the evaluation's."""
    attack = ATTACKS.get(name).build()
    if isinstance(attack, WorstCase) and isinstance(solver, Ensemble):
        longer = threat.model_copy(update={"steps": solver.steps})
        for stage in attack.stages(solver):
            yield stage.solver, longer if stage.longer else threat
    else:
        yield solver, threat


def _passes(meter: PropagationMeter) -> float:
    return meter.to_input + meter.to_weights + meter.forward_only * FORWARD
