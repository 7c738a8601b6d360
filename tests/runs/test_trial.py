"""Models of strangers that an evaluation would fail on after a while: they are refused before it, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import robustbench_dml as rb
from robustbench_dml.datasets.base import DataPaths, Dataset, Split
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.external import load_external

SOURCE = """\
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Conv2d(1, 2, 9, 4), nn.Flatten()), nn.Linear(50, 6)

    def forward(self, images):
        return self.head(self.body(images))


class Kept(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images):
        return images.clone()


def made(change):
    class Changed(Small):
        def forward(self, images):
            return change(super().forward, images, self)
    return Changed()


def inplace(): return made(lambda embed, x, _: embed(x.sub_(0.5)))
def squeeze(): return made(lambda embed, x, _: embed(x)[:, :, None, None].squeeze())
def reentrant(): return made(lambda _, x, own: own.head(checkpoint(own.body, x, use_reentrant=True)))
def vianumpy(): return made(lambda embed, x, _: torch.from_numpy(embed(x).detach().numpy()))
def lazy(): return nn.Sequential(nn.Flatten(), nn.LazyLinear(6))
def intout(): return made(lambda embed, x, _: (embed(x) > 0).long())
def complexout(): return made(lambda embed, x, _: torch.complex(embed(x), embed(x)))
def nobackward(): return made(lambda embed, x, _: embed(Kept.apply(x)))
def double(): return Small().double()
def half(): return Small().half()


class Frozen(Small):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def forward(self, images):
        return self.norm(super().forward(images))

    def train(self, mode=True):
        super().train(mode)
        self.norm.training = False


def trainnone(): return Frozen()
"""
IMAGES = torch.randint(0, 256, (6, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SPLIT = Split(IMAGES, torch.tensor([0, 0, 1, 1, 2, 2]))
DATASET = Dataset("few", SPLIT, SPLIT, {})


def prepared(folder: Path, factory: str, precision: Any) -> nn.Module:
    path = folder / "mine.py"
    path.write_text(SOURCE)
    context = RunContext(folder, DataPaths(), torch.device("cpu"))
    return load_external(f"{path}:{factory}").on_sphere(DATASET, context, precision)


@pytest.mark.parametrize(
    ("factory", "precision", "message"),
    [
        ("inplace", "fp32", r"RuntimeError at line \d+: a view of a leaf"),
        ("squeeze", "fp32", r"gives \(6,\) for 1 images"),
        ("reentrant", "fp32", "fails on 1x28x28 images"),
        ("vianumpy", "bf16", r"TypeError at line \d+: Got unsupported ScalarType"),
        ("lazy", "fp32", "has lazy layers"),
        ("intout", "fp32", r"gives torch\.int64 embeddings"),
        ("complexout", "fp32", r"gives torch\.complex64 embeddings"),
        ("nobackward", "fp32", "NotImplementedError"),
    ],
)
def test_what_would_fail_later_is_refused_at_once(tmp_path: Path, factory: str, precision: str, message: str) -> None:
    with pytest.raises(rb.RbdmlError, match=message) as caught:
        prepared(tmp_path, factory, precision)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("factory", ["trainnone", "double", "half"])
def test_what_can_be_evaluated_is(tmp_path: Path, factory: str, precision: str) -> None:
    model = prepared(tmp_path, factory, precision)
    kept = IMAGES[:, 0].float().div(255)[:, None]
    found = rb.evaluate(
        model, kept, SPLIT.labels, device="cpu", quiet=True, queries=4, attack_steps=1, attack_precision=precision
    )
    assert 0 <= found.benign["R@1"] <= 100
