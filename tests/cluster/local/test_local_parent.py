"""What passes between the parent and a worker: the outbox, the freight, the books, the words."""

import multiprocessing
import os
import pickle
import signal
import threading

import numpy as np
import pytest

from ddml_kit.cluster import Metric, RankFailed, Snapshot
from ddml_kit.cluster.local import freight, outbox
from ddml_kit.cluster.local.books import Books
from ddml_kit.cluster.local.crew import NOT_STARTED, why
from ddml_kit.cluster.local.freight import Freight
from ddml_kit.cluster.local.outbox import End, Outbox, take
from ddml_kit.cluster.shipping import pack, unpack
from ddml_kit.cluster.thinning import MOST, Thinning


@pytest.fixture(params=["memfd", "no memfd"])
def with_and_without_memfd(request, monkeypatch):
    """As on Linux, and as on systems that have no memfd."""
    if request.param == "no memfd":
        monkeypatch.setattr(outbox, "MEMFD", False)
        monkeypatch.setattr(freight, "MEMFD", False)


@pytest.fixture
def pipe():
    ours, theirs = multiprocessing.Pipe()
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.mark.usefixtures("with_and_without_memfd")
@pytest.mark.parametrize("n", [0, 1, 1000, 300_000])
def test_messages_arrive_whole_and_writable(pipe, n):
    ours, theirs = pipe
    message = {
        "x": np.arange(n, dtype=np.float32),
        "columns": np.asfortranarray(np.arange(6 * n).reshape(6, n)),
        "strided": np.arange(2 * n)[::2],
        "text": "ä" * n,
    }
    sender = threading.Thread(target=Outbox(theirs).put, args=(message,))
    sender.start()  # without a memfd a large message fills the pipe
    received = take(ours)
    sender.join()
    for name in ("x", "columns", "strided"):
        np.testing.assert_array_equal(received[name], message[name])
        assert received[name].flags.writeable
    assert received["text"] == message["text"]


def test_messages_of_several_threads_do_not_mix(pipe):
    ours, theirs = pipe
    box = Outbox(theirs)

    def send(k):
        for step in range(20):
            box.put((k, step, np.full(k * 3000, step)))

    threads = [threading.Thread(target=send, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    steps = {k: [] for k in range(4)}
    for _ in range(80):
        k, step, array = take(ours)
        steps[k].append(step)
        np.testing.assert_array_equal(array, np.full(k * 3000, step))
    for thread in threads:
        thread.join()
    assert all(steps[k] == list(range(20)) for k in range(4))


def test_what_cannot_be_pickled_is_not_half_sent(pipe):
    ours, theirs = pipe
    box = Outbox(theirs)
    with pytest.raises(TypeError, match="pickle"):
        box.put((np.ones(100_000), threading.Lock()))
    box.put("next")
    assert take(ours) == "next"


@pytest.mark.parametrize("cut", [0, 4, 5, 40])
def test_a_message_that_breaks_off_is_the_end(pipe, cut):
    ours, theirs = pipe
    copy, sink = multiprocessing.Pipe()
    Outbox(sink).put(list(range(10)))
    with copy, sink:
        whole = os.read(copy.fileno(), 1000)
    os.write(theirs.fileno(), whole[:cut])
    theirs.close()
    with pytest.raises(EOFError):
        take(ours)


@pytest.mark.usefixtures("with_and_without_memfd")
def test_freight_arrives_read_only():
    x, empty = np.arange(1000.0), np.empty((0, 3), np.float32)
    sent = Freight(pack(max, (x, [empty, x[:7]]), {"key": len}))
    program, (first, (second, third)), kwargs = unpack(sent.unpack())
    sent.close()
    assert (program, kwargs) == (max, {"key": len})
    for received, expected in ((first, x), (second, empty), (third, x[:7])):
        np.testing.assert_array_equal(received, expected)
        assert received.dtype == expected.dtype
        assert not received.flags.writeable
    assert first.ctypes.data % 8 == 0


def test_late_readers_see_what_the_run_keeps():
    books, rule = Books(1), Thinning(1)
    offered = 100_000
    sent = [step for _ in range(offered) if (step := rule.keep(8)) is not None]
    for step in sent:
        books.add(Snapshot(0, float(step), step, np.zeros(1)))
    books.add(Metric(0, 1.0, {"loss": 2.0}))
    books.close()
    read = []
    while not books.exhausted:
        read.append(books.next(0.0))
    assert len(read) < 2 * MOST < len(sent)
    steps = [s.step for s in books.run(badge="measured", seed=0, stopped=False).snapshots]
    assert len(steps) <= MOST
    assert set(steps) <= {point.step for point in read[:-1]}
    assert read[-1] == Metric(0, 1.0, {"loss": 2.0})


def test_a_run_without_points_ends_its_readers():
    books = Books(1)
    threading.Timer(0, books.close).start()
    assert books.next(60.0) is None
    assert books.exhausted


def test_the_run_is_put_together_by_rank():
    books = Books(3)
    events = np.zeros(48, np.uint8)
    books.values[2] = "two"
    books.ends[2] = End("returned", 2.0, events)
    books.ends[0] = End("stopped", 3.0, events)
    books.fail(RankFailed(1, "ValueError: x", 2.5, "lines"), ValueError("x"))
    run = books.run(badge="measured", seed=4, stopped=True)
    assert run.results == [None, None, "two"]
    assert (run.size, run.seed, run.seconds, run.stopped, len(run.trace)) == (3, 4, 3.0, True, 2)
    assert isinstance(run.failures[1].__cause__, ValueError)
    assert pickle.loads(pickle.dumps(run.failures[1])).worker_traceback == "lines"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "exit code 1 before the program returned"),
        (-signal.SIGKILL, "SIGKILL (perhaps the system ran out of memory, or somebody ended it)"),
        (-signal.SIGBUS, "SIGBUS (compiled code went wrong"),
        (-signal.SIGUSR1, "was killed by SIGUSR1"),
        (-250, "was killed by signal 250"),
        (NOT_STARTED + 11, "its process could not be started: Resource temporarily unavailable"),
    ],
)
def test_an_end_is_explained(code, words):
    assert words in why(code)
