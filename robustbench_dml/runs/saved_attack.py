"""Adversarial images of many queries in one file, and their verification."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_dml.datasets.base import Dataset
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.evaluation.attack import Attack
from robustbench_dml.evaluation.context import AttackContext
from robustbench_dml.evaluation.evaluate import choose_queries, context_for
from robustbench_dml.evaluation.radius import RadiusAttack
from robustbench_dml.models.checkpoints import load_checkpoint, weights_hash
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.on_device import evaluation_on
from robustbench_dml.solvers.least_radii import ROUNDING, distances
from robustbench_dml.spec.registry import ATTACKS
from robustbench_dml.spec.schema import Evaluation
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.tensors import read_tensors, write_tensors

FILE = "attack.safetensors"
QUERY = "radius-query"  # the attack whose images are saved
BATCH = 128


@dataclass(frozen=True)
class SavedAttack:
    """Images that break queries.

    Attributes:
        query: (Q,) rows of the queries in the test images, rising.
        images: (Q, C, H, W) adversarial images in [0, 1].
        radii: (Q,) float64 claimed radii, as parts of the pixel range.
        dataset: name of the data set.
        weights: hash of the attacked model's weights.
        norm: norm of the radii.
    """

    query: Tensor
    images: Tensor
    radii: Tensor
    dataset: str
    weights: str
    norm: str


def save_attack(
    checkpoint: Path, folder: Path, context: RunContext, *, dataset: str | None, changes: Mapping[str, Any]
) -> tuple[Path, SavedAttack]:
    """Search the least radii of the queries of a checkpoint and write the images that show them.

    Args:
        checkpoint: weights written by `rbdml run`.
        folder: the folder of the file.
        context: data, device, surrogate, batch size.
        dataset: a name; by default the data set of the checkpoint.
        changes: changes of the evaluation; its protocol is `radius`.

    Raises:
        RbdmlError: bad input, or no query is broken within the largest radius.
    """
    path = folder / FILE
    if path.exists():
        raise RbdmlError(f"{path}: exists already: name another folder with --save")
    loaded = load_checkpoint(checkpoint, device=context.device)
    data = load_dataset(dataset or loaded.spec.dataset, context.paths)
    changes = {**changes, "protocol": "radius"}
    evaluation = evaluation_on(context.device, loaded.spec.evaluation, changes, dataset=data.name)
    surrogate = context.surrogate_model(evaluation, data)
    attacked = context_for(loaded.model, data, evaluation, device=context.device, surrogate=surrogate)
    rows = choose_queries(data.test.labels, evaluation, data.name)
    found = [_searched(attacked, part) for part in rows.to(context.device).split(context.batch_size)]
    query, images, radii = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
    if len(query) == 0:
        raise RbdmlError("no query is right untouched and broken within the largest radius: there is nothing to save")
    saved = SavedAttack(query, images, radii, data.name, weights_hash(loaded.embedder), evaluation.threat.norm)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(
        path,
        {"query": query, "images": images, "radii": radii},
        {"dataset": saved.dataset, "weights": saved.weights, "norm": saved.norm},
    )
    return path, saved


def read_attack(path: Path) -> SavedAttack:
    """Read a file of adversarial images.

    Raises:
        RbdmlError: no such file, or not of this form.
    """
    tensors, text = read_tensors(path)
    if set(tensors) != {"query", "images", "radii"} or not {"dataset", "weights", "norm"} <= set(text):
        raise RbdmlError(f"{path}: not a file of `rbdml attack --save`: it holds {json.dumps(sorted(tensors))[:60]}")
    query, images, radii = tensors["query"], tensors["images"], tensors["radii"]
    sized = query.ndim == 1 and images.ndim == 4 and radii.ndim == 1 and len(query) == len(images) == len(radii) > 0
    if not sized or query.dtype != torch.int64 or images.dtype != torch.float32 or radii.dtype != torch.float64:
        raise RbdmlError(f"{path}: needs query (Q,) int64, images (Q, C, H, W) float32 and radii (Q,) float64")
    if not bool((query.diff() > 0).all()):
        raise RbdmlError(f"{path}: its query rows do not rise: sort them, each query once")
    _refuse(path, query, ~images.isfinite().flatten(1).all(1) | ~radii.isfinite(), "holds a number that is not finite")
    _refuse(path, query, ((images < 0) | (images > 1)).flatten(1).any(1), "leaves [0, 1]")
    _refuse(path, query, radii <= 0, "has a radius that is not above 0")
    return SavedAttack(query, images, radii, text["dataset"], text["weights"], text["norm"])


def verify_attack(
    path: Path, saved: SavedAttack, model: nn.Module, dataset: Dataset, evaluation: Evaluation, device: torch.device
) -> None:
    """Check that every image lies within its radius and breaks its query, ranked in float32.

    Raises:
        RbdmlError: an image does not, or the file is of another data set or norm.
    """
    test = dataset.test
    if (saved.dataset, saved.norm) != (dataset.name, evaluation.threat.norm):
        raise RbdmlError(f"{path}: of '{saved.dataset}' in {saved.norm}, and the entry is not")
    if not 0 <= int(saved.query[0]) <= int(saved.query[-1]) < len(test):
        raise RbdmlError(f"{path}: its query rows are not all test images of '{dataset.name}' (0 to {len(test) - 1})")
    benign = test.batch(saved.query.to(test.labels.device)).cpu()
    if benign.shape != saved.images.shape:
        raise RbdmlError(f"{path}: images of {tuple(saved.images.shape[1:])}, and the data set's differ")
    distance = distances(saved.images, benign, saved.norm)
    _refuse(path, saved.query, distance > saved.radii * (1 + ROUNDING), "is farther away than its radius")
    context, attack = context_for(model, dataset, evaluation, device=device), ATTACKS.get(QUERY).build()
    assert isinstance(attack, RadiusAttack)
    parts = torch.arange(len(saved.query)).split(BATCH)
    broken = torch.cat([_broken(context, attack, saved, rows) for rows in parts])
    _refuse(path, saved.query, ~broken, "does not break its query")


@torch.no_grad()
def _broken(context: AttackContext, attack: RadiusAttack, saved: SavedAttack, rows: Tensor) -> Tensor:
    device = context.split.labels.device
    block = context.block(attack, attack.drawn_as, Items(context.gallery, saved.query[rows].to(device)))
    benign, images = context.split.batch(block.items), saved.images[rows].to(device)
    return attack.broken(context.embed(images, benign, block), block).cpu()


def _searched(context: AttackContext, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of the queries that a search broke, with images and radii."""
    attack: Attack = ATTACKS.get(QUERY).build()
    assert isinstance(attack, RadiusAttack)
    intact, least = attack.search(context, Items(context.gallery, rows))
    found = least.radii.isfinite()
    return rows[intact[found]], least.images[found], least.radii[found]


def _refuse(path: Path, query: Tensor, wrong: Tensor, why: str) -> None:
    if bool(wrong.any()):
        raise RbdmlError(f"{path}: the image of query {int(query[wrong][0])} {why}: leave it out")
