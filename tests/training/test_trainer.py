from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustbench_dml.datasets.base import Dataset
from robustbench_dml.models.checkpoints import Checkpoint, load_checkpoint, save_checkpoint, weights_hash
from robustbench_dml.models.embedder import build_embedder
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.registry import BACKBONES
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.training.batches import Batch
from robustbench_dml.training.defense import Perturbed
from robustbench_dml.training.resume import resume_files
from robustbench_dml.training.testing import small_dataset, small_spec
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.errors import DivergedError, RbdmlError
from robustbench_dml.utils.interrupts import Interrupts
from robustbench_dml.utils.progress import Progress
from robustbench_dml.utils.tensors import content_hash, read_tensors, write_tensors

CPU = torch.device("cpu")
QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return small_dataset()


def spec(defense: str = "hm-lga-ics", budget: str = "2k", **training: float) -> RunSpec:
    return make_spec(defense=defense, dataset="glyphs-mini", budget=budget, training={"pairs": 8, "eta": 3, **training})


SEMIHARD = make_spec(
    defense="regular",
    dataset="glyphs-mini",
    budget="4it",
    params={"sampler": "M"},
    training={"pairs": 8, "eta": 3, "warmup": 0},
)


def trained(spec: RunSpec, dataset: Dataset) -> Trainer:
    trainer = Trainer(spec, dataset, device=CPU)
    trainer.run(progress=QUIET)
    return trainer


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return trainer.model.state_dict()


@pytest.mark.parametrize("defense", ["regular", "hm-lga-ics"])
def test_training_stops_within_one_iteration_of_the_budget(defense: str, dataset: Dataset) -> None:
    trainer = Trainer(spec(defense), dataset, device=CPU)
    spent: list[float] = [0.0]
    iterate = trainer._iterate

    def watched(meter: object) -> None:
        iterate(meter)  # type: ignore[arg-type]
        spent.append(trainer.spent.passes)

    trainer._iterate = watched  # type: ignore[method-assign]
    trainer.run(progress=QUIET)
    costliest = max(after - before for before, after in itertools.pairwise(spent))
    assert trainer.spent.passes <= 2000 < trainer.spent.passes + costliest
    assert trainer.spent.iterations == len(spent) - 1 > 5


def test_a_budget_below_one_iteration_still_gives_one(dataset: Dataset) -> None:
    assert trained(spec("regular", "1"), dataset).spent.iterations == 1


@pytest.mark.parametrize("defense", ["regular", "act", "hm-lga-ics"])
def test_a_budget_in_iterations_is_kept_to_the_last_one(defense: str, dataset: Dataset) -> None:
    trainer = trained(spec(defense, "7it"), dataset)
    assert trainer.spent.iterations == 7
    assert trainer.batch(7).progress == 1


def test_the_warmup_is_regular_training_with_semihard_triplets(dataset: Dataset) -> None:
    """After the warm-up the weights are those of `regular`; then the defense begins, at no progress of its own."""
    trainer, benign = Trainer(spec("act", "8it", warmup=0.5), dataset, device=CPU), trained(SEMIHARD, dataset)
    perturb, seen = trainer.defense.perturb, []

    def watched(model: torch.nn.Module, batch: Batch) -> Perturbed:
        seen.append((weights_hash(trainer.model), batch.progress, trainer.spent.iterations))
        return perturb(model, batch)

    trainer.defense.perturb = watched
    trainer.run(progress=QUIET)
    assert seen[0] == (weights_hash(benign.model), 0.0, 4)
    assert [progress for _, progress, _ in seen] == [0, 0.25, 0.5, 0.75]


def test_a_warmup_belongs_to_the_spec_and_its_absence_to_older_ones(dataset: Dataset) -> None:
    assert "warmup" not in spec(warmup=0).model_dump_json()
    assert spec(warmup=0.5).digest != spec(warmup=0).digest
    with pytest.raises(RbdmlError, match="warmup = 1: input should be less than 1"):
        spec(warmup=1)


