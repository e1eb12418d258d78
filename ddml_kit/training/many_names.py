"""One loop, many names: learning rules of half a century that are stochastic gradient descent.

Each is what a sample says of how to change w, as a gradient of that sample's loss, so that
w -= lr gradient is the rule. L. Bottou, "Large-Scale Machine Learning with Stochastic Gradient
Descent", COMPSTAT 2010, table 1, has the perceptron and the Adaline (LMS) so; Oja's rule is one to
first order in the step size.
"""

from __future__ import annotations

import numpy as np


def perceptron(w: np.ndarray, x: np.ndarray, y: float) -> np.ndarray:
    """-y x where the sign of w x is not y, else zeros, (d,): the loss max(0, -y w x).

    F. Rosenblatt, "The Perceptron: A Probabilistic Model for Information Storage and Organization
    in the Brain", Psychological Review 65(6), 1958. y is 1 or -1. Where w x = 0, as at the start,
    it counts as wrong.
    """
    return -y * x if y * (w @ x) <= 0 else np.zeros_like(w)


def lms(w: np.ndarray, x: np.ndarray, y: float) -> np.ndarray:
    """(w x - y) x, (d,): the loss (w x - y)^2 / 2, least mean squares.

    B. Widrow, M. E. Hoff, "Adaptive Switching Circuits", IRE WESCON Convention Record 4, 1960. In
    statistics it is online linear regression, in signal processing an adaptive filter.
    """
    return (w @ x - y) * x


def oja(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    """-z (x - z w) with z = w x, (d,): w becomes the first principal component, of length 1.

    E. Oja, "A Simplified Neuron Model as a Principal Component Analyzer", Journal of Mathematical
    Biology 15, 1982. It is the gradient of -(w x)^2 / 2, whose minimum on the unit
    sphere is the component, with the return to the sphere to first order in the step size.
    """
    z = w @ x
    return -z * (x - z * w)
