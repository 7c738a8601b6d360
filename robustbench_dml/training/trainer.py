"""Training of a defense under a metered budget."""

from __future__ import annotations

import json
import math
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from robustbench_dml.datasets.base import Dataset
from robustbench_dml.datasets.prefetch import prefetch, with_prefetch
from robustbench_dml.models.checkpoints import Checkpoint
from robustbench_dml.models.embedder import build_embedder, check_fit
from robustbench_dml.models.sharded import shared
from robustbench_dml.spec.budgets import UNITS
from robustbench_dml.spec.parameters import build_defense
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.spec.schema import ComputeUsed, RunSpec, TrainingEnd
from robustbench_dml.spec.source import defense_source
from robustbench_dml.training.batches import Batch, PairSampler
from robustbench_dml.training.collapse import CollapseMonitor
from robustbench_dml.training.criterion import Criterion
from robustbench_dml.training.defense import Defense, Perturbed
from robustbench_dml.training.meter import PropagationMeter
from robustbench_dml.training.metrics import Logged, collecting
from robustbench_dml.training.resume import load_newest, save_newest
from robustbench_dml.training.rollback import Rollback
from robustbench_dml.training.sync import average_gradients, spent_together
from robustbench_dml.utils import distributed
from robustbench_dml.utils.errors import DivergedError, RbdmlError, reason
from robustbench_dml.utils.interrupts import Interrupts, deferred_interrupts
from robustbench_dml.utils.memory import enough_memory, keep_freed_memory
from robustbench_dml.utils.precision import check_precision, products_in, weights_unchanged
from robustbench_dml.utils.progress import Progress
from robustbench_dml.utils.provenance import device_name
from robustbench_dml.utils.randomness import generator, reproducible, seed_of
from robustbench_dml.utils.tensors import content_hash, read_tensors, write_tensors

REMEDY = (
    "use --micro-batch or --devices and go on from the last iteration, or train another run with "
    "--precision bf16 or fewer --pairs"
)


