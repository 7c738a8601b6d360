from __future__ import annotations

from collections.abc import Callable
from math import isfinite

import pytest
import torch
from support import SMALL_IMAGE
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.evaluation.diagnostics import Findings
from robustbench_dml.evaluation.diagnostics.gradients import check_gradients
from robustbench_dml.models.embedder import Embedder

IMAGES = torch.rand(64, *SMALL_IMAGE, generator=torch.Generator().manual_seed(0)).clamp_min(1e-3)


class Model(nn.Module):
    """Pixels as embeddings; a share of the images has no gradient, and each call adds some noise."""

    def __init__(self, *, dead: float = 0.0, noise: float = 0.0) -> None:
        super().__init__()
        self.dead, self.noise = dead, noise

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        alive = (torch.arange(len(images)) >= self.dead * len(images)).float()[:, None]
        flat = flat * alive + flat.detach() * (1 - alive) + self.noise * torch.rand_like(flat)
        return F.normalize(flat, dim=1)


def findings(model: nn.Module, *, images: Tensor = IMAGES, moved: float = 0.0) -> Findings:
    """Check a model whose gallery embeddings are `moved` away from its present ones."""
    with torch.no_grad():
        benign = model(images)
    return Findings(tuple(check_gradients(model, images, benign + moved, seed=0)))


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4))


def test_an_honest_model_raises_no_flag() -> None:
    assert findings(Model()).flags == []
    assert findings(Embedder(network())).flags == []
    assert findings(Embedder(network()).double(), images=IMAGES.double()).flags == []
    assert findings(Embedder(network()), images=IMAGES[:1]).flags == []


def test_images_without_gradient_are_counted() -> None:
    assert findings(Model(dead=0.25)).measured["images without gradient"] == 0.25
    assert findings(Model(dead=0.25)).flags == ["no gradient"]
    assert findings(Model(dead=0.0625)).flags == []


class Rooted(nn.Module):
    """Pixels divided by the root of a sum: of a black image neither the root nor 0 times it has a derivative."""

    def __init__(self, *, times: float) -> None:
        super().__init__()
        self.times = times

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return F.normalize(flat + 1e-3 + self.times * flat.square().sum(1, keepdim=True).sqrt(), dim=1)


@pytest.mark.parametrize("times", [0.0, 1.0])
def test_a_gradient_that_is_no_number_is_none(times: float) -> None:
    """Attacks count it as zero, and so must the check for images without gradient."""
    images = IMAGES.clone()
    images[:16] = 0
    found = findings(Rooted(times=times), images=images)
    assert found.flags == ["no gradient"]
    assert found.measured["images without gradient"] == 0.25
    assert all(isfinite(value) for value in found.measured.values())


def test_an_endless_gradient_still_has_a_direction() -> None:
    class Steep(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return F.normalize(images.flatten(1).sqrt() + 1e-3, dim=1)

    images = IMAGES.clone()
    images[:16, ..., 0] = 0
    found = findings(Steep(), images=images)
    assert found.flags == []
    assert all(isfinite(value) for value in found.measured.values())


def test_a_model_that_cuts_the_graph_has_no_gradient() -> None:
    class Cut(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return F.normalize(images.detach().flatten(1), dim=1)

    assert findings(Cut()).flags == ["no gradient"]


def test_randomness_is_noticed() -> None:
    assert findings(Model(noise=0.1)).flags == ["false gradient", "random", "not benign at eps 0"]


def test_a_gallery_that_another_network_made_is_noticed() -> None:
    assert findings(Embedder(network()), moved=0.01).flags == ["not benign at eps 0"]
    assert findings(Embedder(network()), moved=1e-6).flags == []


def test_networks_in_half_precision_may_differ_by_more() -> None:
    class Half(Embedder):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.bfloat16()).float()

    half = Half(network()).bfloat16()
    assert findings(half, moved=5e-3).flags == []
    assert findings(half, moved=0.05).flags == ["not benign at eps 0"]


class Told(nn.Module):
    """A network that computes one thing and gives the gradient of another."""

    def __init__(self, computed: Callable[[Tensor], Tensor], differentiated: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.computed, self.differentiated = network(), computed, differentiated

    def forward(self, images: Tensor) -> Tensor:
        images = self.differentiated(images) + (self.computed(images) - self.differentiated(images)).detach()
        return F.normalize(self.network(images.float()), dim=1)


def rounded(images: Tensor) -> Tensor:
    return (16 * images).round() / 16


def blurred(images: Tensor) -> Tensor:
    return F.avg_pool2d(images, 3, stride=1, padding=1)


def seeded_noise(images: Tensor) -> Tensor:
    """Noise drawn from a seed that the pixels give."""
    rng = torch.Generator().manual_seed(int(1e6 * float(images.detach().double().sum())))
    return images + 0.2 * torch.rand(images.shape, generator=rng)


LIES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "straight through": (rounded, lambda images: images),
    "reversed": (lambda images: images, lambda images: -images),
    "of a weaker copy": (lambda images: images, lambda images: 0.01 * images),
    "of a stronger copy": (lambda images: images, lambda images: 10 * images),
    "seeded noise": (seeded_noise, lambda images: images),
}


@pytest.mark.parametrize("name", LIES)
def test_a_gradient_of_something_else_is_false(name: str) -> None:
    assert "false gradient" in findings(Told(*LIES[name])).flags


def test_a_true_gradient_keeps_its_promise() -> None:
    """Also through a blur, a clamp, and at pixels that a step would take out of [0, 1]."""
    edges = IMAGES.round()
    edges[:, :, 0] = 0.5
    for change in (blurred, lambda images: images.clamp(0, 1)):
        for images in (IMAGES, edges):
            found = findings(Told(change, change), images=images)
            assert found.flags == []
            assert found.measured["error of the gradient"] < 0.05


def test_half_precision_is_too_coarse_for_differences() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network().bfloat16()

        def forward(self, images: Tensor) -> Tensor:
            return F.normalize(self.network(images.bfloat16()).float(), dim=1)

    assert "false gradient" not in findings(Half()).flags
