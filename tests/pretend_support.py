"""A pretend CUDA device for machines without a GPU.

Inside `pretend_device()`, tensors made on or moved to `cuda` report that device. Their values stay in CPU memory and
are computed there. Work that a GPU refuses raises an error: mixed devices, numpy of a device tensor, a CPU generator
for a device tensor. Waits of the host and kernel launches are counted. Other threads see the CPU.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType, SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

HOST, DEVICE = torch.device("cpu"), torch.device("cuda", 0)
LATE = "event, a step late"  # the wait for an event that was recorded before further launches
# Operations whose result, or the size of it, is read by the host.
READING = {"_local_scalar_dense", "nonzero", "equal", "masked_select", "bincount", "_unique2", "unique_dim"}
READING |= {"unique_consecutive", "repeat_interleave"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
PACKAGE = ("/robustbench_dml/", "/defenses/", "/attacks/")
SWEEP = 4096  # marks between two removals of freed memory
_autocast = torch.autocast


class Wait(NamedTuple):
    """A stop of the host."""

    kind: str
    line: str  # `folder/file.py:line` of the package


class PretendDevice:
    """The memory of the device, and counts of its use.

    Attributes:
        waits: number of waits by kind and line.
        launches: operations on device tensors other than views, about the kernels of a GPU.
    """

    def __init__(self) -> None:
        self.waits: Counter[Wait] = Counter()
        self.launches = 0
        self._memory: dict[int, StorageWeakRef] = {}  # a weak reference reserves the address

    def holds(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._memory

    def mark(self, value: Any) -> Any:
        """Declare the memory of a tensor to be on the device. Returns the value."""
        if isinstance(value, Tensor):
            reference = StorageWeakRef(value.untyped_storage())
            self._memory[reference.cdata] = reference
            if len(self._memory) % SWEEP == 0:
                self._memory = {key: kept for key, kept in self._memory.items() if not kept.expired()}
        return value

    def wait(self, kind: str) -> None:
        self.waits[Wait(kind, current_line())] += 1

    def move(self, tensor: Tensor, to: torch.device | None, **how: Any) -> Tensor:
        """`tensor.to(to, **how)`."""
        here = self.holds(tensor)
        target = here if to is None else to.type == DEVICE.type
        if here == target:
            how.pop("non_blocking", None)
            return tensor.to(**how)
        if not how.pop("non_blocking", False):
            self.wait("copy to device" if target else "copy to host")
        with torch._C._DisableTorchDispatch():
            moved = tensor.to(**{**how, "copy": True})
        return self.mark(moved) if target else moved

    def event(self, **_: Any) -> SimpleNamespace:
        """An event. Waiting for it is cheap if the device has more work by then."""
        recorded = [0]

        def synchronize() -> None:
            self.wait(LATE if self.launches > recorded[-1] else "event, at once")

        return SimpleNamespace(record=lambda *_: recorded.append(self.launches), synchronize=synchronize)


def current_line() -> str:
    """The innermost line of the package on the stack."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not any(part in frame.f_code.co_filename for part in PACKAGE):
        frame = frame.f_back
    if frame is None:
        return "outside the package"
    return f"{'/'.join(frame.f_code.co_filename.split('/')[-2:])}:{frame.f_lineno}"


