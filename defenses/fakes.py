"""Fake defenses, which look robust to a careless attack. The diagnostics must flag each of them.

They train like `regular` and cheat when deployed, in the ways of Athalye et al., ICML 2018, arXiv:1802.00420. Tests
and documentation use them. A leaderboard never ranks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml import RbdmlError, register_defense
from robustbench_dml.defenses.regular import Regular

PAPER = "a fake, after Athalye et al., ICML 2018, arXiv:1802.00420"


class Cheat(nn.Module):
    """Wraps a trained model to hide its weakness."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class ConstantEmbedding(Cheat):
    """Nothing can be reordered where all embeddings are equal."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D)."""
        embeddings = self.model(images)
        return F.normalize(torch.ones_like(embeddings) + 0 * embeddings, dim=1)


class ShatteredInput(Cheat):
    """Pixels rounded to 16 levels have no gradient; the features are also scaled down before the normalisation."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D)."""
        return F.normalize(1e-6 * self.model((15 * images).round() / 15), dim=1)


class NoisyInference(Cheat):
    """Every call sees another image."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D)."""
        return self.model(images + 0.1 * torch.randn_like(images))


class SaturatedEmbedding(Cheat):
    """A steep tanh leaves the signs of the features, and gradients that vanish in float32."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D)."""
        return F.normalize(torch.tanh(1e8 * self.model(images)), dim=1)


@dataclass(kw_only=True)
class Fake(Regular):
    """Regular training, deployed behind a cheat."""

    fake: ClassVar[bool] = True
    cheat: str = "constant"

    def deploy(self, model: nn.Module) -> nn.Module:
        return CHEATS[self.cheat](model)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cheat not in CHEATS:
            raise RbdmlError(f"unknown cheat '{self.cheat}': use one of {', '.join(CHEATS)}")


CHEATS = {
    "constant": ConstantEmbedding,
    "shattered": ShatteredInput,
    "noisy": NoisyInference,
    "saturated": SaturatedEmbedding,
}

for name, cheat in CHEATS.items():
    summary = (cheat.__doc__ or "").split("\n")[0]
    register_defense(f"fake-{name}", summary=f"FAKE: {summary}", paper=PAPER, cheat=name)(Fake)
