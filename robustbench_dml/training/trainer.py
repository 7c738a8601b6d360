"""Training one defense under a metered budget."""

from __future__ import annotations

import json
import math
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from robustbench_dml.datasets.base import Dataset
from robustbench_dml.datasets.prefetch import prefetch, with_prefetch
from robustbench_dml.models.embedder import build_embedder, check_fit
from robustbench_dml.models.sharded import shared
from robustbench_dml.spec.budgets import UNITS
from robustbench_dml.spec.parameters import build_defense
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.spec.schema import ComputeUsed, RunSpec, TrainingEnd
from robustbench_dml.spec.source import defense_source
from robustbench_dml.training.batches import Batch, PairSampler
from robustbench_dml.training.collapse import CollapseMonitor
from robustbench_dml.training.meter import PropagationMeter
from robustbench_dml.training.metrics import Logged, collecting
from robustbench_dml.training.resume import keep, take_up
from robustbench_dml.training.sync import average_gradients, spent_together
from robustbench_dml.utils import distributed
from robustbench_dml.utils.errors import DivergedError, RbdmlError, reason
from robustbench_dml.utils.interrupts import Interrupts, deferred_interrupts
from robustbench_dml.utils.memory import keep_freed_memory
from robustbench_dml.utils.precision import weights_unchanged
from robustbench_dml.utils.progress import Progress
from robustbench_dml.utils.provenance import device_name
from robustbench_dml.utils.randomness import generator, reproducible, seed_of
from robustbench_dml.utils.tensors import content_hash, read_tensors, write_tensors


