"""Trainings that one process does alone or several do together, in float64 or float32, and what came of them."""

from __future__ import annotations

import copy
import os
import shutil
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

import robustbench_dml as rb
from robustbench_dml.evaluation import evaluate as evaluation_of_models
from robustbench_dml.evaluation.attack_cache import CACHE_FILE, AttackCache
from robustbench_dml.evaluation.ensemble import run_attack
from robustbench_dml.evaluation.evaluate import attacked_values, choose_queries, context_for
from robustbench_dml.models.embedder import Embedder
from robustbench_dml.models.sharded import shared
from robustbench_dml.solvers.ball import Ball
from robustbench_dml.solvers.group_pgd import pgd
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.registry import BackboneInfo, register_backbone, register_defense
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.training.batches import Batch
from robustbench_dml.training.defense import Defense, Perturbed, embed_groups
from robustbench_dml.training.losses import hardness, triplet_loss
from robustbench_dml.training.testing import small_dataset
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils import distributed
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.interrupts import Interrupts
from robustbench_dml.utils.progress import Progress

CPU, QUIET = torch.device("cpu"), Progress(quiet=True)
PROCESSES = 2
CUT = 4  # iterations before an interrupt


def tiny() -> nn.Module:
    """(B, 1, 28, 28) -> (B, 8)."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 8, 8)
    )


register_backbone(
    BackboneInfo(
        name="test-tiny",
        summary="for tests",
        paper="none: a test",
        build=tiny,
        channels=1,
        side=28,
        mean=(0.0,),
        std=(1.0,),
    )
)


@register_defense("test-own-loop", summary="for tests", paper="none: a test")
class OwnLoop(Defense):
    """What others may write: noise, a loop of its own over the whole batch, second gradients, a penalty on weights."""

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        triplets, _ = self.mine(model, batch)
        ball = Ball(batch.images, self.threat)
        images = ball.project(batch.images + 0.01 * torch.randn_like(batch.images))
        for _ in range(self.threat.steps):
            images = images.detach().requires_grad_()
            with torch.enable_grad():
                value = -hardness(*model(images)[triplets.rows].unbind(1)).square().mean()  # not one of each image
            images = ball.descend(images, torch.autograd.grad(value, images)[0]).detach()
        return Perturbed(triplets, images)

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        images = perturbed.images.clone().requires_grad_()
        embeddings = model(images)
        loss = triplet_loss(*embeddings[perturbed.triplets.rows].unbind(1), margin=0.2)
        (slope,) = torch.autograd.grad(loss, images, create_graph=True)
        penalty = sum((weight.square().sum() for weight in model.parameters()), torch.zeros(()))
        return loss + slope.square().sum() + 1e-3 * penalty


@register_defense("test-own-dice", summary="for tests", paper="none: a test")
class OwnDice(Defense):
    """Draws that no seed decides: each process has its own triplets."""

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        own = replace(batch, rng=torch.Generator().manual_seed(distributed.rank()))
        return Perturbed(self.mine(model, own)[0])

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        return triplet_loss(*embed_groups(model, batch.images[perturbed.triplets.rows]), margin=0.2)


@register_defense("test-few", summary="for tests", paper="none: a test", sampler="H")
class Few(Defense):
    """One triplet only is attacked, so that one of two processes has none."""

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        triplets, _ = self.mine(model, batch)
        active = torch.arange(len(triplets.anchor)) == 3
        images = pgd(
            model,
            batch.images[triplets.rows],
            lambda moved, _: -hardness(*moved.unbind(1)),
            threat=self.threat,
            active=active,
        )
        return Perturbed(triplets, images)

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        return triplet_loss(*embed_groups(model, perturbed.images), margin=0.2)


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        defense: by name.
        double: in float64.
        norm: of its threat.
        budget: in passes.
    """

    defense: str
    double: bool = True
    norm: str = "linf"
    budget: str = "700"

    def spec(self, **training: Any) -> RunSpec:
        """Its batches have 7 pairs, which two processes cannot halve."""
        radius = {"eps": 2.0, "alpha": 0.5} if self.norm == "l2" else {}
        spec = make_spec(
            defense=self.defense,
            dataset="glyphs-mini",
            budget=self.budget,
            training={"pairs": 7, "eta": 3, "lr": 1e-3, "batchnorm": "frozen", **training},
            evaluation={"protocol": "ers"},  # in every process: `conftest` sets it in that of pytest alone
        )
        threat = spec.training.threat.model_copy(update={"norm": self.norm, **radius})
        settings = spec.training.model_copy(update={"threat": threat})
        return spec.model_copy(update={"backbone": "test-tiny", "training": settings})

    def trainer(self, **changes: Any) -> Trainer:
        """Ready to begin."""
        trainer = Trainer(self.spec(**changes), small_dataset(), device=CPU)
        if self.double:
            trainer.model.double()
            plain = trainer.batch

            def batch(iteration: int) -> Batch:
                found = plain(iteration)
                return replace(found, images=found.images.double())

            trainer.batch = batch  # type: ignore[method-assign]
        return trainer


@dataclass(frozen=True)
class Trained:
    """How a training ended: weights, images by kind of propagation and iterations, loss, when it collapsed."""

    weights: dict[str, Tensor]
    counts: tuple[int, ...]
    loss: float
    collapsed_at: int | None


