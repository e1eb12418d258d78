"""The topic model against plain Gibbs sampling, and what is conserved however long workers wait."""

import math

import numpy as np
import pytest

from ddml_kit.cluster import Exponential, Network, Processes, RankFailed, Simulated
from ddml_kit.cluster.endpoint import generator
from ddml_kit.problems import Rows, library_counts
from ddml_kit.training.kernels import gibbs
from ddml_kit.training.parameter_server import Served
from ddml_kit.training.topic_model import (
    Corpus,
    Piece,
    Sampled,
    begin,
    corpus,
    perplexity,
    phi,
    sequential,
    top_words,
    topic_model,
)
from ddml_kit.training.waiting import ASP, BSP, SSP, AdaptiveSSP, BackupWorkers

CLUSTERS = [Simulated, Processes]
POLICIES = [BSP(), ASP(), SSP(0), SSP(0, by_round=True), SSP(2), SSP(math.inf), AdaptiveSSP()]
V, TOPICS = 30, 5


def text(documents=24, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 20, documents)
    words = (V * rng.random(lengths.sum()) ** 2).astype(np.int32)
    indptr = np.cumsum([0, *lengths], dtype=np.int64)
    return Corpus(words, indptr, tuple(f"word{v}" for v in range(V)))


def model(cluster, corpus, **options):
    return cluster.run(topic_model, corpus, **{"topics": TOPICS, "sweeps": 6, **options})


def sampled(run):
    return [result for result in run.results if isinstance(result, Sampled)]


def on_servers(run):
    """All rows, (V + 1, K), as the servers have them."""
    return np.concatenate([result.w for result in run.results if isinstance(result, Served)])


def counted(corpus, z, topics=TOPICS):
    counts = np.zeros((len(corpus.vocabulary), topics), int)
    np.add.at(counts, (corpus.words, z), 1)
    return counts


def frequencies(corpus):
    return np.bincount(corpus.words, minlength=len(corpus.vocabulary))


# ------------------------------------------------------------------------- the sampler


def by_the_paper(corpus, z, counts, alpha, beta, uniforms):
    """Griffiths & Steyvers, equation 5, token by token, in NumPy; new z and counts."""
    z, n_wk, n_k = z.copy(), counts[:-1].copy(), counts[-1].copy()
    documents = corpus.documents
    n_dk = np.zeros((len(corpus), len(n_k)), int)
    np.add.at(n_dk, (documents, z), 1)
    for i, (d, w) in enumerate(zip(documents, corpus.words, strict=True)):
        for table in (n_dk[d], n_wk[w], n_k):
            table[z[i]] -= 1
        p = (n_dk[d] + alpha) * (n_wk[w] + beta) / (n_k + len(n_wk) * beta)
        cumulative = np.cumsum(p)
        z[i] = np.searchsorted(cumulative, uniforms[i] * cumulative[-1], side="right")
        for table in (n_dk[d], n_wk[w], n_k):
            table[z[i]] += 1
    return z, np.vstack([n_wk, n_k])


@pytest.mark.parametrize("topics", [1, 2, 7])
def test_the_kernel_is_the_paper_to_the_bit(topics):
    corpus = text()
    z, counts = begin(corpus, topics, 3)
    expected = z, counts
    whole, counts = Piece(corpus, z, topics), counts.copy()
    for sweep in range(4):
        uniforms = np.random.default_rng(sweep).random(len(z))
        expected = by_the_paper(corpus, *expected, 0.3, 0.07, uniforms)
        whole.sweep(counts, 0.3, 0.07, np.random.default_rng(sweep))
        np.testing.assert_array_equal(whole.z, expected[0])
        np.testing.assert_array_equal(counts, expected[1])


