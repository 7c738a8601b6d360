"""Attacks as loops that follow the definitions one item and one target at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from scipy.stats import kendalltau
from support import SMALL_IMAGE, unit_rows
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.datasets.base import Split
from robustbench_dml.evaluation.attack import Attack
from robustbench_dml.evaluation.corrupted import Corrupted
from robustbench_dml.evaluation.ensemble import WorstCase
from robustbench_dml.evaluation.radius import RadiusAttack
from robustbench_dml.models.embedder import Embedder
from robustbench_dml.retrieval.gallery import Block, Gallery, Items
from robustbench_dml.spec.registry import ATTACKS
from robustbench_dml.utils.randomness import uniform_per_item

LABELS = torch.arange(30) % 4
ITEMS = torch.tensor([0, 3, 8, 21, 22, 29])
# Those with an objective of their own; an ensemble runs others.
ATTACK_NAMES = [info.name for info in ATTACKS if not issubclass(info.cls, WorstCase | RadiusAttack | Corrupted)]
GRADIENTS = [name for name in ATTACK_NAMES if name != "list"]  # those whose objective has one
WIDTHS = {"": 1, "2": 2, "5": 5, "10": 10}  # how names end, and the number of targets


EVERY = torch.arange(48)  # images of the small split


def small_split() -> Split:
    """Images of four classes that overlap."""
    rng = torch.Generator().manual_seed(0)
    labels = EVERY % 4
    means = torch.rand(4, *SMALL_IMAGE, generator=rng)
    pixels = 0.5 * means[labels] + 0.5 * torch.rand(len(EVERY), *SMALL_IMAGE, generator=rng)
    return Split((255 * pixels).to(torch.uint8), labels)


def small_model(seed: int) -> Embedder:
    """A network that is neither hopeless nor robust on these images."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Embedder(nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 6))).double()


def random_gallery() -> Gallery:
    return Gallery(unit_rows(30, 5, seed=0), LABELS)


def tied_gallery() -> Gallery:
    """Duplicates within and across classes, some of them of the attacked items and of each other's targets."""
    embeddings = unit_rows(30, 5, seed=1)
    embeddings[10:20] = embeddings[:10].clone()
    embeddings[22] = embeddings[21]
    return Gallery(embeddings, LABELS)


GALLERIES = {"random": random_gallery(), "tied": tied_gallery()}


def choose(name: str, gallery: Gallery, items: Tensor = ITEMS, *, seed: int = 0) -> Tensor:
    """The targets of an attack on some items."""
    draws = partial(uniform_per_item, items, key=(name, seed))
    return ATTACKS.get(name).build().choose_targets(Items(gallery, items), draws)


def attacked_block(name: str, gallery: Gallery) -> tuple[Attack, Block, Tensor]:
    """An attack, its targets, and embeddings that are moved a little, a lot, not at all, and onto another row."""
    moved = F.normalize(gallery.embeddings[ITEMS] + 0.4 * unit_rows(len(ITEMS), 5, seed=2), dim=1)
    moved[1] = gallery.embeddings[ITEMS[1]]
    moved[2] = gallery.embeddings[17]
    moved[3] = -gallery.embeddings[ITEMS[3]]
    return ATTACKS.get(name).build(), Block(gallery, ITEMS, choose(name, gallery)), moved


def d(a: Tensor, b: Tensor) -> float:
    return math.dist(a.tolist(), b.tolist())


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def percentile(item: float, others: list[float]) -> float:
    """Share that comes before, from distances; closer than 1e-7 is a tie, which counts half."""
    before = sum(other < item - 1e-7 for other in others)
    tied = sum(abs(other - item) <= 1e-7 for other in others)
    return (before + tied / 2) / len(others)


