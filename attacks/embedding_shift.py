"""ES: move the embedding of a query as far as possible.

Zhou et al., T-PAMI 2024, arXiv:2106.03614.
"""

from __future__ import annotations

from torch import Tensor

from robustbench_dml import Attack, Block, Column, distance, recall_column, register_attack, shift


@register_attack(
    "es",
    summary="embedding shift: move a query's embedding as far from its benign place as it goes",
    paper="Zhou et al., T-PAMI 2024, arXiv:2106.03614",
    columns=(
        Column(name="ES:D", meaning="mean distance moved, in [0, 2]", scale=1, ers_slope=-50, ers_offset=100),
        recall_column("ES:R"),
    ),
)
class EmbeddingShift(Attack):
    """Minimise -d(phi(q~), phi(q)). Both columns come from the same adversarial images."""

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        return -shift(embeddings, block.benign)

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {
            "ES:D": distance(embeddings.double(), block.benign.double()),
            "ES:R": block.recall_at_1(embeddings),
        }
