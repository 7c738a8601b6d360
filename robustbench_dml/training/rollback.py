"""The state of a training before an iteration, in case the iteration fails."""

from __future__ import annotations

import traceback

from torch import nn

from robustbench_dml.training.defense import Defense


class Rollback:
    """Copies what an iteration changes before the weights: the defense's state and the network's statistics."""

    def __init__(self, defense: Defense, model: nn.Module) -> None:
        self._defense, self._model = defense, model
        self._state = {name: value.clone() for name, value in defense.state().items()}
        self._buffers = [buffer.clone() for buffer in model.buffers()]

    def undo(self, error: BaseException) -> None:
        """Restore the copies, and free the tensors that the failed iteration still holds."""
        traceback.clear_frames(error.__traceback__)
        self._defense.load_state(self._state)
        for buffer, before in zip(self._model.buffers(), self._buffers, strict=True):
            buffer.copy_(before)