@dataclass(frozen=True)
class Naive:
    """One attacked item; every method is a loop."""

    gallery: Gallery
    own: int
    targets: list[int]
    moved: Tensor

    @property
    def x(self) -> Tensor:
        return self.gallery.embeddings

    @property
    def labels(self) -> list[int]:
        return self.gallery.labels.tolist()

    def rest(self, target: int) -> list[int]:
        """What competes with a target: neither the attacked item nor the target itself."""
        return [row for row in range(len(self.x)) if row not in (self.own, target)]

    def of_class(self, label: int) -> list[float]:
        """Distances to the other rows of a class."""
        return [d(self.moved, self.x[r]) for r in range(len(self.x)) if self.labels[r] == label and r != self.own]

    @property
    def right(self) -> list[float]:
        return self.of_class(self.labels[self.own])

    @property
    def wrong(self) -> list[float]:
        label = self.labels[self.own]
        return [d(self.moved, self.x[row]) for row in range(len(self.x)) if self.labels[row] != label]

    def candidate(self, sign: int) -> float:
        """The attacked item in the lists of its targets."""
        lists = []
        for target in self.targets:
            q = self.x[target]
            lists.append(mean([max(0.0, sign * (d(q, self.moved) - d(q, self.x[r]))) for r in self.rest(target)]))
        return mean(lists)

    def query(self, sign: int, targets: list[int] | None = None) -> float:
        """Targets in the list of the attacked item."""
        lists = []
        for target in self.targets if targets is None else targets:
            to_it = d(self.moved, self.x[target])
            lists.append(mean([max(0.0, sign * (to_it - d(self.moved, self.x[r]))) for r in self.rest(target)]))
        return mean(lists)

    def preserving(self, sign: int, width: int, *, strictness: float = 4e4) -> float:
        """The first `width` targets are moved, the others kept."""
        moved, kept = self.targets[:width], self.targets[width:]
        fallen = self.query(1, kept)
        weight = math.exp(strictness * fallen) if strictness * fallen < 100 else math.inf
        return self.query(sign, moved) + min(weight, 1e9) * fallen

    def candidate_rank(self) -> float:
        ranks = []
        for target in self.targets:
            q = self.x[target]
            ranks.append(percentile(d(q, self.moved), [d(q, self.x[row]) for row in self.rest(target)]))
        return mean(ranks)

    def query_rank(self, targets: list[int] | None = None) -> float:
        ranks = []
        for target in self.targets if targets is None else targets:
            others = [d(self.moved, self.x[row]) for row in self.rest(target)]
            ranks.append(percentile(d(self.moved, self.x[target]), others))
        return mean(ranks)

    def place(self) -> int:
        """How many rows come before the only target, ties by row."""
        (target,) = self.targets
        key = round(d(self.moved, self.x[target]), 7), target
        return sum((round(d(self.moved, self.x[row]), 7), row) < key for row in self.rest(target))

    def recall(self) -> float:
        rows = [row for row in range(len(self.x)) if row != self.own]
        first = min(rows, key=lambda row: (round(d(self.moved, self.x[row]), 7), row))
        return float(self.labels[first] == self.labels[self.own])

    def misrank(self, *, itself: bool = False) -> float:
        right = [*self.right, d(self.moved, self.x[self.own])] if itself else self.right
        return max(0.0, max(self.wrong) - min(right))

    def smooth(self, *, temperature: float = 0.05, k: int = 32) -> float:
        """How likely the first item is right and how likely it is wrong, as a difference of logarithms."""

        def weight(distances: list[float]) -> float:
            return math.log(sum(math.exp(-distance / temperature) for distance in sorted(distances)[:k]))

        return weight(self.right) - weight(self.wrong)

    def wrong_class(self) -> float:
        (target,) = self.targets
        return min(self.of_class(self.labels[target])) - min(self.right)

    def disorder(self) -> float:
        pairs = itertools.combinations(self.targets, 2)
        return mean([max(0.0, d(self.moved, self.x[a]) - d(self.moved, self.x[b])) for a, b in pairs])

    def tau(self) -> float:
        """Kendall's tau between the targets and the list, ties by row."""
        keys = [(round(d(self.moved, self.x[row]), 7), row) for row in self.targets]
        return float(kendalltau(range(len(keys)), [sorted(keys).index(key) for key in keys]).statistic)

    def relevance(self) -> float:
        """The first list in the returned one."""
        rows = [row for row in range(len(self.x)) if row != self.own]
        returned = sorted(rows, key=lambda row: (round(d(self.moved, self.x[row]), 7), row))[: len(self.targets)]
        worth = {row: 1 - place / len(self.targets) for place, row in enumerate(self.targets)}
        return sum(worth.get(row, 0) / math.log2(place + 2) for place, row in enumerate(returned))

    def to_target(self) -> float:
        (target,) = self.targets
        return d(self.moved, self.x[target])

    def shifted(self) -> float:
        """The distance moved, with the tiny offset that gives the first step a direction."""
        moved, own = self.moved.tolist(), self.x[self.own].tolist()
        offset = 1e-4 / len(own) ** 0.5 if math.dist(moved, own) < 1e-4 else 0.0
        return math.dist([value + offset for value in moved], own)

    def cosine(self) -> float:
        (target,) = self.targets
        return sum(a * b for a, b in zip(self.moved.tolist(), self.x[target].tolist(), strict=True))


