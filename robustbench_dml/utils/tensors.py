"""Tensors on disk: safetensors and content hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import write_atomically


def content_hash(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 of all that a file of `write_tensors` holds."""
    text = json.dumps(dict(metadata), sort_keys=True)
    return hashlib.sha256(f"{text}\0{tensors_hash(tensors)}".encode()).hexdigest()


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: their names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        plain = tensor.cpu().contiguous().reshape(-1).view(torch.uint8)  # numpy has no bfloat16
        digest.update(plain.numpy().tobytes())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and text to a safetensors file, atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, lambda file: file.write(save(plain, metadata)))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What `write_tensors` wrote.

    Raises:
        RbdmlError: no such file, or not readable as safetensors.
    """
    if not path.is_file():
        raise RbdmlError(f"{path}: no such checkpoint: give the path of a checkpoint.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RbdmlError(
            f"{path}: not a readable safetensors file ({error}): it is truncated or altered; remove it"
        ) from None


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 pixels to float32 in [0, 1]."""
    return images.float().div_(255)
