from __future__ import annotations

import pytest
import torch

from robustbench_dml.utils.device import pick_device
from robustbench_dml.utils.errors import RbdmlError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:1"])
def test_names_and_devices_are_taken(name: str) -> None:
    assert pick_device(name) == pick_device(torch.device(name)) == torch.device(name)
    assert pick_device() == torch.device("cuda")


REFUSED = {
    "tpu": "unknown device 'tpu': use auto, cpu, cuda or cuda:1",
    "cuda:x": "unknown device 'cuda:x'",
    "cuda:2": "there is no device 'cuda:2': PyTorch sees cuda:0 to cuda:1; use one of them",
    "mps": "mps has no float64, .*: use --device cpu",
}


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("name", REFUSED)
def test_others_are_refused(name: str) -> None:
    with pytest.raises(RbdmlError, match=REFUSED[name]):
        pick_device(name)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:1"):
        with pytest.raises(RbdmlError, match="there is no CUDA device here"):
            pick_device(name)
    assert pick_device() == torch.device("cpu")