def test_the_kernel_draws_from_the_conditional():
    """One token beside others that stay: frequencies against equation 5, written out."""
    n_dk, n_wk, n_k = [[1, 0, 3]], [[2, 0, 1], [0, 4, 1]], [2, 4, 2]
    p = np.array([1.5 * 2.1 / 2.2, 0.5 * 0.1 / 4.2, 3.5 * 1.1 / 2.2])
    draws = np.zeros(3)
    for u in (np.arange(3000) + 0.5) / 3000:
        tables = [np.array(table, np.int32) for table in (n_dk, n_wk, n_k)]
        z = np.array([1], np.int32)
        for table in (tables[0][0], tables[1][0], tables[2]):
            table[1] += 1  # the token itself, which does not count
        token = np.zeros(1, np.int32)
        gibbs.sweep(token, token, z, *tables, 0.5, 0.1, np.array([u]))
        draws[z[0]] += 1
    np.testing.assert_allclose(draws / 3000, p / p.sum(), atol=1e-3)


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize(
    ("servers", "parts", "sparse"), [(1, 1, False), (3, 1, True), (2, 4, False)]
)
def test_one_worker_is_sequential_to_the_bit(cluster, servers, parts, sparse):
    options = {"servers": servers, "parts": parts, "sparse": sparse, "seed": 4}
    run = model(cluster(1 + servers), text(), **options)
    rng = generator(0, 0, "gibbs")
    expected = sequential(text(), topics=TOPICS, sweeps=6, rng=rng, seed=4)
    np.testing.assert_array_equal(run.results[0].n_wk, expected.n_wk)
    np.testing.assert_array_equal(run.results[0].z, expected.z)
    assert run.results[0].z.dtype == run.results[0].n_wk.dtype == np.int32


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("servers", [1, 2])
def test_bsp_is_ad_lda_to_the_bit(cluster, servers):
    """Three sweep as if the others stood still; then their differences are added up."""
    corpus, workers = text(), 3
    run = model(cluster(workers + servers), corpus, servers=servers)
    z, counts = begin(corpus, TOPICS, 0)
    shares = [slice(8 * k, 8 * k + 8) for k in range(workers)]
    pieces = [Piece(corpus[share], z[corpus.tokens(share)], TOPICS) for share in shares]
    streams = [generator(0, k, "gibbs") for k in range(workers)]
    for _ in range(6):
        before = counts.copy()
        for piece, rng in zip(pieces, streams, strict=True):
            own = before.copy()
            piece.sweep(own, 0.1, 0.05, rng)
            counts += own - before
    for result, piece in zip(sampled(run), pieces, strict=True):
        np.testing.assert_array_equal(result.n_wk, counts[:-1])
        np.testing.assert_array_equal(result.z, piece.z)
    np.testing.assert_array_equal(on_servers(run), counts)


# -------------------------------------------------------------------------- conservation


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("waiting", POLICIES)
@pytest.mark.parametrize(("servers", "parts", "sparse"), [(1, 1, False), (2, 3, True)])
def test_the_counts_are_those_of_the_topics(cluster, waiting, servers, parts, sparse):
    corpus = text()
    options = {"slowdowns": [Exponential()]} if cluster is Simulated else {}
    run = model(
        cluster(4 + servers, **options),
        corpus,
        **{"waiting": waiting, "servers": servers, "parts": parts, "sparse": sparse},
    )
    expected = counted(corpus, np.concatenate([result.z for result in sampled(run)]))
    for result in sampled(run):
        np.testing.assert_array_equal(result.n_wk, expected)
    np.testing.assert_array_equal(on_servers(run), [*expected, expected.sum(axis=0)])
    assert sparse or len(run.snapshots) > 1
    for snapshot in run.snapshots:
        assert snapshot.w.min() >= 0
        np.testing.assert_array_equal(snapshot.w.sum(axis=1), frequencies(corpus))


def test_bsp_counts_the_same_everywhere():
    runs = [model(cluster(5), text(), servers=2) for cluster in CLUSTERS]
    assert runs[0].messages == runs[1].messages
    assert runs[0].bytes == runs[1].bytes


def test_sparse_pulls_change_nothing_but_the_bytes():
    runs = [model(Simulated(25), text(), sparse=sparse, sweeps=20) for sparse in (False, True)]
    np.testing.assert_array_equal(runs[0].results[0].n_wk, runs[1].results[0].n_wk)
    assert runs[1].bytes < 0.8 * runs[0].bytes


def test_no_sweeps_leave_the_beginning():
    run = model(Simulated(3), text(), sweeps=0)
    np.testing.assert_array_equal(run.results[0].n_wk, begin(text(), TOPICS, 0)[1][:-1])


def test_the_arguments_stay_as_they_are():
    corpus = text()
    words, indptr = corpus.words.copy(), corpus.indptr.copy()
    sequential(corpus, topics=TOPICS, sweeps=2, rng=np.random.default_rng(0))
    model(Simulated(3), corpus)
    np.testing.assert_array_equal(corpus.words, words)
    np.testing.assert_array_equal(corpus.indptr, indptr)


@pytest.mark.parametrize("waiting", [BSP(), ASP(), SSP(1)])
@pytest.mark.parametrize("servers", [1, 2])
def test_a_dead_worker_leaves_its_tokens(waiting, servers):
    corpus = text()
    cluster = Simulated(3 + servers, crashes={1: 2e-3}, on_failure="continue")
    run = model(cluster, corpus, waiting=waiting, servers=servers, patience=0.01, sweeps=30)
    assert list(run.failures) == [1]
    counts = on_servers(run)
    assert counts.min() >= 0
    np.testing.assert_array_equal(counts.sum(axis=1)[:-1], frequencies(corpus))
    first, last = sampled(run)
    np.testing.assert_array_equal(first.n_wk, counts[:-1])
    alive = counted(corpus[:8], first.z) + counted(corpus[16:], last.z)
    dead = counts[:-1] - alive
    assert dead.min() >= 0
    np.testing.assert_array_equal(dead.sum(axis=1), frequencies(corpus[8:16]))
    beginning = begin(corpus, TOPICS, 0)[0][corpus.tokens(slice(8, 16))]
    assert not np.array_equal(dead, counted(corpus[8:16], beginning))  # it had moved some


