"""Synchronous training with liars: against the same sums by hand, on every cluster."""

from functools import partial

import numpy as np
import pytest

from ddml_kit.aggregation import (
    CentredClipping,
    centred_clipping,
    geometric_median,
    krum,
    mean,
    median,
    trimmed_mean,
)
from ddml_kit.attacks import (
    backdoor,
    corner,
    gaussian,
    label_flip,
    little_is_enough,
    mimic,
    nan,
    sign_flip,
)
from ddml_kit.cluster import RankFailed, Simulated
from ddml_kit.cluster.endpoint import generator
from ddml_kit.problems import LeastSquares, Logistic, Quadratic, by_label, digits, shuffled
from ddml_kit.training.byzantine import robust, robust_server, server_less
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.optimisers import sgd
from tests.clusters import CLUSTERS


@pytest.fixture(scope="module")
def of_digits():
    train, test = digits().split()
    problem = Logistic(train.x, train.y)
    return problem, problem.on(test.x, test.y)


def small():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((84, 6))
    return LeastSquares(x, x @ rng.standard_normal(6) + 0.3 * rng.standard_normal(84))


def train(program, problem, workers, **options):
    """The model of rank 0 after some steps of so many workers on a simulated cluster."""
    size = workers + (program is robust_server)
    options = {"steps": 60, "batch_size": 8, **options}
    run = Simulated(size).run(program, problem, sgd(options.pop("lr", 0.5)), **options)
    for w in run.results:
        np.testing.assert_array_equal(w, run.results[0])
    return run.results[0]


def by_hand(problem, first, workers, rule, f, attack, attackers, steps=5, lr=0.1, poison=None):
    """The same in one loop. first: the rank of the first worker."""
    ranks = range(first, first + workers)
    shards = [
        problem.shard(k, workers).batches(generator(0, rank, "batches"), 4, steps)
        for k, rank in enumerate(ranks)
    ]
    streams = [generator(0, rank, "attack") for rank in ranks]
    tampering = [generator(0, rank, "poison") for rank in ranks]
    w = problem.initial(seed=0)
    for _ in range(steps):
        sent = []
        for k, shard in enumerate(shards):
            batch = next(shard)
            if poison is not None and k >= workers - attackers:
                batch = poison(batch, tampering[k])
            sent.append(problem.gradient(w, batch))
        honest = workers - attackers
        if attack is not None:
            seen = np.stack(sent[:honest])
            for k in range(attackers):
                sent[honest + k] = attack(seen, attackers, streams[honest + k])[k]
        w = w - w.dtype.type(lr) * rule(np.stack(sent), f)
    return w


@pytest.mark.parametrize(("program", "first"), [(server_less, 0), (robust_server, 1)])
@pytest.mark.parametrize(
    ("rule", "f", "attack", "attackers"),
    [
        (mean, 0, None, 0),
        (krum, 2, little_is_enough, 2),
        (median, 1, gaussian, 2),  # what the rule assumes is not what there is
        (trimmed_mean, 2, gaussian, 0),
        (trimmed_mean, 3, nan, 3),
    ],
)
def test_it_is_the_same_descent_in_one_loop(program, first, rule, f, attack, attackers):
    problem = small()
    options = {"rule": rule, "f": f, "attack": attack, "attackers": attackers}
    w = train(program, problem, 7, steps=5, batch_size=4, lr=0.1, **options)
    expected = by_hand(problem, first, 7, rule, f, attack if attackers else None, attackers)
    np.testing.assert_array_equal(w, expected)


