"""The picture of messages: whose chunk comes to whom, and when."""

from __future__ import annotations

import numpy as np
import pytest

from ddml_kit.cluster import Network, Run, Simulated
from ddml_kit.cluster.trace import RECEIVE, SEND, Recorder
from ddml_kit.collectives import master_worker, ring, tree
from ddml_kit.notebook import messages
from ddml_kit.notebook.figures.messages import arrivals

NETWORK = Network(latency=1e-3, bandwidth=1e6)


def ran(program, size: int, length: int = 1000) -> Run:
    return Simulated(size, network=NETWORK).run(program, np.ones(length))


def origins(run: Run) -> list[list[int]]:
    got = arrivals(run)
    return [got.origin[got.rank == rank].tolist() for rank in range(run.size)]


def test_round_a_ring_a_message_is_known_by_the_rank_whose_chunk_it_is() -> None:
    run = ran(ring, 4)
    assert origins(run) == [[(rank - step - 1) % 4 for step in range(2 * 3)] for rank in range(4)]
    got = arrivals(run)
    assert np.array_equal(got.source, (got.rank - 1) % 4)
    assert set(got.bytes) == {2000}
    steps = np.tile(np.arange(6), 4)
    np.testing.assert_allclose(got.start, 3e-3 * steps)  # a chunk takes 1 ms + 2 ms
    np.testing.assert_allclose(got.stop, 3e-3 * (steps + 1))


def test_what_waits_for_a_link_begins_when_the_one_before_is_in() -> None:
    got = arrivals(ran(master_worker, 4))
    at_master = got.rank == 0
    assert got.source[at_master].tolist() == got.origin[at_master].tolist() == [1, 2, 3]
    np.testing.assert_allclose(got.start[at_master], [0, 9e-3, 17e-3])
    np.testing.assert_allclose(got.stop[at_master], [9e-3, 17e-3, 25e-3])


def test_a_chain_that_passes_many_ranks_keeps_its_beginning() -> None:
    def along(comm):
        if comm.rank > 0:
            comm.recv(comm.rank - 1)
        if comm.rank < comm.size - 1:
            comm.send(comm.rank, comm.rank + 1)

    assert origins(Simulated(9).run(along)) == [[], *[[0]] * 8]


def test_it_draws_a_bar_a_message_and_says_it_in_words() -> None:
    figure = messages(ran(ring, 3, 3))
    assert [list(bars.text) for bars in figure.plot.data] == [[str(k)] * 4 for k in range(3)]
    assert len({bars.marker.color for bars in figure.plot.data}) == 3
    assert figure.plot.data[2].customdata[0] == "from 2, 8 B"
    assert figure.plot.layout.xaxis.title.text == "milliseconds (simulated)"
    assert repr(figure) == (
        "simulated · 3 workers · seed 0: Where the messages to each worker set out, in order. "
        "worker 0: 2, 1, 0, 2; worker 1: 0, 2, 1, 0; worker 2: 1, 0, 2, 1."
    )


def test_a_message_whose_sending_was_lost_is_left_out() -> None:
    recorder = Recorder()
    recorder.add(RECEIVE, 1, 0.0, 1.0, peer=0)
    recorder.add(SEND, 1, 1.0, 1.0, peer=0)
    recorder.add(RECEIVE, 0, 0.0, 2.0, peer=1)
    run = Run("simulated", 2, 0, 2.0, [None] * 2, recorder.trace())
    assert origins(run) == [[1], []]


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (ran(tree, 17), "at most 16 workers, got 17"),
        (ran(tree, 1), "needs a run in which messages were received"),
    ],
)
def test_what_it_cannot_show_gets_a_sentence(run: Run, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        messages(run)
