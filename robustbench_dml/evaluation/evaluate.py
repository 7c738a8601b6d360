"""Evaluation of a model: benign retrieval, every attack of a protocol, scores and diagnostics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from robustbench_dml.datasets.base import Dataset
from robustbench_dml.evaluation.attack_cache import AttackCache
from robustbench_dml.evaluation.context import AttackContext, make_context
from robustbench_dml.evaluation.diagnostics import Finding, Findings, check_model
from robustbench_dml.evaluation.ensemble import run_attack
from robustbench_dml.evaluation.hooks import check_hooks
from robustbench_dml.evaluation.shown import Shown
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.retrieval.metrics import Clusters, class_clusters, retrieval_scores
from robustbench_dml.spec.protocols import (
    BENIGN_COLUMNS,
    attacks_of,
    evaluated_columns,
    median_columns,
    protocol_columns,
)
from robustbench_dml.spec.published import PROTOCOLS
from robustbench_dml.spec.schema import Evaluation
from robustbench_dml.spec.scores import CHANCE, fixed_list_recall, scores_of, summary_of
from robustbench_dml.utils import distributed
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.interrupts import deferred_interrupts
from robustbench_dml.utils.memory import enough_memory
from robustbench_dml.utils.precision import products_in, weights_unchanged
from robustbench_dml.utils.progress import Progress
from robustbench_dml.utils.randomness import seed_of, uniform_per_item
from robustbench_dml.utils.statistics import bootstrap_interval, median_above_zero

REMEDY = "use a smaller --batch-size, or --devices; a training before it is kept"


@dataclass(frozen=True, repr=False)
class Evaluated(Shown):
    """The result of an evaluation, in the papers' units.

    Attributes:
        benign: R@1, R@2, mAP, mAP@R, NMI and the R@1 of chance, in per cent.
        attacked: the protocol's columns.
        scores: the protocol's scores, 0 to 100 (not clipped, as published). The board ranks by the first.
        intervals: 95% bootstrap interval over queries of every value except NMI and chance.
        findings: results of the diagnostics.
        per_query: a (Q,) array of fractions for every value except NMI, chance and scores, and `query`, the rows.
    """

    benign: dict[str, float]
    attacked: dict[str, float]
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    findings: Findings
    per_query: dict[str, np.ndarray]

    def __repr__(self) -> str:
        return f"<Evaluated: {self._in_short()}, {len(self.per_query['query'])} queries>"


@enough_memory(REMEDY)
@products_in("fp32")
def evaluate_model(
    model: nn.Module,
    dataset: Dataset,
    evaluation: Evaluation,
    *,
    device: torch.device,
    batch_size: int = 128,
    surrogate: nn.Module | None = None,
    progress: Progress | None = None,
    cache: AttackCache | None = None,
) -> Evaluated:
    """Measure benign retrieval and run every attack of the protocol on a model.

    Args:
        model: any module that maps images (B, C, H, W) in [0, 1] to unit vectors (B, D).
        dataset: data set whose test split is the gallery and holds the queries.
        evaluation: protocol, threat, solver, number of queries and seed.
        device: the device to compute on.
        batch_size: images attacked at once. It bounds the memory and changes no choice of targets or queries.
        surrogate: the undefended model that attacks transfer from, if the evaluation names a surrogate.
        progress: shows a bar.
        cache: values computed earlier for this evaluation; new values are added.

    Raises:
        RbdmlError: more queries than test images, or embeddings that are not finite unit vectors.
    """
    scores = scores_of(evaluation.protocol, protocol_columns(evaluation.protocol))
    columns = evaluated_columns(evaluation)
    labels = dataset.test.labels
    queries = choose_queries(labels, evaluation, dataset.name)
    progress = progress or Progress(quiet=True)
    with progress.step("evaluate benign retrieval"):
        context = context_for(model, dataset, evaluation, device=device, surrogate=surrogate)
        for name in attacks_of(evaluation):
            check_hooks(context, name, queries)
        benign, clusters = benign_values(context, queries), clusters_of(context)
    attacked = attacked_values(context, queries, batch_size=batch_size, progress=progress, cache=cache)
    with progress.step("check the model for masked gradients"):
        findings = check_model(context, queries.to(device))
    k_means = Finding("clusters", {"k-means iterations": clusters.iterations}, raised=False)  # reported only

    fractions = {name: values.numpy() for name, values in {**benign, **attacked}.items()}
    published = published_means(evaluation, fractions)
    chance = fixed_list_recall(labels[queries.to(labels.device)].cpu().numpy())
    retrieved = {name: 100 * float(values.mean()) for name, values in benign.items()}
    retrieved |= {"NMI": 100 * clusters.nmi(labels), CHANCE: chance}
    shown = {name: values for name, values in fractions.items() if name in columns or name in benign}
    return Evaluated(
        benign=retrieved,
        attacked=published,
        scores={score.name: float(score.of({**retrieved, **published})) for score in scores},  # type: ignore[dict-item]
        intervals=bootstrap_interval(
            shown,
            summary_of(columns, scores, {CHANCE: chance}),
            seed=seed_of(evaluation.seed, "bootstrap", dataset.name),
            medians=median_columns(evaluation),
        ),
        findings=Findings((*findings.all, k_means)),
        per_query={"query": queries.cpu().numpy(), **fractions},
    )


def published_means(evaluation: Evaluation, values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the means, or the medians, of the (Q,) values of every attacked column, in the papers' units."""
    medians = median_columns(evaluation)
    return {
        name: column.published(
            float(median_above_zero(values[name])[0]) if name in medians else float(values[name].mean())
        )
        for name, column in evaluated_columns(evaluation).items()
    }


