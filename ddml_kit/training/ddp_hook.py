"""Any reducer as a communication hook of PyTorch's DistributedDataParallel.

Who trains with DDP (S. Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel
Training", VLDB 2020, arXiv 2006.15704) can take the kit's reducers along:

    model = DistributedDataParallel(module)
    low = Reducers(lambda shapes: power_sgd(shapes, rank=2))
    model.register_comm_hook(low, ddp_hook)

DDP hands its gradients over in buckets; each gets a reducer of its own. A reducer sees a process
group as a communicator that has collectives and streams, and neither messages nor time. Sums are
the group's own: the same bits on every rank, but not those of a fold in rank order if there are
three or more. A hook has finished when it returns, so a bucket does not travel while the backward
pass goes on; a gradient on a GPU is reduced on the CPU, and what travels travels on the GPUs'
network.
"""

# No "from __future__ import annotations": DDP reads the hook's, and does not know them as text.

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist

from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.endpoint import generator
from ddml_kit.compression.matrices import Shapes
from ddml_kit.training.reducers import Reduce, Reducer

OPERATIONS = {
    "sum": dist.ReduceOp.SUM,
    "mean": dist.ReduceOp.SUM,
    "prod": dist.ReduceOp.PRODUCT,
    "max": dist.ReduceOp.MAX,
    "min": dist.ReduceOp.MIN,
}


class Reducers:
    """What the hook remembers: a reducer for each bucket, made when the bucket first comes.

    make: from the shapes of a bucket's tensors to its reducer. group: DDP's process group, by
    default the world. seed: of the streams, with the rank. DDP sorts its buckets anew after the
    first step; a bucket of other tensors gets a new reducer, which remembers nothing.
    """

    def __init__(
        self, make: Callable[[Shapes], Reducer], *, group: Any = None, seed: int = 0
    ) -> None:
        self._make, self._group, self._seed = make, group, seed
        self._comm: Collectives | None = None
        self._made: dict[int, tuple[Shapes, Reduce]] = {}

    def of(self, bucket: dist.GradBucket) -> Reduce:
        """The bucket's reducer; called by all ranks, in the same order."""
        if self._comm is None:
            self._comm = Collectives(self._group, bucket.buffer().device, self._seed)
        shapes = tuple(tuple(parameter.shape) for parameter in bucket.parameters())
        made = self._made.get(bucket.index())
        if made is None or made[0] != shapes:
            made = shapes, self._make(shapes)(cast(Comm, self._comm))
            self._made[bucket.index()] = made
        return made[1]


def ddp_hook(state: Reducers, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """The bucket's gradients, averaged by its reducer; for DDP's register_comm_hook.

    Raises what the reducer raises, in the backward pass.
    """
    buffer = bucket.buffer()
    mean = state.of(bucket)(buffer.detach().cpu().numpy())
    buffer.copy_(torch.from_numpy(mean))
    future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    future.set_result(buffer)
    return future


class Collectives:
    """A process group as reducers see a communicator: what of `Comm` needs neither time nor peers.

    device: where the group's tensors are.
    """

    def __init__(self, group: Any, device: torch.device, seed: int) -> None:
        self._group, self._device, self._seed = group, device, seed
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self.members = dist.get_process_group_ranks(group or dist.group.WORLD)
        self._streams: dict[str, np.random.Generator] = {}

    def all_reduce(
        self, x: Any, op: str = "sum", order: str = "any", out: np.ndarray | None = None
    ) -> Any:
        """x combined over all ranks, in the group's own order; as `Comm.all_reduce` has it."""
        result = np.array(x) if out is None else out
        if out is not None and out is not x:
            np.copyto(out, x)
        if op == "mean" and result.dtype.kind not in "fc":
            result = result.astype(np.float64)
        flat = torch.from_numpy(result.reshape(-1))
        tensor = flat.to(self._device)
        dist.all_reduce(tensor, OPERATIONS[op], group=self._group)
        if op == "mean":
            tensor /= self.size
        if tensor is not flat:
            flat.copy_(tensor)
        return result if np.ndim(x) else result.item()

    def all_gather(self, value: Any) -> list[Any]:
        """Every rank's value, as a list by rank."""
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self._group)
        return values

    def broadcast(self, value: Any, root: int = 0) -> Any:
        """Rank `root`'s value, on every rank."""
        values = [value]
        source = self.members[root]
        dist.broadcast_object_list(values, source, group=self._group, device=self._device)
        return values[0]

    def stream(self, name: str) -> np.random.Generator:
        """The random generator of (seed, rank, name), one for each purpose."""
        if name not in self._streams:
            self._streams[name] = generator(self._seed, self.rank, name)
        return self._streams[name]
