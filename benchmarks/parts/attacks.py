"""The ten columns of protocol `ers`: the suite, the bare passes that it needs, and a loop over queries.

White-box PGD-32 on queries of the whole gallery of `fashion` (`glyphs` where that is not here); the model is
trained for some seconds first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from measure import Case, timed
from straightforward import attacks as loop
from straightforward.model import Plain
from torch import Tensor

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.evaluation.context import AttackContext, make_context
from robustbench_dml.evaluation.evaluate import attacked_values, choose_queries
from robustbench_dml.models.embedder import Embedder
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.runs import api
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.protocols import columns_of, protocol_columns, protocol_named
from robustbench_dml.spec.registry import ATTACKS
from robustbench_dml.spec.schema import Precision
from robustbench_dml.spec.scores import empirical_robustness_score
from robustbench_dml.utils.errors import MissingDataError
from robustbench_dml.utils.precision import best_precision, weights_unchanged

ROUNDS = 1
QUERIES, LOOPED, AT_ONCE = 256, 32, 128
NAMES = protocol_named("ers").attacks


@cache
def dataset_name() -> str:
    """Return the largest prepared set of grey images."""
    try:
        load_dataset("fashion", DataPaths(None))
    except MissingDataError:
        return "glyphs"
    return "fashion"


def entered(precision: Precision, device: torch.device, queries: int) -> tuple[AttackContext, Tensor]:
    """Train a model for some seconds. Returns it in its gallery, and queries."""
    name = dataset_name()
    training = {"precision": best_precision(device)}
    trained = api.train("hm-lga-ics", name, budget="30k", device=device.type, training=training, quiet=True)
    evaluation = make_spec(
        defense="regular", dataset=name, evaluation={"protocol": "ers", "precision": precision}
    ).evaluation
    split = load_dataset(name, DataPaths(None)).test.to(device)
    rows = choose_queries(split.labels, evaluation.model_copy(update={"queries": queries}), name)
    return make_context(trained.model, split, evaluation=evaluation, dataset=name, device=device), rows.to(device)


def suite(precision: Precision, device: torch.device) -> dict[str, float]:
    """Time the package. Returns the columns in the papers' units, too."""
    context, rows = entered(precision, device, QUERIES)
    found: dict[str, Tensor] = {}
    seconds = timed(lambda: found.update(attacked_values(context, rows, batch_size=AT_ONCE)), device)
    values = {name: column.published(float(found[name].mean())) for name, column in protocol_columns("ers").items()}
    score = empirical_robustness_score(values, protocol_columns("ers").values())
    return {"seconds": seconds / QUERIES, **values, "ERS": float(score)}


def bare(precision: Precision, device: torch.device) -> dict[str, float]:
    """Time only the passes that the suite needs: the steps, and embedding the attacked images."""
    context, rows = entered(precision, device, QUERIES)

    def work() -> None:
        with weights_unchanged(device):
            for block in rows.split(AT_ONCE):
                images = context.split.batch(block)
                for _ in NAMES:
                    for _ in range(context.evaluation.threat.steps):
                        moved = images.detach().requires_grad_()
                        torch.autograd.grad(context.stepping(moved).sum(), moved)
                    with torch.no_grad():
                        context.model(images)

    return {"seconds": timed(work, device) / QUERIES}


def looped(device: torch.device) -> dict[str, float]:
    """Time a loop over queries in every objective, with weight gradients in every step, on the suite's targets."""
    context, rows = entered("fp32", device, LOOPED)
    embedder = context.model.model
    assert isinstance(embedder, Embedder)
    model, threat = Plain(embedder).eval(), context.evaluation.threat
    found: dict[str, list[float]] = {}

    def work() -> None:
        items = Items(context.gallery, rows)
        for name in NAMES:
            targets = context.block(ATTACKS.get(name).build(), name, items).targets
            queries = [
                loop.Query(int(row), int(of[0]) if len(of) else -1, context.gallery.embeddings, context.split.labels)
                for row, of in zip(rows, targets, strict=True)
            ]
            images = context.split.batch(rows)
            found.update(
                loop.attack(model, images, queries, name, eps=threat.eps, alpha=threat.alpha, steps=threat.steps)
            )

    seconds = timed(work, device) / LOOPED
    columns = columns_of(NAMES)
    return {
        "seconds": seconds,
        **{name: column.published(sum(found[name]) / LOOPED) for name, column in columns.items()},
    }


CASES: dict[str, Case] = {"loop fp32": looped}
_measured: list[tuple[str, Callable[[Precision, torch.device], dict[str, float]]]] = [("suite", suite), ("bare", bare)]
for _precision in ("fp32", "bf16"):
    for _name, _measure in _measured:
        CASES[f"{_name} {_precision}"] = partial(_measure, _precision)  # type: ignore[arg-type]


def rows(found: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Return a row for each precision."""
    slow = found["loop fp32"]["seconds"]
    return [
        {
            "attack steps in": precision,
            "ms a query": 1000 * found[f"suite {precision}"]["seconds"],
            "straightforward ms": 1000 * slow,
            "x faster": slow / found[f"suite {precision}"]["seconds"],
            "bare passes ms": 1000 * found[f"bare {precision}"]["seconds"],
            "x bare": found[f"suite {precision}"]["seconds"] / found[f"bare {precision}"]["seconds"],
            **{name: value for name, value in found[f"suite {precision}"].items() if name != "seconds"},
        }
        for precision in ("fp32", "bf16")
    ]
