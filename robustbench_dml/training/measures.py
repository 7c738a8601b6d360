"""The numbers that show how a training goes, all of what it computes anyway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor

from robustbench_dml.training.defense import Defense
from robustbench_dml.training.metrics import Notes

if TYPE_CHECKING:
    from robustbench_dml.training.trainer import Trainer

ROUNDING = 1e-5  # of a hardness: that of another batch, above which a triplet counts as short of its destination


class Measures:
    """Takes measures of a training. Between them nothing is computed, and no device is waited for."""

    def __init__(self) -> None:
        self._destination: Tensor | None = None

    @contextmanager
    def on(self, defense: Defense) -> Iterator[None]:
        """Watch where a defense wants its triplets, if it has a method `target` as Hardness Manipulation has.

        The method is watched from outside because the source of a defense is part of its records: a line more in it
        would make another defense of it.
        """
        target = getattr(defense, "target", None)
        if target is None:
            yield
            return

        def watched(*arguments: Any) -> tuple[Any, Tensor, Tensor]:
            found = target(*arguments)
            self._destination = found[1].detach()
            return found

        before = vars(defense).get("target")
        setattr(defense, "target", watched)  # noqa: B010 - only some defenses have one
        try:
            yield
        finally:
            if before is None:
                delattr(defense, "target")
            else:
                setattr(defense, "target", before)  # noqa: B010

    def take(self, trainer: Trainer) -> dict[str, float]:
        """Of the last iteration, by name; what a defense does not tell is left out.

        `loss`; `hardness_mean` and `hardness_std` of the trained triplets, and the same two of all else that the loss
        noted; `at_destination`, the share of triplets that are as hard as they should be, in [0, 1];
        `effective_rank` and `mean_cosine` of the embeddings, as last looked at (see `CollapseMonitor`); images
        propagated so far, `forward_only`, `to_input` and `to_weights`, and `passes`, made of the three; `seconds` that
        were charged.
        """
        spent, collapse = trainer.spent, trainer.collapse
        found = {"loss": trainer.loss, **_spreads(trainer.notes), **self._arrived(trainer.notes)}
        if collapse.rank is not None and collapse.cosine is not None:
            found |= {"effective_rank": collapse.rank, "mean_cosine": collapse.cosine}
        return {
            **found,
            "passes": spent.passes,
            "forward_only": spent.forward_only,
            "to_input": spent.to_input,
            "to_weights": spent.to_weights,
            "seconds": spent.seconds,
        }

    def _arrived(self, notes: Notes) -> dict[str, float]:
        wanted, hardness = notes.get("destination", self._destination), notes.get("hardness")
        if wanted is None or hardness is None or wanted.shape != hardness.shape:
            return {}
        return {"at_destination": float((hardness >= wanted - ROUNDING).float().mean())}


def _spreads(notes: Notes) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, values in notes.items():
        if name != "destination":
            found[f"{name}_mean"] = float(values.float().mean())
            found[f"{name}_std"] = float(values.float().std(correction=0))
    return found