def naive_items(block: Block, moved: Tensor) -> list[Naive]:
    rows = zip(block.items.tolist(), block.targets.tolist(), moved, strict=True)
    return [Naive(block.gallery, own, targets, embedding) for own, targets, embedding in rows]


OBJECTIVES: dict[str, Callable[[Naive], float]] = {
    "gtt": lambda n: n.query(-1),
    "tma": lambda n: 1 - n.cosine(),
    **dict.fromkeys(("es", "es-d-published", "es-r-published"), lambda n: -n.shifted()),
    "ltm": lambda n: n.misrank(),
    "ltm-published": lambda n: n.misrank(itself=True),
    "gtm": lambda n: n.to_target(),
    "gtm-published": lambda n: n.to_target(),
    "ranking-margin": lambda n: min(n.wrong) - min(n.right),
    "hardest-margin": lambda n: min(n.wrong) - max(n.right),
    "smooth-recall": lambda n: n.smooth(),
    "wrong-class": lambda n: n.wrong_class(),
    "uap": lambda n: n.smooth(),
    "list": lambda n: n.relevance(),
    "foa": lambda n: n.disorder(),
    "spfoa": lambda n: n.disorder() + 100 * n.query(1),
}
SCORES: dict[str, Callable[[Naive], float]] = {
    "TMA": lambda n: n.cosine(),
    "ES:D": lambda n: d(n.moved, n.x[n.own]),
    "GTT": lambda n: float(n.place() < 4),
    **{column: lambda n: n.recall() for column in ("ES:R", "LTM", "GTM", "RM", "HM", "SR", "WC", "UAP", "LIST")},
    **{column: lambda n: n.tau() for column in ("FOA", "SPFOA")},
    "SPFOA kept": lambda n: n.query_rank(),
}
for ending, width in WIDTHS.items():
    w, m = (f"w{ending}", f"m{ending}") if ending else ("", "")
    of_w, of_m = (f" W={ending}", f" M={ending}") if ending else ("", "")
    for sign, letter in ((1, "+"), (-1, "-")):
        OBJECTIVES[f"ca{letter}{w}"] = partial(Naive.candidate, sign=sign)
        OBJECTIVES[f"qa{letter}{m}"] = partial(Naive.query, sign=sign)
        OBJECTIVES[f"spqa{letter}{m}"] = partial(Naive.preserving, sign=sign, width=width)
        SCORES[f"CA{letter}{of_w}"] = Naive.candidate_rank
        SCORES[f"QA{letter}{of_m}"] = Naive.query_rank
        SCORES[f"SPQA{letter}{of_m}"] = lambda n, width=width: n.query_rank(n.targets[:width])  # type: ignore[misc]
        SCORES[f"SPQA{letter}{of_m} kept"] = lambda n, width=width: n.query_rank(n.targets[width:])  # type: ignore[misc]
