"""What training may cost, and what it did cost, measured on the network itself."""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Callable
from typing import Any, Self

from torch import Tensor, nn

from robustbench_dml.errors import RbdmlError, did_you_mean
from robustbench_dml.protocol import (
    BUDGETS,
    FAMILIES,
    Budget,
    BudgetKind,
    Frozen,
    published_iterations,
    published_passes,
)
from robustbench_dml.registry import DATASETS, DatasetInfo

_PASSES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}  # M is a million; a lower-case m could mean minutes
_SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600}
_KINDS: dict[BudgetKind, dict[str, int]] = {
    "passes": _PASSES,
    "iterations": dict.fromkeys(("iterations", "iteration", "it"), 1),
    "seconds": _SECONDS,
}
UNITS = {"passes": "passes", "iterations": "it", "seconds": "s"}  # of what is spent, in a line of progress


def parse_budget(text: str, dataset: DatasetInfo) -> Budget:
    """A budget as a user writes it: a name (`quick`), passes (`20M`, `1.5e6`), iterations (`3750it`) or time (`2h`).

    Raises:
        RbdmlError: neither, or nothing to spend.
    """
    text = text.strip()
    if text in BUDGETS:
        return named_budget(text, dataset)
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?(?:e\+?[0-9]{1,3})?)\s*([A-Za-z]*)", text)
    number, unit = (float(match[1]), match[2]) if match else (0.0, "?")
    kind = next((kind for kind, units in _KINDS.items() if unit in units), None)
    if kind is None or not number * _KINDS[kind][unit] < 1e15:
        names = ", ".join(BUDGETS)
        hint = did_you_mean(text, BUDGETS)
        raise RbdmlError(
            f"budget '{text}' is not one: {hint}give a name ({names}), passes (20M), iterations (3750it) or a time "
            "(10min)"
        )
    amount = round(number * _KINDS[kind][unit])
    if amount < 1:
        raise RbdmlError(f"budget '{text}' leaves nothing to spend: give at least one pass, iteration or second")
    return Budget(kind=kind, amount=amount)