class _Functions(TorchFunctionMode):
    """Above autograd: questions about devices, moves between devices, and new tensors."""

    def __init__(self, device: PretendDevice) -> None:
        super().__init__()
        self._device = device
        self._special: dict[Any, Callable[..., Any]] = {
            Tensor.device.__get__: lambda tensor: DEVICE if device.holds(tensor) else HOST,
            Tensor.is_cuda.__get__: device.holds,  # type: ignore[attr-defined]
            Tensor.cpu: lambda tensor, **_: device.move(tensor, HOST),
            Tensor.cuda: lambda tensor, *_, **how: device.move(tensor, DEVICE, **how),
            Tensor.to: self._to,
            Tensor.numpy: lambda tensor, **how: self._on_host(tensor).numpy(**how),
            Tensor.__array__: lambda tensor, *args, **how: self._on_host(tensor).__array__(*args, **how),
            Tensor.tolist: self._tolist,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if special := self._special.get(func):
            return special(*args, **kwargs)
        kwargs.pop("pin_memory", None)
        device = kwargs.get("device")
        if device is None or torch.device(device).type != DEVICE.type:
            return func(*args, **kwargs)
        if kwargs.get("generator") is not None:
            raise _wrong_generator(func)
        return self._device.mark(func(*args, **{**kwargs, "device": HOST}))

    def _to(self, tensor: Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
        if args and isinstance(args[0], Tensor):
            to, dtype, non_blocking, layout = self._device_of(args[0]), args[0].dtype, False, None
        else:
            to, dtype, non_blocking, layout = torch._C._nn._parse_to(*args, **kwargs)
        how = {"memory_format": layout} if layout is not None else {}
        dtype = tensor.dtype if dtype is None else dtype
        return self._device.move(tensor, to, dtype=dtype, non_blocking=non_blocking, copy=copy, **how)

    def _device_of(self, tensor: Tensor) -> torch.device:
        return DEVICE if self._device.holds(tensor) else HOST

    def _on_host(self, tensor: Tensor) -> Tensor:
        if self._device.holds(tensor):
            raise TypeError(f"can't convert cuda:0 device type tensor to numpy ({current_line()})")
        return tensor

    def _tolist(self, tensor: Tensor) -> Any:
        if self._device.holds(tensor):
            self._device.wait("tolist")
        return tensor.tolist()


class _Operations(TorchDispatchMode):
    """Below autograd: every operation, those of backward passes included."""

    def __init__(self, device: PretendDevice) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_device = any(map(self._device.holds, inputs))
        if on_device:
            self._check(func, name, args, kwargs, inputs)
            self._device.launches += not func.is_view
        result = func(*args, **kwargs)
        # A backward pass makes zeros without inputs where there is no gradient, on the device of the graph.
        new_in_backward = not inputs and torch._C._current_graph_task_id() != -1
        if (on_device and name != "_local_scalar_dense") or new_in_backward:
            given = {tensor.untyped_storage()._cdata for tensor in inputs}
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in given:
                    self._device.mark(leaf)
        return result

    def _check(self, func: Any, name: str, args: Any, kwargs: Any, inputs: Sequence[Tensor]) -> None:
        """Refuse a mix, and count the wait of an operation with a device tensor."""
        device = self._device
        if name == "copy_" and device.holds(args[0]) != device.holds(args[1]):
            if not any(args[2:3]):
                device.wait("copy to device" if device.holds(args[0]) else "copy to host")
            return
        mixed = [tensor for tensor in inputs if tensor.dim() and not device.holds(tensor)]
        if name in INDEXING and device.holds(args[0]):  # a GPU accepts indices of the host
            indices = [index for index in args[1] if index is not None]
            if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                device.wait("mask as index")
            elif not all(map(device.holds, indices)):
                device.wait("copy to device")
            mixed = [tensor for tensor in mixed if not any(tensor is index for index in indices)]
        if mixed:
            raise RuntimeError(f"Expected all tensors to be on the same device: {func} ({current_line()})")
        if kwargs.get("generator") is not None:
            raise _wrong_generator(func)
        if name in READING:
            device.wait(name)


def _wrong_generator(func: Any) -> RuntimeError:
    return RuntimeError(f"Expected a 'cuda' device type for generator but found 'cpu': {func} ({current_line()})")


@contextmanager
def pretend_device() -> Iterator[PretendDevice]:
    """Give this thread one CUDA device."""
    device = PretendDevice()
    cuda: dict[str, Any] = {
        "Event": device.event,
        "current_device": lambda: 0,
        "current_stream": lambda *_: None,
        "device_count": lambda: 1,
        "get_device_name": lambda *_: "pretended",
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "is_available": lambda: True,
        "is_bf16_supported": lambda **_: True,
        "is_tf32_supported": lambda: True,
        "manual_seed_all": lambda *_: None,
        "max_memory_allocated": lambda *_: 0,
        "reset_peak_memory_stats": lambda *_: None,
        "set_device": lambda *_: None,
        "set_rng_state": lambda *_: None,
        "synchronize": lambda *_: device.wait("synchronize"),
    }
    with ExitStack() as stack:
        for name, replacement in cuda.items():
            stack.enter_context(patch.object(torch.cuda, name, replacement))
        stream = SimpleNamespace(is_capturing=lambda: False)  # asked by fused optimizers
        stack.enter_context(patch.object(torch.accelerator, "current_stream", lambda *_: stream))
        stack.enter_context(patch.object(torch, "autocast", lambda _, **how: _autocast("cpu", **how)))
        stack.enter_context(patch.object(Tensor, "pin_memory", lambda tensor, *_: tensor))  # in threads that read, too
        stack.enter_context(_Operations(device))
        stack.enter_context(_Functions(device))
        yield device
