"""Logistic regression: two classes or many, dense inputs or sparse.

With many classes it is the softmax regression. No intercept is added: where one is wanted, give
the inputs a column of ones.

The regulariser of sparse inputs is that of Niu, Recht, Ré & Wright, "Hogwild!", NIPS 2011,
arXiv 1106.5730, section 2: a sample that touches coordinate u carries the share 1/d_u of its
penalty, d_u being the number of samples that do, so that a gradient stays as sparse as its
samples. Over the whole data the shares add up to l2/2 |w|^2 on the coordinates that occur.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.special

from ddml_kit.problems.csr import Rows
from ddml_kit.problems.problem import FLOPS, Batch
from ddml_kit.problems.sparse import Sparse
from ddml_kit.problems.supervised import Supervised


class Logistic(Supervised):
    """The mean log loss of a linear classifier, as a function of w, (features [* classes],).

    x: (n, ...) numbers, flattened to (n, features), or Rows. y: (n,) whole numbers from 0 to
    classes - 1, so 0 and 1 for two classes; classes: by default one more than the largest.
    Two classes: w has a number a feature, and class 1 has probability 1 / (1 + exp(-w x)).
    More: w is a matrix (features, classes), row by row, and probabilities are a softmax.
    l2: the regulariser l2/2 |w|^2. dtype: of w, float32 or float64.
    For Rows, gradients are Sparse, over the features that occur in the batch.
    """

    def __init__(
        self,
        x: Any,
        y: np.ndarray,
        *,
        classes: int | None = None,
        l2: float = 0.0,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise ValueError(f"Logistic computes in float32 or float64, got {self.dtype}")
        if not l2 >= 0:
            raise ValueError(f"l2 must be 0 or more, got {l2}")
        y = np.asarray(y)
        if y.ndim != 1 or len(y) != len(x) or len(y) == 0:
            raise ValueError(f"Logistic needs one label a sample, got {len(x)} and y {y.shape}")
        if y.dtype.kind not in "iub" or y.min() < 0:
            raise ValueError(
                f"Logistic needs labels 0, 1, 2, ..., got {y.min()} to {y.max()} as {y.dtype}"
            )
        self.classes = max(2, int(y.max()) + 1) if classes is None else classes
        if not self.classes >= 2 or y.max() >= self.classes:
            raise ValueError(
                f"labels must lie below classes, and classes be 2 or more, got labels up to "
                f"{y.max()} and classes={self.classes}"
            )
        self.x = x if isinstance(x, Rows) else np.asarray(x, self.dtype).reshape(len(y), -1)
        self.y = y
        self.l2 = float(l2)
        self.features = self.x.shape[1]
        self._columns = 1 if self.classes == 2 else self.classes
        self.dim = self.features * self._columns
        self.shapes = ((self.dim,),) if self.classes == 2 else ((self.features, self.classes),)
        self._shares: np.ndarray | None = None
        if l2 and isinstance(x, Rows):
            touched = np.bincount(x.indices, minlength=self.features)
            self._shares = (len(y) / np.maximum(touched, 1)).astype(self.dtype)

    def on(self, x: Any, y: np.ndarray) -> Self:
        other = type(self)(x, y, classes=self.classes, l2=self.l2, dtype=self.dtype)
        other._shares = self._shares  # of the whole, so that shards together have its loss
        return other

    def initial(self, seed: int = 0) -> np.ndarray:
        """Zeros, (dim,), whatever the seed: the loss is convex."""
        return np.zeros(self.dim, self.dtype)

    def _gradient(self, w: np.ndarray, batch: Batch) -> np.ndarray | Sparse:
        if not isinstance(batch.x, Rows):
            W = w.reshape(self.features, self._columns)
            g = batch.x.T @ (self._residual(batch.x @ W, batch.y) / len(batch))
            return g.reshape(-1) + self.l2 * w if self.l2 else g.reshape(-1)
        if len(batch) == 1:
            return self._of_one(w, batch) if self._columns == 1 else self._of_one_of_many(w, batch)
        return self._of_rows(w, batch.x, batch.y)

    def _of_one(self, w: np.ndarray, batch: Batch) -> Sparse:
        """The gradient of one sparse sample of two classes: Hogwild's inner step, kept short."""
        indices, values = batch.x.indices, batch.x.values.astype(self.dtype, copy=False)
        here = w[indices.astype(np.intp)]
        z = float(np.dot(values, here))
        p = 0.0 if z < -700 else 1 / (1 + math.exp(-z))  # NaN stays NaN
        g = (p - batch.y.item()) * values
        if self._shares is not None:
            g = g + self.l2 * self._shares[indices] * here
        return Sparse(indices, g)

    def _of_one_of_many(self, w: np.ndarray, batch: Batch) -> Sparse:
        """The same for one sparse sample of many classes."""
        where, values = batch.x.indices.astype(np.intp), batch.x.values.astype(self.dtype)
        here = w.reshape(self.features, self.classes)[where]
        g = np.outer(values, self._residual((values @ here)[None], batch.y))
        if self._shares is not None:
            g += self.l2 * self._shares[where][:, None] * here
        return Sparse(self._wide(where), g.reshape(-1))

    def coordinates(self, batches: Sequence[Batch]) -> np.ndarray:
        """The coordinates of w that gradients of these sparse batches have, in order, distinct."""
        features = np.unique(np.concatenate([batch.x.indices for batch in batches]))
        return features if self._columns == 1 else self._wide(features)

    def _wide(self, features: np.ndarray) -> np.ndarray:
        """Where the rows of these features lie in w, one number for each class."""
        starts = features.astype(np.int64) * self.classes
        return (starts[:, None] + np.arange(self.classes)).reshape(-1)

    def _of_rows(self, w: np.ndarray, x: Rows, y: np.ndarray) -> Sparse:
        support, columns = np.unique(x.indices, return_inverse=True)
        local = scipy.sparse.csr_array(
            (x.values.astype(self.dtype), columns, x.indptr), (len(x), len(support))
        )
        here = w.reshape(self.features, self._columns)[support]
        g = local.T @ self._residual(local @ here, y)
        if self._shares is not None:
            occurrences = np.bincount(columns, minlength=len(support)).astype(self.dtype)
            g += (self.l2 * occurrences * self._shares[support])[:, None] * here
        g /= len(x)
        indices = support if self._columns == 1 else self._wide(support)
        return Sparse(indices, g.reshape(-1))

    def _residual(self, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The derivative of each sample's loss by its logits: probabilities - targets, (b, k)."""
        p = self._probabilities(logits)
        if self._columns == 1:
            return p - y[:, None].astype(self.dtype)
        p[np.arange(len(y)), y] -= 1
        return p

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Of class 1 with two classes, (b, 1); of each class with more, (b, classes)."""
        if self._columns == 1:
            return scipy.special.expit(logits)
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        return p

    def _logits(self, w: np.ndarray) -> np.ndarray:
        W = w.reshape(self.features, self._columns)
        return (self.x.to_scipy() if isinstance(self.x, Rows) else self.x) @ W

    def loss(self, w: np.ndarray) -> float:
        logits = self._logits(w).astype(np.float64)
        if self._columns == 1:
            losses = np.logaddexp(0, logits[:, 0]) - self.y * logits[:, 0]
        else:
            right = logits[np.arange(len(self.y)), self.y]
            losses = scipy.special.logsumexp(logits, axis=1) - right
        return float(losses.mean()) + self._penalty(w)

    def _penalty(self, w: np.ndarray) -> float:
        if not self.l2:
            return 0.0
        W = w.reshape(self.features, self._columns).astype(np.float64)
        if self._shares is not None and isinstance(self.x, Rows):
            here = np.bincount(self.x.indices, minlength=self.features) / len(self)
            W = W * np.sqrt(here * self._shares)[:, None]
        return self.l2 / 2 * float(np.vdot(W, W))

    def accuracy(self, w: np.ndarray) -> float:
        logits = self._logits(w)
        guesses = logits[:, 0] > 0 if self._columns == 1 else logits.argmax(axis=1)
        return float(np.mean(guesses == self.y))

    def seconds(self, batch: Batch) -> float:
        """4 operations for each number of the batch and each column of w, at 1e9 a second.

        A multiplication and an addition for the logit, and the same for the gradient.
        """
        numbers = batch.x.values.size if isinstance(batch.x, Rows) else batch.x.size
        return 4 * numbers * self._columns / FLOPS

    def hvp(self, w: np.ndarray, v: np.ndarray, batch: Batch) -> np.ndarray:
        x = batch.x.to_scipy() if isinstance(batch.x, Rows) else batch.x
        shape = (self.features, self._columns)
        p, along = self._probabilities(x @ w.reshape(shape)), x @ v.reshape(shape)
        if self._columns == 1:
            change = p * (1 - p) * along
        else:
            change = p * (along - (p * along).sum(axis=1, keepdims=True))
        product = (x.T @ (change / len(batch))).reshape(-1)
        return product + self._penalty_slope(v, batch) if self.l2 else product

    def _penalty_slope(self, v: np.ndarray, batch: Batch) -> np.ndarray:
        """The Hessian of the batch's share of the penalty, times v, (dim,)."""
        if self._shares is None or not isinstance(batch.x, Rows):
            return self.l2 * v
        touched = np.bincount(batch.x.indices, minlength=self.features).astype(self.dtype)
        weights = self.l2 * touched * self._shares / len(batch)
        return (weights[:, None] * v.reshape(self.features, -1)).reshape(-1)

    def hessian(self, w: np.ndarray, batch: Batch) -> np.ndarray:
        """Block by block, (dim, dim): X^T diag(p_a ([a = b] - p_b)) X for classes a and b."""
        if isinstance(batch.x, Rows):
            return super().hessian(w, batch)
        x, k = batch.x, self._columns
        p = self._probabilities(x @ w.reshape(self.features, k))
        blocks = np.empty((self.features, k, self.features, k), self.dtype)
        for a in range(k):
            for b in range(a, k):
                weights = p[:, a] * ((a == b) - p[:, b]) if k > 1 else p[:, 0] * (1 - p[:, 0])
                blocks[:, a, :, b] = blocks[:, b, :, a] = x.T @ (x * weights[:, None])
        H = blocks.reshape(self.dim, self.dim) / len(batch)
        return H + self.l2 * np.eye(self.dim, dtype=self.dtype) if self.l2 else H

    def hessian_seconds(self, batch: Batch) -> float:
        """An operation for each number of each sample's share of it, at 1e9 a second.

        A multiplication and an addition for half of the numbers, as the Hessian is symmetric. For
        Rows it is made of products with vectors.
        """
        if isinstance(batch.x, Rows):
            return super().hessian_seconds(batch)
        return len(batch) * self.dim**2 / FLOPS
