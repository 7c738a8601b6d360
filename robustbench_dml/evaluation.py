"""Evaluating a model: benign retrieval, every attack of a protocol, the score, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from robustbench_dml.attack import Attack, Block, Column, Gallery
from robustbench_dml.checks import GradientChecks, check_gradients
from robustbench_dml.collapse import collapse_cause
from robustbench_dml.datasets.base import Dataset, Split
from robustbench_dml.errors import RbdmlError, did_you_mean
from robustbench_dml.perturb import pgd
from robustbench_dml.progress import Bar, Progress
from robustbench_dml.protocol import PROTOCOLS, Evaluation, Precision, Threat
from robustbench_dml.randomness import seed_of, uniform_per_item
from robustbench_dml.registry import ATTACKS
from robustbench_dml.retrieval import cluster_nmi, effective_rank, mean_cosine, retrieval_scores
from robustbench_dml.statistics import bootstrap_interval

GALLERY_BLOCK = 256  # fixed, so that the benign embeddings do not depend on --batch-size

BENIGN_COLUMNS = {
    "R@1": "recall at 1",
    "R@2": "recall at 2",
    "mAP": "mean average precision over the whole gallery",
    "mAP@R": "mean average precision over the R nearest",
    "NMI": "normalised mutual information of k-means clusters",
}


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found, in the units of the papers.

    Attributes:
        benign: R@1, R@2, mAP, mAP@R and NMI, in per cent.
        attacked: the protocol's columns.
        ers: Empirical Robustness Score, 0..100 (not clipped, as published).
        intervals: 95% bootstrap interval over the queries of every value but NMI.
        effective_rank: of the test embeddings, in [1, D].
        mean_cosine: between two test embeddings.
        collapsed: whether the embeddings have collapsed onto a point or a line.
        checks: of the gradients and of randomness.
        per_query: a (Q,) array for every value but NMI and ERS, as fractions, and `query`, the rows.
    """

    benign: dict[str, float]
    attacked: dict[str, float]
    ers: float
    intervals: dict[str, tuple[float, float]]
    effective_rank: float
    mean_cosine: float
    collapsed: bool
    checks: GradientChecks
    per_query: dict[str, np.ndarray]


def protocol_columns(protocol: str) -> dict[str, Column]:
    """The columns of a protocol by name, in the order of the papers."""
    return {column.name: column for name in attacks_of(protocol) for column in ATTACKS.get(name).columns}


def attacks_of(protocol: str) -> tuple[str, ...]:
    """The attacks of a protocol.

    Raises:
        RbdmlError: there is no such protocol.
    """
    if protocol not in PROTOCOLS:
        raise RbdmlError(
            f"unknown protocol '{protocol}': {did_you_mean(protocol, PROTOCOLS)}use one of {', '.join(PROTOCOLS)}"
        )
    return PROTOCOLS[protocol]


def empirical_robustness_score(published: Mapping[str, float], columns: Iterable[Column]) -> float:
    """Mean of the columns on the score's scale. Zhou et al., T-PAMI 2024, arXiv:2106.03614.

    A collapsed model can score more than an honest one, because attacks on ranks cannot move what has no order:
    never show this without recall and the flags.
    """
    return float(np.mean([column.ers(published[column.name]) for column in columns]))


def evaluate_model(
    model: nn.Module,
    dataset: Dataset,
    evaluation: Evaluation,
    *,
    device: torch.device,
    batch_size: int = 128,
    progress: Progress | None = None,
) -> Evaluated:
    """Benign metrics and every attack of the protocol on a model.

    Args:
        model: images (B, C, H, W) in [0, 1] to unit vectors (B, D); any module will do.
        dataset: its test split is the gallery and holds the queries.
        evaluation: protocol, threat, number of queries and seed.
        device: where to compute.
        batch_size: images attacked at once; bounds the memory and changes no choice of targets or queries.
        progress: shows a bar.

    Raises:
        RbdmlError: more queries than test images, or embeddings that are not finite unit vectors.
    """
    progress = progress or Progress(quiet=True)
    columns = protocol_columns(evaluation.protocol)
    split = dataset.test.to(device)
    model = InOwnPrecision(model.to(device)).eval()
    queries = choose_queries(split.labels, evaluation, dataset.name).to(device)
    gallery = Gallery(embed(model, split, device=device), split.labels)
    _check_unit(gallery.embeddings, tolerance=1e-3 if model.dtype.itemsize >= 4 else 2e-2)

    scores = retrieval_scores(gallery.embeddings, split.labels, queries)
    benign = dict(zip(BENIGN_COLUMNS, (scores.r_at_1, scores.r_at_2, scores.ap, scores.ap_at_r), strict=False))
    arena = _Arena(
        model=model,
        split=split,
        gallery=gallery,
        evaluation=evaluation,
        dataset=dataset.name,
        batch_size=batch_size,
    )
    attacked: dict[str, Tensor] = {}
    attacks = attacks_of(evaluation.protocol)
    with progress.bar(len(queries) * len(attacks), "attack", "queries") as bar:
        for name in attacks:
            attacked |= arena.scores(name, queries, bar)

    rank, cosine = effective_rank(gallery.embeddings), mean_cosine(gallery.embeddings)
    fractions = {name: values.numpy() for name, values in {**benign, **attacked}.items()}
    published = {name: columns[name].published(float(attacked[name].mean())) for name in columns}
    nmi = cluster_nmi(gallery.embeddings, split.labels, seed=seed_of(evaluation.seed, "k-means", dataset.name))
    return Evaluated(
        benign={**{name: 100 * float(values.mean()) for name, values in benign.items()}, "NMI": 100 * nmi},
        attacked=published,
        ers=empirical_robustness_score(published, columns.values()),
        intervals=_intervals(fractions, columns, seed=seed_of(evaluation.seed, "bootstrap", dataset.name)),
        effective_rank=rank,
        mean_cosine=cosine,
        collapsed=collapse_cause(cosine, rank) is not None,
        checks=check_gradients(model, split, seed=evaluation.seed, dataset=dataset.name),
        per_query={"query": queries.cpu().numpy(), **fractions},
    )


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


