"""Training of networks with dropout and batch-norm, on transformed images, in another precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from robustbench_dml.datasets.base import Dataset, Split
from robustbench_dml.models.checkpoints import weights_hash
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.registry import BACKBONES, BackboneInfo
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.interrupts import Interrupts
from robustbench_dml.utils.progress import Progress

CPU, QUIET, NAME = torch.device("cpu"), Progress(quiet=True), "test-modern"


def modern() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 8),
    )


@pytest.fixture(scope="module", autouse=True)
def backbone() -> Iterator[None]:
    BACKBONES.get("c2f2")
    BACKBONES.add(
        BackboneInfo(
            name=NAME, summary="", paper="", build=modern, channels=3, side=None, mean=(0.5,) * 3, std=(1.0,) * 3
        )
    )
    yield
    del BACKBONES._entries[NAME]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """60 random colour images of 3 classes, seen through crops."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    means = torch.rand(3, 3, 1, 1, generator=rng)[labels]
    images = (127 * (means + torch.rand(60, 3, 12, 12, generator=rng))).to(torch.uint8)
    split = Split(images, labels, crop=9)
    return Dataset("crops", split, split, {})


def spec(**training: object) -> RunSpec:
    made = make_spec(
        defense="hm-lga-ics",
        dataset="cub",
        budget="900",
        pretrained=False,
        training={"pairs": 6, "eta": 3, "lr": 1e-3, **training},
    )
    return made.model_copy(update={"backbone": NAME})


def trained(spec: RunSpec, dataset: Dataset, checkpoint: Path | None = None, *, stop: int | None = None) -> Trainer:
    trainer = Trainer(spec, dataset, device=CPU)

    class Cut(Interrupts):
        def check(self) -> None:
            if trainer.spent.iterations == stop:
                raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        trainer.run(progress=QUIET, checkpoint=checkpoint, interrupts=Cut())
    return trainer


def test_dropout_and_running_statistics_survive_an_interruption(tmp_path: Path, dataset: Dataset) -> None:
    whole = trained(spec(), dataset)
    assert whole.spent.iterations > 4
    trained(spec(), dataset, tmp_path / "state", stop=2)
    torch.rand(7)  # what else draws from the global generator does not matter
    resumed = trained(spec(), dataset, tmp_path / "state")
    assert weights_hash(resumed.model) == weights_hash(whole.model)


def test_training_leaves_the_callers_generator_alone(dataset: Dataset) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(spec(), dataset)
    assert torch.equal(torch.rand(3), expected)


def test_dropout_is_drawn_anew_in_every_iteration(dataset: Dataset) -> None:
    trainer = Trainer(spec(), dataset, device=CPU)
    seen: list[torch.Tensor] = []
    trainer.model.backbone[3].register_forward_hook(  # type: ignore[index]
        lambda module, _, out: seen.append(out[0] == 0) if module.training else None
    )
    trainer.run(progress=QUIET)
    assert len(seen) >= 4
    assert not torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("batchnorm", ["frozen", "train"])
def test_batchnorm_learns_statistics_only_if_trained(dataset: Dataset, batchnorm: str) -> None:
    trainer = trained(spec(batchnorm=batchnorm), dataset)
    mean = trainer.model.backbone[1].running_mean  # type: ignore[index]
    assert bool((mean == 0).all()) == (batchnorm == "frozen")


def test_a_batch_is_transformed_by_the_spec_and_the_seed_alone(dataset: Dataset) -> None:
    moved, plain = Trainer(spec(), dataset, device=CPU), Trainer(spec(transform="none"), dataset, device=CPU)
    for iteration in (0, 3):
        first, second = moved.batch(iteration), moved.batch(iteration)
        assert first.images.shape[2:] == (9, 9)
        assert torch.equal(first.images, second.images)
        assert torch.equal(plain.batch(iteration).images, dataset.train.batch(first.indices))
        assert not torch.equal(first.images, plain.batch(iteration).images)
    other = Trainer(spec().model_copy(update={"seed": 1}), dataset, device=CPU)
    assert not torch.equal(other.batch(0).images, moved.batch(0).images)