def train(trainer: Trainer, **how: Any) -> Trained:
    """Do it to the end."""
    trainer.run(progress=QUIET, **how)
    return trained(trainer)


def trained(trainer: Trainer) -> Trained:
    """How far it is."""
    spent = trainer.spent
    return Trained(
        {name: weights.clone() for name, weights in trainer.model.state_dict().items()},
        (spent.forward_only, spent.to_input, spent.to_weights, spent.iterations),
        trainer.loss,
        trainer.collapse.since,
    )


class CutHere(Interrupts):
    """Interrupts after some iterations, and only the last of the processes is asked to stop."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self._trainer = trainer

    def check(self) -> None:
        if distributed.rank() == distributed.world_size() - 1 and self._trainer.spent.iterations == CUT:
            raise KeyboardInterrupt


def interrupt(job: Job, state: Path) -> Trained:
    """Train until an interrupt, which keeps the state."""
    trainer = job.trainer()
    try:
        trainer.run(progress=QUIET, checkpoint=state, interrupts=CutHere(trainer))
    except KeyboardInterrupt:
        return trained(trainer)
    raise AssertionError("it was not interrupted")


def evaluate(folder: Path | None = None) -> dict[str, Tensor]:
    """(Q,) values of every column of a small evaluation, the same model everywhere."""
    trainer, data = Job("regular", double=False).trainer(), small_dataset()
    whole = trainer.spec.evaluation
    evaluation = whole.model_copy(update={"queries": 11, "threat": whole.threat.model_copy(update={"steps": 2})})
    cache = AttackCache(None if folder is None else folder / CACHE_FILE, of="test", every=0)
    queries = choose_queries(data.test.labels, evaluation, data.name)
    return attacked_values(
        context_for(trainer.model.eval(), data, evaluation, device=CPU), queries, batch_size=4, cache=cache
    )


def evaluate_in_memory() -> tuple[dict[str, Any], int]:
    """(Q,) values of `robustbench_dml.evaluate` on images in memory, and the attacks that this process made."""
    split, made = small_dataset().test, list[str]()
    torch.manual_seed(0)
    model = Embedder(tiny()).eval()

    def counted(context: Any, name: str, items: Any) -> dict[str, Tensor]:
        made.append(name)
        return run_attack(context, name, items)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation_of_models, "run_attack", counted)
        images = split.batch(torch.arange(len(split)))
        settings: dict[str, Any] = {
            "queries": 7,
            "attack_steps": 1,
            "protocol": "ers",
            "batch_size": 4,
            "device": CPU,
            "quiet": True,
        }
        found = rb.evaluate(model, images, split.labels, **settings)
    return dict(found.per_query), len(made)


def refusal(job: Job, **changes: Any) -> str:
    """In which words a training is refused."""
    try:
        train(job.trainer(**changes))
    except RbdmlError as error:
        return str(error)
    raise AssertionError("it was not refused")


def embeddings_seen(images: Tensor) -> Tensor:
    """What hooks on a fresh model and on a copy of it see, while processes share it and afterwards."""
    torch.manual_seed(0)
    model, seen = Embedder(tiny()).eval(), []
    model.frozen_batchnorm = True
    model.register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        with shared(model):
            model(images)
            twin = copy.deepcopy(model)
            twin(images)
        twin(images[: distributed.rank() + 1])  # by itself: the other process has other images
        model(images[: distributed.rank() + 1])
    return torch.cat(seen)


def together(jobs: Iterable[Job], folder: Path) -> dict[str, Any]:
    """What several processes come to: one pair of them does everything, since each imports PyTorch."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    start_processes(_member, (list(jobs), folder, port), nprocs=PROCESSES, start_method="spawn")
    return {path.stem: torch.load(path, weights_only=False) for path in folder.glob("*.pt")}


def _member(number: int, jobs: list[Job], folder: Path, port: int) -> None:
    torch.set_num_threads(1)
    member = distributed.Member(number, PROCESSES, f"file://{folder / 'rendezvous'}", number)
    with distributed.process_group(member, CPU):
        found: dict[str, Any] = {"jobs": {job: train(job.trainer()) for job in jobs}}
        state = folder / "state.safetensors"
        found["interrupted"] = interrupt(jobs[0], state)
        found["written"] = state.exists()
        if distributed.is_leader():
            shutil.copy(state, folder / "interrupted.safetensors")
        distributed.broadcast()
        found["resumed"] = train(jobs[0].trainer(), checkpoint=state)
        found["evaluated"] = evaluate(folder)
        found["batchnorm"] = refusal(jobs[0], batchnorm="train")
        found["dice"] = refusal(Job("test-own-dice"))
        found["seen"] = embeddings_seen(torch.linspace(0, 1, 5 * 784).view(5, 1, 28, 28))
    os.environ.update(RANK=str(number), WORLD_SIZE=str(PROCESSES), MASTER_ADDR="localhost", MASTER_PORT=str(port))
    found["in memory"] = [evaluate_in_memory() for _ in range(2)]  # as in a script under torchrun
    torch.save(found, folder / f"{number}.pt")
