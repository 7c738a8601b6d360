"""The suite of all checks."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_dml.evaluation.context import AttackContext
from robustbench_dml.evaluation.diagnostics.findings import Finding, Findings
from robustbench_dml.evaluation.diagnostics.gradients import check_gradients
from robustbench_dml.evaluation.diagnostics.strength import check_strength
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.retrieval.metrics import effective_rank, mean_cosine
from robustbench_dml.training.collapse import collapse_cause
from robustbench_dml.utils.randomness import uniform_per_item

SAMPLE = 64  # queries whose gradients are checked
ATTACKED = 32  # queries of the sample that are attacked


@torch.no_grad()
def check_model(context: AttackContext, queries: Tensor) -> Findings:
    """Run every check on a seeded sample of the (Q,) queries, or on all if there are fewer."""
    order = uniform_per_item(queries, 1, key=(context.evaluation.seed, "checks", context.dataset)).squeeze(1).argsort()
    rows = queries[order[:SAMPLE].to(queries.device)].sort().values
    embeddings = context.gallery.embeddings
    cosine, rank = mean_cosine(embeddings), effective_rank(embeddings)
    geometry = {"mean cosine": cosine, "effective rank": rank}
    return Findings(
        (
            Finding("collapsed", geometry, collapse_cause(cosine, rank) is not None),
            *check_gradients(context.model, context.split.batch(rows), embeddings[rows], seed=context.evaluation.seed),
            *check_strength(context, Items(context.gallery, rows[:: max(1, len(rows) // ATTACKED)][:ATTACKED])),
        )
    )
