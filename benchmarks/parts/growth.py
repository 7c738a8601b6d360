"""Growth of cost: an iteration with batch, eta and image size; attacks, ranks and metrics with the gallery."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from measure import Case, Memory, fastest, timed
from torch import Tensor
from torch.nn import functional as F

from parts.training import EVERY_STEP, dataset, watched
from robustbench_dml.datasets.base import Dataset, Split
from robustbench_dml.retrieval.gallery import Block, Gallery
from robustbench_dml.retrieval.rank_hinge import SortedLists, mean_rank_hinge
from robustbench_dml.retrieval.ranks import exact_ranks
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.precision import best_precision

ROUNDS = 1
PAIRS, ETAS, SIDES = (16, 32, 64, 128, 256, 512), (2, 4, 8, 16, 32), (64, 96, 128, 160, 192, 224)
GALLERIES = (1_000, 10_000, 100_000, 1_000_000)
QUERIES = 128


def iteration(spec: RunSpec, data: Dataset, device: torch.device, *, count: int) -> dict[str, float]:
    """Return the seconds of an iteration without early exit."""
    return {"seconds": watched(Trainer(spec, data, device=device), 1, 1 + count).seconds / count}


def small(pairs: int, eta: int, device: torch.device) -> dict[str, float]:
    """C2F2 on grey images of 28 x 28."""
    training = {"eta": eta, "pairs": pairs, "precision": best_precision(device)}
    spec = make_spec(
        defense="hm-lga-ics",
        dataset="glyphs",
        budget="100G",
        params=EVERY_STEP["hm-lga-ics"],
        training=training,
    )
    return iteration(spec, dataset("c2f2"), device, count=2)


def large(side: int, device: torch.device) -> dict[str, float]:
    """ResNet-18 on 8 pairs of colour images of any size, eta 2."""
    rng = torch.Generator().manual_seed(0)
    split = Split(torch.randint(0, 256, (64, 3, side, side), generator=rng, dtype=torch.uint8), torch.arange(64) // 4)
    spec = make_spec(
        defense="hm-lga-ics",
        dataset="cub",
        backbone="resnet18",
        pretrained=False,
        budget="100G",
        params=EVERY_STEP["hm-lga-ics"],
        training={"eta": 2, "pairs": 8, "transform": "none", "precision": best_precision(device)},
    )
    return iteration(spec, Dataset("cub", split, split, {}), device, count=2)


def random_gallery(size: int, device: torch.device) -> Gallery:
    """Unit vectors in 512 dimensions, in classes of five."""
    made = torch.empty(size, 512)
    rng = torch.Generator().manual_seed(0)
    for rows in made.split(65_536):  # without a second copy of a large gallery
        rows.copy_(F.normalize(torch.randn(rows.shape, generator=rng), dim=1))
    return Gallery(made.to(device), (torch.arange(size) // 5).to(device))


def queries(gallery: Gallery) -> tuple[Tensor, Tensor]:
    """Return rows of queries, and a target for each."""
    rows = torch.arange(QUERIES, device=gallery.labels.device) * 5
    return rows, (rows + len(gallery) // 2)[:, None] % len(gallery)


def moving_lists(size: int, device: torch.device) -> dict[str, float]:
    """A step of QA without the network: the objective of 128 queries and its gradient."""
    gallery = random_gallery(size, device)
    rows, targets = queries(gallery)
    memory, block = Memory(device), Block(gallery, rows, targets)

    def work() -> None:
        moved = gallery.embeddings[rows].requires_grad_()
        item = block.distance_to(moved, targets)
        value = mean_rank_hinge(moved, item, gallery.embeddings, own=rows, targets=targets, sign=1)
        torch.autograd.grad(value.sum(), moved)

    seconds = fastest(work, device, repeat=2)
    return {"seconds": seconds, "GB above": memory.above}


def sorted_lists(size: int, device: torch.device) -> dict[str, float]:
    """A step of CA without the network, and the sorting before the first one."""
    gallery = random_gallery(size, device)
    rows, targets = queries(gallery)
    memory, own = Memory(device), targets.squeeze(1)
    made: list[SortedLists] = []

    def sort() -> None:
        made[:] = [SortedLists(gallery.embeddings[own], gallery.embeddings, torch.stack([own, rows], 1))]

    once = timed(sort, device)
    item, lists = torch.full((QUERIES, 1), 1.0, device=device), torch.arange(QUERIES, device=device)[:, None]
    seconds = fastest(lambda: made[0].mean_rank_hinge(item, lists, sign=1), device)
    return {"seconds": seconds, "once": once, "GB above": memory.above}


def ranks(size: int, device: torch.device) -> dict[str, float]:
    """The exact ranks of 128 targets, as every attack is scored."""
    gallery = random_gallery(size, device)
    rows, targets = queries(gallery)
    memory, block = Memory(device), Block(gallery, rows, targets)
    seconds = fastest(lambda: block.rank_of_target(gallery.embeddings[rows]), device, repeat=2)
    return {"seconds": seconds, "GB above": memory.above}


def metrics(size: int, device: torch.device) -> dict[str, float]:
    """The ranks of the four items of a query's class, for 128 queries."""
    gallery = random_gallery(size, device)
    rows = queries(gallery)[0]
    items = rows[:, None] + torch.arange(1, 5, device=device)
    memory = Memory(device)
    seconds = fastest(lambda: exact_ranks(gallery.embeddings, rows, items), device, repeat=2)
    return {"seconds": seconds, "GB above": memory.above}


CASES: dict[str, Case] = {}
for _pairs in PAIRS:
    CASES[f"batch {2 * _pairs}"] = partial(small, _pairs, 8)
for _eta in ETAS:
    CASES[f"eta {_eta}"] = partial(small, 128, _eta)
for _side in SIDES:
    CASES[f"side {_side}"] = partial(large, _side)
OVER_GALLERIES = {
    "objective of QA": moving_lists,
    "objective of CA": sorted_lists,
    "ranks": ranks,
    "metrics": metrics,
}
for _name, _measure in OVER_GALLERIES.items():
    for _size in GALLERIES:
        CASES[f"{_name} {_size}"] = partial(_measure, _size)


def rows(found: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Return a row for each growing size."""
    table = []
    for name, sizes in curves(found).items():
        times = list(sizes.values())
        items = [size**2 if name == "side" else size for size in sizes]
        table.append(
            {
                "what grows": name,
                "from": min(sizes),
                "to": max(sizes),
                "ms at first": 1000 * times[0],
                "ms at last": 1000 * times[-1],
                "per item (side: pixel), last to first": times[-1] / items[-1] / (times[0] / items[0]),
                "GB above at last": found[f"{name} {max(sizes)}"].get("GB above"),
            }
        )
    return table


def curves(found: dict[str, dict[str, float]]) -> dict[str, dict[int, float]]:
    """Return seconds by size, for each growing size."""
    sorted_out: dict[str, dict[int, float]] = {}
    for case, values in found.items():
        name, _, size = case.rpartition(" ")
        sorted_out.setdefault(name, {})[int(size)] = values["seconds"]
    return {name: dict(sorted(sizes.items())) for name, sizes in sorted_out.items()}
