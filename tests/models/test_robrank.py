"""Checkpoints of robrank: the layout of their names, not its code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from glyphs_mini import small
from torch import Tensor, nn
from torch.nn import functional as F

import robustbench_dml as rb
from robustbench_dml.models.robrank import robrank_network
from robustbench_dml.runs.external import load_external


def c2f2() -> nn.Module:
    convolutions = nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5, padding=2)
    linear = nn.Flatten(), nn.Linear(64 * 7 * 7, 1024), nn.ReLU(), nn.Linear(1024, 512)
    return nn.Sequential(*convolutions, nn.ReLU(), nn.MaxPool2d(2), *linear)


def resnet18() -> nn.Module:
    network = torchvision.models.resnet18()
    network.fc = nn.Linear(512, 512)
    return network


def mnasnet() -> nn.Module:
    network = torchvision.models.mnasnet1_0()
    network.classifier = nn.Linear(1280, 512)
    return network


def saved(network: nn.Module, path: Path, **further: Any) -> Path:
    """A checkpoint as Lightning writes it, with the tensors of a learned loss and with states of the training."""
    names = {f"backbone.{name}": value for name, value in network.state_dict().items()}
    rest = {"epoch": 7, "global_step": 99, "pytorch-lightning_version": "1.5.10", "lr_schedulers": [], "callbacks": {}}
    states = {"optimizer_states": [{"state": {0: {"step": 99, "exp_avg": torch.zeros(3)}}, "param_groups": []}]}
    torch.save({**rest, **states, "state_dict": {**names, "lossfunc.beta": torch.ones(3)}, **further}, path)
    return path


def naive(network: nn.Module, images: Tensor) -> Tensor:
    """The forward pass of robrank: channels of colour images are normalised, embeddings scaled in the distance."""
    if images.shape[1] == 3:
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        images = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    return F.normalize(network.eval()(images), dim=1)


@pytest.mark.parametrize(
    ("name", "build", "shape"),
    [
        ("rc2f2", c2f2, (1, 28, 28)),
        ("rc2f2p", c2f2, (1, 28, 28)),
        ("rres18ghmetsmi", resnet18, (3, 64, 64)),
        ("rmnas10d", mnasnet, (3, 64, 64)),
    ],
)
@torch.no_grad()
def test_embeddings_are_those_of_a_naive_forward(name: str, build: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build()
    loaded = load_external(f"robrank:{name}", saved(network, tmp_path / "last.ckpt"))
    assert loaded.name == f"robrank:{name}"
    images = torch.rand(3, *shape)
    torch.testing.assert_close(loaded.model(images), naive(network, images), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_results_are_those_of_a_naive_forward_query_by_query(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = c2f2()
    model = load_external("robrank:rc2f2", saved(network, tmp_path / "last.ckpt")).model
    result = rb.evaluate(model, "glyphs-mini", device="cpu", quiet=True, queries=16, attack_steps=0)
    data = small().test
    found = naive(network, data.batch(torch.arange(len(data))))
    rows = torch.from_numpy(result.per_query["query"])
    distances = torch.cdist(found[rows], found, compute_mode="donot_use_mm_for_euclid_dist")
    distances[torch.arange(len(rows)), rows] = torch.inf
    right = data.labels[distances.argmin(1)] == data.labels[rows]
    assert right.tolist() == (result.per_query["R@1"] > 0).tolist()


class Code:
    def __reduce__(self) -> Any:
        return print, ("ran",)


def test_what_does_not_fit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(c2f2(), tmp_path / "last.ckpt")
    for model, checkpoint, message in (
        ("robrank:rc2f2", None, "give a CHECKPOINT of robrank"),
        ("robrank:rc3f2", path, "did you mean 'rc2f2'"),
        ("robrank:rswint", path, "no network 'rswint' of robrank here"),
        ("robrank:rres18", path, "does not fit robrank:rres18"),
        ("robrank:rc2f2", saved(c2f2(), tmp_path / "code.ckpt", hyper_parameters=Code()), "without running code"),
    ):
        with pytest.raises(rb.RbdmlError, match=message):
            load_external(model, checkpoint)
    assert "ran" not in capsys.readouterr().out


def test_every_known_network_can_be_built() -> None:
    with torch.device("meta"):
        assert sum(value.numel() for value in robrank_network("rmnas05").state_dict().values()) > 1e6
