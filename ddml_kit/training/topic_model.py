"""A topic model on a parameter server: LDA by collapsed Gibbs sampling, word–topic counts shared.

Sources: T. L. Griffiths, M. Steyvers, "Finding Scientific Topics", PNAS 101, 2004 (the sampler,
equation 5); D. Newman, A. Asuncion, P. Smyth, M. Welling, "Distributed Algorithms for Topic
Models", JMLR 10, 2009 (AD-LDA: every worker sweeps over its documents as if the others stood still,
then the differences of the counts are added up); A. Smola, S. Narayanamurthy, "An Architecture for
Parallel Topic Models", VLDB 2010, and Q. Ho et al., NIPS 2013 (the counts on servers, without
waiting and with little).

What lies on the servers is a matrix of V + 1 rows and K columns: how often each word is in each
topic, and last, how often any is. A row is never cut, so a token that changes its topic reaches a
server as a whole. All ranks draw the same beginning, so that topics mean the same to all of them.
From then on a server holds, of each worker's tokens, the topics that they had at one of its clocks.
Hence no count is ever negative, and a row always adds up to the tokens of its word, under every
policy that folds in whatever is pushed, and a worker's own before its next clock. The others are
refused: where late work is dropped, or a worker does not see its own, the counts are those of one
state and the topics of another.

A worker that dies leaves its tokens in the counts, in the topics that it last pushed, and nobody
moves them any more. If it dies while it pushes to several servers, some of them have one clock more
of it than others. So the last row, which is the sum of the others, may lag by that clock; results
leave it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse

from ddml_kit.cluster.comm import Comm
from ddml_kit.problems.csr import Rows
from ddml_kit.problems.sparse import Sparse, total
from ddml_kit.training.kernels import gibbs
from ddml_kit.training.optimisers import Gradient, Step, undamped
from ddml_kit.training.parameter_server import Served, Server
from ddml_kit.training.parameters import Store, check_layout, ranges
from ddml_kit.training.waiting import BSP, Progress, Waiting

SECONDS = 2.5e-9  # of a token and a topic, in virtual time; measured on one core


@dataclass(frozen=True, eq=False)
class Corpus:
    """Documents as the numbers of their words, whose order within a document means nothing.

    words: (tokens,) int32, document after document. indptr: (documents + 1,) int64: document d
    lies at indptr[d]:indptr[d + 1]. vocabulary: (V,) text, what the words are called.
    """

    words: np.ndarray
    indptr: np.ndarray
    vocabulary: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __repr__(self) -> str:
        return (
            f"<Corpus: {len(self)} documents, {len(self.words)} tokens of "
            f"{len(self.vocabulary)} words>"
        )

    @property
    def documents(self) -> np.ndarray:
        """The document of each token, (tokens,) int32."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.indptr))

    def take(self, order: Sequence[int] | np.ndarray) -> Corpus:
        """The documents of these numbers, in this order, copied."""
        parts = [self.words[self.indptr[d] : self.indptr[d + 1]] for d in order]
        indptr = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        return Corpus(np.concatenate([*parts, np.empty(0, np.int32)]), indptr, self.vocabulary)

    def __getitem__(self, key: slice) -> Corpus:
        """The documents of a slice, copied."""
        return self.take(range(len(self))[key])

    def tokens(self, documents: slice) -> slice:
        """Which tokens are those of some neighbouring documents."""
        return slice(self.indptr[documents.start], self.indptr[documents.stop])

    def split(self, test: float = 0.1, seed: int = 0) -> tuple[Corpus, Corpus]:
        """(train, held out), documents drawn at random, the second with the share `test`."""
        held_out = round(test * len(self))
        if not 1 <= held_out < len(self):
            raise ValueError(
                f"a split needs a document on either side, got test={test} of {len(self)} documents"
            )
        order = np.random.default_rng(seed).permutation(len(self))
        return self.take(order[held_out:]), self.take(order[:held_out])


