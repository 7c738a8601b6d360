"""Training in micro-batches comes to the weights of training with whole batches."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from devices_support import Job, refusal, tiny, train
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from robustbench_dml.models.embedder import Embedder

SIZE = 5  # divides neither the batch of 14 images nor the triplets
JOBS = [Job("regular", budget="120"), Job("hm-lga-ics", budget="300"), Job("test-own-loop", budget="300")]
ROUNDED = Job("act", double=False, budget="300")


class Refused:
    """A training in micro-batches, for `refusal`."""

    def trainer(self, **changes: Any) -> Any:
        trainer = JOBS[0].trainer(**changes)
        trainer.micro_batch = SIZE
        return trainer


@pytest.mark.parametrize("job", [*JOBS, ROUNDED], ids=lambda job: job.defense)
def test_the_weights_are_those_of_whole_batches(job: Job) -> None:
    whole, trainer, largest = train(job.trainer()), job.trainer(), 0

    def look(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal largest
        largest = max(largest, len(output)) if isinstance(module, nn.Conv2d) else largest

    trainer.micro_batch = SIZE
    hook = register_module_forward_hook(look)
    try:
        parts = train(trainer)
    finally:
        hook.remove()
    assert largest == SIZE
    assert trainer.model.micro_batch is None  # the evaluation propagates whole batches
    assert parts.counts == whole.counts
    assert parts.collapsed_at == whole.collapsed_at
    tolerance = 1e-12 if job.double else 1e-3
    for name, weights in whole.weights.items():
        torch.testing.assert_close(parts.weights[name], weights, rtol=0, atol=tolerance)


def test_no_activation_outlives_its_micro_batch() -> None:
    model, alive = Embedder(tiny()).eval(), []
    model.frozen_batchnorm = True
    images = torch.rand(12, 1, 28, 28, requires_grad=True)

    def look(module: nn.Module, _: Any, output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            alive.append(weakref.ref(output))

    hook = register_module_forward_hook(look)
    try:
        whole = model(images)
        assert [reference() is not None for reference in alive] == [True]
        alive.clear()
        with model.in_micro_batches(SIZE):
            parts = model(images)
            assert [reference() is not None for reference in alive] == [False] * 3
    finally:
        hook.remove()
    direction = torch.rand_like(whole)
    gradients = [torch.autograd.grad((each * direction).sum(), images)[0] for each in (whole, parts)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-6)


def test_batch_norm_of_a_micro_batch_is_refused() -> None:
    assert "use --batchnorm frozen, or one device and no --micro-batch" in refusal(Refused(), batchnorm="train")  # type: ignore[arg-type]