def test_a_budget_in_seconds_is_kept(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which an iteration takes 3 s, and a look at it between iterations none."""
    ticks = itertools.count()
    monkeypatch.setattr("robustbench_dml.training.trainer.time.perf_counter", lambda: 3.0 * ((next(ticks) + 1) // 2))
    trainer = trained(spec("regular", "20s"), dataset)
    assert (trainer.spent.iterations, trainer.spent.seconds) == (6, 18.0)


def test_training_lowers_the_loss(dataset: Dataset) -> None:
    short, long = trained(spec("regular", "16"), dataset), trained(spec("regular", "1k"), dataset)
    assert long.loss < short.loss / 2


def test_the_same_seed_gives_the_same_weights_and_another_one_others(dataset: Dataset) -> None:
    first, second = (trained(spec(budget="1k"), dataset) for _ in range(2))
    assert weights_hash(first.model) == weights_hash(second.model)
    other = trained(spec(budget="1k").model_copy(update={"seed": 1}), dataset)
    assert weights_hash(first.model) != weights_hash(other.model)


def test_threads_do_not_decide_the_order_of_sums(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Atomic additions would: a negative taken by two triplets gets the sum of two gradients."""
    trainer, seen = Trainer(spec("regular", "16"), dataset, device=CPU), []
    loss = trainer.defense.loss

    def watched(*arguments: Any) -> Tensor:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return loss(*arguments)

    monkeypatch.setattr(trainer.defense, "loss", watched)
    trainer.run(progress=QUIET)
    assert seen and all(seen)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("defense", ["regular", "hm-lga-ics"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    defense: str, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(spec(defense), dataset)
    cut = Trainer(spec(defense), dataset, device=CPU)
    with monkeypatch.context() as patch:

        def stop_after_four(_: Interrupts) -> None:
            if cut.spent.iterations == 4:
                raise KeyboardInterrupt

        patch.setattr(Interrupts, "check", stop_after_four)
        with pytest.raises(KeyboardInterrupt):
            cut.run(progress=QUIET, checkpoint=tmp_path / "state.safetensors")
    assert cut.spent.iterations == 4
    resumed = Trainer(spec(defense), dataset, device=CPU)
    resumed.run(progress=QUIET, checkpoint=tmp_path / "state.safetensors")
    assert weights_hash(resumed.model) == weights_hash(whole.model)
    assert resumed.spent.model_copy(update={"seconds": 0.0}) == whole.spent.model_copy(update={"seconds": 0.0})
    assert resumed.loss == whole.loss


def test_a_damaged_state_is_reported_and_the_previous_one_leads_to_the_same_weights(
    dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    whole = Trainer(spec(), dataset, device=CPU)
    whole.run(progress=QUIET, checkpoint=path, checkpoint_every=0)
    newest, before = resume_files(path)
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1  # one bit of one weight
    newest.write_bytes(content)
    with pytest.raises(RbdmlError, match="its content is not what was written"):
        Trainer(spec(), dataset, device=CPU).load(newest)
    said: list[str] = []
    progress = Progress(quiet=True)
    resumed = Trainer(spec(), dataset, device=CPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "say", lambda _, text: said.append(text))
        resumed.run(progress=progress, checkpoint=path)
    assert weights_hash(resumed.model) == weights_hash(whole.model)
    assert len(said) == 1 and "going on from the one before it" in said[0]
    assert before.exists()


def test_every_flipped_bit_of_a_state_is_detected(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    trainer = trained(small_spec("hm-lga-ics"), dataset)
    trainer.save(path)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    rng = random.Random(0)
    places = [rng.randrange(8 * header) for _ in range(200)] + [rng.randrange(8 * len(content)) for _ in range(50)]
    for place in places:
        rotten = bytearray(content)
        rotten[place // 8] ^= 1 << place % 8
        path.write_bytes(rotten)
        with pytest.raises(RbdmlError, match="remove it"):
            trainer.load(path)
    path.write_bytes(content)
    trainer.load(path)


def test_a_checkpoint_of_another_run_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    trained(spec(budget="100"), dataset).save(path)
    with pytest.raises(RbdmlError, match="another run"):
        Trainer(spec(budget="200"), dataset, device=CPU).run(progress=QUIET, checkpoint=path)


def test_a_damaged_state_is_refused_by_name(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    trainer = trained(spec(budget="100"), dataset)
    trainer.save(path)
    tensors, state = read_tensors(path)
    del state["checksum"]
    damaged: list[tuple[dict[str, Tensor], dict[str, str]]] = [
        (tensors, {}),
        (trainer.model.state_dict(), state),
        (tensors, {**state, "spent": "{"}),
        ({name: tensor[:1] if tensor.dim() else tensor for name, tensor in tensors.items()}, state),
    ]
    for tensors, state in damaged:
        write_tensors(path, tensors, {**state, "checksum": content_hash(tensors, state)})
        with pytest.raises(RbdmlError, match=r"state.safetensors: not a state of this training .*: remove it"):
            Trainer(spec(budget="100"), dataset, device=CPU).load(path)


def test_a_loss_that_is_not_finite_stops_training(dataset: Dataset) -> None:
    with pytest.raises(DivergedError, match=r"loss of 'regular' is nan at iteration 1: lower --lr"):
        trained(spec("regular", lr=1e20), dataset)


def test_weights_that_are_not_finite_stop_training(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the last iteration there is no next loss to notice it."""
    trainer = Trainer(spec("regular", "1"), dataset, device=CPU)

    @torch.no_grad()
    def step() -> None:
        next(trainer.model.parameters()).fill_(torch.nan)

    monkeypatch.setattr(trainer.optimizer, "step", step)
    with pytest.raises(DivergedError, match=r"weights of 'regular' are not finite after iteration 0: lower --lr"):
        trainer.run(progress=QUIET)


def test_every_setting_of_the_solver_counts(dataset: Dataset) -> None:
    settings: list[dict[str, float]] = [{}, {"weight_decay": 0.1}, {"lr": 2e-3}]
    assert len({weights_hash(trained(spec("regular", "64", **changes), dataset).model) for changes in settings}) == 3


def test_the_published_settings() -> None:
    """arXiv:2106.03614: eps 77/255, alpha 3/255, eta 32; 128 pairs; Adam, lr 1e-3, weight decay 1e-7."""
    full = make_spec(defense="regular", dataset="fashion", budget="paper")
    threat = {"norm": "linf", "eps": 77 / 255, "alpha": 3 / 255, "steps": 32}
    assert full.training.threat.model_dump() == full.evaluation.threat.model_dump() == threat
    assert (full.training.pairs, full.training.lr, full.training.weight_decay) == (128, 1e-3, 1e-7)
    assert full.budget.amount == 60_000 * 16 * 33


def test_triplets_are_drawn_anew_each_iteration(dataset: Dataset) -> None:
    trainer = Trainer(spec("regular"), dataset, device=CPU)
    draws = {tuple(torch.rand(4, generator=trainer.batch(iteration).rng).tolist()) for iteration in range(5)}
    assert len(draws) == 5


def test_batches_hold_the_images_of_their_indices(dataset: Dataset) -> None:
    batch = Trainer(spec(), dataset, device=CPU).batch(0)
    assert torch.equal(batch.images, dataset.train.images[batch.indices].float() / 255)
    assert torch.equal(batch.labels, dataset.train.labels[batch.indices])


def test_weights_depend_on_the_seed_and_not_on_the_global_generator() -> None:
    info = BACKBONES.get("c2f2")
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = build_embedder(info, seed=0, device=CPU)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    assert weights_hash(first) == weights_hash(build_embedder(info, seed=0, device=CPU))
    assert weights_hash(first) != weights_hash(build_embedder(info, seed=1, device=CPU))


def test_a_saved_model_comes_back_the_same(dataset: Dataset, tmp_path: Path) -> None:
    trainer = trained(spec(budget="100"), dataset)
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, Checkpoint(trainer.model, trainer.spec, trainer.spent, trainer.end))
    loaded = load_checkpoint(path, device=CPU)
    assert weights_hash(loaded.model) == weights_hash(trainer.model)
    assert (loaded.spec, loaded.spent, loaded.end) == (trainer.spec, trainer.spent, trainer.end)
    assert not loaded.model.training
    images = dataset.test.batch(torch.arange(4))
    assert torch.equal(loaded.model(images), trainer.model.eval()(images))
    assert set(read_tensors(path)[1]) == {"spec", "spent", "end"}


@pytest.mark.parametrize("params", [{"None": 1}, {"sampler": 1e-300}])
def test_a_checkpoint_with_parameters_that_its_defense_does_not_have_is_refused(
    params: dict[str, float], dataset: Dataset, tmp_path: Path
) -> None:
    trainer = trained(spec(budget="100"), dataset)
    path = tmp_path / "checkpoint.safetensors"
    told = trainer.spec.model_copy(update={"params": params})
    save_checkpoint(path, Checkpoint(trainer.model, told, trainer.spent, trainer.end))
    with pytest.raises(RbdmlError, match="parameter"):
        load_checkpoint(path, device=CPU).model  # noqa: B018 - making it is what is refused


def test_the_embedder_gives_unit_vectors_and_takes_bytes() -> None:
    model = build_embedder(BACKBONES.get("c2f2"), seed=0, device=CPU)
    images = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8)
    embeddings = model(images)
    assert embeddings.shape == (5, 512)
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(5), atol=1e-6)
    assert torch.equal(embeddings, model(images.float() / 255))
