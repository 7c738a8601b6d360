"""ES: move the embedding of a query as far as possible.

Zhou et al., T-PAMI 2024, arXiv:2106.03614.
"""

from __future__ import annotations

from torch import Tensor

from robustbench_dml import Attack, Block, Column, distance, recall_column, register_attack, shift
from robustbench_dml.spec.schema import Threat

PAPER = "Zhou et al., T-PAMI 2024, arXiv:2106.03614"
MOVED = Column(name="ES:D", meaning="mean distance moved, in [0, 2]", scale=1, ers_slope=-50, ers_offset=100)
RECALL = recall_column("ES:R")


@register_attack(
    "es",
    summary="embedding shift: move a query's embedding as far from its benign place as it goes",
    paper=PAPER,
    columns=(MOVED, RECALL),
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


@register_attack("es-r-published", summary="ES:R alone, beside es-d-published", paper=PAPER, columns=(RECALL,))
class ShiftedRecall(EmbeddingShift):
    """The recall of `es`."""

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {"ES:R": super().score(embeddings, block)["ES:R"]}


@register_attack(
    "es-d-published", summary="ES:D as computed for the papers: one step before the end", paper=PAPER, columns=(MOVED,)
)
class LoggedShift(EmbeddingShift):
    """The published code reads ES:D off the loss, which it computes before the last step."""

    def within(self, threat: Threat) -> Threat:
        return threat.model_copy(update={"steps": max(0, threat.steps - 1)})

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        return {"ES:D": super().score(embeddings, block)["ES:D"]}
