"""Models as others would bring them."""

from __future__ import annotations

from pathlib import Path

SOURCE = """\
import torch
from torch import nn


def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 6))


def unit():
    class Unit(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = build()

        def forward(self, images):
            return nn.functional.normalize(self.inner(images), dim=1)

    return Unit()


def half():
    return build().bfloat16()


def pixels():
    return nn.Flatten()


def raises():
    raise ValueError("not\\ntoday")


def nothing():
    return 3


def leaves():
    raise SystemExit(4)


def colour():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())


def maps():
    return nn.Conv2d(1, 4, 3)


def several():
    class Several(nn.Module):
        def forward(self, images):
            return images, images

    return Several()


def nan():
    class Nan(nn.Module):
        def forward(self, images):
            return images.flatten(1) / 0 * 0

    return Nan()


def stateful():
    class Stateful(nn.Linear):
        def get_extra_state(self):
            return {"anything": 1}

        def set_extra_state(self, state):
            pass

    return Stateful(2, 2)


def exact():
    layers = nn.Conv2d(1, 4, 5, stride=3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 6)
    return nn.Sequential(*layers).double()


build_again = build
number = 3
"""


def write_source(folder: Path, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(SOURCE)
    return path
