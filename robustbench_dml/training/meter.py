"""The propagation meter: measured, not declared, training cost."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Self

from torch import Tensor, nn

from robustbench_dml.spec.schema import ComputeUsed
from robustbench_dml.utils.errors import RbdmlError


class PropagationMeter:
    """Counts the images that a network propagates, by hooks on it, so that a cost is measured and not declared.

    Every image through the network's forward counts once, as one of three kinds: forward only; forward and
    backward to the input; forward and backward to the weights (to both counts as weights). A backward repeated
    through the same forward is charged as another pass. Copies of the network made while the meter is on are
    counted by the same meter. A part of the network called by itself, which it would not count, is refused with an
    RbdmlError. Use as a context manager, or `attach` and `detach`.
    """

    def __init__(self, network: nn.Module, *, start: ComputeUsed | None = None) -> None:
        """
        Args:
            network: the module whose forward calls count; its output has one row per image.
            start: what an earlier part of the same run has spent.
        """
        start = start or ComputeUsed()
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
