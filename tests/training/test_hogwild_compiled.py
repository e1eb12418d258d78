"""The compiled program against the readable one, and its kernel against NumPy."""

import subprocess
import sys

import numpy as np
import pytest

from ddml_kit.cluster.errors import RankFailed
from ddml_kit.cluster.processes import Processes
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.problems.logistic import Logistic
from ddml_kit.problems.synthetic import sparse_logistic
from ddml_kit.training.hogwild import hogwild
from ddml_kit.training.hogwild_compiled import hogwild_compiled
from ddml_kit.training.kernels import logistic, rows


def text(samples=320, features=200, nonzeros=7, exponent=1.1):
    data = sparse_logistic(samples, features, nonzeros, seed=0, exponent=exponent)
    return Logistic(data.x, data.y)


def descend(size, problem, **options):
    return Simulated(size).run(hogwild_compiled, problem, lr=0.5, **({"passes": 1} | options))


# --------------------------------------------------------------------------- the program


def test_at_one_sample_a_call_it_is_the_program_up_to_rounding():
    problem = text()
    program = Simulated(1).run(hogwild, problem, steps=320, lr=0.5).results[0]
    compiled = descend(1, problem, chunk=1).results[0]
    # Both in float32; the sums of a row's products are taken in another order.
    np.testing.assert_allclose(compiled.w, program.w, rtol=1e-4, atol=1e-6)
    assert compiled.updates == program.updates == 320


@pytest.mark.parametrize("chunk", [7, 320, 1000])
def test_the_bits_do_not_depend_on_the_samples_a_call(chunk):
    problem = text()
    one = descend(1, problem, passes=2, decay=0.5, chunk=1).results[0]
    many = descend(1, problem, passes=2, decay=0.5, chunk=chunk).results[0]
    np.testing.assert_array_equal(many.w, one.w)


def test_rows_as_stored_or_in_an_order_drawn_once():
    problem = text()
    order = Simulated(1).run(lambda comm: comm.stream("batches").permutation(320)).results[0]
    drawn = problem.on(problem.x[order], problem.y[order])
    shuffled = descend(1, problem).results[0]
    stored = descend(1, drawn, shuffle=False).results[0]
    np.testing.assert_array_equal(shuffled.w, stored.w)
    assert not np.array_equal(shuffled.w, descend(1, problem, shuffle=False).results[0].w)


def test_steps_shrink_from_pass_to_pass():
    problem = text()
    w, x = problem.initial(), problem.x
    for lr in (0.5, 0.25, 0.125):
        logistic.sgd(w, x.values, x.indices, x.indptr, problem.y, lr)
    result = descend(1, problem, passes=3, decay=0.5, shuffle=False).results[0]
    np.testing.assert_array_equal(result.w, w)


def test_names_of_features_make_no_difference():
    problem = text()
    names = np.random.default_rng(1).permutation(200).astype(np.int32)
    x = problem.x
    renamed = Logistic(type(x)(x.values, names[x.indices], x.indptr, 200), problem.y)
    w = descend(1, problem).results[0].w
    np.testing.assert_array_equal(descend(1, renamed).results[0].w[names], w)


@pytest.mark.parametrize("delay", [0, 1, 20, 1000])
def test_copies_that_are_written_back_change_little(delay):
    problem = text(samples=2000)
    run = descend(4, problem, delay=delay, chunk=16, passes=2)
    alone = descend(1, problem, passes=2).results[0]
    assert problem.loss(run.results[0].w) == pytest.approx(problem.loss(alone.w), rel=0.02)
    for result in run.results:
        np.testing.assert_array_equal(result.w, run.results[0].w)


def test_with_one_row_a_turn_copies_are_the_program_too():
    # On two ranks, in virtual time: each call is over before the other rank's begins.
    problem = text()
    copies = descend(2, problem, chunk=1).results[0]
    plain = descend(2, problem, delay=0, chunk=1).results[0]
    np.testing.assert_allclose(copies.w, plain.w, rtol=1e-3, atol=1e-5)


def test_processes_come_to_the_loss_of_one_worker():
    problem = text(samples=4000)
    alone = descend(1, problem, passes=2).results[0]
    run = Processes(2).run(hogwild_compiled, problem, passes=2, lr=0.5, chunk=100)
    first, second = run.results
    assert problem.loss(first.w) == pytest.approx(problem.loss(alone.w), rel=0.05)
    np.testing.assert_array_equal(first.w, second.w)
    assert first.updates + second.updates == 8000
    assert first.staleness.shape == (40,)
    assert 0 <= first.staleness.min() <= first.staleness.max() <= 4000


@pytest.mark.parametrize("size", [1, 2])
def test_nan_in_a_gradient_ends_the_run(size):
    problem = text()
    problem.x.values[-1] = np.nan
    with pytest.raises(
        RankFailed, match=r"the model must be finite, got [1-9][0-9]* of 200 values"
    ):
        descend(size, problem)


