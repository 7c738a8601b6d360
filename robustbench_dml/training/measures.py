"""Numbers that show how a training goes. All come from values that training computes anyway."""

from __future__ import annotations

from robustbench_dml.training.metrics import Logged
from robustbench_dml.training.trainer import Trainer

ROUNDING = 1e-5  # hardness may miss its destination by this much: batches of other sizes round differently


def measure(trainer: Trainer) -> dict[str, float]:
    """Return the metrics of the last iteration by name.

    - `loss`
    - `NAME_mean`, `NAME_std`: of every value that the defense logged (see `log_value`), for instance the `hardness`
      of the trained triplets.
    - `at_destination`: share of the triplets whose hardness reached its destination, in [0, 1].
    - `effective_rank`, `mean_cosine`: of the embeddings, as last checked (see `CollapseMonitor`).
    - `passes`, and `forward_only`, `to_input`, `to_weights`: images propagated so far.
    - `seconds`: training time charged so far.

    Metrics that the defense does not provide are missing.
    """
    spent, collapse = trainer.spent, trainer.collapse
    metrics = {"loss": trainer.loss, **_spreads(trainer.logged), **_arrived(trainer.logged)}
    if collapse.rank is not None and collapse.cosine is not None:
        metrics |= {"effective_rank": collapse.rank, "mean_cosine": collapse.cosine}
    return {
        **metrics,
        "passes": spent.passes,
        "forward_only": spent.forward_only,
        "to_input": spent.to_input,
        "to_weights": spent.to_weights,
        "seconds": spent.seconds,
    }


def _spreads(logged: Logged) -> dict[str, float]:
    spreads: dict[str, float] = {}
    for name, values in logged.items():
        if name != "destination":
            spreads[f"{name}_mean"] = float(values.float().mean())
            spreads[f"{name}_std"] = float(values.float().std(correction=0))
    return spreads


def _arrived(logged: Logged) -> dict[str, float]:
    destination, hardness = logged.get("destination"), logged.get("hardness")
    if destination is None or hardness is None or destination.shape != hardness.shape:
        return {}
    return {"at_destination": float((hardness >= destination - ROUNDING).float().mean())}
