"""`rbdml` commands on a pretend GPU: their precision, and its traces in the network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_support import rbdml
from pretend_support import pretend_device
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

import robustbench_dml as rb
from robustbench_dml.models.checkpoints import load_checkpoint
from robustbench_dml.models.embedder import Embedder
from robustbench_dml.spec.registry import BACKBONES, BackboneInfo

SMALL = ("--dataset", "glyphs-mini", "--queries", "4", "--attack-steps", "1")
RUN = ("run", "--defense", "act", *SMALL, "--pairs", "4", "--eta", "1", "--budget", "1it", "--device", "cuda")
BACKBONE = BackboneInfo(
    name="test-strided",
    summary="two convolutions and one linear layer, for tests",
    paper="none: a test",
    build=lambda: nn.Sequential(nn.Conv2d(1, 4, 7, stride=7), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 8)),
    channels=1,
    side=28,
    mean=(0.0,),
    std=(1.0,),
)
BACKENDS: Any = torch.backends
Pass = tuple[str, str, bool]  # formats of matrices and convolutions, and true for images with channels last


def formats_now() -> tuple[str, str]:
    """The formats of float32 matrices and convolutions on CUDA."""
    return BACKENDS.cuda.matmul.fp32_precision, BACKENDS.cudnn.conv.fp32_precision


@pytest.fixture(autouse=True)
def backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES._entries, BACKBONE.name, BACKBONE)


@pytest.fixture
def passes() -> Iterator[tuple[set[Pass], set[Pass]]]:
    """The kinds of forward passes of the second convolution, with a gradient to come and without."""
    seen: tuple[set[Pass], set[Pass]] = set(), set()

    def look(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d) and module.in_channels > 1:
            layout = module.weight.is_contiguous(memory_format=torch.channels_last)
            seen[not output.requires_grad].add((*formats_now(), layout))

    hook = register_module_forward_hook(look)
    yield seen
    hook.remove()


def recorded(out: Path, *words: str) -> dict[str, Any]:
    """The spec of the record that a command makes."""
    answer = rbdml(*words, "--json", "--out", out)
    assert answer.code == 0, answer.err
    spec: dict[str, Any] = json.loads(answer.out)["spec"]
    return spec


def test_the_commands_run_and_evaluate_take_the_best_precision(tmp_path: Path) -> None:
    with pretend_device() as device:
        spec = recorded(tmp_path, *RUN, "--backbone", BACKBONE.name, "--protocol", "ers")
        [folder] = (path.parent for path in tmp_path.rglob("record.json"))
        again = recorded(tmp_path, "evaluate", str(folder), "--queries", "2", "--device", "cuda")
        assert isinstance(load_checkpoint(folder, device=torch.device("cuda")).model, Embedder)
    assert (spec["training"]["precision"], spec["evaluation"]["precision"]) == ("bf16", "bf16")
    assert again["evaluation"] == {**spec["evaluation"], "queries": 2}
    assert device.launches


@pytest.mark.parametrize(("precision", "format"), [("tf32", "tf32"), ("bf16", "ieee"), ("fp32", "ieee")])
def test_the_network_runs_in_its_format_and_scores_in_float32(
    precision: str, format: str, passes: tuple[set[Pass], set[Pass]], tmp_path: Path
) -> None:
    before = formats_now()
    words = ("--backbone", BACKBONE.name, "--protocol", "ers", "--precision", precision)
    with pretend_device():
        spec = recorded(tmp_path, *RUN, *words, "--attack-precision", precision)
    assert (spec["training"]["precision"], spec["evaluation"]["precision"]) == (precision, precision)
    last = precision != "fp32"  # channels last pays with matrix units
    with_gradient, without = passes
    assert (format, format, last) in with_gradient
    assert ("ieee", "ieee", last) in without
    assert {layout for *_, layout in with_gradient} == {last}
    assert formats_now() == before


def test_all_passes_of_a_training_in_tf32_are_in_tf32() -> None:
    formats: set[tuple[str, str]] = set()

    def look(module: nn.Module, _: tuple[Any, ...], output: Tensor) -> None:
        def note(*_: Any) -> None:
            formats.add(formats_now())

        if isinstance(module, nn.Conv2d):
            note()
            if output.requires_grad:
                output.register_hook(note)  # in the backward pass

    hook = register_module_forward_hook(look)
    try:
        with pretend_device():
            words: dict[str, Any] = {"eta": 1, "pairs": 4, "precision": "tf32", "backbone": BACKBONE.name}
            rb.train("act", "glyphs-mini", budget="1it", device="cuda", quiet=True, **words)
    finally:
        hook.remove()
    assert formats == {("tf32", "tf32")}
