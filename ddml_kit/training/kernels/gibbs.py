"""A sweep of collapsed Gibbs sampling over the tokens of a topic model, compiled by numba.

No fastmath: the sums have the same bits as in plain Python, whatever the machine. The interpreter's
lock is released meanwhile.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True, error_model="numpy")


@compiled
def sweep(words, documents, z, n_dk, n_wk, n_k, alpha, beta, uniforms):
    """Draw the topic of each token anew, in order, given those of all others; in place.

    P(z_i = k | rest) ~ (n_dk + alpha) (n_wk + beta) / (n_k + V beta), token i left out of the
    counts: Griffiths & Steyvers 2004, equation 5.
    words, documents, z: (tokens,) int32, the word, the document and the topic of each. n_dk:
    (documents, K), n_wk: (V, K), n_k: (K,), all int32: tokens of document d, word w, and all, in
    topic k. alpha, beta: pseudo-counts, more than 0. uniforms: (tokens,) from 0 to below 1.
    """
    V, K = n_wk.shape
    p = np.empty(K)  # running sums
    for i in range(len(words)):
        w, d, k = words[i], documents[i], z[i]
        n_dk[d, k] -= 1
        n_wk[w, k] -= 1
        n_k[k] -= 1
        total = 0.0
        for j in range(K):
            total += (n_dk[d, j] + alpha) * (n_wk[w, j] + beta) / (n_k[j] + V * beta)
            p[j] = total
        x = uniforms[i] * total
        k = 0
        while k < K - 1 and p[k] <= x:
            k += 1
        z[i] = k
        n_dk[d, k] += 1
        n_wk[w, k] += 1
        n_k[k] += 1
