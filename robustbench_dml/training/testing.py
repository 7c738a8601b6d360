"""Checks for the tests of a defense: a few iterations on small random images."""

from __future__ import annotations

import contextlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from robustbench_dml.datasets.base import Dataset, Split
from robustbench_dml.models.checkpoints import weights_hash
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.registry import BackboneInfo, register_backbone
from robustbench_dml.spec.schema import ComputeUsed, RunSpec
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.interrupts import Interrupts
from robustbench_dml.utils.progress import Progress

BACKBONE = "test-linear"

register_backbone(
    BackboneInfo(
        name=BACKBONE,
        summary="one linear layer, for tests",
        paper="",
        build=lambda: nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 8)),
        channels=1,
        side=28,
        mean=(0.0,),
        std=(1.0,),
    )
)


def small_dataset() -> Dataset:
    """Return 60 random grey images of three classes with different means."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    means = torch.rand(3, 1, 28, 28, generator=rng)
    images = (127 * (means[labels] + torch.rand(60, 1, 28, 28, generator=rng))).to(torch.uint8)
    split = Split(images, labels)
    return Dataset("glyphs", split, split, {})


def small_spec(defense: str, *, budget: str = "900", params: dict[str, Any] | None = None) -> RunSpec:
    """Return the spec of a run of a few iterations."""
    spec = make_spec(
        defense=defense,
        dataset="glyphs",
        budget=budget,
        params=params,
        training={"pairs": 6, "eta": 3, "lr": 1e-3, "warmup": 0},
    )
    return spec.model_copy(update={"backbone": BACKBONE})


def check_defense(defense: str, *, params: dict[str, Any] | None = None) -> None:
    """Train a defense on small images and check the contract of defenses.

    Args:
        defense: name or file, as for `--defense`.
        params: parameters that differ from the defaults.

    Raises:
        AssertionError: the defense changes its input, leaves [0, 1], depends on more than the seed, does not resume
            exactly, overshoots its budget, or trains nothing.
    """
    spec, data = small_spec(defense, params=params), small_dataset()
    trainer = Trainer(spec, data, device=torch.device("cpu"))
    before, batch = weights_hash(trainer.model), trainer.batch(0)
    benign = batch.images.clone()
    with torch.no_grad():
        perturbed = trainer.defense.perturb(trainer.model.eval(), batch)
    assert torch.equal(batch.images, benign), f"{defense}: perturb changed the images of the batch"
    assert not len(perturbed.images) or 0 <= float(perturbed.images.min()), f"{defense}: pixels below 0"
    assert not len(perturbed.images) or float(perturbed.images.max()) <= 1, f"{defense}: pixels above 1"
    assert all(p.grad is None for p in trainer.model.parameters()), f"{defense}: perturb left weight gradients"

    whole, again = _trained(spec, data), _trained(spec, data)
    assert whole.spent.iterations >= 3, f"{defense}: fewer than three iterations"
    assert whole.spent.passes <= spec.budget.amount, f"{defense}: the budget was overshot"
    assert weights_hash(whole.model) != before, f"{defense}: training changed nothing"
    assert weights_hash(whole.model) == weights_hash(again.model), f"{defense}: not a function of the seed"
    resumed = _interrupted(spec, data, after=whole.spent.iterations // 2)
    assert weights_hash(resumed.model) == weights_hash(whole.model), f"{defense}: a resumed run ends elsewhere"
    assert _counts(resumed.spent) == _counts(whole.spent), f"{defense}: a resumed run costs something else"


def _trained(spec: RunSpec, data: Dataset) -> Trainer:
    trainer = Trainer(spec, data, device=torch.device("cpu"))
    trainer.run(progress=Progress(quiet=True))
    return trainer


def _interrupted(spec: RunSpec, data: Dataset, *, after: int) -> Trainer:
    """Train in two parts, the second from the checkpoint of the first."""
    with TemporaryDirectory() as folder:
        path, first = Path(folder) / "state.safetensors", Trainer(spec, data, device=torch.device("cpu"))

        class Cut(Interrupts):
            def check(self) -> None:
                if first.spent.iterations == after:
                    raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            first.run(progress=Progress(quiet=True), checkpoint=path, interrupts=Cut())
        second = Trainer(spec, data, device=torch.device("cpu"))
        second.run(progress=Progress(quiet=True), checkpoint=path)
        return second


def _counts(spent: ComputeUsed) -> ComputeUsed:
    return spent.model_copy(update={"seconds": 0.0})