class InOwnPrecision(nn.Module):
    """Any model behind float32 pixels: they go in in the type of its weights, half precision comes out as float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        floating = (parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
        self.dtype = next(floating, torch.float32)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D)."""
        embeddings: Tensor = self.model(images.to(self.dtype))
        return embeddings if embeddings.dtype == torch.float64 else embeddings.float()


class InBfloat16(nn.Module):
    """Any model with its convolutions and matrix products in bfloat16."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D) float32."""
        with torch.autocast(images.device.type, dtype=torch.bfloat16):
            embeddings: Tensor = self.model(images)
        return embeddings.float()


@torch.no_grad()
def embed(model: nn.Module, split: Split, *, device: torch.device) -> Tensor:
    """(N, D) embeddings of a whole split."""
    rows = torch.arange(len(split), device=device)
    return torch.cat([model(split.batch(block)) for block in rows.split(GALLERY_BLOCK)])


def _check_unit(embeddings: Tensor, *, tolerance: float) -> None:
    length = torch.linalg.vector_norm(embeddings, dim=1)
    if not bool(((length - 1).abs() < tolerance).all()):
        raise RbdmlError(
            f"the model's embeddings are not finite unit vectors (lengths {length.min():.3g} to {length.max():.3g}): "
            "normalise them in its forward"
        )


@dataclass(frozen=True, kw_only=True)
class _Arena:
    """What every attack of one evaluation has in common."""

    model: nn.Module
    split: Split
    gallery: Gallery
    evaluation: Evaluation
    dataset: str
    batch_size: int

    def scores(self, name: str, queries: Tensor, bar: Bar) -> dict[str, Tensor]:
        """(Q,) scores of each column of one attack, on the CPU."""
        attack = ATTACKS.get(name).cls()
        blocks = []
        for items in queries.split(self.batch_size):
            draws = partial(uniform_per_item, items, key=(self.evaluation.seed, "targets", name, self.dataset))
            block = Block(self.gallery, items, attack.choose_targets(self.gallery, items, draws))
            embeddings = attacked_embeddings(
                self.model,
                self.split,
                attack,
                block,
                threat=self.evaluation.threat,
                precision=self.evaluation.precision,
            )
            blocks.append(attack.score(embeddings, block))
            bar.advance_by(len(items))
        return {column: torch.cat([block[column].cpu() for block in blocks]) for column in blocks[0]}


def attacked_embeddings(
    model: nn.Module, split: Split, attack: Attack, block: Block, *, threat: Threat, precision: Precision = "fp32"
) -> Tensor:
    """(B, D) embeddings of the block's images under attack.

    An image that the attack left bit for bit as it was keeps its benign embedding from the gallery, so that an
    attack without effect gives exactly the benign value, whatever the batch.
    """
    images = split.batch(block.items)
    stepping = model if precision == "fp32" else InBfloat16(model)
    moved = pgd(stepping, images, lambda embeddings, _: attack.objective(embeddings, block), threat=threat)
    with torch.no_grad():
        embeddings = model(moved)  # in full precision, whatever the steps were computed in
    unmoved = (moved == images).flatten(1).all(1, keepdim=True)
    return torch.where(unmoved, block.own, embeddings)


def _intervals(
    fractions: Mapping[str, np.ndarray], columns: Mapping[str, Column], *, seed: int
) -> dict[str, tuple[float, float]]:
    """Intervals of every per-query value, and of the score, from the same resampled queries."""

    def summary(means: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        shown = {name: columns[name].scale * mean if name in columns else 100 * mean for name, mean in means.items()}
        return {**shown, "ERS": np.mean([column.ers(shown[name]) for name, column in columns.items()], axis=0)}  # type: ignore[arg-type]

    return bootstrap_interval(fractions, summary, seed=seed)