def parse_seconds(text: str) -> float:
    """Seconds from what a user writes: `90s`, `5min`, `2h`.

    Raises:
        RbdmlError: it is no time.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)\s*([a-z]+)", text.strip())
    seconds = float(match[1]) * _SECONDS.get(match[2], math.inf) if match else math.inf
    if not seconds < 1e15:
        raise RbdmlError(f"'{text[:40]}' is not a time: give seconds (90s), minutes (5min) or hours (2h)")
    return seconds


def named_budget(name: str, dataset: DatasetInfo) -> Budget:
    """One of `protocol.BUDGETS` for this data set."""
    unit, share, _ = BUDGETS[name]
    whole = {"passes": published_passes, "iterations": published_iterations}[unit]
    return Budget(kind=unit, amount=max(1, round(share * whole(FAMILIES[dataset.family], dataset.train_images))))


def name_of(budget: Budget, dataset: str) -> str:
    """A budget as a user would write it: by its name where it has one for this data set, else with its unit."""
    return budget_name(budget, dataset) or _written(budget)


def budget_name(budget: Budget, dataset: str) -> str | None:
    """The name of a budget on this data set, None where it has none."""
    info = DATASETS.get(dataset)
    return next((name for name in BUDGETS if named_budget(name, info) == budget), None)


def _written(budget: Budget) -> str:
    """What `parse_budget` reads as just this budget."""
    if budget.kind != "passes":
        return f"{budget.amount}{UNITS[budget.kind]}"
    unit, size = next((unit, size) for unit, size in reversed(_PASSES.items()) if budget.amount % size == 0)
    return f"{budget.amount // size}{unit}"


class Spent(Frozen):
    """What training has cost so far."""

    forward_only: int = 0  # images through the network with no gradient
    to_input: int = 0  # images forward and backward to the input
    to_weights: int = 0  # images forward and backward to the weights
    seconds: float = 0.0  # of training, on the device of the record
    iterations: int = 0

    @property
    def passes(self) -> float:
        """Image passes: forward and backward, with either gradient, is one; a forward alone is a third."""
        return self.to_input + self.to_weights + self.forward_only / 3

    def of(self, budget: Budget) -> float:
        """How much of this kind of budget is gone."""
        return {"passes": self.passes, "iterations": self.iterations, "seconds": self.seconds}[budget.kind]


class PropagationMeter:
    """Counts the images that a network propagates, by hooks on it, so that a cost is measured and not declared.

    Every image through the network's forward counts once, as one of three kinds: forward only; forward and
    backward to the input; forward and backward to the weights (to both counts as weights). A backward repeated
    through the same forward is charged as another pass. Copies of the network made while the meter is on are
    counted by the same meter. A part of the network called by itself, which it would not count, is refused with an
    RbdmlError. Use as a context manager, or `attach` and `detach`.
    """

    def __init__(self, network: nn.Module, *, start: Spent | None = None) -> None:
        """
        Args:
            network: the module whose forward calls count; its output has one row per image.
            start: what an earlier part of the same run has spent.
        """
        start = start or Spent()
        self._network = network
        self._forward, self._to_input, self._to_weights = start.forward_only, start.to_input, start.to_weights
        self._reached: list[int] = []  # images of the forwards that the backward now under way has reached
        self._handles: list[Any] = []
        self._watched: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self._counting = False
        self._depth = 0  # of forwards of the whole network that are under way

    @property
    def forward_only(self) -> int:
        """Images forwarded with no gradient."""
        return self._forward

    @property
    def to_input(self) -> int:
        """Images forwarded, with the gradient taken to the input."""
        return self._to_input

    @property
    def to_weights(self) -> int:
        """Images forwarded, with the gradient taken to the weights."""
        return self._to_weights

    def attach(self) -> Self:
        """Start counting."""
        network, self._counting = self._network, True
        self._handles = [
            network.register_forward_pre_hook(self._before_forward),
            network.register_forward_hook(self._on_forward),
            network.register_forward_hook(self._after_forward, always_call=True),
            *(part.register_forward_pre_hook(self._before_part) for part in network.modules() if part is not network),
        ]
        return self

    def detach(self) -> None:
        """Stop counting."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._counting = [], False
        self._watched.clear()

    def __enter__(self) -> Self:
        return self.attach()

    def __exit__(self, *_: object) -> None:
        self.detach()

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return self

    def _before_forward(self, *_: object) -> None:
        self._depth += 1

    def _after_forward(self, *_: object) -> None:
        self._depth -= 1

    def _before_part(self, part: nn.Module, _: tuple[Any, ...]) -> None:
        if self._counting and self._depth == 0:  # a copy keeps its hooks when nobody counts any more
            raise RbdmlError(
                f"a part of the network ({type(part).__name__}) was called outside of its forward, which nothing "
                "would count: call the whole model"
            )

    def _on_forward(self, network: nn.Module, _: tuple[Any, ...], output: Tensor) -> None:
        self._reached.clear()
        if network not in self._watched:  # a copy brings the hook on its forward, not those on its weights
            self._watched.add(network)
            weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
            self._handles += [parameter.register_hook(self._on_weight_gradient) for parameter in weights]
        images = len(output)
        self._forward += images
        if output.requires_grad:
            output.register_hook(self._on_backward(images))

    def _on_backward(self, images: int) -> Callable[[Tensor], None]:
        first = True

        def hook(_: Tensor) -> None:
            nonlocal first
            if first:
                self._forward -= images
                first = False
            # The gradient reaches the outputs before the weights: until one reports, it goes to the input.
            self._to_input += images
            self._reached.append(images)

        return hook

    def _on_weight_gradient(self, _: Tensor) -> None:
        images = sum(self._reached)
        self._reached.clear()
        self._to_input -= images
        self._to_weights += images