def corpus(
    counts: Rows, vocabulary: Sequence[str], *, fewest: int = 10, most: float = 0.05
) -> Corpus:
    """The documents, one a row of word counts, without the words that say little.

    counts: (documents, columns), whole numbers. vocabulary: (columns,) text. Left out are words
    that fewer than `fewest` documents have, or more than the share `most` of them (those would be
    in every topic), and documents of which no word is left.
    Raises ValueError if nothing is left.
    """
    if len(vocabulary) != counts.features:
        raise ValueError(
            f"each column needs a word, got {counts.features} columns and {len(vocabulary)} words"
        )
    wrong = counts.values[~((counts.values >= 1) & (counts.values % 1 == 0))]
    if len(wrong):
        raise ValueError(f"a topic model needs whole counts from 1, got {wrong[0]}")
    frequency = np.bincount(counts.indices, minlength=counts.features)  # documents that have it
    kept = (frequency >= max(1, fewest)) & (frequency <= most * len(counts))
    if not kept.any():
        raise ValueError(
            f"no word is left that fewest={fewest} documents have, and most={most} of all at most"
        )
    number = np.cumsum(kept) - 1
    here = kept[counts.indices]
    repeats = np.where(here, counts.values, 0).astype(np.int64)
    words = np.repeat(number[counts.indices], repeats).astype(np.int32)
    lengths = np.diff(np.concatenate([[0], np.cumsum(repeats)])[counts.indptr])
    indptr = np.cumsum([0, *lengths[lengths > 0]], dtype=np.int64)
    return Corpus(words, indptr, tuple(vocabulary[j] for j in np.flatnonzero(kept).tolist()))


class Sampled(NamedTuple):
    """What a worker returns.

    n_wk: tokens of each word in each topic when all had finished, (V, K) int32. z: the topics of
    this worker's own tokens, in order, (tokens,) int32. seconds: until its last sweep had ended.
    """

    n_wk: np.ndarray
    z: np.ndarray
    seconds: float


def topic_model(
    comm: Comm,
    text: Corpus,
    *,
    topics: int,
    alpha: float = 0.1,
    beta: float = 0.05,
    sweeps: int,
    servers: int = 1,
    waiting: Waiting = BSP(),  # noqa: B008 - it is frozen
    parts: int = 1,
    sparse: bool = False,
    patience: float | None = None,
    seed: int = 0,
) -> Sampled | Served:
    """Sample the topics of all tokens, `sweeps` times each: AD-LDA over the last `servers` ranks.

    alpha, beta: the pseudo-counts of a topic in a document and of a word in a topic. parts: how
    many clocks make up a sweep, each over as many documents; a worker pushes after each and pulls
    before it. sparse: pull only the words of the worker's own documents; rank 0 then offers no
    snapshots. patience: as in parameter_server, for clusters with on_failure="continue". seed: of
    the topics to begin with; what later ones are drawn by is the stream "gibbs".
    Raises ValueError for settings that can't be met.
    """
    workers = comm.size - servers
    check(text, topics, alpha, beta, sweeps, workers, servers, waiting, parts)
    z, counts = begin(text, topics, seed)  # (V + 1, K), the last row for all words
    if comm.rank >= workers:
        share = ranges(len(counts), servers)[comm.rank - workers]
        own = counts[share].copy()
        server = Server(comm, own, adding, waiting, undamped, workers, set(), added_up)
        return server.serve(patience)
    row = np.dtype((counts.dtype, (topics,)))  # what the store takes for one value
    store = Store(comm, range(workers, comm.size), len(counts), row)
    pieces = ranges(len(text), workers * parts)[comm.rank * parts : (comm.rank + 1) * parts]
    mine = [Piece(text[piece], z[text.tokens(piece)], topics) for piece in pieces]
    words = np.unique(np.concatenate([piece.text.words for piece in mine]))
    where = np.append(words, len(counts) - 1) if sparse else None
    for clock in range(sweeps * parts):
        store.request(clock, where)
        store.pull()
        if comm.rank == 0 and not sparse:
            comm.snapshot(store.w[:-1])
        before, piece = store.w.copy(), mine[clock % parts]
        piece.sweep(store.w, alpha, beta, comm.stream("gibbs"))
        comm.work(SECONDS * topics * len(piece.z))
        store.push(clock, difference(store.w, before))
    seconds = comm.now()
    z = np.concatenate([piece.z for piece in mine])
    return Sampled(store.leave()[:-1].copy(), z, seconds)


