from __future__ import annotations

import pytest
import torch
from torch import nn

from robustbench_dml.models.head import Head
from robustbench_dml.spec.registry import BACKBONES
from robustbench_dml.utils.precision import bfloat16

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_head_is_the_linear_layer_outside_of_autocast(dtype: torch.dtype) -> None:
    plain = nn.Linear(6, 4).to(dtype)
    head = Head(6, 4).to(dtype)
    head.load_state_dict(plain.state_dict())
    features = torch.randn(3, 6)
    expected = plain(features.to(dtype))
    with bfloat16(CPU):
        found = head(features.bfloat16()), head(features)
    assert all(each.dtype == dtype for each in found)
    assert torch.equal(found[1], expected)
    assert torch.equal(found[0], plain(features.bfloat16().to(dtype)))


@pytest.mark.parametrize("name", ["c2f2", "resnet18", "mnasnet1_0", "mobilenet_v2", "swin_t"])
def test_embeddings_of_the_named_networks_are_float32_in_bfloat16(name: str) -> None:
    info = BACKBONES.get(name)
    network = info.build().eval()
    images = torch.rand(1, info.channels, info.side or 64, info.side or 64)
    with torch.no_grad(), bfloat16(CPU):
        embeddings = network(images)
    assert embeddings.dtype == torch.float32
    assert not torch.equal(embeddings, embeddings.bfloat16().float())