@pytest.mark.parametrize(("program", "first"), [(server_less, 0), (robust_server, 1)])
def test_liars_poison_their_samples_and_nobody_elses(program, first, of_digits):
    problem, _ = of_digits
    poison = backdoor(2, 0.5)
    options = {"rule": median, "f": 2, "attackers": 2, "poison": poison}
    w = train(program, problem, 5, steps=5, batch_size=4, lr=0.1, **options)
    expected = by_hand(problem, first, 5, median, 2, None, 2, poison=poison)
    np.testing.assert_allclose(w, expected, rtol=1e-5, atol=1e-8)
    clean = train(program, problem, 5, steps=5, batch_size=4, lr=0.1, **options | {"poison": None})
    assert not np.allclose(w, clean, rtol=1e-5, atol=1e-8)


def test_the_same_bits_on_every_rank_of_every_cluster(of_digits):
    problem, _ = of_digits

    def program(comm):
        settings = {"steps": 3, "batch_size": 8, "rule": krum, "f": 1}
        lies = {"attackers": 2}
        return [
            server_less(comm, problem, sgd(0.5), attack=gaussian, **lies, **settings),
            server_less(comm, problem, sgd(0.5), poison=label_flip(), stale=1, **lies, **settings),
            robust_server(comm, problem, sgd(0.5), attack=mimic, **lies, **settings),
        ]

    runs = [cluster(6).run(program) for cluster in CLUSTERS]
    for run in runs:
        for result in run.results:
            np.testing.assert_array_equal(result, runs[0].results[0], strict=True)
    assert len({run.bytes for run in runs}) == 1


def test_as_a_reducer_it_fits_data_parallel():
    options = {"steps": 5, "batch_size": 4}
    reducer = robust(krum, 2, attack=little_is_enough, attackers=2)
    run = Simulated(7).run(data_parallel, small(), sgd(0.1), reducer=reducer, **options)
    w = train(server_less, small(), 7, lr=0.1, rule=krum, f=2, attack=little_is_enough,
              attackers=2, **options)  # fmt: skip
    np.testing.assert_array_equal(run.results[0], w)


@pytest.mark.parametrize(("program", "first"), [(server_less, 0), (robust_server, 1)])
def test_a_rule_with_memory_begins_anew_with_each_training(program, first):
    """Its history is that of one training, whoever shares the object."""
    problem, rule = small(), CentredClipping(radius=0.3)
    options = {"rule": rule, "f": 2, "attack": gaussian, "attackers": 2}
    wanted = by_hand(problem, first, 7, CentredClipping(radius=0.3), 2, gaussian, 2)
    w = train(program, problem, 7, steps=5, batch_size=4, lr=0.1, **options)
    np.testing.assert_array_equal(w, wanted)

    def twice(comm):
        settings = {"steps": 5, "batch_size": 12, "rule": rule, "f": 2}  # all that a worker has
        return [program(comm, problem, sgd(0.1), **settings) for _ in range(2)]

    for one, other in Simulated(7 + first).run(twice).results:
        np.testing.assert_allclose(one, other, rtol=1e-9)
    options["rule"] = partial(centred_clipping, radius=0.3)
    forgetful = train(program, problem, 7, steps=5, batch_size=4, lr=0.1, **options)
    assert not np.allclose(forgetful, wanted)


@pytest.mark.parametrize(("program", "first"), [(server_less, 0), (robust_server, 1)])
def test_a_rule_may_start_where_it_is_told(program, first):
    rule = partial(centred_clipping, radius=0.3, start=np.ones(6))
    w = train(program, small(), 7, steps=5, batch_size=4, lr=0.1, rule=rule, f=2)
    np.testing.assert_array_equal(w, by_hand(small(), first, 7, rule, 2, None, 0))


def test_liars_hear_the_honest_first_and_the_trace_shows_what_that_costs(of_digits):
    problem, _ = of_digits
    options = {"steps": 10, "batch_size": 8, "rule": krum, "f": 2}
    runs = [
        Simulated(8).run(robust_server, problem, sgd(0.5), attack=attack, attackers=2, **options)
        for attack in (None, little_is_enough)
    ]
    assert runs[1].messages - runs[0].messages == 10 * 5 * 2  # each honest one tells each liar
    assert runs[1].seconds > runs[0].seconds


