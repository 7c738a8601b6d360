"""Names of first weights in a spec."""

from __future__ import annotations

from pathlib import Path

from robustbench_dml.spec.registry import BackboneInfo
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256

DIGITS = 8  # of the hash that a spec holds, as many as torchvision writes into a file's name


def start_of(info: BackboneInfo, *, pretrained: bool | None, weights: Path | None, default: bool = False) -> str | None:
    """What a spec says of the first weights: None for random ones, else the first digits of their file's SHA-256.

    Args:
        info: the backbone.
        pretrained: what the user said; None for nothing.
        weights: a file instead of the published ones.
        default: what is done where the user said nothing.

    Raises:
        RbdmlError: the backbone has no published weights, or the file is missing or not what its name says.
    """
    if weights is not None and pretrained is False:
        raise RbdmlError("--no-pretrained and --weights contradict each other: leave one of them out")
    if weights is not None:
        return _digits_of(weights, info)
    if not (default if pretrained is None else pretrained):
        return None
    if info.weights is None:
        raise RbdmlError(
            f"backbone '{info.name}' has no published weights: use --no-pretrained, or give --weights FILE"
        )
    return info.weights.digits


def _digits_of(path: Path, info: BackboneInfo) -> str:
    if not path.is_file():
        raise RbdmlError(f"{path}: no such file of weights: give --weights FILE, or use --no-pretrained")
    digits = sha256(path)[:DIGITS]
    if info.weights and path.name == info.weights.url.rpartition("/")[2] and digits != info.weights.digits:
        raise RbdmlError(
            f"{path}: its SHA-256 begins with {digits}, not with the {info.weights.digits} of its name: it is "
            "truncated or altered; get it again"
        )
    return digits