@pytest.mark.parametrize(
    ("problem", "options", "sentence"),
    [
        (text(), {"delay": -1}, "delay must be 0 or more, got -1"),
        (text(), {"chunk": 0}, "chunk must be 1 or more, got 0"),
        (text(), {"decay": 0.0}, "decay must lie above 0"),
        (
            Logistic(text().x, text().y, l2=0.1),
            {},
            "needs 2 classes, l2=0 and float32, got classes=2, l2=0.1, float32",
        ),
        (Logistic(np.eye(4), np.array([0, 1, 0, 1])), {}, "needs a Logistic problem over Rows"),
    ],
)
def test_what_it_cannot_do_gets_a_sentence(problem, options, sentence):
    with pytest.raises(Exception, match=sentence):
        descend(1, problem, **options)


# ---------------------------------------------------------------------------- the kernel


def rows_of(lengths, features, seed=0):
    rng = np.random.default_rng(seed)
    indices = [np.sort(rng.choice(features, k, replace=False)) for k in lengths]
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = rng.standard_normal(indptr[-1]).astype(np.float32)
    return values, np.concatenate(indices).astype(np.int32), indptr


def test_rows_of_any_length_give_the_gradient_of_the_logistic_loss():
    lengths = [0, 1, 2, 3, 4, 5, 8, 11, 0, 40]
    values, indices, indptr = rows_of(lengths, 40)
    y = np.arange(10) % 2
    w = np.random.default_rng(1).standard_normal(40).astype(np.float32)
    exact = w.astype(np.float64)
    for i, label in enumerate(y):
        row = slice(indptr[i], indptr[i + 1])
        where, x = indices[row], values[row].astype(np.float64)
        exact[where] -= 0.3 * (1 / (1 + np.exp(-exact[where] @ x)) - label) * x
    logistic.sgd(w, values, indices, indptr, y, 0.3)
    np.testing.assert_allclose(w, exact, rtol=2e-5, atol=2e-6)


def test_only_the_support_is_read_or_written():
    values, indices, indptr = rows_of([5] * 20, 30)
    w = np.full(100, np.nan, np.float32)
    w[:30] = 0
    logistic.sgd(w, values, indices, indptr, np.arange(20) % 2, 0.3)
    assert np.flatnonzero(w[:30]).tolist() == np.unique(indices).tolist()
    assert np.isnan(w[30:]).all()


def test_logits_out_of_range_are_no_error():
    values, indices = np.array([1e5, -1e5], np.float32), np.array([0, 0], np.int32)
    w = np.ones(1, np.float32)
    logistic.sgd(w, values, indices, np.array([0, 1, 2]), np.array([1, 0]), 0.5)
    assert w.tolist() == [1.0]


def test_what_is_written_back_is_what_changed_whoever_else_wrote():
    rng = np.random.default_rng(0)
    ours, mine, base = (rng.standard_normal(10).astype(np.float32) for _ in range(3))
    expected = np.where(np.arange(10) < 6, ours + (mine - base), ours)
    untouched = mine[6:].copy(), base[6:].copy()
    logistic.write_back(ours, mine, base, 6)
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(mine[:6], expected[:6])
    np.testing.assert_array_equal(base[:6], expected[:6])
    np.testing.assert_array_equal((mine[6:], base[6:]), untouched)


def test_rarer_coordinates_are_written_back_less_often():
    counts = []
    turns = logistic.sgd_written_back.py_func
    spied = {"sgd": lambda *_: None, "write_back": lambda *args: counts.append(args[-1])}
    names = turns.__globals__ | spied
    spy = type(turns)(turns.__code__, names)
    nothing = np.zeros(0, np.float32)
    y = np.zeros(70, np.int64)
    spy(np.zeros(200), nothing, nothing, np.zeros(71), y, 0.5, 100, np.zeros(50), 10, 8)
    assert counts == [50, 8, 16, 8, 32, 8, 16, 8, 50]


# ------------------------------------------------------------------------------ compiling


def in_a_new_interpreter(code):
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_importing_the_programs_neither_compiles_nor_imports_numba():
    in_a_new_interpreter(
        "import sys, ddml_kit.training.hogwild\n"
        "assert 'numba' not in sys.modules\n"
        "from ddml_kit.training.kernels import logistic\n"
        "assert not logistic.sgd.signatures\n"
    )


def test_machine_code_is_compiled_once_and_found_again():
    problem = text()
    descend(2, problem)
    descend(1, problem, shuffle=False)
    # Arguments are read-only; what a program makes for itself is not.
    Simulated(1).run(lambda comm: hogwild_compiled(comm, text(), passes=1, lr=0.5))
    for kernel in (logistic.sgd, logistic.sgd_written_back, rows.count, rows.lay):
        assert len(kernel.signatures) == 1
    in_a_new_interpreter(
        "import numpy as np\n"
        "from ddml_kit.training.kernels.logistic import sgd\n"
        "f, i, l = np.float32, np.int32, np.int64\n"
        "sgd(np.zeros(1, f), np.zeros(0, f), np.zeros(0, i), np.zeros(1, l), np.zeros(0, l), 0.5)\n"
        "assert sum(sgd.stats.cache_hits.values()) == 1, sgd.stats\n"
    )
