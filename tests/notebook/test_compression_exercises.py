"""The exercises of lab 06: right answers in other words, and what a wrong one costs."""

from __future__ import annotations

import numpy as np

from ddml_kit.compression import ErrorFeedback, Sign, TopK
from ddml_kit.compression.break_even import break_even
from ddml_kit.compression.payload import Payload
from ddml_kit.notebook import check


def signs_with(pack, unpack):
    """An answer of a way to pack signs and one to unpack them."""

    def answer(comm, x, d):
        if comm.rank == 0:
            comm.send(pack(x), 1)
        else:
            return unpack(comm.recv(0).value, d)

    return answer


def test_signs_in_any_order_of_bits() -> None:
    for order in ("big", "little"):
        for side in (1, -1):  # which of the two signs is the bit that is set

            def pack(x, order=order, side=side):
                return np.packbits((x < 0) == (side > 0), bitorder=order).tobytes()

            def unpack(data, d, order=order, side=side):
                bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder=order)[:d]
                return np.where(bits, -side, side)

            assert check.packed_signs(signs_with(pack, unpack))


def test_signs_without_numpy_s_bits() -> None:
    def by_hand(x):
        data = bytearray((len(x) + 7) // 8)
        for i, value in enumerate(x):
            if value < 0:
                data[i // 8] |= 1 << i % 8
        return bytes(data)

    def one_large_number(x):
        number = int("".join("1" if value < 0 else "0" for value in x)[::-1], 2)
        return number.to_bytes((len(x) + 7) // 8, "little")

    def unpack(data, d):
        return [-1 if data[i // 8] >> i % 8 & 1 else 1 for i in range(d)]

    assert check.packed_signs(signs_with(by_hand, unpack))
    assert check.packed_signs(signs_with(one_large_number, unpack))


def test_signs_that_rank_0_returns_as_well() -> None:
    def answer(comm, x, d):
        packed = np.packbits(x < 0) if comm.rank == 0 else comm.recv(0).value
        if comm.rank == 0:
            comm.send(packed, 1)
        return 1 - 2.0 * np.unpackbits(packed, count=d)

    assert check.packed_signs(answer)


def test_a_byte_for_a_sign_is_told_from_the_trace() -> None:
    verdict = check.packed_signs(
        signs_with(lambda x: (x < 0).tobytes(), lambda b, d: 1 - 2.0 * np.frombuffer(b, np.uint8))
    )
    assert "the signs are right, but too much travels" in verdict.sentence
    assert (verdict.details["expected"], verdict.details["got"]) == ("1 byte", "8 bytes")


def test_the_library_s_signs_are_no_answer() -> None:
    def encoded(comm, x, d):
        if comm.rank == 0:
            comm.send(Sign(scaled=False).encode(x).data, 1)
        else:
            return Sign(scaled=False).decode(Payload(comm.recv(0).value, d))

    def decoded(comm, x, d):
        if comm.rank == 0:
            comm.send(np.packbits(x < 0, bitorder="little").tobytes(), 1)
        else:
            return Sign(scaled=False).decode(Payload(comm.recv(0).value, d))

    for answer in (encoded, decoded):
        assert check.packed_signs(answer).state == "refused"


def test_signs_that_never_arrive_are_a_sentence() -> None:
    verdict = check.packed_signs(lambda comm, x, d: comm.recv(0).value if comm.rank else None)
    assert "it never ends" in verdict.sentence


def test_a_memory_in_other_words() -> None:
    def by_partition(gradient, memory, k):
        memory += gradient  # in place
        kept = np.argpartition(abs(memory), -k)[-k:]
        values = memory[kept].copy()
        memory[kept] = 0
        return kept, values, memory

    def by_lists(gradient, memory, k):
        x = [g + m for g, m in zip(gradient, memory, strict=True)]
        kept = sorted(range(len(x)), key=lambda i: -abs(x[i]))[:k]
        left = [0 if i in kept else value for i, value in enumerate(x)]
        return kept, [x[i] for i in kept], left

    def by_a_vector(gradient, memory, k):
        x = gradient + memory
        sent = np.where(abs(x) >= np.sort(abs(x))[-k], x, 0)
        (kept,) = np.nonzero(sent)
        return kept, sent[kept], x - sent

    for answer in (by_partition, by_lists, by_a_vector):
        assert check.top_k_with_memory(answer)


def test_the_library_s_memory_is_no_answer() -> None:
    def feedback(gradient, memory, k):
        encoder = ErrorFeedback(TopK(k))
        encoder.memory = memory
        sent = encoder.decode(encoder.encode(gradient))
        return np.arange(len(sent)), sent, encoder.memory

    def top_k(gradient, memory, k):
        x = gradient + memory
        sent = TopK(k).decode(TopK(k).encode(x))
        (kept,) = np.nonzero(sent)
        return kept, sent[kept], x - sent

    for answer in (feedback, top_k):
        assert check.top_k_with_memory(answer).state == "refused"


def test_what_is_kept_twice_is_told_at_the_first_step() -> None:
    def kept_twice(gradient, memory, k):
        x = gradient + memory
        kept = np.argsort(-abs(x))[:k]
        return kept, x[kept], x

    verdict = check.top_k_with_memory(kept_twice)
    assert verdict.details["expected"] == "[[0.0, -5.0, 0.0], [3.0, 0.0, 1.0]]"
    assert verdict.details["got"] == "[[0.0, -5.0, 0.0], [3.0, -5.0, 1.0]]"


def test_a_codec_is_chosen_in_other_words() -> None:
    def by_comparing(n, bandwidth, nbytes, codecs):
        best, least = "everything", 2 * (n - 1) * nbytes / n / bandwidth
        for name in codecs:
            size, encode, decode = codecs[name]
            seconds = (n - 1) * size / bandwidth + encode + n * decode
            if seconds < least:
                best, least = name, seconds
        return best

    def others_alone_are_decoded(n, bandwidth, nbytes, codecs):
        """One's own payload need not be: the fastest stays the fastest."""
        took = {
            name: (n - 1) * (size / bandwidth + decode) + encode
            for name, (size, encode, decode) in codecs.items()
        }
        took["everything"] = 2 * (n - 1) / n * nbytes / bandwidth
        return min(took, key=took.get)

    assert check.codec_for_link(by_comparing)
    for case in check.codec_for_link.exercise.cases:
        reference = check.codec_for_link.exercise.reference
        assert others_alone_are_decoded(*case.arguments) == reference(*case.arguments)


def test_the_library_s_break_even_is_no_answer() -> None:
    def answer(n, bandwidth, nbytes, codecs):
        size, encode, decode = codecs["signs"]
        pays = bandwidth < break_even(nbytes, size, encode + n * decode)
        return "signs" if pays else "everything"

    assert check.codec_for_link(answer).state == "refused"
