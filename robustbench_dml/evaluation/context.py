"""The context of every attack in one evaluation: model, gallery, settings and randomness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import zip_longest

import torch
from torch import Tensor, nn

from robustbench_dml.datasets.base import Split
from robustbench_dml.datasets.prefetch import prefetch, with_prefetch
from robustbench_dml.evaluation.attack import Attack
from robustbench_dml.evaluation.guides import guides_of, thumbnails
from robustbench_dml.models.wrappers import InBfloat16, InOwnPrecision
from robustbench_dml.retrieval.gallery import Block, Gallery, Items
from robustbench_dml.solvers.base import Problem, Solver
from robustbench_dml.spec.registry import SOLVERS
from robustbench_dml.spec.schema import Evaluation
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.memory import keep_freed_memory
from robustbench_dml.utils.precision import products_in, weights_unchanged
from robustbench_dml.utils.randomness import uniform_per_item

GALLERY_BLOCK = 256  # fixed, so that the benign embeddings do not depend on --batch-size


@dataclass(frozen=True, kw_only=True)
class AttackContext:
    """A model under one evaluation.

    Attributes:
        model: maps images to unit vectors, in eval mode.
        split: the gallery's images.
        gallery: their embeddings.
        evaluation: threat, solver and seed.
        dataset: name of the data set, part of every random key.
        surrogate: context of the model that attacks transfer from.
    """

    model: nn.Module
    split: Split
    gallery: Gallery
    evaluation: Evaluation
    dataset: str
    surrogate: AttackContext | None = None

    @cached_property
    def solver(self) -> Solver:
        """The evaluation's solver."""
        solver = self.evaluation.solver
        return SOLVERS.get(solver.name).cls(**solver.params)

    @cached_property
    def stepping(self) -> nn.Module:
        """The model in the precision of attack steps."""
        return InBfloat16(self.model) if self.evaluation.precision == "bf16" else self.model

    @cached_property
    def thumbnails(self) -> Tensor:
        """(N, C h w) the gallery's images, reduced, to compare their pixels."""
        return thumbnails(self.split)

    def changed(self, **evaluation: object) -> AttackContext:
        """Copy the context with other settings, its surrogate included."""
        surrogate = None if self.surrogate is None else self.surrogate.changed(**evaluation)
        return replace(self, evaluation=self.evaluation.model_copy(update=evaluation), surrogate=surrogate)

    def block(self, attack: Attack, name: str, items: Items) -> Block:
        """Choose targets for some images. They depend on the seed and on each image alone."""
        key = (self.evaluation.seed, "targets", name, self.dataset)
        targets = attack.choose_targets(items, partial(uniform_per_item, items.rows, key=key))
        return Block(self.gallery, items.rows, targets)

    def sample(self, count: int) -> Items:
        """Draw images of the gallery, the same in every batch; all if there are fewer."""
        rows = torch.arange(len(self.gallery))
        draws = uniform_per_item(rows, 1, key=(self.evaluation.seed, "sample", self.dataset)).squeeze(1)
        return Items(self.gallery, draws.argsort()[:count].to(self.gallery.labels.device))

    def problem(
        self,
        attack: Attack,
        name: str,
        block: Block,
        *,
        watch: Callable[[Tensor, Tensor], None] | None = None,
    ) -> Problem:
        """Pose the attack on a block as a solver's problem."""
        surrogate = self.surrogate
        whole = torch.arange(len(block), device=block.items.device)

        def objective(embeddings: Tensor, rows: Tensor) -> Tensor:
            return attack.objective(embeddings, block if rows is whole else block.take(rows))

        return Problem(
            model=self.stepping,
            images=self.split.batch(block.items),
            objective=objective,
            threat=attack.within(self.evaluation.threat),
            items=block.items,
            key=(self.evaluation.seed, "search", name, self.dataset),
            rows=whole,
            guides=cache(lambda: guides_of(attack, block, self.split, self.thumbnails)),
            sample=lambda count: self.problem(attack, name, self.block(attack, name, self.sample(count))),
            watch=watch,
            surrogate=None
            if surrogate is None
            else lambda: surrogate.problem(attack, name, Block(surrogate.gallery, block.items, block.targets)),
        )

    @torch.no_grad()
    @products_in("fp32")
    def embed(self, moved: Tensor, images: Tensor, block: Block) -> Tensor:
        """Return (B, D) embeddings of attacked images, in full precision.

        An unchanged image keeps its embedding from the gallery. So an attack without effect gives exactly the benign
        value in every batch.

        Raises:
            RbdmlError: an embedding is not finite.
        """
        unmoved = (moved == images).flatten(1).all(1, keepdim=True)
        embeddings = torch.where(unmoved, block.benign, self.model(moved))
        check_finite(embeddings)
        return embeddings

    def attack(self, attack: Attack, name: str, items: Items) -> dict[str, Tensor]:
        """Run the evaluation's solver and return the (B,) values of each column."""
        block = self.block(attack, name, items)
        problem = self.problem(attack, name, block)
        with torch.no_grad():
            moved = (attack.own_solver or self.solver).run(problem)
        return attack.score(self.embed(moved, problem.images, block), block)


def make_context(
    model: nn.Module,
    split: Split,
    *,
    evaluation: Evaluation,
    dataset: str,
    device: torch.device,
    surrogate: AttackContext | None = None,
) -> AttackContext:
    """Embed the gallery and make the context.

    Raises:
        RbdmlError: embeddings that are not finite unit vectors.
    """
    if device.type == "cpu":
        keep_freed_memory()
    model = InOwnPrecision(model.to(device)).eval()
    gallery = Gallery(embed(model, split, device=device), split.labels)
    _check_unit(gallery.embeddings, tolerance=1e-3 if model.dtype.itemsize >= 4 else 2e-2)
    return AttackContext(
        model=model, split=split, gallery=gallery, evaluation=evaluation, dataset=dataset, surrogate=surrogate
    )


@torch.no_grad()
@products_in("fp32")
def embed(model: nn.Module, split: Split, *, device: torch.device) -> Tensor:
    """Return the (N, D) embeddings of a split."""
    split = with_prefetch(split)
    blocks = torch.arange(len(split)).split(GALLERY_BLOCK)
    embeddings = []
    with weights_unchanged(device):
        for block, following in zip_longest(blocks, blocks[1:]):
            images = split.batch(block)
            if following is not None:
                prefetch(split, following)
            embeddings.append(model(images))
    return torch.cat(embeddings)


def check_finite(values: Tensor) -> None:
    """Refuse a model whose embeddings of attacked images are not finite.

    Raises:
        RbdmlError: a value computed from the embeddings is not finite.
    """
    if not bool(values.isfinite().all()):
        raise RbdmlError(
            "the model's embeddings of attacked images are not finite, so nothing can be measured of them: let its "
            "forward give unit vectors for every image in [0, 1]"
        )


def _check_unit(embeddings: Tensor, *, tolerance: float) -> None:
    length = torch.linalg.vector_norm(embeddings, dim=1)
    if not bool(((length - 1).abs() < tolerance).all()):
        raise RbdmlError(
            f"the model's embeddings are not finite unit vectors (lengths {length.min():.3g} to {length.max():.3g}): "
            "normalise them in its forward"
        )