class Trainer:
    """Runs iterations until the budget is spent.

    Every random choice is a function of the seed and the iteration, so the state that a checkpoint must hold is
    the weights, the solver, the defense's own state and what has been spent. Several processes share the
    propagations and know the same of everything else; the leading one writes.
    """

    def __init__(self, spec: RunSpec, dataset: Dataset, *, device: torch.device, weights: Path | None = None) -> None:
        """
        Args:
            spec: of the run.
            dataset: its training images are used.
            device: where to compute.
            weights: the file that the spec's `pretrained` stands for.

        Raises:
            RbdmlError: the backbone does not take these images, or the data cannot fill a batch.
        """
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
        )
        self.model.frozen_batchnorm = spec.training.batchnorm == "frozen"
        self.defense = build_defense(spec.defense, spec.params, spec.training.threat)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=spec.training.lr, weight_decay=spec.training.weight_decay, fused=True
        )
        self.pairs = PairSampler(dataset.train.labels, pairs=spec.training.pairs, seed=spec.seed)
        self.spent = ComputeUsed()
        self.loss = math.nan  # of the last iteration
        self._costliest = 0.0
        self.collapse = CollapseMonitor(self.model)
        self.logged: Logged = {}  # by `perturb` and `loss` of the last iteration
        self.observer = Observer()  # is told how it goes

    def run(
        self,
        *,
        progress: Progress,
        checkpoint: Path | None = None,
        checkpoint_every: float = 300,
        interrupts: Interrupts | None = None,
    ) -> None:
        """Train until the costliest iteration so far would no longer fit into the budget, at least once.

        Args:
            progress: shows what is spent.
            checkpoint: where the state is kept every `checkpoint_every` seconds, at the end and on an interrupt, and
                the one before beside it; taken up from there if there is one (see `resume`).
            checkpoint_every: seconds. Writing is not charged to the budget.
            interrupts: what is asked after each iteration whether to stop; by default Ctrl-C and SIGTERM.

        Raises:
            RbdmlError: the loss is not finite, or the checkpoint is unreadable.
        """
        if checkpoint is not None:
            take_up(checkpoint, self.load, progress.say)
        budget, written = self.spec.budget, time.monotonic()
        with (
            shared(self.model),
            PropagationMeter(self.model.backbone, start=self.spent if distributed.is_leader() else None) as meter,
            progress.bar(budget.amount, f"train {self.spec.defense}", UNITS[budget.kind]) as bar,
            deferred_interrupts(interrupts) as pending,
            reproducible(self.device),
            self.observer.watching(self),
        ):
            bar.advance_to(self.spent.of(budget))
            while not self._finished():
                self._iterate(meter)
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
            pending.check()  # one that came meanwhile

    def _finished(self) -> bool:
        if self.spec.training.on_collapse == "stop" and self.collapse.confirmed:
            return True
        budget = self.spec.budget
        return self.spent.iterations > 0 and self.spent.of(budget) + self._costliest > budget.amount

    def _keep(self, checkpoint: Path | None) -> None:
        if not all(bool(parameter.isfinite().all()) for parameter in self.model.parameters()):
            raise DivergedError(
                f"training diverged: the weights of '{self.spec.defense}' are not finite after iteration "
                f"{self.spent.iterations - 1}: lower --lr (now {self.spec.training.lr:g}) or look at the defense"
            )
        if checkpoint is not None and distributed.is_leader():
            keep(checkpoint, self.save)
            self.observer.kept(self)

    @property
    def end(self) -> TrainingEnd:
        """How training ended."""
        return TrainingEnd(
            last_loss=self.loss,
            collapsed_at=self.collapse.since,
            collapse_cause=self.collapse.cause,
            stopped=self.spec.training.on_collapse == "stop" and self.collapse.confirmed,
            device=device_name(self.device),
        )

    def _iterate(self, meter: PropagationMeter) -> None:
        start, before = time.perf_counter(), self.spent.of(self.spec.budget)
        batch = self.batch(self.spent.iterations)
        torch.manual_seed(seed_of(self.spec.seed, "dropout", self.spent.iterations))
        precision = self.spec.training.precision
        self.model.eval()
        with torch.no_grad(), self.model.in_precision(precision), weights_unchanged(self.device), collecting() as first:
            perturbed = self.defense.perturb(self.model, batch)
        self.model.train()
        self.collapse.begin()
        with self.model.in_precision(self.spec.training.weight_precision or precision), collecting() as second:
            loss = self.defense.loss(self.model, batch, perturbed)
        self.logged = {**first, **second}
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.model)
        self.loss = loss.item()
        if not math.isfinite(self.loss):
            raise DivergedError(
                f"training diverged: the loss of '{self.spec.defense}' is {self.loss} at iteration "
                f"{self.spent.iterations}: lower --lr (now {self.spec.training.lr:g}) or look at the defense"
            )
        self.optimizer.step()
        own = ComputeUsed(
            forward_only=meter.forward_only,
            to_input=meter.to_input,
            to_weights=meter.to_weights,
            seconds=self.spent.seconds + time.perf_counter() - start,
            iterations=self.spent.iterations + 1,
        )
        self.spent = spent_together(own, loss=self.loss, chosen=perturbed.triplets.rows)
        self._costliest = max(self._costliest, self.spent.of(self.spec.budget) - before)
        self.collapse.look(self.spent.iterations - 1, self.loss)  # after the clock was read

    def batch(self, iteration: int) -> Batch:
        """The batch of this iteration, on the device."""
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
            progress=min(1.0, self.spent.of(self.spec.budget) / self.spec.budget.amount),
        )

    def save(self, path: Path) -> None:
        """Write the whole state, atomically."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in values.items()}
        tensors |= {f"defense.{name}": tensor for name, tensor in self.defense.state().items()}
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
        """Take up a state written by `save`.

        Raises:
            RbdmlError: it is unreadable or of another run.
        """
        tensors, state = read_tensors(path)
        if state.pop("checksum", None) != content_hash(tensors, state):
            raise RbdmlError(f"{path}: its content is not what was written: remove it to begin anew")
        try:
            self._take_up(tensors, state)
        except (KeyError, ValueError, RuntimeError) as error:
            raise RbdmlError(
                f"{path}: not a state of this training ({reason(error, 80)}): remove it to begin anew"
            ) from None

    def _take_up(self, tensors: dict[str, torch.Tensor], state: dict[str, str]) -> None:
        if RunSpec.model_validate_json(state["spec"]).digest != self.spec.digest:
            raise ValueError("a checkpoint of another run")
        if state["source"] != defense_source(DEFENSES.get(self.spec.defense)):
            raise ValueError("the source of the defense has changed")
        if state["data"] != json.dumps(self.hashes, sort_keys=True):
            raise ValueError("the data has changed")
        self.model.load_state_dict(_under("model", tensors))
        saved = self.optimizer.state_dict()
        moments = _under("optimizer", tensors)
        saved["state"] = {
            index: {name: _laid_out_as(weights, value) for name, value in _under(str(index), moments).items()}
            for index, weights in enumerate(self.model.parameters())
        }
        self.optimizer.load_state_dict(saved)
        self.spent = ComputeUsed.model_validate_json(state["spent"])
        remembered = _under("defense", tensors)
        self.defense.load_state({name: tensor.to(self.device) for name, tensor in remembered.items()})
        self.collapse.load_state(state["collapse"])
        progress = json.loads(state["progress"])
        self._costliest, self.loss = progress["costliest"], progress["loss"]


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def _laid_out_as(weights: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Files hold tensors row by row; a moment in another layout than its weights makes every step slower."""
    return torch.empty_like(weights, dtype=value.dtype).copy_(value) if value.shape == weights.shape else value


class Observer:
    """Is told how a training goes, and does nothing about it. It may look at everything and change nothing."""

    def watching(self, trainer: Trainer) -> AbstractContextManager[None]:
        """Entered before the first iteration of this process, once a checkpoint was taken up; left at the end."""
        return nullcontext()

    def iterated(self, trainer: Trainer) -> None:
        """After every iteration, once its time was charged. `trainer.logged` holds the values it logged."""

    def kept(self, trainer: Trainer) -> None:
        """After a checkpoint was written."""
