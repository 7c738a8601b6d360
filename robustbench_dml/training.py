"""Training one defense under a metered budget."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import torch

from robustbench_dml.budget import PropagationMeter, Spent
from robustbench_dml.checkpoints import read_tensors, write_tensors
from robustbench_dml.datasets.base import Dataset
from robustbench_dml.defense import build_defense
from robustbench_dml.embedder import build_embedder, check_fit
from robustbench_dml.errors import DivergedError, RbdmlError
from robustbench_dml.interrupts import deferred_interrupts
from robustbench_dml.progress import Progress
from robustbench_dml.protocol import RunSpec
from robustbench_dml.randomness import generator
from robustbench_dml.sampling import Batch, PairStream


class Trainer:
    """Runs iterations until the budget is spent.

    Every random choice is a function of the seed and the iteration, so the state that a checkpoint must hold is
    the weights, the optimiser, the defense's own state and what has been spent.
    """

    def __init__(self, spec: RunSpec, dataset: Dataset, *, device: torch.device) -> None:
        """
        Raises:
            RbdmlError: the backbone does not take these images, or the data cannot fill a batch.
        """
        self.spec = spec
        self.device = device
        self.data = dataset.train.to(device)
        self.model = build_embedder(
            check_fit(spec.backbone, dataset.image_shape, dataset.name), seed=spec.seed, device=device
        )
        self.defense = build_defense(spec.defense, spec.params, spec.training.threat)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=spec.training.lr, weight_decay=spec.training.weight_decay
        )
        self.pairs = PairStream(dataset.train.labels, pairs=spec.training.pairs, seed=spec.seed)
        self.spent = Spent()
        self.loss = math.nan  # of the last iteration
        self._costliest = 0.0

    def run(self, *, progress: Progress, checkpoint: Path | None = None, checkpoint_every: float = 300) -> None:
        """Train until the costliest iteration so far would no longer fit into the budget, at least once.

        Args:
            progress: shows what is spent.
            checkpoint: where the state is kept every `checkpoint_every` seconds, at the end and on an interrupt;
                taken up from there if the file exists.
            checkpoint_every: seconds. Writing is not charged to the budget.

        Raises:
            RbdmlError: the loss is not finite, or the checkpoint is unreadable.
        """
        if checkpoint is not None and checkpoint.exists():
            self.load(checkpoint)
        budget, written = self.spec.budget, time.monotonic()
        unit = "passes" if budget.kind == "passes" else "s"
        with (
            PropagationMeter(self.model.backbone, start=self.spent) as meter,
            progress.bar(budget.amount, f"train {self.spec.defense}", unit) as bar,
            deferred_interrupts() as interrupts,
        ):
            bar.advance_to(self.spent.of(budget))
            while self.spent.iterations == 0 or self.spent.of(budget) + self._costliest <= budget.amount:
                self._iterate(meter)
                bar.advance_to(self.spent.of(budget), loss=self.loss, passes=self.spent.passes)
                try:
                    interrupts.check()
                except KeyboardInterrupt:
                    self._keep(checkpoint)
                    raise
                if time.monotonic() - written > checkpoint_every:
                    self._keep(checkpoint)
                    written = time.monotonic()
            self._keep(checkpoint)

    def _keep(self, checkpoint: Path | None) -> None:
        if checkpoint is not None:
            self.save(checkpoint)

    def _iterate(self, meter: PropagationMeter) -> None:
        start, before = time.perf_counter(), self.spent.of(self.spec.budget)
        batch = self.batch(self.spent.iterations)
        self.model.eval()
        with torch.no_grad():
            perturbed = self.defense.perturb(self.model, batch)
        self.model.train()
        loss = self.defense.loss(self.model, batch, perturbed)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.loss = loss.item()
        if not math.isfinite(self.loss):
            raise DivergedError(
                f"training diverged: the loss of '{self.spec.defense}' is {self.loss} at iteration "
                f"{self.spent.iterations}: lower --lr (now {self.spec.training.lr:g}) or look at the defense"
            )
        self.optimizer.step()
        self.spent = Spent(
            forward_only=meter.forward_only,
            to_input=meter.to_input,
            to_weights=meter.to_weights,
            seconds=self.spent.seconds + time.perf_counter() - start,
            iterations=self.spent.iterations + 1,
        )
        self._costliest = max(self._costliest, self.spent.of(self.spec.budget) - before)

    def batch(self, iteration: int) -> Batch:
        """The batch of this iteration, on the device."""
        indices = self.pairs.indices(iteration).to(self.device)
        return Batch(
            images=self.data.batch(indices),
            labels=self.data.labels[indices],
            indices=indices,
            rng=generator(self.spec.seed, "triplets", iteration),
        )

    def save(self, path: Path) -> None:
        """Write the whole state, atomically."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in values.items()}
        state = {
            "spec": self.spec.model_dump_json(),
            "spent": self.spent.model_dump_json(),
            "defense": json.dumps(self.defense.state()),
            "progress": json.dumps({"costliest": self._costliest, "loss": self.loss}),
        }
        write_tensors(path, tensors, state)

    def load(self, path: Path) -> None:
        """Take up a state written by `save`.

        Raises:
            RbdmlError: it is unreadable or of another run.
        """
        tensors, state = read_tensors(path)
        if RunSpec.model_validate_json(state["spec"]).digest != self.spec.digest:
            raise RbdmlError(f"{path}: a checkpoint of another run: remove it or choose another --out")
        self.model.load_state_dict(_under("model", tensors))
        saved = self.optimizer.state_dict()
        moments = _under("optimizer", tensors)
        saved["state"] = {index: _under(str(index), moments) for index in range(len(list(self.model.parameters())))}
        self.optimizer.load_state_dict(saved)
        self.spent = Spent.model_validate_json(state["spent"])
        self.defense.load_state(json.loads(state["defense"]))
        progress = json.loads(state["progress"])
        self._costliest, self.loss = progress["costliest"], progress["loss"]


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}
