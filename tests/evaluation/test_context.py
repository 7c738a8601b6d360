from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from support import SMALL_IMAGE
from torch import Tensor, nn

from robustbench_dml.datasets.base import Split
from robustbench_dml.evaluation.attack import Attack, Draws, random_others
from robustbench_dml.evaluation.context import AttackContext, embed, make_context
from robustbench_dml.models.embedder import Embedder
from robustbench_dml.models.wrappers import InBfloat16
from robustbench_dml.retrieval.gallery import Block, Items
from robustbench_dml.spec.registry import ATTACKS
from robustbench_dml.spec.schema import Evaluation, SolverSpec, Threat
from robustbench_dml.utils.errors import RbdmlError

CPU = torch.device("cpu")
EVALUATION = Evaluation(protocol="ers", threat=Threat(eps=0.3, alpha=0.1, steps=3), queries=None, seed=4)
ROWS = torch.tensor([7, 2, 11])


def split() -> Split:
    rng = torch.Generator().manual_seed(0)
    return Split(torch.randint(0, 256, (20, *SMALL_IMAGE), dtype=torch.uint8, generator=rng), torch.arange(20) % 3)


def network(seed: int, dtype: torch.dtype = torch.float64) -> Embedder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Embedder(nn.Sequential(nn.Flatten(), nn.Linear(16, 6))).to(dtype)


def attack_context(
    evaluation: Evaluation = EVALUATION, *, seed: int = 0, surrogate: AttackContext | None = None
) -> AttackContext:
    return make_context(network(seed), split(), evaluation=evaluation, dataset="small", device=CPU, surrogate=surrogate)


@dataclass(kw_only=True)
class Towards(Attack):
    """Minimises the distance to a random item and keeps its arguments."""

    def __post_init__(self) -> None:
        self.seen: list[Block] = []

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        return random_others(items, draws, width=2)

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        self.seen.append(block)
        return block.distance_to_targets(embeddings).sum(1)

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {"T": block.distance_to_targets(embeddings).sum(1)}


def test_the_gallery_is_the_whole_split_in_eval_mode() -> None:
    context = attack_context()
    assert not context.model.training
    expected = network(0).eval()(split().batch(torch.arange(20)).double())
    assert torch.allclose(context.gallery.embeddings, expected, atol=1e-12)
    assert torch.equal(context.gallery.labels, split().labels)


def test_targets_depend_on_the_seed_the_attack_and_the_image_alone() -> None:
    context, attack = attack_context(), Towards()
    whole = context.block(attack, "towards", Items(context.gallery, ROWS)).targets
    for place in range(3):
        alone = context.block(attack, "towards", Items(context.gallery, ROWS[place : place + 1])).targets
        assert torch.equal(alone[0], whole[place])
    for other, name in ((context.changed(seed=5), "towards"), (context, "another")):
        assert not torch.equal(other.block(attack, name, Items(context.gallery, ROWS)).targets, whole)
    another_model = attack_context(seed=9)
    assert torch.equal(another_model.block(attack, "towards", Items(another_model.gallery, ROWS)).targets, whole)


def test_an_solver_may_ask_for_any_rows_of_a_problem() -> None:
    context, attack = attack_context(), Towards()
    block = context.block(attack, "towards", Items(context.gallery, ROWS))
    problem = context.problem(attack, "towards", block)
    embeddings = context.model(problem.images)
    whole = problem.objective(embeddings, problem.rows)
    assert attack.seen[-1] is block  # nothing is taken apart without need
    for rows in ([2, 0], [1, 1, 1], [2, 1, 0]):
        found = problem.objective(embeddings[rows], torch.tensor(rows))
        assert torch.allclose(found, whole[rows])
        part = problem.take(torch.tensor(rows))
        assert torch.allclose(part.objective(embeddings[rows], part.rows), whole[rows])
        assert torch.equal(part.images, problem.images[rows])
        assert part.items.tolist() == ROWS[rows].tolist()
    empty = problem.objective(embeddings[:0], problem.rows[:0])
    assert empty.shape == (0,)


def test_a_surrogate_attacks_the_same_targets_in_its_own_gallery() -> None:
    other = attack_context(seed=1)
    context, attack = attack_context(surrogate=other), Towards()
    block = context.block(attack, "towards", Items(context.gallery, ROWS))
    problem = context.problem(attack, "towards", block)
    assert problem.surrogate is not None
    there = problem.surrogate()
    there.objective(other.model(there.images), there.rows)
    assert torch.equal(attack.seen[-1].targets, block.targets)
    assert attack.seen[-1].gallery is other.gallery
    assert torch.equal(there.images, problem.images)
    assert there.surrogate is None
    assert attack_context().problem(attack, "towards", block).surrogate is None


