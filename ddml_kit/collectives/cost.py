"""What an all-reduce costs on paper: steps, bytes and seconds, with latency alpha, bandwidth beta.

A message of m bytes takes alpha + m / beta (R. W. Hockney, 1994; see network.py). For n ranks and a
vector of S bytes, p the largest power of two up to n, and racks of m ranks:

    master-worker     2 (alpha + (n - 1) S / beta)
    ring              2 (n - 1) (alpha + S / n / beta)
    tree              2 ceil(log2 n) (alpha + S / beta)
    halving-doubling  2 log2 p alpha + 2 (p - 1) / p S / beta, + 2 (alpha + S / beta) if p < n
    hierarchical      2 (m - 1) (alpha + S / m / beta) inside racks, and a ring between them

Sources: the ring, P. Patarasuk, X. Yuan, JPDC 69(2), 2009; tree and halving-doubling,
R. Thakur, R. Rabenseifner, W. Gropp, IJHPCA 19(1), 2005, section 4, without their term for the
additions; the other two follow in the same way. In all of them 2 (n - 1) S bytes travel. Through a
switch (switch.py) it is 8 bytes an element and worker, and the time does not depend on n.

Simulated time is exactly this in a network without racks, for the ring where n divides the vector,
for tree and halving-doubling where n is a power of two (and divides it). Other trees take less.
Other halving-doublings take up to S / beta longer: a rank with nobody to wait for sends its half at
once, and that meets, at the link of its partner, the vector that is being folded in.

Where the network has racks, alpha and beta are those of the slowest pair of ranks, as if each
message had the uplinks to itself. Only `hierarchical_seconds` knows of racks, and shares an uplink
among the ranks of its rack; as they do not all wait for the last of them, it is at most as long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ddml_kit.cluster.network import Network
from ddml_kit.cluster.payload import chunk_bounds
from ddml_kit.collectives.halving_doubling import largest_power, powers


def total_bytes(n: int, nbytes: float) -> float:
    """2 (n - 1) S: the bytes that all ranks together send, in each of these."""
    return 2 * (n - 1) * nbytes


# ------------------------------------------------------------------------ master and workers


def master_worker_steps(n: int) -> int:
    """2, whatever n, above 1."""
    return 2 * (n > 1)


def master_worker_seconds(n: int, nbytes: float, network: Network) -> float:
    """2 (alpha + (n - 1) S / beta): the master's link carries every vector, in and out."""
    alpha, per_byte = network.slowest(range(n), n)
    return master_worker_steps(n) * (alpha + (n - 1) * nbytes * per_byte)


# --------------------------------------------------------------------------------------- ring


def ring_steps(n: int) -> int:
    """2 (n - 1)."""
    return 2 * (n - 1)


def ring_bytes(length: int, itemsize: int, n: int, rank: int) -> int:
    """2 S - |c(r+1)| - |c(r+2)|: bytes that a rank sends, for a vector of this length."""
    if n == 1:
        return 0
    bounds = chunk_bounds(length, n)
    spared = [(rank + k) % n for k in (1, 2)]  # one in each phase
    return (2 * length - sum(bounds[c + 1] - bounds[c] for c in spared)) * itemsize


def ring_seconds(n: int, nbytes: float, network: Network) -> float:
    """2 (n - 1) (alpha + S / n / beta)."""
    alpha, per_byte = network.slowest(range(n), n)
    return ring_steps(n) * (alpha + nbytes / n * per_byte)


# --------------------------------------------------------------------------------------- tree


def tree_steps(n: int) -> int:
    """2 floor(log2 n): to the root from the rank that is farthest, and back."""
    return 2 * (n.bit_length() - 1)


def tree_seconds(n: int, nbytes: float, network: Network) -> float:
    """2 ceil(log2 n) (alpha + S / beta); less where n is no power of two."""
    alpha, per_byte = network.slowest(range(n), n)
    return 2 * _rounds(n) * (alpha + nbytes * per_byte)


# --------------------------------------------------------------------------- halving-doubling


def halving_doubling_steps(n: int) -> int:
    """2 ceil(log2 n)."""
    return 2 * _rounds(n)


