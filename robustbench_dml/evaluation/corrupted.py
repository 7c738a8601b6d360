"""Retrieval of corrupted images: no attacker, and a column beside the attacks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from robustbench_dml.datasets.corruptions import KINDS, corrupted
from robustbench_dml.evaluation.attack import Attack
from robustbench_dml.evaluation.context import GALLERY_BLOCK, AttackContext, check_finite
from robustbench_dml.retrieval.gallery import Block, Gallery, Items
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.precision import products_in

Where = Literal["query", "gallery", "both"]
_EMBEDDED: WeakKeyDictionary[nn.Module, dict[tuple[str, int], Gallery]] = WeakKeyDictionary()


@dataclass(kw_only=True)
class Corrupted(Attack):
    """The value of a query is its recall at 1, as a mean over all kinds of corruptions.

    Attributes:
        where: the corrupted images.
        severity: 1 to 5.
        column: title of the column.
    """

    where: Where
    severity: int
    column: str

    def objective(self, embeddings: Tensor, block: Block) -> Tensor:
        """Refuse: nothing is searched."""
        raise RbdmlError("corruptions search for nothing: name them by --extra-attack in an evaluation")

    def score(self, embeddings: Tensor, block: Block) -> dict[str, Tensor]:
        """See `Attack`."""
        return {self.column: block.recall_at_1(embeddings)}

    def run(self, context: AttackContext, name: str, items: Items) -> dict[str, Tensor]:
        """Return the column."""
        del name
        values = [self._recall(context, kind, items) for kind in KINDS]
        return {self.column: torch.stack(values).mean(0)}

    def _recall(self, context: AttackContext, kind: str, items: Items) -> Tensor:
        benign = context.gallery
        gallery = benign if self.where == "query" else _gallery(context, kind, self.severity)
        if self.where == "gallery":
            queries = benign.embeddings[items.rows]
        else:
            queries = _embedded(context, kind, self.severity, items.rows)
        block = Block(gallery, items.rows, items.rows.new_empty((len(items), 0)))
        return block.recall_at_1(queries)


def _gallery(context: AttackContext, kind: str, severity: int) -> Gallery:
    """Return the gallery of all images, corrupted. It is embedded once for a model."""
    known = _EMBEDDED.setdefault(context.model, {})
    if (kind, severity) not in known:
        rows = torch.arange(len(context.gallery), device=context.gallery.labels.device).split(GALLERY_BLOCK)
        embeddings = torch.cat([_embedded(context, kind, severity, part) for part in rows])
        known[kind, severity] = replace(context.gallery, embeddings=embeddings)
    return known[kind, severity]


@torch.no_grad()
@products_in("fp32")
def _embedded(context: AttackContext, kind: str, severity: int, rows: Tensor) -> Tensor:
    """Return the embeddings of these images, corrupted."""
    key = (context.evaluation.seed, "corruption", context.dataset)
    images = corrupted(context.split.batch(rows), kind, severity, items=rows, key=key)
    embeddings: Tensor = context.model(images)
    check_finite(embeddings)
    return embeddings
