"""timm's networks with a 512-dimensional embedding as their last layer."""

from __future__ import annotations

import re
from functools import partial
from types import ModuleType
from typing import Any

from torch import nn

from robustbench_dml.models.backbones.imagenet import EMBEDDING
from robustbench_dml.models.head import Head
from robustbench_dml.spec.registry import BACKBONES, BackboneInfo, Scheme, Weights
from robustbench_dml.utils.errors import RbdmlError, did_you_mean, reason

LEAST_SIDE = 32  # of networks that take images of any side
HASHED = re.compile(r"https://.+-([0-9a-f]{8})\.(pth|pt|safetensors)")  # published files with their hash in their name


def network(name: str) -> nn.Module:
    """Build a network (B, 3, H, W) -> (B, 512) with initial weights.

    Transformers resize their position tables to the images where timm can (`dynamic_img_size`).

    Raises:
        RbdmlError: the network has no linear classifier.
    """
    timm = _timm()
    try:
        built = timm.create_model(name, pretrained=False, num_classes=EMBEDDING, **_dynamic(name))
    except Exception as error:  # timm and its networks raise anything
        raise RbdmlError(f"timm cannot build '{name}' with 512 outputs ({reason(error)}): choose another") from None
    for place, layer in reversed(list(built.named_modules())):
        if isinstance(layer, nn.Linear) and layer.out_features == EMBEDDING and layer is _classifier(built):
            head = Head(layer.in_features, EMBEDDING, bias=layer.bias is not None)
            head.load_state_dict(layer.state_dict())
            parent, _, child = place.rpartition(".")
            setattr(built.get_submodule(parent), child, head)
            return built
    raise RbdmlError(f"timm's '{name}' has no linear classifier as its last layer: choose another network")


def timm_backbone(name: str) -> BackboneInfo:
    """Return the entry `timm:NAME`, for instance `timm:vit_small_patch14_dinov2.lvd142m`.

    Raises:
        RbdmlError: timm is not installed, or has no network of that name.
    """
    timm = _timm()
    if name.partition(".")[0] not in timm.list_models() or (name not in timm.list_pretrained() and "." in name):
        hint = did_you_mean(name, timm.list_models())
        raise RbdmlError(f"timm has no network '{name}': {hint}`timm.list_models()` lists them")
    settings = timm.get_pretrained_cfg(name)
    channels, side, _ = settings.input_size
    fixed = settings.fixed_input_size and not _dynamic(name)
    hashed = HASHED.fullmatch(settings.url or "")
    return BackboneInfo(
        name=f"timm:{name}",
        summary=f"timm's {name}, last layer to {EMBEDDING}",
        paper=settings.paper_ids or "timm",
        build=partial(network, name),
        channels=channels,
        side=side if fixed else None,
        least_side=LEAST_SIDE,
        mean=tuple(settings.mean),
        std=tuple(settings.std),
        weights=Weights(settings.url, hashed[1]) if hashed else None,
    )


def _dynamic(name: str) -> dict[str, bool]:
    """The argument of timm's vision transformers that lets them take images of other sides."""
    module = _timm().models.model_entrypoint(name.partition(".")[0]).__module__
    able = module.rpartition(".")[2] in ("vision_transformer", "deit", "beit", "eva")
    return {"dynamic_img_size": True} if able else {}


def _classifier(built: nn.Module) -> object:
    own: Any = built
    return own.get_classifier() if hasattr(own, "get_classifier") else None


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError:
        raise RbdmlError("timm is not installed: pip install 'robustbench-dml[timm]'") from None
    return timm


BACKBONES.add_scheme(
    Scheme(
        name="timm:NAME",
        summary=f"any network of timm with a linear classifier, last layer to {EMBEDDING} (extra `timm`)",
        paper="timm",
        make=timm_backbone,
    )
)