def halving_doubling_bytes(length: int, itemsize: int, n: int, rank: int) -> int:
    """Bytes that a rank sends: about 2 (p - 1) / p S; a rank that folds in S, its partner S more.

    A half of an odd length is one longer than the other, and stays with the lower rank.
    """
    p = largest_power(n)
    if rank >= p:
        return length * itemsize
    sent = length if rank + p < n else 0
    part = length
    for distance in powers(p):
        upper = bool(rank & distance)
        halves = (part + 1) // 2, part // 2
        part = halves[upper]
        sent += halves[not upper] + part  # the other's half now, the own one on the way back
    return sent * itemsize


def halving_doubling_seconds(n: int, nbytes: float, network: Network) -> float:
    """2 log2 p alpha + 2 (p - 1) / p S / beta; 2 (alpha + S / beta) more where p < n."""
    alpha, per_byte = network.slowest(range(n), n)
    p = largest_power(n)
    seconds = 2 * len(powers(p)) * alpha + 2 * (p - 1) / p * nbytes * per_byte
    return seconds + 2 * (p < n) * (alpha + nbytes * per_byte)


# ------------------------------------------------------------------------------- hierarchical


def hierarchical_steps(n: int, racks: int) -> int:
    """2 (m - 1) + 2 (racks - 1), m ranks in the smallest rack; unequal: up to 2 more, as here."""
    return 2 * (n // racks - 1) + 2 * (racks - 1) + 2 * (n % racks > 0)


def hierarchical_seconds(n: int, nbytes: float, network: Network) -> float:
    """2 (m - 1) (alpha + S / m / beta) + 2 (R - 1) (alpha' + S / R / beta').

    R: racks of the network, m: ranks in the smallest, alpha' and beta': those between racks. If
    racks are unequal, 2 (alpha + S / beta) more.
    """
    racks = min(network.racks, n)
    m = n // racks
    alpha, per_byte = network.latency, 1 / network.bandwidth
    seconds = 2 * (m - 1) * (alpha + nbytes / m * per_byte)
    seconds += 2 * (n % racks > 0) * (alpha + nbytes * per_byte)
    alpha, per_byte = network.slowest(range(n), n)
    return seconds + 2 * (racks - 1) * (alpha + nbytes / racks * per_byte)


# ------------------------------------------------------------------------------ in the network


def switch_steps(length: int, elements: int, slots: int) -> int:
    """2 ceil(blocks / slots), with a given scale: each slot is used so many times, there and back.

    length: of the vector. elements: in a block.
    """
    return 2 * -(-max(length, 1) // (elements * slots))


def switch_bytes(n: int, length: int) -> int:
    """8 n length: 4 bytes an element to the switch and 4 from it, for n workers; a given scale."""
    return 8 * n * length


def switch_seconds(length: int, network: Network, elements: int, slots: int) -> float:
    """alpha + (4 length + 4 elements) / beta where slots are enough, in a Network(switch=True).

    There and back is alpha, the switch being half way; the last block is received after it has been
    sent. A slot is free again after alpha + 8 elements / beta: where all slots are filled sooner,
    the link waits for them. At most a block's time less where the last block is shorter. With a
    given scale; one that is chosen takes one more trip.
    """
    alpha, block = network.latency, 4 * min(elements, length) / network.bandwidth
    turns, last = divmod(-(-max(length, 1) // elements) - 1, slots)
    turn = max(slots * block, alpha + 2 * block)
    rest = 4 * (length - (turns * slots + last) * elements) / network.bandwidth
    return turns * turn + last * block + rest + alpha + block


def _rounds(n: int) -> int:
    """ceil(log2 n)."""
    return (n - 1).bit_length()


# -------------------------------------------------------------------------------- all of them

SECONDS: Mapping[str, Callable[[int, float, Network], float]] = {
    "master_worker": master_worker_seconds,
    "tree": tree_seconds,
    "ring": ring_seconds,
    "halving_doubling": halving_doubling_seconds,
    "hierarchical": hierarchical_seconds,
}


def fastest(n: int, nbytes: float, network: Network) -> str:
    """The name of the all-reduce that takes the least time on paper; the simplest of equal ones."""
    return min(SECONDS, key=lambda name: SECONDS[name](n, nbytes, network))