@pytest.mark.parametrize("program", [server_less, robust_server])
def test_one_liar_breaks_the_mean_and_four_do_not_break_krum(program, of_digits):
    problem, test = of_digits
    broken = train(program, problem, 11, rule=mean, attack=gaussian, attackers=1)
    assert test.loss(broken) > 5 * test.loss(problem.initial())
    alone, among_liars = (
        test.accuracy(train(program, problem, 11, rule=krum, f=4, attack=gaussian, attackers=a))
        for a in (0, 4)
    )
    assert alone > 0.8
    assert among_liars > alone - 0.05


@pytest.mark.parametrize("rule", [mean, median, krum])
def test_nan_is_the_liars_own_and_spreads_to_nobody(rule, of_digits):
    problem, test = of_digits
    w = train(server_less, problem, 11, rule=rule, f=4, attack=nan, attackers=4)
    assert test.accuracy(w) > 0.85


def test_data_that_differ_defeat_krum_and_not_the_mean_and_nobody_lies(of_digits):
    problem, test = of_digits
    accuracy = {
        rule: test.accuracy(train(robust_server, problem, 11, rule=rule, f=4, split=by_label))
        for rule in (mean, krum)
    }
    assert accuracy[mean] > 0.9
    assert accuracy[krum] < 0.6


def test_mimic_hides_the_others_where_data_differ(of_digits):
    problem, test = of_digits
    options = {"rule": trimmed_mean, "f": 4, "split": by_label}
    alone = test.accuracy(train(robust_server, problem, 11, **options))
    copied = {"attack": partial(mimic, worker=0), "attackers": 4}
    assert test.accuracy(train(robust_server, problem, 11, **options, **copied)) < alone - 0.2
    options["split"] = shuffled(0)
    assert test.accuracy(train(robust_server, problem, 11, **options, **copied)) > 0.85


def test_a_backdoor_opens_through_the_mean_and_stays_shut_with_krum(of_digits):
    problem, test = of_digits
    stamp = corner(2)
    others = test.y != 0
    obeys = problem.on(stamp(test.x[others]), np.zeros(np.count_nonzero(others), int))
    options = {"poison": backdoor(0, 0.5, stamp), "attackers": 4, "split": shuffled(0)}
    through, shut = (
        train(robust_server, problem, 11, rule=rule, f=4, **options) for rule in (mean, krum)
    )
    assert test.accuracy(through) > 0.85  # nobody notices
    assert obeys.accuracy(through) > 0.9
    assert test.accuracy(shut) > 0.85
    assert obeys.accuracy(shut) < 0.1


def test_flipped_labels_cost_the_mean_more_than_krum(of_digits):
    problem, test = of_digits
    options = {"poison": label_flip(10), "attackers": 4, "split": shuffled(0), "steps": 100}
    by_mean, by_krum = (
        test.accuracy(train(robust_server, problem, 11, rule=rule, f=4, **options))
        for rule in (mean, krum)
    )
    assert by_krum > by_mean + 0.03


@pytest.mark.parametrize("program", [server_less, robust_server])
def test_to_krum_a_stale_gradient_is_a_lie(program):
    """Without noise the fresh ones are all the same: Krum takes one, and the mean is led astray."""
    A = np.diag([1.0, 4.0])
    problem = Quadratic(np.broadcast_to(A, (22, 2, 2)), np.ones((22, 2)))
    options = {"steps": 12, "batch_size": 1, "lr": 0.2, "attackers": 4}
    fresh = train(program, problem, 11, rule=krum, f=4, **options)
    np.testing.assert_array_equal(
        train(program, problem, 11, rule=krum, f=4, stale=3, **options), fresh
    )
    stale = train(program, problem, 11, rule=mean, stale=3, **options)
    assert not np.allclose(stale, fresh, atol=1e-3)
    models = [problem.initial()]
    batch = next(problem.batches(None, 1, 1))
    for k in range(12):
        new, old = (problem.gradient(models[j], batch) for j in (k, max(0, k - 3)))
        models.append(models[k] - 0.2 * (7 * new + 4 * old) / 11)
    np.testing.assert_allclose(stale, models[-1], atol=1e-12)


