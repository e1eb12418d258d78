"""The images that an attack may show: those near an image, and within the bounds of all images.

Bounds hold to the last bit. The ball holds to 1e-6, and for a radius above 1 to 1e-6 of it: adding
the move to a float32 image rounds every pixel, which in l1 adds up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ddml_kit.adversarial.norms import Bounds, Norm, linf

SLACK = 1e-6  # by how much rounding may leave a ball; of the radius, if it is above 1

Generator = np.random.Generator | torch.Generator


@dataclass(frozen=True, eq=False)
class Ball:
    """All images within eps of x, (n, ...), and within bounds."""

    x: torch.Tensor
    eps: float
    norm: Norm
    bounds: Bounds

    def rows(self, which: torch.Tensor) -> Ball:
        """The balls of some of the images only."""
        return Ball(self.x[which], self.eps, self.norm, self.bounds)

    def steepest(self, gradient: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """The step of length 1 along which the loss rises most, (n, ...)."""
        if self.norm.steepest is linf.steepest:
            return gradient.sign()
        step = self.norm.steepest(gradient.flatten(1), at.flatten(1), self.bounds)
        return step.view_as(self.x)

    def nearest(self, at: torch.Tensor) -> torch.Tensor:
        """The allowed image nearest to `at`, (n, ...)."""
        low, high = self.bounds
        if self.norm.within is linf.within:
            # two boxes: one after the other is the nearest of both, and quicker
            moved = (at - self.x).clamp_(-self.eps, self.eps)
            return moved.add_(self.x).clamp_(low, high)
        x = self.x.flatten(1)
        moved = self.norm.within(at.flatten(1) - x, self.eps, low - x, high - x)
        return torch.clamp(x + moved, low, high).view_as(self.x)

    def draw(self, rng: Generator) -> torch.Tensor:
        """A random image for each x, (n, ...): uniform in its ball, then clipped to the bounds."""
        if isinstance(rng, torch.Generator):
            seed = torch.randint(2**63 - 1, (), generator=rng, device=rng.device)
            rng = np.random.default_rng(int(seed))
        flat = self.x.flatten(1)
        drawn = torch.from_numpy(self.norm.draw(rng, *flat.shape) * self.eps).to(flat)
        return torch.clamp(self.x + drawn.view_as(self.x), *self.bounds)

    def check(self, at: torch.Tensor, what: str) -> None:
        """Raises ValueError if an image of `at` is not allowed."""
        if at.shape != self.x.shape:
            raise ValueError(
                f"{what} must have the shape of x, {tuple(self.x.shape)}, got {tuple(at.shape)}"
            )
        if not len(at):
            return
        low, high = self.bounds
        if not ((at >= low) & (at <= high)).all():
            raise ValueError(f"{what} must lie within the bounds ({low:g}, {high:g})")
        far = self.norm.length((at.double() - self.x.double()).flatten(1)).max().item()
        if far > self.eps + SLACK * max(1.0, self.eps):
            raise ValueError(
                f"{what} must lie within eps = {self.eps:g} of x in {self.norm}, got {far:g}"
            )