def sequential(
    text: Corpus,
    *,
    topics: int,
    alpha: float = 0.1,
    beta: float = 0.05,
    sweeps: int,
    rng: np.random.Generator,
    seed: int = 0,
) -> Sampled:
    """Plain collapsed Gibbs sampling of all documents, one token after the other; no cluster.

    `topic_model` with one worker does the same to the bit, if rng is that worker's stream "gibbs".
    seconds: of virtual time.
    """
    check(text, topics, alpha, beta, sweeps)
    z, counts = begin(text, topics, seed)
    whole = Piece(text, z, topics)
    for _ in range(sweeps):
        whole.sweep(counts, alpha, beta, rng)
    return Sampled(counts[:-1], whole.z, SECONDS * topics * len(z) * sweeps)


def begin(text: Corpus, topics: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random topics z, (tokens,), and their counts, (V + 1, K); int32.

    A row of the counts is a word's, the last one that of all words together.
    """
    z = np.random.default_rng(seed).integers(topics, size=len(text.words), dtype=np.int32)
    counts = np.zeros((len(text.vocabulary) + 1, topics), np.int32)
    np.add.at(counts, (text.words, z), 1)
    counts[-1] = counts.sum(axis=0)
    return z, counts


class Piece:
    """Documents with the topics z of their tokens, (tokens,), which it copies and then draws."""

    def __init__(self, text: Corpus, z: np.ndarray, topics: int) -> None:
        self.text, self.z = text, z.copy()
        self._documents = text.documents
        self._n_dk = np.zeros((len(text), topics), np.int32)
        np.add.at(self._n_dk, (self._documents, z), 1)

    def sweep(
        self, counts: np.ndarray, alpha: float, beta: float, rng: np.random.Generator
    ) -> None:
        """Draw the topic of each token anew, and keep the counts, as `begin` has them, up to it."""
        gibbs.sweep(
            *(self.text.words, self._documents, self.z),
            *(self._n_dk, counts[:-1], counts[-1]),
            *(float(alpha), float(beta), rng.random(len(self.z))),
        )


def difference(after: np.ndarray, before: np.ndarray) -> Sparse:
    """after - before, both (V + 1, K), as the rows that differ."""
    changed = np.flatnonzero((after != before).any(axis=1)).astype(np.int32)
    return Sparse(changed, after[changed] - before[changed])


def added_up(differences: Sequence[Gradient]) -> Sparse:
    """The sum of differences, which are Sparse with rows for values."""
    return total([part for part in differences if isinstance(part, Sparse)])


def adding(counts: np.ndarray) -> Step:
    """An optimiser that adds what is pushed in full: counts += difference."""

    def step(change: Gradient, scale: float = 1.0) -> None:
        assert isinstance(change, Sparse)
        counts[change.indices] += change.values

    return step


def phi(n_wk: np.ndarray, beta: float) -> np.ndarray:
    """How likely each word is in each topic, (K, V), rows that add up to 1, from counts (V, K)."""
    positive("beta", beta)
    smoothed = n_wk.T + float(beta)
    return smoothed / smoothed.sum(axis=1, keepdims=True)


def perplexity(
    held_out: Corpus, phi: np.ndarray, alpha: float, *, seed: int = 0, iterations: int = 50
) -> float:
    """exp(-log-likelihood a token) of documents that were not trained on, by completing them.

    Document completion: H. M. Wallach, I. Murray, R. Salakhutdinov, D. Mimno, "Evaluation Methods
    for Topic Models", ICML 2009. A half of each document's tokens, drawn at random, tells its
    mixture of topics theta, and the other half is judged by sum_k theta_k phi_kw. Departure: theta
    is no mean over samples but the fixed point of theta_k ~ alpha + the expected tokens of topic
    k, given theta, so that the figure has no noise of its own.
    phi: (K, V), or (S, K, V) of S samples, whose probabilities of a token are averaged: Newman et
    al. take 10 from as many runs, for runs end in different places. A model that knows nothing has
    perplexity V.
    """
    samples = phi[None] if phi.ndim == 2 else phi
    if samples.ndim != 3 or samples.shape[2] != len(held_out.vocabulary):
        raise ValueError(
            f"phi must be (K, {len(held_out.vocabulary)}), a column a word, got {phi.shape}"
        )
    if not samples.min() > 0:
        raise ValueError(f"phi must be more than 0 everywhere, got {samples.min()}")
    positive("alpha", alpha)
    if iterations < 0:
        raise ValueError(f"iterations must be 0 or more, got {iterations}")
    document = held_out.documents
    order = np.lexsort((np.random.default_rng(seed).random(len(document)), document))
    place = np.arange(len(document)) - held_out.indptr[document]
    seen, judged = order[place % 2 == 0], order[place % 2 == 1]
    if len(judged) == 0:
        raise ValueError("perplexity needs a document of 2 tokens or more, got none")
    p = np.zeros(len(judged))
    for sample in samples:
        theta = mixtures(held_out, seen, sample, alpha, iterations)
        p += (theta[document[judged]] * sample.T[held_out.words[judged]]).sum(axis=1)
    return float(np.exp(-np.log(p / len(samples)).mean()))


def mixtures(
    text: Corpus, seen: np.ndarray, phi: np.ndarray, alpha: float, iterations: int
) -> np.ndarray:
    """Each document's topics theta, (documents, K), by its tokens `seen`, in order; phi: (K, V)."""
    document, likely = text.documents[seen], phi.T[text.words[seen]]  # (tokens, K)
    ends = np.cumsum([0, *np.bincount(document, minlength=len(text))])
    add = scipy.sparse.csr_array((np.ones(len(seen)), np.arange(len(seen)), ends))
    theta = np.full((len(text), len(phi)), 1 / len(phi))
    for _ in range(iterations):
        shares = likely * theta[document]
        theta = alpha + add @ (shares / shares.sum(axis=1, keepdims=True))
        theta /= theta.sum(axis=1, keepdims=True)
    return theta


def top_words(phi: np.ndarray, vocabulary: Sequence[str], k: int = 10) -> list[list[str]]:
    """The k likeliest words of each topic, the likeliest first; phi: (K, V)."""
    if phi.ndim != 2 or phi.shape[1] != len(vocabulary):
        raise ValueError(f"phi must be (K, {len(vocabulary)}), a column a word, got {phi.shape}")
    if not 1 <= k <= len(vocabulary):
        raise ValueError(f"k must be 1 to {len(vocabulary)} words, got {k}")
    return [[vocabulary[j] for j in np.argsort(-row, kind="stable")[:k]] for row in phi]


def positive(name: str, value: float) -> None:
    """Raises ValueError unless it is a finite number above 0."""
    if not 0 < value < np.inf:
        raise ValueError(f"{name} must be finite and more than 0, got {value}")


def check(
    text: Corpus,
    topics: int,
    alpha: float,
    beta: float,
    sweeps: int,
    workers: int = 1,
    servers: int = 1,
    waiting: Waiting = BSP(),  # noqa: B008 - it is frozen
    parts: int = 1,
) -> None:
    """Raises ValueError for settings that can't be met."""
    if topics < 1:
        raise ValueError(f"there must be a topic or more, got topics={topics}")
    positive("alpha", alpha)
    positive("beta", beta)
    if sweeps < 0:
        raise ValueError(f"sweeps must be 0 or more, got {sweeps}")
    check_layout(workers, servers, len(text.vocabulary) + 1)
    if parts < 1 or workers * parts > len(text):
        raise ValueError(
            f"a sweep needs 1 part or more and each part of each worker a document, got {parts} "
            f"parts, {workers} workers and {len(text)} documents"
        )
    unseen = waiting.by_round and waiting.lets_go(0, 1, Progress({0: 1, 1: 0}))
    if waiting.late or unseen:
        raise ValueError(
            "a topic model needs all that is pushed, and a worker its own before its next clock, "
            f"got {waiting}"
        )
