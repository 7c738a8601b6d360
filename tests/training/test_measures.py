"""Measures against loops over the embeddings that the loss made."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.training.batches import Batch
from robustbench_dml.training.defense import Defense, Perturbed
from robustbench_dml.training.log import measure
from robustbench_dml.training.losses import MARGIN
from robustbench_dml.training.metrics import log_value
from robustbench_dml.training.testing import small_dataset, small_spec
from robustbench_dml.training.trainer import Observer, Trainer
from robustbench_dml.utils.progress import Progress

ALWAYS = {"loss", "effective_rank", "mean_cosine", "passes", "forward_only", "to_input", "to_weights", "seconds"}
OF_TRIPLETS = ALWAYS | {"hardness_mean", "hardness_std"}


class Looking(Observer):
    """Measures after every iteration."""

    def __init__(self) -> None:
        self.found: list[dict[str, float]] = []
        self.iterations = 0

    def iterated(self, trainer: Trainer) -> None:
        self.found.append(measure(trainer))
        self.iterations += 1


def trainer_of(defense: str, **params: Any) -> Trainer:
    return Trainer(small_spec(defense, params=params), small_dataset(), device=torch.device("cpu"))


def watched(trainer: Trainer) -> list[dict[str, float]]:
    looking = Looking()
    trainer.observer = looking
    trainer.run(progress=Progress(quiet=True))
    return looking.found


def embeddings_of_losses(trainer: Trainer) -> list[list[Tensor]]:
    """Collect the network's outputs in every call of the loss while training runs."""
    found: list[list[Tensor]] = []
    loss = trainer.defense.loss

    def recorded(model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        found.append([])
        handle = model.register_forward_hook(lambda _, __, output: found[-1].append(output.detach()))
        try:
            return loss(model, batch, perturbed)
        finally:
            handle.remove()

    vars(trainer.defense)["loss"] = recorded
    return found


def hard(anchor: Tensor, positive: Tensor, negative: Tensor) -> float:
    return float(np.linalg.norm(anchor - positive) - np.linalg.norm(anchor - negative))


def test_hardness_and_arrivals_are_those_of_the_trained_triplets() -> None:
    """With a structure term, which is a second triplet loss."""
    trainer = trainer_of("hm-lga-ics", destination="0.1")
    embeddings = embeddings_of_losses(trainer)
    found = watched(trainer)
    assert len(found) == len(embeddings) >= 3
    for values, (moved, *_) in zip(found, embeddings, strict=True):
        loop = [hard(*triplet) for triplet in moved.unflatten(0, (-1, 3))]
        assert values["hardness_mean"] == pytest.approx(statistics.mean(loop), abs=1e-5)
        assert values["hardness_std"] == pytest.approx(statistics.pstdev(loop), abs=1e-5)
        assert values["at_destination"] == pytest.approx(sum(one >= 0.1 - 1e-5 for one in loop) / len(loop))
    assert any(0 < values["at_destination"] < 1 for values in found)


def test_a_gradual_destination_is_that_of_the_iteration() -> None:
    trainer = trainer_of("hm-s-lga")
    embeddings, levels = embeddings_of_losses(trainer), []
    perturb = trainer.defense.perturb

    def recorded(model: nn.Module, batch: Batch) -> Perturbed:
        levels.append(float(trainer.defense.state()["previous_loss"]))
        return perturb(model, batch)

    vars(trainer.defense)["perturb"] = recorded
    found = watched(trainer)
    for values, (moved, *_), previous in zip(found, embeddings, levels, strict=True):
        wanted = -MARGIN * min(MARGIN, previous) / MARGIN - 1e-5
        loop = [hard(*triplet) >= wanted for triplet in moved.unflatten(0, (-1, 3))]
        assert values["at_destination"] == pytest.approx(sum(loop) / len(loop))


def test_triplets_that_are_left_alone_are_where_they_should_be() -> None:
    """H_D = H_S: only rounding lies between the two."""
    assert {values["at_destination"] for values in watched(trainer_of("hm-s-s"))} == {1.0}


def test_rank_and_cosine_are_those_of_the_last_look() -> None:
    trainer = trainer_of("regular")
    embeddings = embeddings_of_losses(trainer)
    found = watched(trainer)
    assert len(found) > 5
    for step in (0, 5):
        x = torch.cat(embeddings[step]).double().numpy()
        energy = np.linalg.svd(x, compute_uv=False) ** 2
        share = energy[energy > 0] / energy.sum()
        rank = np.exp(-(share * np.log(share)).sum())
        cosines = [float(a @ b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]
        for values in found[step : step + 5]:
            assert values["effective_rank"] == pytest.approx(rank, rel=1e-5)
            assert values["mean_cosine"] == pytest.approx(np.mean(cosines), abs=1e-5)


TRAINED = (info for info in DEFENSES if info.cls.trains and info.cls.__module__.startswith("robustbench_dml."))
CLASSES = {info.cls: info.name for info in TRAINED}


@pytest.mark.parametrize("name", sorted(CLASSES.values()))
def test_every_defense_logs_the_hardness_of_its_triplets(name: str) -> None:
    trainer = trainer_of(name)
    has_destinations = hasattr(trainer.defense, "target")
    for values in watched(trainer):
        assert set(values) == OF_TRIPLETS | ({"at_destination"} if has_destinations else set())
    spent = trainer.spent
    assert [values[kind] for kind in ("forward_only", "to_input", "to_weights", "passes")] == [
        spent.forward_only,
        spent.to_input,
        spent.to_weights,
        spent.passes,
    ]
    assert (values["loss"], values["seconds"]) == (trainer.loss, spent.seconds)


class Plain(Defense):
    """Two hooks and a loss of its own."""

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        triplets, _ = self.mine(model, batch)
        return Perturbed(triplets)

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        anchor, positive, _ = model(batch.images)[perturbed.triplets.rows].unbind(1)
        return (anchor - positive).square().sum(1).mean()


class Telling(Plain):
    """Logs values of its own."""

    def loss(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Tensor:
        log_value("depth", torch.tensor([1, 2, 3, 6]))
        log_value("hardness", torch.tensor([0.1, 0.3]))
        log_value("destination", torch.tensor([0.2, 0.2]))
        return super().loss(model, batch, perturbed)


def test_two_hooks_are_enough() -> None:
    trainer = trainer_of("regular")
    trainer.defense = Plain(threat=trainer.spec.training.threat)
    assert all(set(values) == ALWAYS for values in watched(trainer))


def test_logged_values_are_measured() -> None:
    trainer = trainer_of("regular")
    trainer.defense = Telling(threat=trainer.spec.training.threat)
    values = watched(trainer)[-1]
    assert set(values) == OF_TRIPLETS | {"at_destination", "depth_mean", "depth_std"}
    assert (values["depth_mean"], values["at_destination"]) == (3.0, 0.5)
    assert values["depth_std"] == pytest.approx(statistics.pstdev([1, 2, 3, 6]))