def test_replayed_batches_are_the_same_images(dataset: Dataset) -> None:
    made = make_spec(defense="hm-free", dataset="cub", budget="900", pretrained=False, training={"pairs": 6, "eta": 3})
    trainer = Trainer(made.model_copy(update={"backbone": NAME}), dataset, device=CPU)
    assert trainer.defense.replays > 1
    assert torch.equal(trainer.batch(0).images, trainer.batch(trainer.defense.replays - 1).images)
    assert not torch.equal(trainer.batch(0).images, trainer.batch(trainer.defense.replays).images)


def test_a_dataset_is_evaluated_at_the_centre(dataset: Dataset) -> None:
    rows = torch.tensor([3, 1])
    images = dataset.test.images[rows][:, :, 1:10, 1:10]
    assert torch.equal(dataset.test.batch(rows), images.float() / 255)


def test_bfloat16_is_used_in_training_and_nowhere_after(dataset: Dataset) -> None:
    trainer = Trainer(spec(precision="bf16"), dataset, device=CPU)
    seen: set[torch.dtype] = set()
    hook = trainer.model.backbone[0].register_forward_hook(  # type: ignore[index]
        lambda _, __, out: seen.add(out.dtype)
    )
    trainer.run(progress=QUIET)
    assert seen == {torch.bfloat16}
    hook.remove()
    embeddings = trainer.model.eval()(dataset.test.batch(torch.arange(5)))
    assert embeddings.dtype == torch.float32
    assert all(value.dtype != torch.bfloat16 for value in trainer.model.state_dict().values())


@pytest.mark.parametrize(("steps", "weights"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_the_weight_step_can_have_a_precision_of_its_own(dataset: Dataset, steps: str, weights: str) -> None:
    trainer = Trainer(spec(precision=steps, weight_precision=weights), dataset, device=CPU)
    seen: set[tuple[bool, torch.dtype]] = set()
    trainer.model.backbone[0].register_forward_hook(  # type: ignore[index]
        lambda module, _, out: seen.add((module.training, out.dtype))
    )
    trainer.run(progress=QUIET)
    types = {"bf16": torch.bfloat16, "fp32": torch.float32}
    assert seen == {(False, types[steps]), (True, types[weights])}


def test_weights_cast_once_are_cast_anew_when_they_have_changed(dataset: Dataset) -> None:
    """Casts kept by PGD end with it: a run equals a run that casts in every forward."""
    kept = trained(spec(precision="bf16"), dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robustbench_dml.training.trainer.weights_unchanged", lambda _: contextlib.nullcontext())
        plain = trained(spec(precision="bf16"), dataset)
    assert weights_hash(kept.model) == weights_hash(plain.model)


def test_a_resumed_solver_is_laid_out_as_its_weights(dataset: Dataset, tmp_path: Path) -> None:
    trained(spec(), dataset, tmp_path / "state", stop=2)
    resumed = trained(spec(), dataset, tmp_path / "state", stop=3)
    for weights, state in resumed.optimizer.state.items():
        assert state["exp_avg"].stride() == state["exp_avg_sq"].stride() == weights.stride()


def test_bfloat16_learns_about_the_same(dataset: Dataset) -> None:
    """The embeddings of both stay near each other after a few steps, and are not equal."""
    made = spec(transform="none", batchnorm="frozen").model_copy(
        update={"defense": "regular", "params": {"sampler": "R"}}
    )
    half = made.model_copy(update={"training": made.training.model_copy(update={"precision": "bf16"})})
    images = dataset.test.batch(torch.arange(20))
    full, coarse = (trained(each, dataset).model.eval()(images).detach() for each in (made, half))
    assert 0 < float((full - coarse).norm(dim=1).max()) < 0.1


def test_precision_is_part_of_the_run(dataset: Dataset) -> None:
    assert spec().digest != spec(precision="bf16").digest
    assert replace(dataset, name="x").image_shape == (3, 9, 9)
