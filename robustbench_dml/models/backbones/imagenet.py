"""torchvision's ImageNet classifiers with a 512-dimensional embedding as their last layer."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from torch import nn

from robustbench_dml.models.head import Head
from robustbench_dml.models.stem import as_stem
from robustbench_dml.spec.registry import BACKBONES, BackboneInfo, Scheme, Weights, register_backbone
from robustbench_dml.utils.errors import RbdmlError, did_you_mean

EMBEDDING = 512  # dimensions
CLASSES = 1000  # classes of ImageNet; identifies the last layer
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SERVER = "https://download.pytorch.org/models/"


def with_embedding(network: nn.Module) -> nn.Module:
    """Replace the last layer of a classifier by a layer with 512 outputs.

    Raises:
        RbdmlError: no linear layer or convolution has 1000 outputs.
    """
    for name, layer in reversed(list(network.named_modules())):
        if isinstance(layer, nn.Linear) and layer.out_features == CLASSES:
            new: nn.Module = Head(layer.in_features, EMBEDDING)
        elif isinstance(layer, nn.Conv2d) and layer.out_channels == CLASSES:
            new = nn.Conv2d(layer.in_channels, EMBEDDING, kernel_size=1)
        else:
            continue
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, new)
        return network
    raise RbdmlError(f"{type(network).__name__} has no last layer of {CLASSES} classes: choose another backbone")


def classifier(name: str, **settings: Any) -> nn.Module:
    """Build a network (B, 3, H, W) -> (B, 512) with initial weights; `settings` go to torchvision's builder."""
    import torchvision.models as zoo  # slow, and needed for these networks alone

    build = zoo.get_model_builder(name)
    if name in ("googlenet", "inception_v3"):  # their extra heads change what train mode returns
        settings |= {"aux_logits": False, "transform_input": True, "init_weights": True}
    network = with_embedding(build(weights=None, **settings))
    if isinstance(network, zoo.ResNet):  # the only named networks whose stem is large enough to gain
        network.conv1 = as_stem(network.conv1)
    return network


def torchvision_backbone(name: str) -> BackboneInfo:
    """Return the entry `torchvision:NAME` of any classifier, with its first published ImageNet weights.

    Raises:
        RbdmlError: torchvision has no classifier of that name.
    """
    import torchvision.models as zoo

    names = zoo.list_models(module=zoo)
    if name not in names:
        raise RbdmlError(
            f"torchvision has no classifier '{name}': {did_you_mean(name, names)}write torchvision: and one of its "
            "names, for instance torchvision:resnet34"
        )
    if name in _NAMED:
        return BACKBONES.get(name)
    weights = zoo.get_model_weights(name)
    first = getattr(weights, "IMAGENET1K_V1", weights.DEFAULT)
    least = max(first.meta["min_size"])
    fixed = name.startswith(("vit", "maxvit"))  # their position tables are made for one size; Swin pads
    return BackboneInfo(
        name=f"torchvision:{name}",
        summary=f"torchvision's {name}, last layer to 512",
        paper=first.meta["recipe"],
        build=partial(classifier, name, **({"image_size": least} if name.startswith("vit") else {})),
        channels=3,
        side=least if fixed else None,
        least_side=32 if name.startswith("swin") else least,
        mean=MEAN,
        std=STD,
        weights=Weights(first.url, re.split(r"[-.]", first.url)[-2][:8]),
    )


_NAMED = {
    "resnet18": ("resnet18-f37072fd.pth", "ResNet-18", "He et al., CVPR 2016, arXiv:1512.03385"),
    "resnet50": ("resnet50-0676ba61.pth", "ResNet-50", "He et al., CVPR 2016, arXiv:1512.03385"),
    "mnasnet1_0": ("mnasnet1.0_top1_73.512-f206786ef8.pth", "MNASNet 1.0", "Tan et al., CVPR 2019, arXiv:1807.11626"),
    "mobilenet_v2": ("mobilenet_v2-b0353104.pth", "MobileNet V2", "Sandler et al., CVPR 2018, arXiv:1801.04381"),
    "swin_t": ("swin_t-704ceda3.pth", "Swin Transformer, tiny", "Liu et al., ICCV 2021, arXiv:2103.14030"),
}
for _name, (_file, _title, _paper) in _NAMED.items():
    register_backbone(
        BackboneInfo(
            name=_name,
            summary=f"{_title}, last layer to 512; colour images",
            paper=_paper,
            build=partial(classifier, _name),
            channels=3,
            side=None,
            least_side=32,
            mean=MEAN,
            std=STD,
            weights=Weights(SERVER + _file, _file.rpartition("-")[2][:8]),
        )
    )
BACKBONES.add_scheme(
    Scheme(
        name="torchvision:NAME",
        summary="any classifier of torchvision, last layer to 512",
        paper="torchvision.models",
        make=torchvision_backbone,
    )
)
