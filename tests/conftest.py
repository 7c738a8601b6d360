"""Small models and batches for the whole suite."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from support import SMALL_IMAGE, describe
from torch import nn

from robustbench_dml.models.embedder import Embedder
from robustbench_dml.spec import make
from robustbench_dml.training.batches import Batch

# Most tests are about the published protocol, which is cheaper; those of `radius` name it.
vars(make)["DEFAULT_PROTOCOL"] = "ers"


@pytest.fixture(scope="session", autouse=True)
def tests_in_subprocesses() -> None:
    """Processes that tests start find these modules, too, and the data set of the tests."""
    paths = (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


@pytest.fixture
def linear_model() -> Embedder:
    """A linear network in float64: its result for an image does not depend on the batch around it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, 6))
    return Embedder(network).double().eval()


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Makes a batch of P pairs of three classes with random images."""

    def make(pairs: int = 8, *, seed: int = 0) -> Batch:
        rng = torch.Generator().manual_seed(seed)
        labels = (torch.arange(pairs) % 3).repeat(2)
        return Batch(
            images=torch.rand(2 * pairs, *SMALL_IMAGE, generator=rng, dtype=torch.float64),
            labels=labels,
            indices=torch.arange(2 * pairs),
            rng=torch.Generator().manual_seed(seed + 1),
        )

    return make


@pytest.fixture(scope="module")
def described_figures() -> Iterator[None]:
    """Describe figures instead of drawing them, which takes half of a command's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", describe)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small batches lose more by threads that wait for each other than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
