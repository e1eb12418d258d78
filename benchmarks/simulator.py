"""The simulated cluster beside SimPy: the same ring all-reduce, on the same model of a network.

    python -m benchmarks.simulator

A ring all-reduce (reduce-scatter, then all-gather) in chunks of 16 float64, over send and receive;
both sides copy what they send, keep links busy at both ends (network.py), add the chunks up, and
record every send and receive with its times, peer and bytes in the kit's own trace. Seconds are
those of the process, which has one thread on both sides. The kit's ranks have more than SimPy's
processes: tags, sources, communicators and timeouts in every receive, and torch's modes and the
global generators to themselves. SimPy is measured in three ways:

- simpy_arithmetic, like for like: links by the kit's own arithmetic, with an event when the first
  bit reaches the receiver's link and one when the message is whole; mailboxes are SimPy's `Store`.
- simpy: as its manual teaches it: what can be busy, a link, is a `Resource`, a message a process.
- simpy_bare: what is left when all that this one program doesn't need is taken away. Here a link
  has one sender, so the first bit needs no event; mailboxes are written by hand over bare events.

flatness: the cost of a message among 64 ranks over that among 1,024, in the kit, with torch
loaded; each rank sends as many messages, 126, so that starting the ranks weighs as much.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import simpy

from benchmarks.common import alternate, duration, medians, report
from ddml_kit.cluster import Comm, Network, Simulated
from ddml_kit.cluster.trace import RECEIVE, SEND, Recorder

RANKS = 256
SIZES = (64, 256, 1024)
FEW = SIZES[0]
CHUNK = 16
NETWORK = Network()
ROUNDS = 5


def vector(rank: int, size: int) -> np.ndarray:
    """Rank's x, cut into one chunk a rank, (size, CHUNK)."""
    return np.full((size, CHUNK), float(rank))


def first_steps(comm: Comm, steps: int) -> None:
    """As much of the ring."""
    n, me = comm.size, comm.rank
    x, right, left = vector(me, n), (me + 1) % n, (me - 1) % n
    for step in range(steps):
        comm.send(x[(me - step) % n], right)
        x[(me - step - 1) % n] += comm.recv(left).value


def ring(comm: Comm) -> float:
    """Every chunk of the sum, added up: size * CHUNK * (0 + 1 + ... )."""
    n, me = comm.size, comm.rank
    x, right, left = vector(me, n), (me + 1) % n, (me - 1) % n
    for step in range(n - 1):
        comm.send(x[(me - step) % n], right)
        x[(me - step - 1) % n] += comm.recv(left).value
    for step in range(n - 1):
        comm.send(x[(me + 1 - step) % n], right)
        x[(me - step) % n] = comm.recv(left).value
    return float(x.sum())


Measurement = tuple[float, int, float, list[float]]  # seconds, events, virtual seconds, results


def kit(size: int) -> Measurement:
    """The whole ring in the kit."""
    start = time.process_time()
    run = Simulated(size, network=NETWORK).run(ring)
    return time.process_time() - start, len(run.trace), run.seconds, list(run.results)


def kit_in_part(size: int, steps: int) -> float:
    """Seconds a message of as many steps of the ring in the kit."""
    start = time.process_time()
    run = Simulated(size, network=NETWORK).run(first_steps, steps)
    return (time.process_time() - start) / run.messages


class Peer:
    """A ring of SimPy processes. Subclasses: how a message travels and is received."""

    def __init__(self, size: int) -> None:
        self.env = simpy.Environment()
        self.size = size
        self.recorder = Recorder()
        self.out, self.into = [0.0] * size, [0.0] * size

    def send(self, me: int, dest: int, value: np.ndarray) -> None:
        value = value.copy()
        now = self.env.now
        self.recorder.add(SEND, me, now, now, dest, 0, value.nbytes)
        self.carry(me, dest, value)

    def carry(self, me: int, dest: int, value: np.ndarray) -> None:
        raise NotImplementedError

    def receive(self, me: int) -> simpy.Event:
        raise NotImplementedError

    def leave(self, me: int, seconds: float) -> float:
        """When a message that is sent now leaves the sender's link."""
        start = max(self.env.now, self.out[me])
        self.out[me] = start + seconds
        return start

    def rank(self, me: int) -> Generator[simpy.Event, Any, float]:
        n, env, record = self.size, self.env, self.recorder.add
        x, right = vector(me, n), (me + 1) % n
        for step in range(n - 1):
            self.send(me, right, x[(me - step) % n])
            asked = env.now
            source, value = yield self.receive(me)
            record(RECEIVE, me, asked, env.now, source, 0, value.nbytes)
            x[(me - step - 1) % n] += value
        for step in range(n - 1):
            self.send(me, right, x[(me + 1 - step) % n])
            asked = env.now
            source, value = yield self.receive(me)
            record(RECEIVE, me, asked, env.now, source, 0, value.nbytes)
            x[(me - step) % n] = value
        return float(x.sum())

    def run(self) -> Measurement:
        """The whole ring."""
        start = time.process_time()
        ranks = [self.env.process(self.rank(me)) for me in range(self.size)]
        self.env.run()
        trace = self.recorder.trace()
        return time.process_time() - start, len(trace), self.env.now, [p.value for p in ranks]


