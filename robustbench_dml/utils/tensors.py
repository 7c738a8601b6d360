"""Tensors on disk, and their hashes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from robustbench_dml.utils.errors import RbdmlError, reason
from robustbench_dml.utils.files import CHECKPOINT, write_atomically

NESTED = ("state_dict", "model_state_dict", "model", "net")  # keys under which others store the state dict
NO_WEIGHTS = {  # first bytes of files that a download may leave
    b"version https://git-lfs": "a pointer of Git LFS: get the file itself by `git lfs pull`",
    b"<!doctype html": "a web page: download the file itself",
    b"<html": "a web page: download the file itself",
}


def content_hash(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of everything that `write_tensors` stores."""
    text = json.dumps(dict(metadata), sort_keys=True)
    return hashlib.sha256(f"{text}\0{tensors_hash(tensors)}".encode()).hexdigest()


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors: their names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        plain = tensor.cpu().contiguous().reshape(-1).view(torch.uint8)  # numpy has no bfloat16
        digest.update(plain.numpy().tobytes())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and text to a safetensors file, atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(plain, metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the text of a safetensors file, or of the checkpoint in a run's folder.

    Raises:
        RbdmlError: no such file, or not readable as safetensors.
    """
    path = _checkpoint_in(path)
    if not path.is_file():
        raise RbdmlError(f"{path}: no such checkpoint: give a run's folder, or the path of a {CHECKPOINT}")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RbdmlError(
            f"{path}: not a readable safetensors file ({error}): give a run's folder or its {CHECKPOINT}"
            + (
                "; if rbdml wrote this file, it is truncated or altered: remove it"
                if path.suffix == ".safetensors"
                else ""
            )
        ) from None


def read_state_dict(path: Path, *, nested: bool = False) -> dict[str, Tensor]:
    """Read a state dict from outside: safetensors, or a torch file of tensors and plain containers.

    Args:
        path: path of the file.
        nested: also accept a state dict under one of the keys in `NESTED`.

    Raises:
        RbdmlError: unreadable, not a state dict, or a file that runs code when it is unpickled.
    """
    path = _checkpoint_in(path)
    if not path.is_file():
        raise RbdmlError(f"{path}: no such checkpoint: give a .safetensors or a torch file with a state dict")
    try:
        with path.open("rb") as file:
            start = file.read(64)
            kind = next((kind for first, kind in NO_WEIGHTS.items() if start.lstrip().lower().startswith(first)), None)
            if kind is not None or not start:
                raise RbdmlError(f"{path}: holds no weights but {kind or 'nothing: get the file again'}")
            file.seek(0)
            content = load_file(path) if start[8:9] == b"{" else torch.load(file, "cpu", weights_only=True)
    except RbdmlError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise RbdmlError(
            f"{path}: cannot be read without running code from it ({_cause(error)}): save the state_dict() alone, as "
            "safetensors at best; or the file is truncated: get it again"
        ) from None
    for key in NESTED if nested else ():
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = isinstance(content, Mapping) and all(isinstance(value, Tensor) for value in content.values())
    if not tensors or not all(isinstance(name, str) for name in content):
        keys = f", alone or under {' or '.join(NESTED)}" if nested else ""
        raise RbdmlError(f"{path}: holds no state dict{keys}: save the state_dict() alone")
    return dict(content)


def _cause(error: Exception) -> str:
    """Name the object that torch refuses to make, or give the reason."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f"it holds {found[1]}" if found else f"{type(error).__name__}: {reason(error)}"


def _checkpoint_in(path: Path) -> Path:
    return path / CHECKPOINT if path.is_dir() else path


def to_unit_range(images: Tensor) -> Tensor:
    """Convert uint8 pixels to float32 in [0, 1]."""
    return images.float().div_(255)
