"""Pretrained weights, from a file or a download. Downloads are checked by their hash."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from robustbench_dml.datasets.base import cache_folder
from robustbench_dml.datasets.download import download
from robustbench_dml.spec.registry import BACKBONES, BackboneInfo, Weights
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256
from robustbench_dml.utils.locks import exclusive_or_wait
from robustbench_dml.utils.progress import Progress
from robustbench_dml.utils.tensors import read_state_dict

AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # extra heads of the Inception networks, left out here


def find_weights(info: BackboneInfo, digits: str, *, weights: Path | None, progress: Progress) -> Path:
    """Return the file with these weights: the given file, an earlier download (also PyTorch's), or a new download.

    Raises:
        RbdmlError: the weights are not published, or the download fails.
    """
    if weights is not None:
        return weights
    if info.weights is None or info.weights.digits != digits:
        raise RbdmlError(f"the weights {digits}... that this run starts from are not published: give --weights FILE")
    name = info.weights.url.rpartition("/")[2]
    folder = cache_folder() / "weights"
    try:
        with exclusive_or_wait(folder / f".{name}.lock", name, progress):
            return _get_weights(info.weights, folder, progress)
    except OSError as error:
        raise RbdmlError(f"cannot write to {folder} ({error.strerror}): set $RBDML_CACHE to another folder") from None


def _get_weights(weights: Weights, folder: Path, progress: Progress) -> Path:
    name, digits = weights.url.rpartition("/")[2], weights.digits
    for path in (folder / name, Path(torch.hub.get_dir()) / "checkpoints" / name):
        if path.is_file() and sha256(path).startswith(digits):
            return path
    otherwise = "give this file by --weights FILE, or start from random weights with --no-pretrained"
    return download([weights.url], folder / name, digest=f"sha256:{digits}", progress=progress, or_else=otherwise)


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill a network from a state dict on disk (.safetensors, or .pth read with `weights_only`).

    The last layer keeps its initial weights if the file's layer has another number of outputs.

    Raises:
        RbdmlError: the file is unreadable or of another network.
    """
    state = {name: tensor for name, tensor in read_state_dict(path).items() if not name.startswith(AUXILIARY)}
    own = network.state_dict()
    last = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
    head = {f"{last}.weight", f"{last}.bias"}
    kept = {name for name in head & set(own) if name not in state or state[name].shape != own[name].shape}
    optional = {name for name in own if name.endswith("num_batches_tracked")}  # absent from old files
    wrong = [name for name in own if name not in state and name not in kept | optional]
    wrong += [name for name in state if name not in own and name not in head]
    wrong += [name for name in own if name in state and name not in kept and state[name].shape != own[name].shape]
    if wrong:
        raise RbdmlError(
            f"{path}: the weights of another network ({len(wrong)} of their tensors do not fit, the first is "
            f"'{wrong[0]}'): give the --backbone that they belong to"
        )
    network.load_state_dict({name: state[name] for name in own if name in state and name not in kept}, strict=False)


def first_weights(spec: RunSpec, given: Path | None, progress: Progress) -> Path | None:
    """Return the file of weights that training starts from, None for random weights.

    Raises:
        RbdmlError: the file is not given and cannot be downloaded.
    """
    if spec.pretrained is None:
        return None
    return find_weights(BACKBONES.get(spec.backbone), spec.pretrained, weights=given, progress=progress)