class WithStores(Peer):
    """Links by arithmetic, a `Store` a rank."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.stores = [simpy.Store(self.env) for _ in range(size)]

    def carry(self, me: int, dest: int, value: np.ndarray) -> None:
        seconds = value.nbytes / NETWORK.bandwidth
        first_bit = self.leave(me, seconds) + NETWORK.latency - self.env.now
        message = (me, dest, value, seconds)
        self.env.timeout(first_bit, message).callbacks.append(self.first_bit)

    def first_bit(self, event: simpy.Event) -> None:
        _, dest, _, seconds = event.value
        now = self.env.now
        stop = max(now, self.into[dest]) + seconds
        self.into[dest] = stop
        self.env.timeout(stop - now, event.value).callbacks.append(self.whole)

    def whole(self, event: simpy.Event) -> None:
        me, dest, value, _ = event.value
        self.stores[dest].put((me, value))

    def receive(self, me: int) -> simpy.Event:
        return self.stores[me].get()


class Bare(Peer):
    """Links by arithmetic as far as it goes, mailboxes by hand."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.mailboxes: list[deque] = [deque() for _ in range(size)]
        self.waiting: list[simpy.Event | None] = [None] * size

    def carry(self, me: int, dest: int, value: np.ndarray) -> None:
        seconds = value.nbytes / NETWORK.bandwidth
        first_bit = self.leave(me, seconds) + NETWORK.latency
        stop = max(first_bit, self.into[dest]) + seconds
        self.into[dest] = stop
        whole = self.env.timeout(stop - self.env.now, (dest, (me, value)))
        whole.callbacks.append(self.whole)

    def whole(self, event: simpy.Event) -> None:
        dest, message = event.value
        waiting = self.waiting[dest]
        if waiting is None:
            self.mailboxes[dest].append(message)
        else:
            self.waiting[dest] = None
            waiting.succeed(message)

    def receive(self, me: int) -> simpy.Event:
        event = self.env.event()
        if self.mailboxes[me]:
            event.succeed(self.mailboxes[me].popleft())
        else:
            self.waiting[me] = event
        return event


class WithResources(Peer):
    """A `Resource` a link, a process a message."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.senders = [simpy.Resource(self.env) for _ in range(size)]
        self.receivers = [simpy.Resource(self.env) for _ in range(size)]
        self.stores = [simpy.Store(self.env) for _ in range(size)]

    def carry(self, me: int, dest: int, value: np.ndarray) -> None:
        self.env.process(self.travel(me, dest, value))

    def travel(self, me: int, dest: int, value: np.ndarray) -> Generator[simpy.Event, Any, None]:
        env, seconds = self.env, value.nbytes / NETWORK.bandwidth
        with self.senders[me].request() as link:
            yield link
            arriving = env.process(self.arrive(me, dest, value, seconds))
            yield env.timeout(seconds)
        yield arriving

    def arrive(
        self, me: int, dest: int, value: np.ndarray, seconds: float
    ) -> Generator[simpy.Event, Any, None]:
        yield self.env.timeout(NETWORK.latency)
        with self.receivers[dest].request() as link:
            yield link
            yield self.env.timeout(seconds)
        self.stores[dest].put((me, value))

    def receive(self, me: int) -> simpy.Event:
        return self.stores[me].get()


PEERS = {"simpy_arithmetic": WithStores, "simpy": WithResources, "simpy_bare": Bare}


def beside_peers(size: int, rounds: int) -> dict[str, float]:
    """Seconds a message of the kit and its peers, medians of `rounds`; they take turns."""
    whole: dict[str, Callable[[], Measurement]] = {"kit": lambda: kit(size)}
    whole |= {name: (lambda peer=peer: peer(size).run()) for name, peer in PEERS.items()}
    ends = set()

    def timed(run: Callable[[], Measurement]) -> float:
        seconds, events, virtual, results = run()
        assert events == 4 * size * (size - 1)
        assert results == [CHUNK * size * (size * (size - 1) / 2)] * size
        ends.add(f"{virtual:.9g}")
        return seconds / (2 * size * (size - 1))

    taken = alternate({name: (lambda run=run: timed(run)) for name, run in whole.items()}, rounds)
    assert len(ends) == 1, f"virtual times differ: {ends}"
    return medians(taken)


def main() -> None:
    """Beside the peers; then by size, with torch."""
    cost = beside_peers(RANKS, ROUNDS)
    import torch  # from here on its modes and its generator are kept apart, too

    sizes = {f"{size:,}": (lambda size=size: kit_in_part(size, 2 * FEW - 2)) for size in SIZES}
    scaling = medians(alternate(sizes, ROUNDS))
    by_size = list(scaling.values())
    ratios = {name: cost[name] / cost["kit"] for name in PEERS}
    ratios["flatness"] = by_size[0] / by_size[-1]
    rows = [["kit", RANKS, duration(cost["kit"]), ""]]
    rows += [[name, RANKS, duration(cost[name]), f"{ratios[name]:.2f}"] for name in PEERS]
    rows += [["kit, torch loaded", size, duration(cost), ""] for size, cost in scaling.items()]
    report(
        "simulator",
        ratios,
        head=["what", "ranks", "CPU time a message", "times as fast as it"],
        rows=rows,
        packages=("numpy", "greenlet", "simpy", "torch"),
        notes=[
            "Both sides record every send and receive in the kit's trace and end at the same "
            f"virtual time. torch {torch.__version__} was loaded where it says so.",
            f"flatness: {ratios['flatness']:.2f}, the cost of a message among {FEW} ranks over "
            f"that among {SIZES[-1]:,}.",
        ],
    )


if __name__ == "__main__":
    main()
