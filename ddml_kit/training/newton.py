"""Newton's method: go at once to where the gradient would be zero if the function were a quadratic.

J. Nocedal, S. J. Wright, "Numerical Optimization", 2nd edition, Springer 2006, section 3.3. The
Hessian costs about as much as 2 dim gradients, and solving with it 2/3 dim^3 operations, which is
why nobody does this with a million weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.linalg

from ddml_kit.training.line_search import Search, backtracking
from ddml_kit.training.objective import Objective, Point


def newton(f: Objective, w: np.ndarray) -> Iterator[Point]:
    """w -= H^-1 g: one step on a quadratic, and near a minimum twice the right digits a step.

    It goes to where the gradient is zero, be that a minimum, a saddle or a maximum. Raises
    ValueError where the Hessian can't be inverted.
    """
    at = f.at(w)
    while True:
        yield at
        H = f.hessian(at.w)
        f.work(2 / 3 * len(w) ** 3)
        at = f.at(at.w - _solved(H, at.gradient))


def _solved(H: np.ndarray, g: np.ndarray) -> np.ndarray:
    """H^-1 g, (dim,)."""
    try:
        return np.linalg.solve(H, g)
    except np.linalg.LinAlgError:
        raise ValueError(
            "Newton's step needs a Hessian that can be inverted, got one of rank "
            f"{np.linalg.matrix_rank(H)} for {len(g)} numbers"
        ) from None


def damped_newton(f: Objective, w: np.ndarray, *, search: Search = backtracking) -> Iterator[Point]:
    """Newton's step where it leads down, and bent until it does where not; then a line search.

    Algorithm 3.3: the identity is added to H, more and more of it, until it has a Cholesky factor.
    Departure: it always begins with none.
    """
    at: Point | None = f.at(w)
    while at is not None:
        yield at
        H = f.hessian(at.w)
        f.work(2 / 3 * len(w) ** 3)
        direction = -scipy.linalg.cho_solve(_positive(H), at.gradient)
        if not at.gradient @ direction < 0:
            return  # the gradient is zero
        at = search(f, at, direction, 1.0)


def _positive(H: np.ndarray) -> tuple[np.ndarray, bool]:
    """The Cholesky factor of H + tau I, as SciPy's cho_factor has it, for the first tau that does.

    tau: 0, then a thousandth of the largest entry of H, and then twice as much each time.
    """
    size, tau = float(np.abs(H).max()) or 1.0, 0.0
    while True:
        try:
            return scipy.linalg.cho_factor(H + tau * np.eye(len(H)))
        except np.linalg.LinAlgError:
            tau = max(2 * tau, 1e-3 * size)
