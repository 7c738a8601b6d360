"""Published settings: families of data sets, protocols and named budgets.

M. Zhou and V. M. Patel, CVPR 2022, arXiv:2203.01439; M. Zhou et al., T-PAMI 2024, arXiv:2106.03614.
"""

from __future__ import annotations

from typing import Any, Literal

from robustbench_dml.spec.schema import Frozen, Norm, SolverSpec, Threat, Training


class Radii(Frozen):
    """Radii that the protocol `radius` measures up to and reports recall at, in 1/255 of the pixel range."""

    largest: float
    named: tuple[float, ...]

    def changes(self, norm: Norm) -> dict[str, Any]:
        """The changes that give an evaluation these radii. In L2, 13 steps cross the ball."""
        step = {"alpha": self.largest / 255 / 13} if norm == "l2" else {}
        named = ",".join(f"{radius:g}" for radius in self.named)
        return {"eps": self.largest / 255, **step, "solver_params": {"named": named}}


COLOUR_RADII: dict[Norm, Radii] = {
    "linf": Radii(largest=32, named=(1, 2, 4)),
    "l2": Radii(largest=2040, named=(128, 255, 510)),
}


class Family(Frozen):
    """The published settings of one family of data sets."""

    training: Training
    attack: Threat
    epochs: int  # length of the published schedule, counted in single images
    pretrained: bool = False  # training starts from ImageNet weights
    radii: dict[Norm, Radii] = COLOUR_RADII


FAMILIES = {
    # The paper prints a learning rate of 1e-3; the released code has 1e-5 and this weight decay. The code's are used.
    "rgb224": Family(
        training=Training(
            threat=Threat(eps=8 / 255, alpha=1 / 255, steps=8),
            pairs=56,
            lr=1e-5,
            weight_decay=4e-4,
            transform="crop and flip",
        ),
        attack=Threat(eps=8 / 255, alpha=3 / 255, steps=32),
        epochs=150,
        pretrained=True,
    ),
    "grey28": Family(
        training=Training(threat=Threat(eps=77 / 255, alpha=3 / 255, steps=32), pairs=128, lr=1e-3, weight_decay=1e-7),
        attack=Threat(eps=77 / 255, alpha=3 / 255, steps=32),
        epochs=16,
        radii={"linf": Radii(largest=77, named=(4, 8, 16)), "l2": Radii(largest=1020, named=(128, 255, 510))},
    ),
    # No paper's: docs/data.md has the trials. Named budgets are shares of 10M passes, for a CPU.
    "glyphs28": Family(
        training=Training(
            threat=Threat(eps=8 / 255, alpha=1 / 255, steps=8), pairs=32, lr=1e-3, weight_decay=1e-7, warmup=0.2
        ),
        attack=Threat(eps=8 / 255, alpha=1 / 255, steps=32),
        epochs=128,
    ),
    # No paper's, and not tuned: for networks from random weights on a GPU.
    "glyphs64": Family(
        training=Training(threat=Threat(eps=8 / 255, alpha=1 / 255, steps=8), pairs=128, lr=1e-3, weight_decay=1e-7),
        attack=Threat(eps=8 / 255, alpha=1 / 255, steps=32),
        epochs=64,
    ),
}


class Protocol(Frozen):
    """A set of attacks that are scored together."""

    summary: str
    attacks: tuple[str, ...]
    further: tuple[str, ...] = ()  # attacks with published columns that do not count for the score
    solver: SolverSpec = SolverSpec()  # the default
    surrogate: bool = False  # attacks transfer from an undefended model
    may_transfer: bool = False  # attacks transfer if a surrogate is given
    cluster_points: int | None = None  # images that k-means trains on for a cluster; None: all of them
    alone: bool = False  # no other solver is allowed
    queries: int | None = None  # the default, if the data set has more; None: the data set's
    float32: bool = False  # its perturbations are too small for bf16, whose pixels lie up to 1/256 apart


_WIDTHS = (2, 5, 10)


PROTOCOLS = {
    "ers": Protocol(
        summary="the ten columns of the Empirical Robustness Score, arXiv:2106.03614, by their definitions",
        attacks=("ca+", "ca-", "qa+", "qa-", "tma", "es", "ltm", "gtm", "gtt"),
        further=(
            *(f"ca{sign}w{width}" for sign in "+-" for width in _WIDTHS),
            *(f"qa{sign}m{width}" for sign in "+-" for width in _WIDTHS),
            *(f"spqa{sign}{targets}" for sign in "+-" for targets in ("", "m2", "m5", "m10")),
        ),
    ),
    "ers-published": Protocol(
        summary="the ten columns as the published code computes them, to compare with published numbers",
        attacks=(
            "ca+",
            "ca-",
            "qa+",
            "qa-",
            "tma",
            "es-d-published",
            "es-r-published",
            "ltm-published",
            "gtm-published",
            "gtt",
        ),
        cluster_points=256,
    ),
    "autorank": Protocol(
        summary="the worst case of every query over an ensemble of attacks",
        attacks=("worst-query", "worst-candidate"),
        solver=SolverSpec(name="ensemble", params={"restarts": 5, "steps": 100, "square_queries": 1000, "classes": 3}),
        surrogate=True,
        alone=True,
        queries=500,
    ),
    "radius": Protocol(
        summary="the least perturbation that breaks each query, and that plants each candidate",
        attacks=("radius-query", "radius-candidate"),
        solver=SolverSpec(
            name="minimal-radius",
            params={
                "named": "4,8,16",
                "finest": 0.25,
                "per_octave": 4,
                "steps": 40,
                "rounds": 2,
                "square_queries": 150,
            },
        ),
        may_transfer=True,
        alone=True,
        queries=500,
        float32=True,
    ),
}


# Named budgets: unit, share of the published schedule, summary.
BUDGETS: dict[str, tuple[Literal["passes", "iterations"], float, str]] = {
    "quick": ("passes", 1 / 32, "a thirty-second of the published schedule: a first look"),
    "standard": ("passes", 1 / 4, "a quarter of the published schedule"),
    "paper": ("passes", 1, "the published schedule: training images x epochs x (eta + 1)"),
    "schedule": ("iterations", 1, "the published number of iterations, at any cost"),
}
