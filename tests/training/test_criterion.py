"""Each loss has the value and the gradient of PML's own call; proxies are trained, saved and resumed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_metric_learning import losses, miners
from support import unit_rows
from torch import Tensor

from robustbench_dml.models.checkpoints import load_checkpoint, save_checkpoint, weights_hash
from robustbench_dml.spec.loss_names import LOSSES
from robustbench_dml.spec.losses import USUAL_MINERS, loss_spec
from robustbench_dml.spec.parameters import build_defense
from robustbench_dml.spec.schema import RunSpec, Threat
from robustbench_dml.spec.weights import surrogate_digits
from robustbench_dml.training.batches import Batch
from robustbench_dml.training.criterion import Criterion
from robustbench_dml.training.testing import small_dataset, small_spec
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.interrupts import Interrupts
from robustbench_dml.utils.progress import Progress

CPU, QUIET = torch.device("cpu"), Progress(quiet=True)
NAMES = torch.tensor([7, 11, 40])  # classes of a training split need not begin at 0
DIMENSION = 6


def criterion_of(name: str, params: dict[str, Any] | None = None) -> Criterion:
    loss = loss_spec(name, params)
    assert loss is not None
    return Criterion(loss, NAMES.repeat(5), dimension=DIMENSION, seed=3)


def value_and_gradients(call: Callable[[Tensor], Tensor], weights: list[Tensor]) -> list[Tensor]:
    embeddings = unit_rows(24, DIMENSION, seed=1).float().requires_grad_()
    torch.manual_seed(5)
    loss = call(embeddings)
    return [loss, *torch.autograd.grad(loss, [embeddings, *weights])]


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradients_are_those_of_pml(name: str, make_batch: Callable[..., Batch]) -> None:
    batch = make_batch(12)
    renamed = Batch(batch.images, NAMES[batch.labels], batch.indices, batch.rng)
    ours = criterion_of(name)
    needs_classes = bool(list(ours.parameters())) or name == "MarginLoss"
    extra = {"num_classes": 3} if name == "MarginLoss" else {"num_classes": 3, "embedding_size": DIMENSION}
    theirs = getattr(losses, name)(**(extra if needs_classes else {}))
    theirs.load_state_dict(ours.loss.state_dict())
    miner = getattr(miners, USUAL_MINERS[name])() if name in USUAL_MINERS else None

    def plain(embeddings: Tensor) -> Tensor:
        return theirs(embeddings, batch.labels, miner(embeddings, batch.labels) if miner else None)

    expected = value_and_gradients(plain, list(theirs.parameters()))
    actual = value_and_gradients(lambda embeddings: ours(embeddings, renamed), list(ours.parameters()))
    assert float(expected[1].abs().max()) > 0
    for ours_value, theirs_value in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours_value, theirs_value, rtol=0, atol=0)


def test_a_parameter_reaches_pml(make_batch: Callable[..., Batch]) -> None:
    batch = make_batch(12)
    batch = Batch(batch.images, NAMES[batch.labels], batch.indices, batch.rng)
    embeddings = unit_rows(24, DIMENSION, seed=1).float()
    theirs = losses.ContrastiveLoss(pos_margin=0.3, neg_margin=0.7)(embeddings, torch.searchsorted(NAMES, batch.labels))
    assert criterion_of("ContrastiveLoss", {"pos_margin": "0.3", "neg_margin": 0.7})(embeddings, batch) == theirs


def test_the_default_is_the_triplet_loss_of_the_rows(make_batch: Callable[..., Batch]) -> None:
    """Against a loop over triplets."""
    defense = build_defense("regular", {}, Threat(eps=0, alpha=0, steps=0))
    batch = make_batch(12)
    triplets, _ = defense.mine(torch.nn.Identity(), batch)
    rows = unit_rows(24, DIMENSION, seed=1)
    terms = [
        max(0.0, float((rows[a] - rows[p]).norm() - (rows[a] - rows[n]).norm()) + 0.2)
        for a, p, n in triplets.rows.tolist()
    ]
    assert float(defense.metric_loss(rows, batch, triplets)) == pytest.approx(sum(terms) / len(terms), abs=1e-12)


# In training


def run_spec(defense: str, name: str, **changes: Any) -> RunSpec:
    plain = small_spec(defense, budget="6it")
    training = plain.training.model_copy(update={"loss": loss_spec(name, **changes)})
    return plain.model_copy(update={"training": training})


def trained(spec: RunSpec, *, after: int | None = None, checkpoint: Path | None = None) -> Trainer:
    trainer = Trainer(spec, small_dataset(), device=CPU)

    class Cut(Interrupts):
        def check(self) -> None:
            if trainer.spent.iterations == after:
                raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        trainer.run(progress=QUIET, checkpoint=checkpoint, interrupts=Cut())
    return trainer


def learned(trainer: Trainer) -> dict[str, Tensor]:
    return {**trainer.model.state_dict(), **trainer._proxies}


@pytest.mark.parametrize("defense", ["regular", "est", "ses"])
@pytest.mark.parametrize("name", ["ProxyAnchorLoss", "MarginLoss"])
def test_a_resumed_training_ends_bit_for_bit_where_it_would_have(defense: str, name: str, tmp_path: Path) -> None:
    spec, path = run_spec(defense, name), tmp_path / "state.safetensors"
    whole = trained(spec)
    assert trained(spec, after=3, checkpoint=path).spent.iterations == 3
    resumed = trained(spec, checkpoint=path)
    assert whole.spent.iterations == resumed.spent.iterations == 6
    assert learned(whole).keys() == learned(resumed).keys()
    assert all(torch.equal(value, learned(resumed)[key]) for key, value in learned(whole).items())
    assert whole.loss == resumed.loss


def test_proxies_move_at_their_learning_rate_and_cost_no_pass() -> None:
    start = Trainer(run_spec("regular", "ProxyAnchorLoss"), small_dataset(), device=CPU)._proxies
    still = trained(run_spec("regular", "ProxyAnchorLoss", lr=1e-30))
    moved = trained(run_spec("regular", "ProxyAnchorLoss"))
    [name] = start
    assert torch.equal(still._proxies[name], start[name])
    steps = (moved._proxies[name] - start[name]).abs()
    assert 0.02 < float(steps.max()) <= 6 * 0.01 * 1.01  # Adam moves by about the learning rate
    triplet = trained(small_spec("regular", budget="6it"))
    assert moved.spent.model_copy(update={"seconds": 0}) == triplet.spent.model_copy(update={"seconds": 0})
    assert moved.spent.passes == 6 * 12


def test_a_checkpoint_keeps_the_proxies_beside_the_model(tmp_path: Path) -> None:
    trainer, path = trained(run_spec("regular", "SoftTripleLoss")), tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, trainer.trained)
    loaded = load_checkpoint(path, device=CPU)
    [(name, proxies)] = loaded.proxies.items()
    assert torch.equal(proxies, trainer._proxies[name]) and proxies.shape == (8, 3 * 10)
    assert weights_hash(loaded.embedder) == weights_hash(trainer.model)
    assert surrogate_digits(path) == weights_hash(trainer.model)[:16]  # proxies are no part of the model


def test_the_warmup_trains_on_triplets_before_the_loss() -> None:
    spec = run_spec("regular", "ProxyAnchorLoss")
    warm = spec.model_copy(update={"training": spec.training.model_copy(update={"warmup": 0.5})})
    half = Trainer(warm, small_dataset(), device=CPU)
    seen: list[bool] = []
    iterate = half._iterate

    def watched(meter: Any) -> None:
        before = {name: value.clone() for name, value in half._proxies.items()}
        iterate(meter)
        seen.append(all(torch.equal(value, before[name]) for name, value in half._proxies.items()))

    half._iterate = watched  # type: ignore[method-assign]
    half.run(progress=QUIET)
    assert seen == [True, True, True, False, False, False]
