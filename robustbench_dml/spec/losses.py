"""Losses and miners of pytorch-metric-learning (PML), imported when they are first used."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from robustbench_dml.spec.loss_names import LOSS_MINERS, LOSSES, NO_MINER, TRIPLET
from robustbench_dml.spec.schema import LossSpec
from robustbench_dml.utils.errors import RbdmlError, did_you_mean, reason

# Miners of the papers: Wang et al., CVPR 2019, arXiv:1904.06627; Wu et al., ICCV 2017, arXiv:1706.07567.
USUAL_MINERS = {"MultiSimilarityLoss": "MultiSimilarityMiner", "MarginLoss": "DistanceWeightedMiner"}
# Learning rate of proxies: Kim et al., CVPR 2020, arXiv:2003.13911; Qian et al., ICCV 2019, arXiv:1909.05235.
PROXY_LR = 1e-2
OF_THE_DATA = ("num_classes", "embedding_size")  # arguments that the training images and the network set


def loss_spec(
    name: str | None, params: Mapping[str, Any] | None = None, miner: str | None = None, lr: float | None = None
) -> LossSpec | None:
    """Return a loss with all its parameters, None for the triplet loss of the papers.

    Args:
        name: one of `LOSSES`, `triplet` or None.
        params: parameters by PML's names; text is read as a number where PML's default is a number.
        miner: one of `LOSS_MINERS`, or `none`; by default the miner of the loss's paper.
        lr: learning rate of learnable proxies.

    Raises:
        RbdmlError: an unknown name, or a value of the wrong type.
    """
    if name in (None, TRIPLET):
        if params or miner or lr is not None:
            raise RbdmlError("the triplet loss has gamma 0.2 and no other settings: name a loss with --loss")
        return None
    assert name is not None
    usual = parameters_of(name)
    for key in params or {}:
        if key not in usual:
            known = ", ".join(usual) or "none"
            raise RbdmlError(f"loss '{name}' has no parameter '{key}': {did_you_mean(key, usual)}it has {known}")
    read = {key: _read(name, key, value, usual[key]) for key, value in (params or {}).items()}
    chosen = miner or USUAL_MINERS.get(name, NO_MINER)
    if chosen not in (*LOSS_MINERS, NO_MINER):
        raise RbdmlError(f"unknown miner '{chosen}': {did_you_mean(chosen, LOSS_MINERS)}use {', '.join(LOSS_MINERS)}")
    result = LossSpec(name=name, params=usual | read, miner=None if chosen == NO_MINER else chosen)
    learns = any(True for _ in build_loss(result, classes=2, dimension=2).parameters())
    if lr is not None and not learns:
        raise RbdmlError(f"loss '{name}' learns nothing with these parameters: leave --loss-lr out")
    return result.model_copy(update={"lr": PROXY_LR if lr is None else lr}) if learns else result


def parameters_of(name: str) -> dict[str, Any]:
    """Return the parameters of a loss with PML's defaults, by name.

    Raises:
        RbdmlError: an unknown loss.
    """
    arguments = [each for each in _arguments(name) if isinstance(each.default, bool | int | float | str)]
    return {each.name: each.default for each in sorted(arguments, key=lambda each: each.name)}


def build_loss(loss: LossSpec, *, classes: int, dimension: int) -> Any:
    """Build PML's module.

    Args:
        loss: the loss.
        classes: number of training classes.
        dimension: dimension of the embeddings.

    Raises:
        RbdmlError: PML refuses a parameter.
    """
    filled = dict(zip(OF_THE_DATA, (classes, dimension), strict=True))
    taken = {each.name: filled[each.name] for each in _arguments(loss.name) if each.name in filled}
    try:
        return _class_of(loss.name)(**taken, **loss.params)
    except Exception as error:  # PML checks its arguments in any way
        raise RbdmlError(f"loss '{loss.name}' refuses its parameters ({reason(error)}): change --loss-param") from None


def build_miner(name: str) -> Any:
    """Build PML's miner with its default parameters."""
    from pytorch_metric_learning import miners

    return getattr(miners, name)()


def _class_of(name: str) -> type[Any]:
    if name not in LOSSES:
        raise RbdmlError(f"unknown loss '{name}': {did_you_mean(name, LOSSES)}use one of {', '.join(LOSSES)}")
    from pytorch_metric_learning import losses

    return getattr(losses, name)


def _arguments(name: str) -> Iterator[inspect.Parameter]:
    """List the constructor's arguments, with those that it passes on to another loss."""
    seen: set[str] = set()
    for cls in _class_of(name).__mro__:
        if not cls.__module__.startswith("pytorch_metric_learning.losses.") or "mixins" in cls.__module__:
            break
        for each in inspect.signature(vars(cls).get("__init__", object.__init__)).parameters.values():
            if each.name not in seen and each.name not in ("self", "args", "kwargs"):
                seen.add(each.name)
                yield each


def _read(loss: str, name: str, value: Any, usual: Any) -> Any:
    """Read a value given as text or as a number, as a number of the type that PML's default has."""
    if isinstance(usual, str):
        return int(value) if str(value).isdecimal() else value
    words = {"true": True, "1": True, "false": False, "0": False}
    try:
        if isinstance(usual, bool):
            return words[str(value).lower()]
        number = float(value)
        if number - number == 0:  # neither infinite nor NaN
            return int(number) if isinstance(usual, int) and number.is_integer() else number
    except (KeyError, TypeError, ValueError):
        pass
    kind = "true or false" if isinstance(usual, bool) else "a finite number"
    raise RbdmlError(f"loss '{loss}': parameter '{name}' cannot be '{value}': give {kind}")
