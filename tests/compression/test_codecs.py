"""What holds for every codec: round trips, bytes, refusals, and no mass lost under feedback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ddml_kit.cluster import Processes
from ddml_kit.cluster.payload import payload_bytes
from ddml_kit.compression import (
    QSGD,
    Codec,
    ErrorFeedback,
    Mantissa,
    OneBit,
    Payload,
    RandomK,
    Shrunk,
    Sign,
    TernGrad,
    Threshold,
    TopK,
    elias,
    entries,
)
from ddml_kit.compression.atomo import ATOMO
from ddml_kit.compression.sketch import Sketch

D = 43  # no multiple of 2, 5 or 8
CODECS: dict[str, Any] = {
    "sign": Sign(),
    "unscaled": Sign(scaled=False),
    "one_bit": OneBit([(4, 5), (3,), (2, 2, 5)]),
    "qsgd": QSGD(3),
    "qsgd_dense": QSGD(20),
    "qsgd_fixed": QSGD(7, elias.fixed),
    "qsgd_buckets": QSGD(3, elias.fixed, bucket=10),
    "terngrad": TernGrad(),
    "terngrad_clipped": TernGrad(clip=2.5),
    "top_k": TopK(5),
    "top_fraction": TopK(0.3),
    "top_k_gaps": TopK(5, entries.gaps),
    "random_k": RandomK(5),
    "random_k_unbiased": RandomK(0.2, unbiased=True),
    "threshold": Threshold(0.5),
    "threshold_gaps": Threshold(0.5, entries.gaps),
    "atomo": ATOMO([(4, 5), (3,), (2, 2, 5)], 1.5),
    "sketch": Sketch(8, 2),
    "shrunk": Shrunk(QSGD(7, elias.fixed), 1.5),
    "mantissa": Mantissa(7),
    "mantissa_short": Mantissa(2),
}
RANDOM = ["qsgd", "terngrad", "random_k", "atomo", "sketch"]
every = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)

vectors = hnp.arrays(np.float32, D, elements=st.floats(-1e6, 1e6, width=32))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@every
def test_what_arrives_depends_on_the_bytes_alone(codec: Codec) -> None:
    payload = codec.encode(rng(1).normal(size=D), rng(2))
    assert isinstance(payload.data, bytes)
    assert payload.nbytes == len(payload.data) == payload_bytes(payload)
    x = codec.decode(payload)
    assert x.shape == (D,)
    assert x.dtype == np.float32
    assert x.flags.writeable
    again = codec.decode(Payload(bytes(bytearray(payload.data)), D))
    np.testing.assert_array_equal(x, again)


@every
def test_the_same_vector_and_generator_make_the_same_payload(codec: Codec) -> None:
    x = rng(1).normal(size=D).astype(np.float32)
    before = x.copy()
    assert codec.encode(x, rng(2)) == codec.encode(x.astype(np.float64), rng(2))
    np.testing.assert_array_equal(x, before)
    strided = np.repeat(x, 3)[::3]
    assert codec.encode(strided, rng(2)) == codec.encode(x, rng(2))


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("at", [0, 20, D - 1])
def test_what_is_not_finite_is_never_quantised(codec: Codec, bad: float, at: int) -> None:
    x = rng(1).normal(size=D)
    x[at] = bad
    with pytest.raises(FloatingPointError, match="a codec needs finite values, got 1 of 43"):
        codec.encode(x, rng(2))


@every
@pytest.mark.parametrize("cut", [1, 2, 5])
def test_a_payload_that_is_truncated_or_longer_is_refused(codec: Codec, cut: int) -> None:
    data = codec.encode(rng(1).normal(size=D) + 0.1, rng(2)).data
    for other in (data[:-cut], data + bytes(cut), b""):
        with pytest.raises(ValueError, match=r"bytes|entries"):
            codec.decode(Payload(other, D))


@every
def test_only_vectors_of_floats_are_encoded(codec: Codec) -> None:
    with pytest.raises(ValueError, match=r"a codec encodes a vector, \(d,\), got shape \(43, 1\)"):
        codec.encode(np.zeros((D, 1)), rng())
    with pytest.raises(TypeError, match="float32 or float64, got int64"):
        codec.encode(np.zeros(D, np.int64), rng())


@pytest.mark.parametrize("name", RANDOM)
def test_a_random_codec_asks_for_a_generator(name: str) -> None:
    with pytest.raises(ValueError, match=r"is random: encode\(x, rng\) needs a numpy Generator"):
        CODECS[name].encode(np.ones(D))


@every
def test_a_vector_of_zeros_stays_one_or_nearly(codec: Codec) -> None:
    decoded = codec.decode(codec.encode(np.zeros(D), rng()))
    np.testing.assert_array_equal(abs(decoded), 1 if codec == Sign(scaled=False) else 0)


@every
@given(x=hnp.arrays(np.float32, (3, D), elements=st.floats(-1e6, 1e6, width=32)))
@settings(max_examples=15, deadline=None)
def test_error_feedback_conserves_mass(codec: Codec, x: np.ndarray) -> None:
    feedback, random = ErrorFeedback(codec), rng(3)
    decoded = np.zeros(D)
    for gradient in x.astype(np.float64):
        decoded += feedback.decode(feedback.encode(gradient, random))
    assert feedback.memory is not None
    np.testing.assert_allclose(decoded + feedback.memory, x.sum(0, dtype=float), atol=1e-6)


@pytest.mark.parametrize("name", ["sign", "one_bit", "top_k", "top_fraction", "mantissa"])
@given(x=vectors)
@settings(max_examples=40, deadline=None)
def test_biased_codecs_contract(name: str, x: np.ndarray) -> None:
    codec = CODECS[name]
    lost = x - codec.decode(codec.encode(x)).astype(np.float64)
    assert np.square(lost).sum() <= np.square(x, dtype=float).sum() * (1 + 1e-6)


def test_codecs_of_shapes_are_settings_that_can_be_keys() -> None:
    for codec, same in (
        (OneBit([[4, 5]]), OneBit(((4, 5),))),
        (ATOMO([[4, 5]], 1), ATOMO(((4, 5),), 1)),
    ):
        assert codec == same
        assert hash(codec) == hash(same)


@pytest.mark.parametrize(
    "codec",
    [
        Sign(),
        QSGD(2),
        QSGD(2, elias.fixed),
        TernGrad(),
        TernGrad(1.0),
        Threshold(1.0),
        OneBit([]),
        ATOMO([], 1.0),
        Sketch(),
        Shrunk(TernGrad(), 2.0),
        Mantissa(3),
    ],
    ids=str,
)
def test_an_empty_vector_is_a_payload_too(codec: Codec) -> None:
    assert len(codec.decode(codec.encode(np.empty(0), rng()))) == 0


@dataclass(frozen=True)
class Sending:
    codec: Any

    def __call__(self, comm: Any) -> np.ndarray:
        x = np.arange(D) - comm.rank * 20.0
        payloads = comm.all_gather(self.codec.encode(x, comm.stream("codec")))
        return sum(self.codec.decode(payload) for payload in payloads)


def test_payloads_travel_between_processes() -> None:
    run = Processes(2).run(Sending(CODECS["qsgd_buckets"]))
    np.testing.assert_array_equal(*run.results)
