"""Tensors that stay on their GPU: messages and sums of them go over NCCL.

A message of a tensor on a GPU is two: a frame over gloo, which says what it is like, and the tensor
over NCCL. The receiver asks NCCL for it as soon as the frame is there, in the order of the frames,
whichever message its program takes first. NCCL does what two ranks do with each other one after the
other, and a send lasts until it is received; so there are two groups, one for what goes to higher
ranks and one for what goes to lower (two ranks that send to each other would else wait for ever).

NCCL is used if every rank has a GPU of its own: the one whose number is its LOCAL_RANK, or on
`Torchrun(n)` its rank. Elsewhere, and inside lists and the like, tensors travel by way of the CPU,
and arrive there. This has been tried with gloo in NCCL's place, not yet on GPUs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.distributed import is_nccl_available

from ddml_kit.cluster.distributed.groups import Groups


class Layout(NamedTuple):
    """What a tensor that follows is like. dtype: by its name in torch."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """What it weighs, for the books."""
        return torch.Size(self.shape).numel() * getattr(torch, self.dtype).itemsize


class Coming(NamedTuple):
    """A tensor that NCCL has been asked for; or, without work, that is there."""

    tensor: torch.Tensor
    work: Any

    def wait(self) -> torch.Tensor:
        """The tensor; what the program computes with it comes after its arrival."""
        if self.work is not None:
            self.work.wait()
        return self.tensor


def own_gpu(number: int) -> bool:
    """Whether this process can have the GPU of that number, of this host, for itself."""
    return is_nccl_available() and torch.cuda.is_available() and number < torch.cuda.device_count()


def on_gpu(value: Any) -> bool:
    """Whether it is a dense tensor on a GPU."""
    return type(value) is torch.Tensor and value.is_cuda and value.layout is torch.strided


class Device:
    """A rank's GPU among those of all ranks; all make one.

    group: makes groups of (label, position, size), NCCL's. is_on: whether a value is a tensor that
    stays there. place: where tensors that arrive are made.
    """

    def __init__(
        self,
        groups: Groups,
        group: Callable[[str, int, int], Any],
        is_on: Callable[[Any], bool],
        place: str,
    ) -> None:
        self._rank, self._size = groups.rank, groups.size
        self._group, self.is_on, self._place = group, is_on, place
        # Both at once: if two ranks began with different ones, each could wait for the other.
        self._up, self._down = (
            group(f"gpu/{way}", self._rank, self._size) for way in ("up", "down")
        )
        self._groups: dict[int, Any] = {}  # by context
        self._making = threading.Lock()
        self._sent: deque[tuple[Any, torch.Tensor]] = deque()  # which NCCL may not be through with
        self.sending = threading.Lock()  # that frames and tensors go in one order

    def send(self, tensor: torch.Tensor, dest: int) -> None:
        """Copy a tensor now and have it travel; does not wait for the receiver's program."""
        copy = tensor.detach().clone(memory_format=torch.contiguous_format)
        self._sent.append((self._way(self._rank, dest).send([copy], dest, 0), copy))
        while self._sent and self._sent[0][0].is_completed():
            self._sent.popleft()

    def receive(self, layout: Layout, source: int) -> Coming:
        """Ask for the next tensor from `source`."""
        dtype = getattr(torch, layout.dtype)
        tensor = torch.empty(layout.shape, dtype=dtype, device=self._place)
        return Coming(tensor, self._way(source, self._rank).recv([tensor], source, 0))

    def members(self, context: int, position: int, size: int) -> Any:
        """The group of a communicator's members."""
        with self._making:
            if context not in self._groups:
                self._groups[context] = self._group(f"gpu/{context}", position, size)
            return self._groups[context]

    def _way(self, source: int, dest: int) -> Any:
        return self._up if source < dest else self._down


def layout_of(tensor: torch.Tensor) -> Layout:
    """What a tensor is like."""
    return Layout(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))


def device_of(groups: Groups, number: int) -> Device | None:
    """This rank's GPU, if all ranks have one; it becomes torch's current one."""
    if not groups.all_say("gpus", own_gpu(number)):
        return None
    torch.cuda.set_device(number)
    return Device(groups, groups.nccl, on_gpu, f"cuda:{number}")