class Trainer:
    """Trains until the budget is spent.

    Every random choice is a function of the seed and the iteration. So a checkpoint holds the weights, the optimizer,
    the defense's state and the compute used. Several processes share the propagations and have the same state; the
    leader writes.
    """

    def __init__(self, spec: RunSpec, dataset: Dataset, *, device: torch.device, weights: Path | None = None) -> None:
        """
        Args:
            spec: spec of the run.
            dataset: data set whose training images are used.
            device: the device to compute on.
            weights: the file of the spec's `pretrained` weights.

        Raises:
            RbdmlError: the backbone does not accept these images, the device has no such precision, or the data cannot
                fill a batch.
        """
        for precision in (spec.training.precision, spec.training.weight_precision):
            check_precision(precision, device)
        self.spec = spec
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            keep_freed_memory()
        self.data, self.hashes = with_prefetch(dataset.train.to(device)), dict(dataset.hashes)
        self.model = build_embedder(
            check_fit(spec.backbone, dataset.image_shape, dataset.name),
            seed=spec.seed,
            device=device,
            weights=weights,
            precision=spec.training.precision,
        )
        self.model.frozen_batchnorm = spec.training.batchnorm == "frozen"
        self.defense = build_defense(spec.defense, spec.params, spec.training.threat)
        self._benign = build_defense("regular", {"sampler": "M"}, spec.training.threat)
        self.criterion = self.defense.criterion = self._criterion(dataset)
        self.optimizer = torch.optim.Adam(
            self._groups(), lr=spec.training.lr, weight_decay=spec.training.weight_decay, fused=True
        )
        self.pairs = PairSampler(dataset.train.labels, pairs=spec.training.pairs, seed=spec.seed)
        self.spent = ComputeUsed()
        self.loss = math.nan if self.defense.trains else 0.0  # loss of the last iteration
        self._costliest = 0.0
        self._stepping = False
        self.collapse = CollapseMonitor(self.model)
        self.logged: Logged = {}  # values logged by `perturb` and `loss` in the last iteration
        self.micro_batch: int | None = None  # images propagated at once; None: all
        self.observer = Observer()

    def _criterion(self, dataset: Dataset) -> Criterion | None:
        """Make the run's loss; None is the triplet loss."""
        loss = self.spec.training.loss
        if loss is None:
            return None
        with torch.no_grad():  # one image, before the meter counts
            dimension = self.model.eval()(torch.zeros(1, *dataset.image_shape, device=self.device)).shape[1]
        return Criterion(loss, dataset.train.labels, dimension=dimension, seed=self.spec.seed).to(self.device)

    def _groups(self) -> list[dict[str, Any]]:
        """Group the trained weights: those of the network, and the proxies of the loss with their learning rate."""
        groups: list[dict[str, Any]] = [{"params": list(self.model.parameters())}]
        if self.criterion is not None and (proxies := list(self.criterion.parameters())):
            assert self.spec.training.loss is not None
            groups.append({"params": proxies, "lr": self.spec.training.loss.lr})
        return groups

    @property
    def _learned(self) -> list[torch.Tensor]:
        """All trained weights, in the order of the optimizer."""
        return [weights for group in self.optimizer.param_groups for weights in group["params"]]

    def run(
        self,
        *,
        progress: Progress,
        checkpoint: Path | None = None,
        checkpoint_every: float = 300,
        interrupts: Interrupts | None = None,
    ) -> None:
        """Train at least one iteration, and stop when the most expensive one would no longer fit the budget.

        A defense that trains nothing leaves the initial weights as they are.

        Args:
            progress: shows a bar.
            checkpoint: file of the training state (see `resume`), read if it exists. It is written every
                `checkpoint_every` seconds, at the end and on an interrupt.
            checkpoint_every: seconds. Writing does not count towards the budget.
            interrupts: source of interrupts, checked after each iteration; by default Ctrl-C and SIGTERM.

        Raises:
            RbdmlError: the loss is not finite, the checkpoint is unreadable, or the memory does not suffice.
        """
        if not self.defense.trains:
            return
        if checkpoint is not None:
            load_newest(checkpoint, self.load, progress.say)
        budget, written = self.spec.budget, time.monotonic()
        with (
            enough_memory(REMEDY),
            self.model.in_micro_batches(self.micro_batch),
            shared(self.model),
            PropagationMeter(self.model.backbone, start=self.spent if distributed.is_leader() else None) as meter,
            progress.bar(budget.amount, f"train {self.spec.defense}", UNITS[budget.kind]) as bar,
            deferred_interrupts(interrupts) as pending,
            reproducible(self.device),
            products_in("fp32"),
            self.observer.watching(self),
        ):
            bar.advance_to(self.spent.of(budget))
            while not self._finished():
                self._iterate_or_undo(meter, checkpoint)
                self.observer.iterated(self)
                bar.advance_to(self.spent.of(budget), loss=self.loss, passes=self.spent.passes)
                try:
                    distributed.check_on_all(pending.check)
                except KeyboardInterrupt:
                    self._keep(checkpoint)
                    raise
                if time.monotonic() - written > checkpoint_every:
                    self._keep(checkpoint)
                    written = time.monotonic()
            self._keep(checkpoint)
            pending.check()  # an interrupt may have come while writing

    def _finished(self) -> bool:
        if self.spec.training.on_collapse == "stop" and self.collapse.confirmed:
            return True
        budget = self.spec.budget
        return self.spent.iterations > 0 and self.spent.of(budget) + self._costliest > budget.amount

    def _keep(self, checkpoint: Path | None) -> None:
        if not all(bool(weights.isfinite().all()) for weights in self._learned):
            raise DivergedError(
                f"training diverged: the weights of '{self.spec.defense}' are not finite after iteration "
                f"{self.spent.iterations - 1}: lower --lr (now {self.spec.training.lr:g}) or look at the defense"
            )
        if checkpoint is not None and distributed.is_leader():
            save_newest(checkpoint, self.save)
            self.observer.kept(self)

    @property
    def end(self) -> TrainingEnd:
        """The end of training, for the record."""
        return TrainingEnd(
            last_loss=self.loss,
            collapsed_at=self.collapse.since,
            collapse_cause=self.collapse.cause,
            stopped=self.spec.training.on_collapse == "stop" and self.collapse.confirmed,
            device=device_name(self.device),
        )

    @property
    def trained(self) -> Checkpoint:
        """The model with its run and the proxies of its loss."""
        return Checkpoint(self.model, self.spec, self.spent, self.end, self._proxies)

    @property
    def _proxies(self) -> dict[str, torch.Tensor]:
        """The learned tensors of the loss by name; empty for a loss without any."""
        return {} if self.criterion is None else self.criterion.state_dict()

    def _iterate_or_undo(self, meter: PropagationMeter, checkpoint: Path | None) -> None:
        """Do an iteration. If the memory lacks, or another process is lost, keep the state before it."""
        before, loss = Rollback(self.defense, self.model), self.loss
        try:
            self._iterate(meter)
        except (MemoryError, RuntimeError) as error:
            if self.spent.iterations > 0 and not self._stepping:
                before.undo(error)
                self.loss = loss
                self._keep(checkpoint)
            raise

    def _iterate(self, meter: PropagationMeter) -> None:
        self._stepping = False
        start, before = time.perf_counter(), self.spent.of(self.spec.budget)
        batch, defense = self.batch(self.spent.iterations), self._current
        torch.manual_seed(seed_of(self.spec.seed, "dropout", self.spent.iterations))
        precision = self.spec.training.precision
        self.model.eval()
        with torch.no_grad(), self.model.in_precision(precision), weights_unchanged(self.device), collecting() as first:
            perturbed = defense.perturb(self.model, batch)
        _check_hook(self.spec.defense, "perturb", perturbed, isinstance(perturbed, Perturbed), "a Perturbed")
        self.model.train()
        self.collapse.begin()
        with self.model.in_precision(self.spec.training.weight_precision or precision), collecting() as second:
            loss = defense.loss(self.model, batch, perturbed)
            single = isinstance(loss, torch.Tensor) and loss.dim() == 0 and loss.requires_grad
            _check_hook(self.spec.defense, "loss", loss, single, "a tensor of one number with a gradient")
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
        self.logged = {**first, **second}
        average_gradients(self._learned)
        self.loss = loss.item()
        if not math.isfinite(self.loss):
            raise DivergedError(
                f"training diverged: the loss of '{self.spec.defense}' is {self.loss} at iteration "
                f"{self.spent.iterations}: lower --lr (now {self.spec.training.lr:g}) or look at the defense"
            )
        self._stepping = True  # from here on the iteration cannot be undone
        self.optimizer.step()
        used = ComputeUsed(
            forward_only=meter.forward_only,
            to_input=meter.to_input,
            to_weights=meter.to_weights,
            seconds=self.spent.seconds + time.perf_counter() - start,
            iterations=self.spent.iterations + 1,
        )
        self.spent = spent_together(used, loss=self.loss, chosen=perturbed.triplets.rows)
        self._costliest = max(self._costliest, self.spent.of(self.spec.budget) - before)
        of_triplets = self.criterion is None or defense is not self.defense
        self.collapse.check(self.spent.iterations - 1, self.loss if of_triplets else math.nan)  # not charged

    @property
    def _current(self) -> Defense:
        """The defense that trains now: during the warm-up, `regular`.

        Softhard triplets collapse a network that starts from random weights: their negative is nearer than their
        positive, so the loss falls by contraction. The warm-up stands for the pretrained weights of other data sets.
        """
        return self._benign if self._share < self.spec.training.warmup else self.defense

    @property
    def _share(self) -> float:
        """The share of the budget that is spent."""
        return self.spent.of(self.spec.budget) / self.spec.budget.amount

    def batch(self, iteration: int) -> Batch:
        """Return the batch of this iteration, on the device. Progress is that of the defense, without the warm-up."""
        warmup = self.spec.training.warmup
        batch = iteration // self.defense.replays
        indices = self.pairs.indices(batch).to(self.device)
        plain = self.spec.training.transform == "none"
        rng = generator(self.spec.seed, "augmentation", batch)
        images = self.data.batch(indices) if plain else self.data.augmented(indices, rng)
        prefetch(self.data, self.pairs.indices((iteration + 1) // self.defense.replays))
        return Batch(
            images=images,
            labels=self.data.labels[indices],
            indices=indices,
            rng=generator(self.spec.seed, "triplets", iteration),
            progress=min(1.0, max(0.0, self._share - warmup) / (1 - warmup)),
        )

    def save(self, path: Path) -> None:
        """Write the training state atomically."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in values.items()}
        tensors |= {f"defense.{name}": tensor for name, tensor in self.defense.state().items()}
        tensors |= {f"loss.{name}": tensor for name, tensor in self._proxies.items()}
        state = {
            "spec": self.spec.model_dump_json(),
            "spent": self.spent.model_dump_json(),
            "collapse": self.collapse.state(),
            "source": defense_source(DEFENSES.get(self.spec.defense)),
            "data": json.dumps(self.hashes, sort_keys=True),
            "progress": json.dumps({"costliest": self._costliest, "loss": self.loss}),
        }
        write_tensors(path, tensors, {**state, "checksum": content_hash(tensors, state)})

    def load(self, path: Path) -> None:
        """Restore a state written by `save`.

        Raises:
            RbdmlError: the file is unreadable or of another run.
        """
        tensors, state = read_tensors(path)
        if state.pop("checksum", None) != content_hash(tensors, state):
            raise RbdmlError(f"{path}: its content is not what was written: remove it to begin anew")
        try:
            self._restore(tensors, state)
        except (KeyError, ValueError, RuntimeError) as error:
            raise RbdmlError(
                f"{path}: not a state of this training ({reason(error, 80)}): remove it to begin anew"
            ) from None

    def _restore(self, tensors: dict[str, torch.Tensor], state: dict[str, str]) -> None:
        if RunSpec.model_validate_json(state["spec"]).digest != self.spec.digest:
            raise ValueError("a checkpoint of another run")
        if state["source"] != defense_source(DEFENSES.get(self.spec.defense)):
            raise ValueError("the source of the defense has changed")
        if state["data"] != json.dumps(self.hashes, sort_keys=True):
            raise ValueError("the data has changed")
        self.model.load_state_dict(_under("model", tensors))
        if self.criterion is not None:
            self.criterion.load_state_dict(_under("loss", tensors))
        saved = self.optimizer.state_dict()
        moments = _under("optimizer", tensors)
        saved["state"] = {
            index: {name: _laid_out_as(weights, value) for name, value in _under(str(index), moments).items()}
            for index, weights in enumerate(self._learned)
        }
        self.optimizer.load_state_dict(saved)
        self.spent = ComputeUsed.model_validate_json(state["spent"])
        kept = _under("defense", tensors)
        self.defense.load_state({name: tensor.to(self.device) for name, tensor in kept.items()})
        self.collapse.load_state(state["collapse"])
        progress = json.loads(state["progress"])
        self._costliest, self.loss = progress["costliest"], progress["loss"]


def _check_hook(defense: str, hook: str, got: object, fits: bool, wanted: str) -> None:
    if not fits:
        shown = f"shape {tuple(got.shape)}" if isinstance(got, torch.Tensor) else f"a {type(got).__name__}"
        raise RbdmlError(f"defense '{defense}': {hook} gives {shown}: let it return {wanted}")


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def _laid_out_as(weights: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Copy a moment to the memory layout of its weights. Files are row-major, which makes every step slower."""
    return torch.empty_like(weights, dtype=value.dtype).copy_(value) if value.shape == weights.shape else value


class Observer:
    """Observes a training without changing it. This one does nothing."""

    def watching(self, trainer: Trainer) -> AbstractContextManager[None]:
        """Return a context for the training. It is entered after a checkpoint is restored."""
        return nullcontext()

    def iterated(self, trainer: Trainer) -> None:
        """Observe an iteration. `trainer.logged` holds the values that it logged."""

    def kept(self, trainer: Trainer) -> None:
        """Observe a written checkpoint."""
