"""The propagation meter, which measures the cost of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from robustbench_dml.spec.schema import ComputeUsed
from robustbench_dml.utils.errors import RbdmlError


class PropagationMeter:
    """Counts the images that a network propagates, by hooks.

    Every image through the network's forward counts once, as one of three kinds (both gradients count as weights). A
    repeated backward through the same forward counts as another pass. Copies of the network made while the meter is on
    are counted, too. Micro-batches propagate again in the backward pass, which is not counted: their run is the same
    run. A part of the network called alone would not be counted and raises an RbdmlError. Use the meter as
    a context manager.

    Attributes:
        forward_only: images forwarded without gradient.
        to_input: images forwarded, with the gradient taken to the input.
        to_weights: images forwarded, with the gradient taken to the weights.
    """

    def __init__(self, network: nn.Module, *, start: ComputeUsed | None = None) -> None:
        """
        Args:
            network: the module to count. Its output has one row per image.
            start: compute used by an earlier part of the same run.
        """
        start = start or ComputeUsed()
        self.forward_only, self.to_input, self.to_weights = start.forward_only, start.to_input, start.to_weights
        self._network = network
        self._reached: list[int] = []  # images of the forwards that the present backward has reached
        self._handles: list[Any] = []
        self._watched = WeakTensorKeyDictionary()  # weights, with the handles of their hooks
        self._counting = False
        self._depth = 0  # number of nested forwards of the whole network

    def __enter__(self) -> Self:
        network, self._counting = self._network, True
        self._handles = [
            network.register_forward_pre_hook(self._before_forward),
            network.register_forward_hook(self._on_forward),
            network.register_forward_hook(self._after_forward, always_call=True),
            *(part.register_forward_pre_hook(self._before_part) for part in network.modules() if part is not network),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in (*self._handles, *self._watched.values()):
            handle.remove()
        self._handles, self._counting = [], False
        self._watched.clear()

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return self

    def _before_forward(self, *_: object) -> None:
        self._depth += 1

    def _after_forward(self, *_: object) -> None:
        self._depth -= 1

    def _before_part(self, part: nn.Module, _: tuple[Any, ...]) -> None:
        if self._counting and self._depth == 0:  # a copy keeps its hooks after the count
            raise RbdmlError(
                f"a part of the network ({type(part).__name__}) was called outside of its forward, which nothing "
                "would count: call the whole model"
            )

    def _on_forward(self, network: nn.Module, _: tuple[Any, ...], output: Tensor) -> None:
        if torch._C._current_graph_task_id() != -1:  # a micro-batch is propagated again within a backward pass
            return
        self._reached.clear()
        for weight in network.parameters():  # of a copy or a functional call: other tensors than before
            if weight.requires_grad and weight not in self._watched:
                self._watched[weight] = weight.register_hook(self._on_weight_gradient)
        images = len(output)
        self.forward_only += images
        if output.requires_grad:
            output.register_hook(self._on_backward(images))

    def _on_backward(self, images: int) -> Callable[[Tensor], None]:
        first = True

        def hook(_: Tensor) -> None:
            nonlocal first
            if first:
                self.forward_only -= images
                first = False
            # The gradient reaches outputs first, then weights. Until a weight reports, it counts as to the input.
            self.to_input += images
            self._reached.append(images)

        return hook

    def _on_weight_gradient(self, _: Tensor) -> None:
        images = sum(self._reached)
        self._reached.clear()
        self.to_input -= images
        self.to_weights += images