def test_on_processes_a_killed_worker_leaves_its_tokens():
    corpus = text()
    cluster = Processes(5, crashes={1: 0.1}, on_failure="continue")
    run = model(cluster, corpus, waiting=ASP(), servers=2, patience=0.05, sweeps=2000)
    assert list(run.failures) == [1]
    first, _ = sampled(run)
    assert first.n_wk.min() >= 0
    np.testing.assert_array_equal(first.n_wk.sum(axis=1), frequencies(corpus))
    np.testing.assert_array_equal(first.n_wk, on_servers(run)[:-1])


def test_virtual_time_is_that_of_the_tokens():
    free = Network(latency=0.0, bandwidth=1e15)
    run = model(Simulated(2, network=free), text(), parts=2)
    alone = sequential(text(), topics=TOPICS, sweeps=6, rng=np.random.default_rng(0))
    assert run.results[0].seconds == pytest.approx(alone.seconds, rel=1e-3)
    assert alone.seconds == pytest.approx(2.5e-9 * TOPICS * len(text().words) * 6)


# ----------------------------------------------------------------- how good the topics are


def test_one_topic_is_judged_by_its_words_alone():
    held_out = Corpus(np.array([0, 0, 2, 2, 2, 2], np.int32), np.array([0, 2, 6]), ("a", "b", "c"))
    one = np.array([[0.5, 0.3, 0.2]])
    assert perplexity(held_out, one, 0.1) == pytest.approx(math.exp(-math.log(0.5 * 0.2**2) / 3))
    assert perplexity(text(), np.full((4, V), 1 / V), 0.1) == pytest.approx(V)


def test_half_a_document_tells_its_mixture():
    """Of two pure topics; theta is (alpha + n) / (K alpha + n) where the seen words are of one."""
    held_out = Corpus(np.zeros(6, np.int32), np.array([0, 6]), ("a", "b"))
    p, alpha = np.array([[1 - 1e-12, 1e-12], [1e-12, 1 - 1e-12]]), 0.5
    assert perplexity(held_out, p, alpha) == pytest.approx((3 + 2 * alpha) / (3 + alpha))
    assert perplexity(held_out, p[:1], alpha) == pytest.approx(1)
    both = np.stack([p, p[::-1]])
    assert perplexity(held_out, both, alpha) == pytest.approx(perplexity(held_out, p, alpha))
    other = np.stack([p, np.full((2, 2), 0.5)])
    expected = 2 / ((3 + alpha) / (3 + 2 * alpha) + 0.5)
    assert perplexity(held_out, other, alpha) == pytest.approx(expected)


def test_phi_adds_up():
    n_wk = np.array([[3, 0], [1, 2]])
    np.testing.assert_allclose(phi(n_wk, 0.5), [[3.5 / 5, 1.5 / 5], [0.5 / 3, 2.5 / 3]])


def test_top_words_come_in_order():
    p = np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]])
    assert top_words(p, ("a", "b", "c"), 2) == [["b", "c"], ["a", "c"]]


SETTINGS = {"topics": 20, "alpha": 0.1, "beta": 0.05}
CHAINS = 5


@pytest.fixture(scope="module")
def library():
    train, held_out = corpus(*library_counts()).split()
    return train[:2000], held_out


def sequential_chain(train, seed):
    rng = np.random.default_rng(seed)
    return sequential(train, **SETTINGS, sweeps=50, rng=rng, seed=seed).n_wk


@pytest.fixture(scope="module")
def alone(library):
    """CHAINS runs of sequential sampling, phi of each, (CHAINS, K, V)."""
    return np.stack([phi(sequential_chain(library[0], k), 0.05) for k in range(CHAINS)])


@pytest.mark.parametrize(("waiting", "parts"), [(BSP(), 1), (SSP(2), 4)])
def test_four_workers_find_as_good_topics_as_one(library, alone, waiting, parts):
    """Held-out perplexity within 2 % of sequential Gibbs at equal sweeps, over a few chains each.

    One chain's perplexity differs from another's by 1 to 2 %, since they end in different modes.
    """
    train, held_out = library
    found = []
    for seed in range(CHAINS):
        cluster = Simulated(5, seed=seed, slowdowns=[Exponential()])
        options = {"waiting": waiting, "parts": parts, "sweeps": 50, "seed": seed, **SETTINGS}
        found.append(phi(cluster.run(topic_model, train, **options).results[0].n_wk, 0.05))
    ours, theirs = (perplexity(held_out, p, 0.1) for p in (np.stack(found), alone))
    assert ours == pytest.approx(theirs, rel=0.02)
    assert theirs < 0.55 * perplexity(held_out, phi(frequencies(train)[:, None], 0.05), 0.1)


