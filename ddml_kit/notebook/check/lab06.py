"""Two exercises of lab 06, compression: signs as bits, and top-k with error feedback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.compression import ErrorFeedback, OneBit, Sign, TopK
from ddml_kit.compression.codec import vector
from ddml_kit.compression.kernels import packing
from ddml_kit.compression.payload import Payload
from ddml_kit.compression.top_k import largest
from ddml_kit.notebook.check.exercise import Case, Exercise, Mutant, Observed

# ---------------------------------------------------------------------------- signs as bits

OWN = "pack the bits yourself"


def packed_signs(comm: Comm, x: np.ndarray | None, d: int) -> np.ndarray | None:
    if x is not None:
        comm.send(Sign(scaled=False).encode(x).data, 1)
        return None
    data: bytes = comm.recv(0).value
    return Sign(scaled=False).decode(Payload(data, d))


def _observe_signs(answer: Callable[..., Any], case: Case) -> Observed:
    """What rank 1 makes of what rank 0 has sent, and what has travelled."""
    [x] = case.arguments

    def program(comm: Comm) -> Any:
        return answer(comm, x if comm.rank == 0 else None, len(x))

    run = Simulated(2).run(program)
    return Observed(run.results[1], {"byte": run.bytes, "message": run.messages})


def _signs_case(x: Sequence[float]) -> Case:
    shown = f"x = {list(x)} on rank 0, d = {len(x)}\nwhat rank 1 returns"
    return Case(shown, (np.array(x, np.float32),))


def _drawn_signs(rng: np.random.Generator) -> Case:
    return _signs_case((rng.choice([-1, 1], 27) * rng.integers(1, 9, 27)).astype(float).tolist())


def _stub_signs(comm: Comm, x: np.ndarray | None, d: int) -> Any: ...


def _over(comm: Comm, x: np.ndarray | None, pack: Callable[[np.ndarray], Any]) -> Any:
    """Rank 0 sends pack(x); rank 1 gets it."""
    if x is not None:
        comm.send(pack(x), 1)
        return None
    return comm.recv(0).value


def _unpacked(data: np.ndarray | None, d: int | None) -> Any:
    if data is None:
        return None
    return 1.0 - 2.0 * np.unpackbits(data, count=d)


def _everything(comm: Comm, x: np.ndarray | None, d: int) -> Any:
    got = _over(comm, x, lambda x: x)
    return None if got is None else np.where(got < 0, -1.0, 1.0)


def _a_byte_each(comm: Comm, x: np.ndarray | None, d: int) -> Any:
    return _over(comm, x, lambda x: np.where(x < 0, -1, 1).astype(np.int8))


def _bools(comm: Comm, x: np.ndarray | None, d: int) -> Any:
    got = _over(comm, x, lambda x: x < 0)
    return None if got is None else np.where(got, -1, 1)


def _as_text(comm: Comm, x: np.ndarray | None, d: int) -> Any:
    got = _over(comm, x, lambda x: "".join("-" if value < 0 else "+" for value in x))
    return None if got is None else [-1 if sign == "-" else 1 for sign in got]


def _with_its_length(comm: Comm, x: np.ndarray | None, d: int) -> Any:
    got = _over(comm, x, lambda x: (len(x), np.packbits(x < 0)))
    return None if got is None else _unpacked(got[1], got[0])


def _whole_bytes_alone(comm: Comm, x: np.ndarray | None, d: int) -> Any:
    got = _over(comm, x, lambda x: np.packbits(x[: len(x) // 8 * 8] < 0))
    if got is None:
        return None
    signs = np.ones(d)
    signs[: 8 * len(got)] -= 2.0 * np.unpackbits(got)
    return signs


def _padding_left(comm: Comm, x: np.ndarray | None, d: int) -> Any:
    return _unpacked(_over(comm, x, lambda x: np.packbits(x < 0)), None)


def _zero_is_negative(comm: Comm, x: np.ndarray | None, d: int) -> Any:
    return _unpacked(_over(comm, x, lambda x: np.packbits(x <= 0)), d)


def _bits_as_they_are(comm: Comm, x: np.ndarray | None, d: int) -> Any:
    got = _over(comm, x, lambda x: np.packbits(x >= 0))
    return None if got is None else np.unpackbits(got, count=d)


def _turned_round(comm: Comm, x: np.ndarray | None, d: int) -> Any:
    got = _unpacked(_over(comm, x, lambda x: np.packbits(x < 0, bitorder="little")), None)
    return None if got is None else got[:d]


PACKED_SIGNS = Exercise(
    name="packed_signs",
    question="The signs of a vector, from rank 0 to rank 1, a bit each.",
    reference=packed_signs,
    key=Sign.encode,
    helpers=[packing.pack_signs.py_func],
    key_says="Its loop is compiled: eight comparisons make a byte. In NumPy that is "
    "np.packbits(x < 0).",
    stub=_stub_signs,
    cases=[
        _signs_case([2.0, -1.0, 3.0, 0.0, -5.0, -1.0, 4.0, -2.0]),
        _signs_case([-1.0, 2.0, 2.0]),
        _signs_case([float((-1) ** (k // 3) * (k + 1)) for k in range(17)]),
    ],
    drawn=_drawn_signs,
    observe=_observe_signs,
    without={Sign.decode: OWN, OneBit.encode: OWN, OneBit.decode: OWN},
    most={
        "byte": "the signs are right, but too much travels: eight of them fit a byte, and nothing "
        "else has to be sent",
        "message": "the signs are right, but one message is enough",
    },
    hints=[
        "How many values has a bit, and how many bits has a byte? Rank 1 knows d already.",
        "x < 0 are d truth values, a byte each. np.packbits makes eight of them a byte, and fills "
        "the last one up.",
        "Rank 1: np.unpackbits(data, count=d) are the bits again, 0 or 1, without what was filled "
        "up. From 0 and 1 to +1 and -1: 1 - 2 * bit, as floats (bits have no negative numbers).",
    ],
    mutants=[
        Mutant(_everything, "eight of them fit a byte"),
        Mutant(_a_byte_each, "8 bytes"),
        Mutant(_bools, "eight of them fit a byte"),
        Mutant(_as_text, "eight of them fit a byte"),
        Mutant(_with_its_length, "9 bytes"),
        Mutant(_whole_bytes_alone, "x = [-1.0, 2.0, 2.0]"),
        Mutant(_padding_left, "x = [-1.0, 2.0, 2.0]"),
        Mutant(_zero_is_negative, "not the expected answer"),
        Mutant(_bits_as_they_are, "not the expected answer"),
        Mutant(_turned_round, "not the expected answer"),
    ],
)

# ------------------------------------------------------------------- top-k with error feedback

Sent = tuple[np.ndarray, np.ndarray, np.ndarray]  # indices, values, memory


def top_k_with_memory(gradient: np.ndarray, memory: np.ndarray, k: int) -> Sent:
    encoder = ErrorFeedback(TopK(k))
    encoder.memory = memory
    payload = encoder.encode(gradient)
    indices = largest(vector(gradient + memory), k)
    return indices, encoder.decode(payload)[indices], encoder.memory


def _observe_memory(answer: Callable[..., Any], case: Case) -> Observed:
    """Step by step: the vector that is sent, and the memory after it; and how many entries."""
    gradients, k = case.arguments
    memory, entries = np.zeros(len(gradients[0])), 0
    seen = list[list[float]]()
    for gradient in gradients:
        indices, values, memory = answer(gradient.copy(), memory.copy(), k)
        vector = np.zeros(len(gradient))
        np.add.at(vector, np.asarray(indices, np.intp), np.asarray(values, float))
        entries += len(indices)
        memory = np.array(memory, float)
        seen += [vector.tolist(), memory.tolist()]
    return Observed(seen, {"value sent": entries})


def _memory_case(gradients: Sequence[Sequence[float]], k: int) -> Case:
    steps = "\n".join(f"step {i}: gradient = {list(g)}" for i, g in enumerate(gradients))
    shown = f"k = {k}, and no memory at first\n{steps}\nsent, then remembered, at each step"
    return Case(shown, ([np.array(g, float) for g in gradients], k))


def _drawn_memory(rng: np.random.Generator) -> Case:
    """Whole numbers among which it is never left to the order which are the k largest."""
    k = 2
    while True:
        gradients, memory = rng.integers(-99, 100, (5, 6)).astype(float), np.zeros(6)
        clear = True
        for gradient in gradients:
            x = gradient + memory
            order = _largest(x, len(x))
            clear = clear and abs(x[order[k - 1]]) > abs(x[order[k]])
            memory = x
            memory[order[:k]] = 0
        if clear:
            return _memory_case(gradients.tolist(), k)


def _stub_memory(gradient: np.ndarray, memory: np.ndarray, k: int) -> Any: ...


def _largest(x: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-np.abs(x))[:k]


def _no_memory(gradient: np.ndarray, memory: np.ndarray, k: int) -> Sent:
    kept = _largest(gradient, k)
    return kept, gradient[kept], memory


def _not_added(gradient: np.ndarray, memory: np.ndarray, k: int) -> Sent:
    """It remembers what is left, and never sends it."""
    kept = _largest(gradient, k)
    memory = memory + gradient
    memory[kept] -= gradient[kept]
    return kept, gradient[kept], memory


def _sent_is_kept(gradient: np.ndarray, memory: np.ndarray, k: int) -> Sent:
    x = gradient + memory
    kept = _largest(x, k)
    return kept, x[kept], x


def _forgets_what_is_old(gradient: np.ndarray, memory: np.ndarray, k: int) -> Sent:
    x = gradient + memory
    kept = _largest(x, k)
    memory = gradient.copy()
    memory[kept] = 0
    return kept, x[kept], memory


def _old_value_sent(gradient: np.ndarray, memory: np.ndarray, k: int) -> Sent:
    x = gradient + memory
    kept = _largest(x, k)
    x[kept] = 0
    return kept, gradient[kept], x


def _signed(gradient: np.ndarray, memory: np.ndarray, k: int) -> Sent:
    x = gradient + memory
    kept = np.argsort(-x)[:k]
    values = x[kept]
    x[kept] = 0
    return kept, values, x


def _chosen_by_gradient(gradient: np.ndarray, memory: np.ndarray, k: int) -> Sent:
    x = gradient + memory
    kept = _largest(gradient, k)
    values = x[kept]
    x[kept] = 0
    return kept, values, x


def _all(gradient: np.ndarray, memory: np.ndarray, k: int) -> Sent:
    """Zeros travel as well, where nothing has to."""
    x = gradient + memory
    kept = _largest(x, k)
    sent = np.zeros_like(x)
    sent[kept] = x[kept]
    return np.arange(len(x)), sent, x - sent


def _really_all(gradient: np.ndarray, memory: np.ndarray, k: int) -> Sent:
    x = gradient + memory
    return np.arange(len(x)), x, np.zeros_like(x)


def _spoiled(gradient: np.ndarray, memory: np.ndarray, k: int) -> Sent:
    """The entries are set to zero before they are read."""
    x = gradient + memory
    kept = _largest(x, k)
    x[kept] = 0
    return kept, x[kept], x


TOP_K_WITH_MEMORY = Exercise(
    name="top_k_with_memory",
    question="What a step sends of a gradient, the k largest entries, and what it remembers.",
    reference=top_k_with_memory,
    key=ErrorFeedback.encode,
    helpers=[largest],
    key_says="It works with any codec, and remembers what that loses. The second function is "
    "top-k's choice; in NumPy: np.argsort(-abs(x))[:k].",
    stub=_stub_memory,
    cases=[
        _memory_case([[3.0, -5.0, 1.0]], 1),
        _memory_case([[3.0, -5.0, 1.0], [1.5, 1.0, 2.0]], 1),
        _memory_case([[3.0, -5.0, 1.0, 2.0], [1.0, 0.5, 2.5, -0.5], [-1.0, 0.25, 3.0, -1.5]], 2),
    ],
    drawn=_drawn_memory,
    observe=_observe_memory,
    without={TopK.encode: OWN},
    most={
        "value sent": "the vectors are right, but more travels than k entries: zeros need not be "
        "sent either",
    },
    hints=[
        "Of what are the largest entries to be sent: of the gradient, or of the gradient and what "
        "is still owed?",
        "x = gradient + memory. The k entries of the largest size are sent, with their values in "
        "x. What is then left of x?",
        "kept = np.argsort(-abs(x))[:k]; values = x[kept]; then x[kept] = 0, and what is left of x "
        "is the new memory: sent and remembered add up to x.",
    ],
    mutants=[
        Mutant(_no_memory, "not the expected answer"),
        Mutant(_not_added, "not the expected answer"),
        Mutant(_sent_is_kept, "expected  [[0.0, -5.0, 0.0], [3.0, 0.0, 1.0]]"),
        Mutant(_forgets_what_is_old, "not the expected answer"),
        Mutant(_old_value_sent, "not the expected answer"),
        Mutant(_signed, "got       [[3.0, 0.0, 0.0], [0.0, -5.0, 1.0]]"),
        Mutant(_chosen_by_gradient, "not the expected answer"),
        Mutant(_all, "zeros need not be sent either"),
        Mutant(_really_all, "not the expected answer"),
        Mutant(_spoiled, "not the expected answer"),
    ],
)