def test_snapshots_are_the_models_of_each_step(of_digits):
    problem, _ = of_digits
    for program, size in ((server_less, 5), (robust_server, 6)):
        run = Simulated(size).run(
            program, problem, sgd(0.5), steps=6, batch_size=8, rule=geometric_median, f=1
        )
        losses = run.curve(problem.loss)
        assert losses.step.tolist() == list(range(7))
        assert losses.value[-1] < losses.value[0]


@pytest.mark.parametrize(("program", "size"), [(server_less, 5), (robust_server, 6)])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"f": -1}, "f must be 0 liars or more, got -1"),
        ({"attackers": -1}, "attackers must be 0 or more .*, got -1 of 5 workers"),
        ({"attackers": 5}, "attackers must be .* leave an honest worker, got 5 of 5 workers"),
        ({"rule": krum, "f": 2}, r"krum needs n >= 2f \+ 3 gradients, got n=5 with f=2"),
        ({"stale": -1}, "stale must be 0 steps or more, got -1"),
        ({"stale": 1.5}, r"stale must be a whole number of steps, got 1\.5"),
        ({"attackers": 1.5}, r"attackers must be a whole number, got 1\.5"),
        ({"f": 1.5}, r"f must be a whole number of liars, got 1\.5"),
    ],
)
def test_bad_numbers_are_refused_before_anything_is_sent(program, size, options, words):
    with pytest.raises(RankFailed, match=words) as caught:
        Simulated(size).run(program, small(), sgd(0.1), steps=2, batch_size=2, **options)
    assert isinstance(caught.value.__cause__, TypeError if "whole" in words else ValueError)
    assert caught.value.run.messages == 0


def of_length(length, value=1.0):
    return lambda honest, a, rng: np.full((a, length), value, honest.dtype)


@pytest.mark.parametrize("program", [server_less, robust_server])
@pytest.mark.parametrize("length", [0, 1, 5, 9])
def test_a_lie_of_another_length_is_a_plain_lie_like_nan(program, length):
    problem = small()
    options = {"steps": 4, "attackers": 2}
    w, wanted = (
        train(program, problem, 7, rule=median, f=2, attack=attack, **options)
        for attack in (of_length(length), nan)
    )
    np.testing.assert_array_equal(w, wanted)
    with pytest.raises(RankFailed, match=r"at most f gradients may lie, got 2 .* with f=1"):
        train(program, problem, 7, rule=median, f=1, attack=of_length(length), **options)


def test_a_server_alone_has_nobody_to_listen_to():
    with pytest.raises(RankFailed, match="needs a worker beside it, got 1 rank"):
        Simulated(1).run(robust_server, small(), sgd(0.1), steps=2, batch_size=2)


def test_more_nan_than_the_rule_assumes_is_an_error_that_says_so():
    with pytest.raises(RankFailed, match=r"at most f gradients may lie, got 2 .* with f=1"):
        train(server_less, small(), 7, rule=median, f=1, attack=nan, attackers=2)


def test_sign_flip_scaled_turns_the_mean_round():
    problem = small()
    least = problem.loss(np.linalg.lstsq(problem.x, problem.y, rcond=None)[0])
    options = {"steps": 20, "batch_size": 12, "lr": 0.1, "attackers": 3}
    lost = {
        scale: problem.loss(
            train(server_less, problem, 7, attack=partial(sign_flip, scale=scale), **options)
        )
        for scale in (0.5, 4.0)
    }
    assert least < lost[0.5] < problem.loss(problem.initial()) < lost[4.0]