def test_changed_settings_hold_for_the_surrogate_too() -> None:
    changed = attack_context(surrogate=attack_context(seed=1)).changed(seed=8)
    assert changed.surrogate is not None
    assert (changed.evaluation.seed, changed.surrogate.evaluation.seed) == (8, 8)
    assert changed.evaluation.threat == EVALUATION.threat


def test_an_attack_ends_within_the_radius_and_scores_where_it_ends() -> None:
    context, attack = attack_context(), Towards()
    items = Items(context.gallery, ROWS)
    block = context.block(attack, "towards", items)
    problem = context.problem(attack, "towards", block)
    moved = context.solver.run(problem)
    assert (moved - problem.images).abs().max() <= 0.3 + 1e-6
    found = context.attack(attack, "towards", items)["T"]
    assert torch.allclose(found, attack.score(context.model(moved), block)["T"])
    assert (found < attack.score(block.benign, block)["T"]).all()


@pytest.mark.parametrize("random_start", [False, True])
def test_the_search_is_the_evaluations(random_start: bool) -> None:
    search = SolverSpec(name="pgd", params={"random_start": random_start, "restarts": 2})
    chosen = attack_context(EVALUATION.model_copy(update={"solver": search})).solver
    assert type(chosen).__name__ == "PGD"
    assert vars(chosen) == search.params


def test_an_image_that_did_not_move_keeps_its_benign_embedding() -> None:
    """An unmoved image keeps its embedding bit for bit in every batch. A moved image is embedded."""

    class Restless(nn.Module):
        """Another embedding at every call."""

        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += 1
            angle = images.flatten(1).mean(1) + self.calls
            return torch.stack([angle.cos(), angle.sin()], 1)

    context = make_context(Restless(), split(), evaluation=EVALUATION, dataset="small", device=CPU)
    block = context.block(Towards(), "towards", Items(context.gallery, ROWS))
    images = context.split.batch(ROWS)
    moved = images.clone()
    moved[1, 0, 0, 0] = 1 - moved[1, 0, 0, 0]
    found = context.embed(moved, images, block)
    assert torch.equal(found[[0, 2]], context.gallery.embeddings[ROWS[[0, 2]]])
    assert not torch.allclose(found[1], context.gallery.embeddings[ROWS[1]], atol=0.1)


def test_embeddings_of_attacked_images_must_be_finite() -> None:
    """Or means that are no numbers would be found out when the record is written, after the whole evaluation."""
    context, moved = attack_context(), split().batch(ROWS)
    block = context.block(Towards(), "towards", Items(context.gallery, ROWS))
    moved[1, 0, 0, 0] = torch.nan
    with pytest.raises(RbdmlError, match="embeddings of attacked images are not finite"):
        context.embed(moved, split().batch(ROWS), block)


def test_steps_in_half_precision_and_everything_else_in_full() -> None:
    context = attack_context(EVALUATION.model_copy(update={"precision": "bf16"}))
    assert isinstance(context.stepping, InBfloat16)
    block = context.block(Towards(), "towards", Items(context.gallery, ROWS))
    assert context.problem(Towards(), "towards", block).model is context.stepping
    assert torch.equal(context.gallery.embeddings, attack_context().gallery.embeddings)
    full = attack_context()
    assert full.stepping is full.model


def test_embeddings_do_not_depend_on_how_a_split_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = network(0).eval(), split()
    wrapped = attack_context().model
    whole = embed(wrapped, images, device=CPU)
    monkeypatch.setattr("robustbench_dml.evaluation.context.GALLERY_BLOCK", 3)
    assert torch.allclose(embed(wrapped, images, device=CPU), whole, atol=1e-12)
    assert torch.allclose(whole, model(images.batch(torch.arange(20)).double()), atol=1e-12)


@pytest.mark.parametrize("length", [0.0, 0.99, 1.01, float("nan"), float("inf")])
def test_lengths_other_than_one_are_refused(length: float) -> None:
    class Scaled(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return length * nn.functional.normalize(images.flatten(1), dim=1)

    with pytest.raises(RbdmlError, match="normalise them"):
        make_context(Scaled(), split(), evaluation=EVALUATION, dataset="small", device=CPU)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_models_of_any_precision_are_attacked_in_their_own(dtype: torch.dtype) -> None:
    context = make_context(network(0, dtype), split(), evaluation=EVALUATION, dataset="small", device=CPU)
    assert context.gallery.embeddings.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for values in context.attack(ATTACKS.get("es").build(), "es", Items(context.gallery, ROWS)).values():
        assert values.dtype == torch.float64
        assert values.isfinite().all()
