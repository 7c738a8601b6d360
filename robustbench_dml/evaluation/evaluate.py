"""Evaluating a model: benign retrieval, every attack of a protocol, the score, and what can be wrong with it."""

from __future__ import annotations

from contextlib import AbstractContextManager
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
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.retrieval.metrics import Clusters, class_clusters, retrieval_scores
from robustbench_dml.spec.protocols import BENIGN_COLUMNS, attacks_of, evaluated_columns, protocol_columns
from robustbench_dml.spec.schema import Evaluation
from robustbench_dml.spec.scores import CHANCE, fixed_list_recall, scores_of, summary_of
from robustbench_dml.utils import distributed
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.interrupts import deferred_interrupts
from robustbench_dml.utils.precision import weights_unchanged
from robustbench_dml.utils.progress import Bar, Progress
from robustbench_dml.utils.randomness import seed_of, uniform_per_item
from robustbench_dml.utils.statistics import bootstrap_interval


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found, in the units of the papers.

    Attributes:
        benign: R@1, R@2, mAP, mAP@R and NMI, and what R@1 is by chance, in per cent.
        attacked: the protocol's columns.
        scores: of the protocol, 0..100 (not clipped, as published); the one that ranks first.
        intervals: 95% bootstrap interval over the queries of every value but NMI and chance.
        findings: of the checks: reasons not to believe the scores.
        per_query: a (Q,) array for every value but NMI, chance and scores, as fractions, and `query`, the rows.
    """

    benign: dict[str, float]
    attacked: dict[str, float]
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    findings: Findings
    per_query: dict[str, np.ndarray]


def evaluate_model(
    model: nn.Module,
    dataset: Dataset,
    evaluation: Evaluation,
    *,
    device: torch.device,
    batch_size: int = 128,
    surrogate: nn.Module | None = None,
    progress: Progress | None = None,
    parts: AttackCache | None = None,
) -> Evaluated:
    """Benign metrics and every attack of the protocol on a model.

    Args:
        model: images (B, C, H, W) in [0, 1] to unit vectors (B, D); any module will do.
        dataset: its test split is the gallery and holds the queries.
        evaluation: protocol, threat, search, number of queries and seed.
        device: where to compute.
        batch_size: images attacked at once; bounds the memory and changes no choice of targets or queries.
        surrogate: an undefended model that attacks transfer from, where the evaluation names one.
        progress: shows a bar.
        parts: what is known already of this very evaluation, and where more is kept.

    Raises:
        RbdmlError: more queries than test images, or embeddings that are not finite unit vectors.
    """
    scores = scores_of(evaluation.protocol, protocol_columns(evaluation.protocol))
    columns = evaluated_columns(evaluation)
    labels = dataset.test.labels
    queries = choose_queries(labels, evaluation, dataset.name)
    arena = enter(model, dataset, evaluation, device=device, surrogate=surrogate)
    benign = benign_values(arena, queries)
    attacked = attacked_values(arena, queries, batch_size=batch_size, progress=progress, parts=parts)
    found, clusters = check_model(arena, queries.to(device)), clusters_of(arena)
    settled = Finding("clusters", {"k-means iterations": clusters.iterations}, raised=False)  # told, not judged

    fractions = {name: values.numpy() for name, values in {**benign, **attacked}.items()}
    published = {name: column.published(float(attacked[name].mean())) for name, column in columns.items()}
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
        ),
        findings=Findings((*found.all, settled)),
        per_query={"query": queries.cpu().numpy(), **fractions},
    )


def enter(
    model: nn.Module,
    dataset: Dataset,
    evaluation: Evaluation,
    *,
    device: torch.device,
    surrogate: nn.Module | None = None,
) -> AttackContext:
    """A model and the gallery of a data set under an evaluation; arguments as in `evaluate_model`.

    Raises:
        RbdmlError: embeddings that are not finite unit vectors.
    """
    split = dataset.test.to(device)
    place = partial(make_context, split=split, evaluation=evaluation, dataset=dataset.name, device=device)
    return place(model, surrogate=None if surrogate is None else place(surrogate))


def benign_values(arena: AttackContext, queries: Tensor) -> dict[str, Tensor]:
    """(Q,) R@1, R@2, mAP and mAP@R of these rows of the gallery, as fractions, on the CPU."""
    labels = arena.split.labels
    found = retrieval_scores(arena.gallery.embeddings, labels, queries.to(labels.device))
    return dict(zip(BENIGN_COLUMNS, (found.r_at_1, found.r_at_2, found.ap, found.ap_at_r), strict=False))


def attacked_values(
    arena: AttackContext,
    queries: Tensor,
    *,
    batch_size: int = 128,
    progress: Progress | None = None,
    parts: AttackCache | None = None,
) -> dict[str, Tensor]:
    """Attack some queries in every way of the evaluation; what attacks on the same images share is made once.

    Several processes take turns, an attack on a batch each, and all get all values: those of one process, bit for bit.

    Args:
        arena: the model under its evaluation.
        queries: (Q,) rows of the gallery; which others there are changes the values of none beyond rounding.
        batch_size: images attacked at once.
        progress: shows a bar.
        parts: as in `evaluate_model`.

    Returns:
        (Q,) of every column, as fractions, and what attacks keep beside their columns; on the CPU.
    """
    evaluation, parts = arena.evaluation, parts or AttackCache()
    names = attacks_of(evaluation)
    found: dict[tuple[int, str], dict[str, Tensor]] = {}
    total = len(queries) * len(names) / distributed.world_size()
    unchanged = weights_unchanged(arena.split.labels.device)
    with parts, deferred_interrupts() as pending, _bar(progress, total) as bar, unchanged:
        for number, rows in enumerate(queries.to(arena.split.labels.device).split(batch_size)):
            items = Items(arena.gallery, rows)
            for turn, name in enumerate(names, start=number):
                if turn % distributed.world_size() != distributed.rank():
                    continue
                values = parts.get(name, rows)
                if values is None:
                    values = parts.add(name, rows, run_attack(arena, name, items))
                found[number, name] = values
                bar.advance_by(len(rows))
                pending.check()
        found = distributed.merge(found)
    columns: dict[str, list[Tensor]] = {}
    for key in sorted(found, key=lambda key: (key[0], names.index(key[1]))):
        for column, one in found[key].items():
            columns.setdefault(column, []).append(one)
    return {column: torch.cat(values) for column, values in columns.items()}


def _bar(progress: Progress | None, total: float) -> AbstractContextManager[Bar]:
    return (progress or Progress(quiet=True)).bar(total, "attack", "queries")


def clusters_of(arena: AttackContext) -> Clusters:
    """K-means clusters of the gallery, as many as classes."""
    seed = seed_of(arena.evaluation.seed, "k-means", arena.dataset)
    return class_clusters(arena.gallery.embeddings, arena.split.labels, seed=seed)


def choose_queries(labels: Tensor, evaluation: Evaluation, dataset: str) -> Tensor:
    """Rows that are queries, rising: all that have another image of their class, or a seeded part of them.

    A smaller number always gives a subset of a larger one's.

    Raises:
        RbdmlError: there are fewer than asked for.
    """
    _, inverse, count = torch.unique(labels.cpu(), return_inverse=True, return_counts=True)
    possible = torch.nonzero(count[inverse] >= 2).squeeze(1)
    if len(possible) == 0:
        raise RbdmlError(f"no test image of '{dataset}' has another one of its class: there is nothing to retrieve")
    if evaluation.queries is None:
        return possible
    if evaluation.queries > len(possible):
        raise RbdmlError(
            f"{evaluation.queries} queries asked for and '{dataset}' has {len(possible)}: ask for fewer or leave "
            "--queries out for all"
        )
    draw = uniform_per_item(possible, 1, key=(evaluation.seed, "queries", dataset)).squeeze(1)
    return possible[draw.argsort()[: evaluation.queries]].sort().values
