"""Networks of robrank (github.com/cdluminate/robrank), for its Lightning checkpoints."""

from __future__ import annotations

import re

from robustbench_dml.models.embedder import Embedder
from robustbench_dml.spec.registry import BACKBONES
from robustbench_dml.utils.errors import RbdmlError, did_you_mean

PREFIX = "robrank:"  # before the name of a network where a file and its factory are expected
WEIGHTS = "backbone."  # before the names of a network's tensors; a learned loss may have further tensors
BACKBONE = {
    "rc2f2": "c2f2",
    "rres18": "resnet18",
    "rres50": "resnet50",
    "rres101": "torchvision:resnet101",
    "rres152": "torchvision:resnet152",
    "rmnas05": "torchvision:mnasnet0_5",
    "rmnas10": "mnasnet1_0",
    "rmnas13": "torchvision:mnasnet1_3",
}


def robrank_network(name: str) -> Embedder:
    """Build a network of robrank with random weights.

    Args:
        name: the name of its module there. The letters after the backbone name a defense, which changes no layer.

    Raises:
        RbdmlError: another network.
    """
    match = re.match(r"[a-z]+\d+(f2)?", name)
    backbone = BACKBONE.get(match[0]) if match else None
    if backbone is None:
        known = ", ".join(BACKBONE)
        raise RbdmlError(f"no network '{name}' of robrank here: {did_you_mean(name, BACKBONE)}known are {known}")
    info = BACKBONES.get(backbone)
    network = info.build()
    if "mnas" in backbone:
        network.classifier = network.get_submodule("classifier.1")  # robrank has no dropout before its last layer
    return Embedder(network, mean=info.mean, std=info.std)