def context_for(
    model: nn.Module,
    dataset: Dataset,
    evaluation: Evaluation,
    *,
    device: torch.device,
    surrogate: nn.Module | None = None,
) -> AttackContext:
    """Embed the gallery of a data set and make the context of its attacks. Arguments as in `evaluate_model`.

    Raises:
        RbdmlError: embeddings that are not finite unit vectors.
    """
    split = dataset.test.to(device)
    make = partial(make_context, split=split, evaluation=evaluation, dataset=dataset.name, device=device)
    return make(model, surrogate=None if surrogate is None else make(surrogate))


def benign_values(context: AttackContext, queries: Tensor) -> dict[str, Tensor]:
    """Return (Q,) R@1, R@2, mAP and mAP@R of these gallery rows, as fractions on the CPU."""
    labels = context.split.labels
    scores = retrieval_scores(context.gallery.embeddings, labels, queries.to(labels.device))
    return dict(zip(BENIGN_COLUMNS, (scores.r_at_1, scores.r_at_2, scores.ap, scores.ap_at_r), strict=False))


@enough_memory(REMEDY)
def attacked_values(
    context: AttackContext,
    queries: Tensor,
    *,
    batch_size: int = 128,
    progress: Progress | None = None,
    cache: AttackCache | None = None,
) -> dict[str, Tensor]:
    """Run every attack of the evaluation on some queries.

    Several processes take turns, each with one attack on one batch. All return the values of a single process, bit
    for bit.

    Args:
        context: the model under its evaluation.
        queries: (Q,) rows of the gallery. The value of a query depends on the others by rounding only.
        batch_size: images attacked at once.
        progress: shows a bar.
        cache: values computed earlier for this evaluation; new values are added.

    Returns:
        (Q,) fractions of every column, and further values per query that attacks report, on the CPU.
    """
    evaluation, cache = context.evaluation, cache or AttackCache()
    names = attacks_of(evaluation)
    found: dict[tuple[int, str], dict[str, Tensor]] = {}
    total = len(queries) * len(names) / distributed.world_size()
    device = context.split.labels.device
    shown = (progress or Progress(quiet=True)).bar(total, "attack", "queries")
    with cache, deferred_interrupts() as pending, shown as bar, weights_unchanged(device):
        for number, rows in enumerate(queries.to(device).split(batch_size)):
            items = Items(context.gallery, rows)
            for turn, name in enumerate(names, start=number):
                if turn % distributed.world_size() != distributed.rank():
                    continue
                values = cache.get(name, rows)
                if values is None:
                    values = cache.add(name, rows, run_attack(context, name, items))
                found[number, name] = values
                bar.advance_by(len(rows))
                pending.check()
        found = distributed.merge(found)
    columns: dict[str, list[Tensor]] = {}
    for key in sorted(found, key=lambda key: (key[0], names.index(key[1]))):
        for column, one in found[key].items():
            columns.setdefault(column, []).append(one)
    return {column: torch.cat(values) for column, values in columns.items()}


def clusters_of(context: AttackContext) -> Clusters:
    """Cluster the gallery by k-means, with as many clusters as classes."""
    seed = seed_of(context.evaluation.seed, "k-means", context.dataset)
    points = PROTOCOLS[context.evaluation.protocol].cluster_points
    return class_clusters(context.gallery.embeddings, context.split.labels, seed=seed, points=points)


def choose_queries(labels: Tensor, evaluation: Evaluation, dataset: str) -> Tensor:
    """Return the rows of the queries in rising order: images with another image of their class, or a seeded sample.

    A smaller sample is a subset of a larger one.

    Raises:
        RbdmlError: the data set has fewer queries than requested.
    """
    _, inverse, count = torch.unique(labels.cpu(), return_inverse=True, return_counts=True)
    possible = torch.nonzero(count[inverse] >= 2).squeeze(1)
    if len(possible) == 0:
        raise RbdmlError(f"no test image of '{dataset}' has another one of its class: there is nothing to retrieve")
    if evaluation.queries is None:
        return possible
    if evaluation.queries > len(possible):
        raise RbdmlError(
            f"{evaluation.queries} queries asked for and '{dataset}' has {len(possible)}: ask for fewer, or for "
            "--queries all"
        )
    draw = uniform_per_item(possible, 1, key=(evaluation.seed, "queries", dataset)).squeeze(1)
    return possible[draw.argsort()[: evaluation.queries]].sort().values
