"""Any torch module as a problem of one flat vector.

The vector holds the module's parameters in the order of `module.parameters()`, each row by row, as
`torch.nn.utils.parameters_to_vector` has them. The module is a pure function of it
(`torch.func.functional_call`), so it may not keep a state that training changes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
import torch
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from ddml_kit.problems.data import Data
from ddml_kit.problems.problem import FLOPS, Batch, Piece, check_finite
from ddml_kit.problems.stages import backwards, shares, stages
from ddml_kit.problems.supervised import Supervised
from ddml_kit.problems.torch_threads import one_thread

CHUNK = 1024  # samples that are evaluated at once


class TorchModule(Supervised):
    """The mean loss of a module over data, as a function of its parameters as one vector, (dim,).

    module: from (b, ...) inputs to (b, ...) outputs; it is copied and keeps its mode, train or
    eval. loss: (outputs, labels) -> the mean over the batch, such as
    torch.nn.functional.cross_entropy. data: dense inputs; labels as the loss wants them.

    Buffers are constants. A module that changes them as it trains (batch normalisation with
    running statistics: give it track_running_stats=False, or take group or layer normalisation)
    or that draws random numbers (dropout) is refused: a gradient must be a function of the vector
    and the batch. Everything is computed in one thread, so that the bits are the same everywhere.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        data: Data,
    ) -> None:
        self._module = copy.deepcopy(module)
        self._loss = loss
        parameters = dict(self._module.named_parameters())
        dtypes = {p.dtype for p in parameters.values()}
        if len(dtypes) != 1 or not dtypes <= {torch.float32, torch.float64}:
            raise ValueError(
                "TorchModule needs parameters of one type, float32 or float64, got "
                f"{', '.join(sorted(map(str, dtypes))) or 'none'}"
            )
        self.dtype = np.dtype(str(dtypes.pop()).removeprefix("torch."))
        if not isinstance(data.x, np.ndarray):
            raise ValueError(f"TorchModule needs dense inputs, got {data.x!r}")
        self.x, self.y = data.x, data.y
        if self.x.dtype.kind == "f":
            self.x = self.x.astype(self.dtype, copy=False)
        if self.y.dtype.kind == "f":
            self.y = self.y.astype(self.dtype, copy=False)
        self._names = tuple(parameters)
        self.shapes = tuple(tuple(p.shape) for p in parameters.values())
        self._sizes = [p.numel() for p in parameters.values()]
        self.dim = sum(self._sizes)
        self._seconds_a_sample = self._tried()
        self._stages = stages(self._module)
        self._shares = shares(self._stages, as_tensor(self.x[:2]))

    def on(self, x: Any, y: np.ndarray) -> Self:
        other = copy.copy(self)
        other.x, other.y = x, y
        return other

    def initial(self, seed: int = 0) -> np.ndarray:
        """The parameters as each layer's reset_parameters draws them from this seed, (dim,).

        Parameters of a layer without reset_parameters stay as they were in the module.
        """
        module = copy.deepcopy(self._module)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            for layer in module.modules():
                reset = getattr(layer, "reset_parameters", None)
                if callable(reset):
                    reset()
            return np.concatenate([p.numpy().reshape(-1) for p in module.parameters()])

    def module(self, w: np.ndarray) -> torch.nn.Module:
        """A copy of the module with w, (dim,), as its parameters."""
        module = copy.deepcopy(self._module)
        with torch.no_grad():
            for parameter, value in zip(module.parameters(), self._split(w), strict=True):
                parameter.copy_(value)
        return module

    def _gradient(self, w: np.ndarray, batch: Batch) -> np.ndarray:
        with one_thread(), torch.enable_grad():
            leaves = [part.requires_grad_() for part in self._split(w)]
            loss = self._loss(self._outputs(leaves, batch.x), as_tensor(batch.y))
            gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
            return torch.cat([g.reshape(-1) for g in gradients]).numpy()

    def pieces(self, w: np.ndarray, batch: Batch) -> Iterator[Piece]:
        """Of a torch.nn.Sequential a piece for each layer with parameters; of others one."""
        if not self._shares:
            yield from super().pieces(w, batch)
            return
        parameters = iter(self._split(w))
        own = [[next(parameters) for _ in stage.parameters()] for stage in self._stages]
        y = as_tensor(batch.y)
        gradients = backwards(
            self._stages, own, as_tensor(batch.x), lambda outputs: self._loss(outputs, y)
        )
        forward = self.seconds(batch) / 3
        stop, ahead = self.dim, forward  # what is computed before the first piece
        for share, gradient in zip(reversed(self._shares), gradients, strict=True):
            piece = gradient.numpy()
            check_finite(piece, "the gradient")
            where = slice(stop - len(piece), stop)
            yield Piece(where, piece, ahead + 2 * forward * share)
            stop, ahead = where.start, 0.0

    def hvp(self, w: np.ndarray, v: np.ndarray, batch: Batch) -> np.ndarray:
        with one_thread(), torch.enable_grad():
            leaves = [part.requires_grad_() for part in self._split(w)]
            loss = self._loss(self._outputs(leaves, batch.x), as_tensor(batch.y))
            gradients = torch.autograd.grad(
                loss, leaves, create_graph=True, allow_unused=True, materialize_grads=True
            )
            slope = torch.cat([g.reshape(-1) for g in gradients])
            along = slope @ as_tensor(np.ascontiguousarray(v, self.dtype))
            products = torch.autograd.grad(along, leaves, allow_unused=True, materialize_grads=True)
            return torch.cat([p.reshape(-1) for p in products]).numpy()

    def loss(self, w: np.ndarray) -> float:
        total = 0.0
        with one_thread(), torch.no_grad():
            for outputs, y in self._evaluated(w):
                total += float(self._loss(outputs, as_tensor(y))) * len(y)
        return total / len(self)

    def accuracy(self, w: np.ndarray) -> float:
        """The share of samples whose label has the largest output; NaN where labels are numbers.

        With one output a sample, class 1 is meant where it is positive.
        """
        if self.y.dtype.kind not in "iub":
            return np.nan
        right = 0
        with one_thread(), torch.no_grad():
            for outputs, y in self._evaluated(w):
                scores = outputs.numpy().reshape(len(y), -1)
                guesses = scores[:, 0] > 0 if scores.shape[1] == 1 else scores.argmax(axis=1)
                right += int(np.sum(guesses == y))
        return right / len(self)

    def seconds(self, batch: Batch) -> float:
        """Three times the operations of a forward pass, for each sample, at 1e9 a second.

        The backward pass costs twice the forward one. The operations are those of matrix products
        and convolutions, as torch counted them in one trial.
        """
        return self._seconds_a_sample * len(batch)

    def _split(self, w: np.ndarray) -> list[torch.Tensor]:
        parts = as_tensor(w).split(self._sizes)
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def _outputs(self, parameters: list[torch.Tensor], x: np.ndarray) -> torch.Tensor:
        named = dict(zip(self._names, parameters, strict=True))
        return functional_call(self._module, named, (as_tensor(x),))

    def _evaluated(self, w: np.ndarray) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
        """Chunk by chunk: the outputs and the labels."""
        parameters = self._split(w)
        for start in range(0, len(self), CHUNK):
            chunk = slice(start, start + CHUNK)
            yield self._outputs(parameters, self.x[chunk]), self.y[chunk]

    def _tried(self) -> float:
        """Seconds a sample, from one forward pass; refuses a module that is no pure function."""
        x, y = as_tensor(self.x[:2]), as_tensor(self.y[:2])
        module = copy.deepcopy(self._module)
        before = copy.deepcopy(dict(module.named_buffers()))
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            state = torch.get_rng_state()
            with FlopCounterMode(display=False) as counter:
                outputs = module(x)
            loss = self._loss(outputs, y)
            drew = not torch.equal(state, torch.get_rng_state())
        if drew:
            raise ValueError(
                "a gradient must be a function of the vector and the batch, but this module draws "
                "random numbers (dropout?)"
            )
        for name, buffer in module.named_buffers():
            if name in before and not torch.equal(buffer, before[name]):
                raise ValueError(
                    f"buffers must stay as they are, but a pass changes {name}: for batch "
                    "normalisation, give track_running_stats=False"
                )
        if loss.shape != ():
            raise ValueError(f"loss must return one number, the mean, got {tuple(loss.shape)}")
        return 3 * counter.get_total_flops() / len(x) / FLOPS


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """The array as a tensor that shares its memory, or, if it is read-only, a copy.

    torch has no read-only tensors, and warns of an array that is one.
    """
    return torch.from_numpy(array if array.flags.writeable else array.copy())