TOGETHER = [
    {"Decimal", "ExtendedContext"},
    {"kw", "cnf", "master"},  # tkinter
    {"stdin", "stdout", "stderr"},
    {"src", "dst"},
    {"directory", "files"},
]


def test_the_topics_can_be_read(library, alone):
    for p in alone:
        topics = top_words(p, library[0].vocabulary, 12)
        for words in TOGETHER:
            assert any(words <= set(topic) for topic in topics), words


# ------------------------------------------------------------------------------- bad input


def rows(*documents):
    return Rows.from_scipy(np.array(documents))


def test_a_corpus_leaves_out_rare_and_common_words():
    counts = rows([2, 1, 0, 1], [1, 0, 3, 0], [1, 0, 1, 0], [5, 0, 0, 0])
    found = corpus(counts, ("the", "once", "socket", "never"), fewest=2, most=0.5)
    assert found.vocabulary == ("socket",)
    assert (found.words.tolist(), found.indptr.tolist()) == ([0, 0, 0, 0], [0, 3, 4])
    found = corpus(counts, "abcd", fewest=1, most=1)
    assert found.words.tolist() == [0, 0, 1, 3, 0, 2, 2, 2, 0, 2, 0, 0, 0, 0, 0]
    assert found.documents.tolist() == [0] * 4 + [1] * 4 + [2] * 2 + [3] * 5
    assert repr(found) == "<Corpus: 4 documents, 15 tokens of 4 words>"


def test_a_split_has_every_document_once():
    train, held_out = text().split(test=0.25, seed=1)
    assert (len(train), len(held_out)) == (18, 6)
    together = np.sort(np.concatenate([train.words, held_out.words]))
    np.testing.assert_array_equal(together, np.sort(text().words))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: corpus(rows([1, 2]), "a"), "each column needs a word, got 2 columns and 1 words"),
        (lambda: corpus(rows([0.5, 1]), "ab"), "whole counts from 1, got 0.5"),
        (lambda: corpus(rows([1, 2]), "ab"), "fewest=10 documents have, and most=0.05"),
        (lambda: text().split(0.0), "a document on either side, got test=0.0 of 24 documents"),
        (lambda: phi(np.ones((3, 2)), 0), "beta must be finite and more than 0, got 0"),
        (
            lambda: perplexity(text(), np.ones((2, 9)), 0.1),
            r"phi must be \(K, 30\), .*got \(2, 9\)",
        ),
        (lambda: perplexity(text(), np.zeros((2, V)), 0.1), "more than 0 everywhere, got 0.0"),
        (lambda: perplexity(text(), np.ones((2, V)), -1), "alpha must be finite and .* got -1"),
        (lambda: perplexity(text()[:0], np.ones((2, V)), 1), "a document of 2 tokens or more"),
        (
            lambda: perplexity(text(), np.ones((2, V)), 1, iterations=-1),
            "iterations must be 0 or more, got -1",
        ),
        (lambda: top_words(np.ones((2, 3)), "abc", 4), "k must be 1 to 3 words, got 4"),
        (lambda: top_words(np.ones((2, 3)), "ab"), r"phi must be \(K, 2\), .*got \(2, 3\)"),
        (
            lambda: sequential(text(), topics=0, sweeps=1, rng=np.random.default_rng(0)),
            "a topic or more, got topics=0",
        ),
    ],
)
def test_what_cannot_be(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"waiting": BackupWorkers(1)}, r"all that is pushed, .*got BackupWorkers\(late=1"),
        ({"waiting": SSP(1, by_round=True)}, r"its own before its next clock, got SSP\(stal"),
        ({"topics": 0}, "a topic or more, got topics=0"),
        ({"alpha": 0.0}, "alpha must be finite and more than 0, got 0.0"),
        ({"beta": math.nan}, "beta must be finite and more than 0, got nan"),
        ({"sweeps": -1}, "sweeps must be 0 or more, got -1"),
        ({"servers": 4}, "there must be a worker beside the servers, got 4 ranks and 4 servers"),
        ({"servers": 0}, "there must be 1 to 31 servers, one a parameter, got 0"),
        ({"parts": 9}, "got 9 parts, 3 workers and 24 documents"),
        ({"parts": 0}, "got 0 parts, 3 workers and 24 documents"),
    ],
)
def test_runs_that_cannot_be(options, sentence):
    with pytest.raises(RankFailed, match=sentence):
        model(Simulated(4), text(), **options)
