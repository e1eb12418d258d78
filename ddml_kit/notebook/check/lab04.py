"""The exercises of lab 04, all-reduce, that are programs: a ring, and one phase of halving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.cluster.trace import SEND
from ddml_kit.collectives import ring
from ddml_kit.collectives.halving_doubling import halve
from ddml_kit.collectives.ring import add_up, hand_round
from ddml_kit.notebook.check.exercise import Case, Exercise, Mutant, Observed
from ddml_kit.notebook.check.program import SEND_AND_RECV_ALONE
from ddml_kit.notebook.check.words import counted

# ---------------------------------------------------------------------------- round a ring

PAST = "message to a rank that is no neighbour"
WHOLE = "message as long as the vector"
BUSIEST = "byte from the busiest rank"


def round_a_ring(comm: Comm, x: np.ndarray) -> np.ndarray:
    return ring(comm, x)


def _observe_sum(answer: Callable[..., Any], case: Case) -> Observed:
    """What the ranks returned, and what it cost them: by the trace, each message counted."""
    [vectors] = case.arguments
    n = len(vectors)

    def program(comm: Comm) -> Any:
        return answer(comm, vectors[comm.rank])

    run = Simulated(n).run(program)
    sent = run.trace.of(SEND)
    distance = (sent["peer"] - sent["rank"]) % n
    return Observed(
        list(run.results),
        {
            PAST: int(np.count_nonzero((distance > 1) & (distance < n - 1))),
            WHOLE: int(np.count_nonzero(sent["bytes"] >= vectors[0].nbytes)),
            "byte": run.bytes,
            BUSIEST: int(run.trace.bytes_by_rank(n).max()),
            "message": run.messages,
            "step": run.trace.steps(n),
        },
    )


def _vectors_case(vectors: Sequence[Sequence[float]]) -> Case:
    rows = [f"x = {list(vector)} on rank {rank}" for rank, vector in enumerate(vectors)]
    shown = "\n".join([counted(len(vectors), "rank"), *rows])
    return Case(shown, ([np.array(vector, float) for vector in vectors],))


def _digits_case(n: int, length: int) -> Case:
    """Rank r has 10^r times 1, 2, 3, ..., so that a sum shows whose part is missing."""
    return _vectors_case([[10**rank * (k + 1) for k in range(length)] for rank in range(n)])


def _drawn_vectors(n: int, length: int, rng: np.random.Generator) -> Case:
    return _vectors_case(rng.integers(1, 100, (n, length)).tolist())


def _stub_ring(comm: Comm, x: np.ndarray) -> np.ndarray: ...  # type: ignore[empty-body]


def _whole_vector(comm: Comm, x: np.ndarray) -> np.ndarray:
    total = passed = x
    for _ in range(comm.size - 1):
        comm.send(passed, (comm.rank + 1) % comm.size)
        passed = comm.recv((comm.rank - 1) % comm.size).value
        total = total + passed
    return total


def _through_a_master(comm: Comm, x: np.ndarray) -> np.ndarray:
    if comm.rank > 0:
        comm.send(x, 0)
        return comm.recv(0).value
    total = x + sum(comm.recv(worker).value for worker in range(1, comm.size))
    for worker in range(1, comm.size):
        comm.send(total, worker)
    return total


def _everybody_to_everybody(comm: Comm, x: np.ndarray) -> np.ndarray:
    """Each adds up one chunk, but gets it from all the others instead of from its neighbour."""
    n, others = comm.size, [r for r in range(comm.size) if r != comm.rank]
    chunks = np.array_split(x, n)
    for other in others:
        comm.send(chunks[other], other)
    own = chunks[comm.rank] + sum(comm.recv(other).value for other in others)
    for other in others:
        comm.send(own, other)
    return np.concatenate([own if r == comm.rank else comm.recv(r).value for r in range(n)])


def _one_round(comm: Comm, x: np.ndarray, rounds: int = 1, ahead: int = 1) -> np.ndarray:
    """The ring, with so many rounds. ahead: which chunk is sent first in the second one."""
    n, rank = comm.size, comm.rank
    chunks = [chunk.copy() for chunk in np.array_split(x, n)]
    for step in range(n - 1):
        comm.send(chunks[(rank - step) % n], (rank + 1) % n)
        chunks[(rank - step - 1) % n] += comm.recv((rank - 1) % n).value
    for step in range((rounds - 1) * (n - 1)):
        comm.send(chunks[(rank + ahead - step) % n], (rank + 1) % n)
        chunks[(rank + ahead - step - 1) % n] = comm.recv((rank - 1) % n).value
    return np.concatenate(chunks)


def _wrong_chunk_first(comm: Comm, x: np.ndarray) -> np.ndarray:
    return _one_round(comm, x, rounds=2, ahead=0)


def _adds_twice(comm: Comm, x: np.ndarray) -> np.ndarray:
    n, rank = comm.size, comm.rank
    chunks = [chunk.copy() for chunk in np.array_split(x, n)]
    for step in range(2 * (n - 1)):
        comm.send(chunks[(rank - step) % n], (rank + 1) % n)
        chunks[(rank - step - 1) % n] += comm.recv((rank - 1) % n).value
    return np.concatenate(chunks)


def _receives_first(comm: Comm, x: np.ndarray) -> np.ndarray:
    n, rank = comm.size, comm.rank
    chunks = [chunk.copy() for chunk in np.array_split(x, n)]
    for step in range(n - 1):
        chunks[(rank - step - 1) % n] += comm.recv((rank - 1) % n).value
        comm.send(chunks[(rank - step) % n], (rank + 1) % n)
    return np.concatenate(chunks)


def _says_which(comm: Comm, x: np.ndarray) -> np.ndarray:
    n, rank = comm.size, comm.rank
    chunks = [chunk.copy() for chunk in np.array_split(x, n)]
    for step in range(2 * (n - 1)):
        which = (rank - step) % n if step < n - 1 else (rank + n - step) % n
        comm.send((which, chunks[which]), (rank + 1) % n)
        which, chunk = comm.recv((rank - 1) % n).value
        chunks[which] = chunks[which] + chunk if step < n - 1 else chunk
    return np.concatenate(chunks)


def _chunk_by_chunk(comm: Comm, x: np.ndarray) -> np.ndarray:
    """One chunk goes all the way round, twice, before the next one sets out."""
    n, rank = comm.size, comm.rank
    left, right = (rank - 1) % n, (rank + 1) % n
    chunks = [chunk.copy() for chunk in np.array_split(x, n)]
    for first, chunk in enumerate(chunks if n > 1 else []):
        turn = (rank - first) % n  # of this rank, on the way of this chunk
        if turn > 0:
            chunk += comm.recv(left).value
        comm.send(chunk, right)
        if turn < n - 1:
            chunk[:] = comm.recv(left).value
            if turn < n - 2:
                comm.send(chunk, right)
    return np.concatenate(chunks)


def _a_collective(comm: Comm, x: np.ndarray) -> np.ndarray:
    return comm.all_reduce(x)


ROUND_A_RING = Exercise(
    name="round_a_ring",
    question="The sum of x over all ranks, on every rank: chunk by chunk, round a ring.",
    reference=round_a_ring,
    key=ring,
    helpers=[add_up, hand_round],
    stub=_stub_ring,
    cases=[
        _vectors_case([[7.0, 8.0]]),
        _digits_case(2, 4),
        _digits_case(3, 3),
        _digits_case(3, 5),
        _digits_case(4, 3),
    ],
    drawn=partial(_drawn_vectors, 5, 10),
    observe=_observe_sum,
    without=SEND_AND_RECV_ALONE,
    most={
        WHOLE: "the sum is right, but whole vectors travel: cut it into n chunks, and send one of "
        "them in each step",
        PAST: "the sum is right, but in a ring each rank talks to its neighbours only",
        "byte": "the sum is right, but more travels than 2 (n - 1) vectors in all: send chunks, "
        "and nothing beside",
        "step": "the sum is right, but the ranks wait for each other: all chunks can be on their "
        "way at once",
    },
    hints=[
        "Look at the picture of the ring. Which chunk does worker 1 send first, which one does it "
        "get meanwhile, and which one does it send next?",
        "In step s, from 0 to n - 2, rank r sends chunk (r - s) % n to the right and adds what "
        "comes from the left to its chunk (r - s - 1) % n. Send first, then receive.",
        "Then rank r has all of chunk (r + 1) % n. Go round once more, beginning with that one, "
        "and copy instead of adding. np.array_split(x, n) cuts, np.concatenate joins.",
    ],
    mutants=[
        Mutant(_whole_vector, "2 messages as long as the vector"),
        Mutant(_through_a_master, "whole vectors travel: cut it into n chunks"),
        Mutant(_everybody_to_everybody, "each rank talks to its neighbours only"),
        Mutant(_one_round, "not the expected answer"),
        Mutant(_wrong_chunk_first, "not the expected answer"),
        Mutant(_adds_twice, "not the expected answer"),
        Mutant(_receives_first, "rank 0 waits for a message from rank 1"),
        Mutant(_says_which, "send chunks, and nothing beside"),
        Mutant(_chunk_by_chunk, "all chunks can be on their way at once"),
        Mutant(_a_collective, "it calls all_reduce: use send and recv alone"),
    ],
)

# ---------------------------------------------------------------------- one phase of halving


def halving(comm: Comm, x: np.ndarray) -> np.ndarray:
    part, _ = halve(comm, x, comm.size)
    return part


def _stub_halving(comm: Comm, x: np.ndarray) -> np.ndarray: ...  # type: ignore[empty-body]


def _halving_with(
    comm: Comm,
    x: np.ndarray,
    distances: Sequence[int] | None = None,
    second: Callable[[int, int], bool] = lambda rank, distance: bool(rank & distance),
) -> np.ndarray:
    """Halving at these distances. second: whether a rank keeps the second half at a distance."""
    for distance in distances or [1 << k for k in range(comm.size.bit_length() - 1)]:
        halves = np.array_split(x, 2)
        keeps = int(second(comm.rank, distance))
        comm.send(halves[1 - keeps], comm.rank ^ distance)
        x = halves[keeps] + comm.recv(comm.rank ^ distance).value
    return x


def _adds_up_everything(comm: Comm, x: np.ndarray) -> np.ndarray:
    """Recursive doubling: all have all at the end, and cut their part out of it."""
    total, part = x, slice(0, len(x))
    for distance in [1 << k for k in range(comm.size.bit_length() - 1)]:
        comm.send(total, comm.rank ^ distance)
        total = total + comm.recv(comm.rank ^ distance).value
        middle = (part.start + part.stop + 1) // 2
        upper = comm.rank & distance
        part = slice(middle, part.stop) if upper else slice(part.start, middle)
    return total[part]


def _all_keep_the_first(comm: Comm, x: np.ndarray) -> np.ndarray:
    return _halving_with(comm, x, second=lambda rank, distance: False)


def _keeps_the_other(comm: Comm, x: np.ndarray) -> np.ndarray:
    return _halving_with(comm, x, second=lambda rank, distance: not rank & distance)


def _far_first(comm: Comm, x: np.ndarray) -> np.ndarray:
    distances = [1 << k for k in reversed(range(comm.size.bit_length() - 1))]
    return _halving_with(comm, x, distances or [])


def _one_step(comm: Comm, x: np.ndarray) -> np.ndarray:
    return _halving_with(comm, x, [1]) if comm.size > 1 else x


def _scattered_by_all(comm: Comm, x: np.ndarray) -> np.ndarray:
    return comm.all_reduce(x)[: len(x) // comm.size]


HALVING = Exercise(
    name="halving",
    question="This rank's n-th of the sum: halves exchanged at distance 1, 2, 4, ...",
    reference=halving,
    key=halve,
    key_says="It also notes what was given away, to get it back in the second phase.",
    stub=_stub_halving,
    cases=[
        _vectors_case([[7.0, 8.0]]),
        _digits_case(2, 2),
        _digits_case(2, 6),
        _digits_case(4, 4),
    ],
    drawn=partial(_drawn_vectors, 8, 8),
    observe=_observe_sum,
    without=SEND_AND_RECV_ALONE,
    most={
        WHOLE: "the sum is right, but whole vectors travel: give away half of what you have, and "
        "keep the other half",
        "byte": "the sum is right, but more travels than has to: after each step only half of it "
        "is left to deal with",
    },
    hints=[
        "Two ranks first. Each has a vector; rank 0 is to end with the first half of the sum, rank "
        "1 with the second. What does each send?",
        "In each step the partner is comm.rank ^ distance (that flips one bit). Of the two, the "
        "rank that has the bit, comm.rank & distance, keeps the second half.",
        "Repeat with what you have kept: half as long, twice the distance, while distance < "
        "comm.size.",
    ],
    mutants=[
        Mutant(_adds_up_everything, "give away half of what you have"),
        Mutant(_all_keep_the_first, "not the expected answer"),
        Mutant(_keeps_the_other, "not the expected answer"),
        Mutant(_far_first, "4 ranks"),
        Mutant(_one_step, "4 ranks"),
        Mutant(_scattered_by_all, "it calls all_reduce: use send and recv alone"),
    ],
)
