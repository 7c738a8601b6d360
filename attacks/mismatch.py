"""TMA: targeted mismatch, after Tolias et al., ICCV 2019, arXiv:1908.09163."""

from __future__ import annotations

from torch import Tensor

from robustbench_dml import Attack, Block, Column, Draws, Items, cosine, random_others, register_attack


@register_attack(
    "tma",
    summary="targeted mismatch: give a query the embedding of a random item",
    paper="Tolias et al., ICCV 2019, arXiv:1908.09163; as scored in arXiv:2106.03614",
    columns=(Column(name="TMA", meaning="mean cosine to the target", scale=1, ers_slope=-100, ers_offset=100),),
)
class TargetedMismatch(Attack):
    """Minimise 1 - cos(phi(q~), t), t the embedding of a random other item of the gallery."""

    def choose_targets(self, items: Items, draws: Draws) -> Tensor:
        return random_others(items, draws)

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        return 1 - (embeddings * block.target_embeddings.squeeze(1)).sum(1)

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {"TMA": cosine(embeddings, block.target_embeddings.squeeze(1))}
