"""What a reader of submitted Python is pointed at."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustbench_dml.leaderboard.submission.reading import to_read

EACH = {  # one of each kind, a line each
    "import transformers": "import: transformers",
    "from .helper import trick": "import: .helper.trick",
    "from torch import *": "import: torch.*",
    "from torch import _C": "import: torch._C",
    "open('weights')": "file or network access: open",
    "from pathlib import Path": "file or network access: pathlib.Path",
    "target.write_text('x')": "file or network access: target.write_text",
    "import urllib.request": "file or network access: urllib.request",
    "import requests": "file or network access: requests",
    "import socket": "file or network access: socket",
    "torch.hub.load('a', 'b')": "file or network access: torch.hub.load",
    "import subprocess": "thread or process: subprocess",
    "from os import system as run": "thread or process: os.system",
    "run('true')": "thread or process: os.system",
    "import threading": "thread or process: threading",
    "import torch.multiprocessing as mp": "thread or process: torch.multiprocessing",
    "mp.spawn(f)": "thread or process: torch.multiprocessing.spawn",
    "import gc": "internals of Python: gc",
    "import inspect": "internals of Python: inspect",
    "import ctypes": "internals of Python: ctypes",
    "getattr(model, name)": "internals of Python: getattr",
    "exec('pass')": "internals of Python: exec",
    "import sys": "internals of Python: sys",
    "frame = sys._getframe": "internals of Python: sys._getframe",
    "from robustbench_dml.training import meter": "internals of the harness: robustbench_dml.training.meter",
    "rb.solvers.pgd.PGD()": "internals of the harness: robustbench_dml.solvers.pgd.PGD",
    "network._forward_hooks.clear()": "private name: network._forward_hooks.clear",
    "step.__code__ = other": "private name: step.__code__",
    "rb.PGD.run = other": "assignment to an imported name: robustbench_dml.PGD.run",
    "solver = rb.PGD": "",
    "solver.run = other": "assignment to an imported name: robustbench_dml.PGD.run",
    "rb.MINERS['mine'] = other": "assignment to an imported name: robustbench_dml.MINERS",
    "torch.jit.trace(model, images)": "work that the meter may miss: torch.jit.trace",
    "model.layers[0].forward(images)": "work that the meter may miss: model.layers.forward",
    "weight.register_hook(other)": "work that the meter may miss: weight.register_hook",
}
HEAD = "import torch\nimport robustbench_dml as rb\n"
HONEST = '''
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_dml import Batch, Defense, Perturbed, distance, pgd, register_defense


def _scaled(images: Tensor) -> Tensor:
    return images * math.sqrt(np.pi)


@register_defense("honest", summary="open to readers", paper="none: a test")
@dataclass(kw_only=True)
class Honest(Defense):
    """Uses open(), gc and os in its text alone."""

    _count: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self._count = 1

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        return self._perturbed(model, _scaled(F.relu(batch.images)), type(self).__name__)

    def _perturbed(self, model: nn.Module, images: Tensor, name: str) -> Perturbed:
        self._count += 1
        return pgd(model, images, lambda moved, rows: distance(moved, moved[rows]), threat=self.threat)
'''


def test_each_place_has_its_line_and_kind(tmp_path: Path) -> None:
    path = _file(tmp_path, HEAD + "\n".join(EACH))
    expected = [f"line {line}: {place}" for line, place in enumerate(EACH.values(), 3) if place]
    assert to_read(path) == expected


def test_a_defense_by_the_public_names_has_nothing_to_read(tmp_path: Path) -> None:
    assert to_read(_file(tmp_path, HONEST)) == []


@pytest.mark.parametrize("text", ["def (", "\0", "x = " + "-" * 100_000 + "1"])
def test_a_file_that_cannot_be_parsed_is_named_as_such(tmp_path: Path, text: str) -> None:
    assert to_read(_file(tmp_path, text)) == ["all of it: cannot be parsed as Python"]


def _file(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path
