"""A torch.nn.Sequential in stages, whose gradients come one after the other, the last stage first.

Backpropagation (D. E. Rumelhart, G. E. Hinton, R. J. Williams, "Learning representations by
back-propagating errors", Nature 323, 1986) needs for the gradient of a layer only what comes back
from the layers after it. So gradients can be sent, layer by layer, while those of the layers before
are being computed.

A stage is a layer with parameters, and those without that follow it. What passes from one stage to
the next is kept, and each stage has a graph of its own, so that a stage goes backward when it is
asked to. (A hook in one graph would call back from inside torch's backward pass, where a simulated
rank may not change places with another: what torch keeps for the thread would be mixed up.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from ddml_kit.problems.torch_threads import one_thread


def stages(module: torch.nn.Module) -> list[torch.nn.Sequential]:
    """The stages of a Sequential, which share its layers; none if there are not two or more.

    Sequentials inside it are cut, too. Nothing else is; nor is one with a parameter in two layers.
    """
    groups: list[list[torch.nn.Module]] = [[]]
    for layer in _layers(module):
        if _learns(layer) and any(map(_learns, groups[-1])):
            groups.append([])
        groups[-1].append(layer)
    cut = [torch.nn.Sequential(*group) for group in groups]
    parameters = [id(p) for stage in cut for p in stage.parameters()]
    return cut if len(cut) > 1 and parameters == list(map(id, module.parameters())) else []


def shares(cut: Sequence[torch.nn.Sequential], x: torch.Tensor) -> list[float]:
    """The part of the operations of a forward pass that each stage has; they add up to 1.

    None if there are no stages, or something other than a tensor passes between them.
    """
    counts = []
    with torch.no_grad():
        for stage in cut:
            if not isinstance(x, torch.Tensor):
                return []
            with FlopCounterMode(display=False) as counter:
                x = stage(x)
            counts.append(counter.get_total_flops())
    return [count / max(sum(counts), 1) for count in counts]


def backwards(
    cut: Sequence[torch.nn.Sequential],
    parameters: Sequence[Sequence[torch.Tensor]],
    x: torch.Tensor,
    loss: Callable[[torch.Tensor], torch.Tensor],
) -> Iterator[torch.Tensor]:
    """The gradient of loss(outputs) by each stage's parameters, (k,), the last stage first.

    parameters: of each stage, in its order; they have to stay as they are until the end. Each
    gradient is computed when it is asked for. They have the bits that one backward pass gives.
    """
    kept: list[tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]] = []  # inputs, leaves, value
    with one_thread(), torch.enable_grad():
        for stage, values in zip(cut, parameters, strict=True):
            inputs = kept[-1][-1].detach().requires_grad_() if kept else x
            leaves = [value.detach().requires_grad_() for value in values]
            names = [name for name, _ in stage.named_parameters()]
            outputs = functional_call(stage, dict(zip(names, leaves, strict=True)), (inputs,))
            kept.append((inputs, leaves, outputs))
        inputs, leaves, outputs = kept.pop()
        value, coming = loss(outputs), None  # coming: the gradient by this stage's value
    while True:
        with one_thread(), torch.enable_grad():
            wanted = [*leaves, inputs] if kept else leaves
            gradients = torch.autograd.grad(
                value, wanted, coming, allow_unused=True, materialize_grads=True
            )
            flat = torch.cat([g.reshape(-1) for g in gradients[: len(leaves)]])
        yield flat
        if not kept:
            return
        coming = gradients[-1]
        inputs, leaves, value = kept.pop()


def _layers(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Those of a Sequential, in order, one that occurs twice twice; any other is a layer itself."""
    if type(module) is torch.nn.Sequential:
        for layer in module:
            yield from _layers(layer)
    else:
        yield module


def _learns(layer: torch.nn.Module) -> bool:
    return next(layer.parameters(), None) is not None
