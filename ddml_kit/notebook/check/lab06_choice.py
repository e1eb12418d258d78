"""The exercise of lab 06, compression, in which a codec is chosen for a link."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ddml_kit.compression.break_even import Coding, break_even, exchange, gathered, summed
from ddml_kit.notebook.check.exercise import Case, Exercise, Mutant, Observed

EVERYTHING = "everything"
OWN = "add the seconds up yourself"

Codings = Mapping[str, tuple[float, float, float]]  # bytes, seconds to encode and to decode


def codec_for_link(n: int, bandwidth: float, nbytes: float, codecs: Codings) -> str:
    took = {name: exchange(Coding(*made), n, bandwidth) for name, made in codecs.items()}  # type: ignore[arg-type]
    took[EVERYTHING] = summed(nbytes, n) / bandwidth
    return min(took, key=took.__getitem__)


def _observe(answer: Callable[..., Any], case: Case) -> Observed:
    return Observed(answer(*case.arguments))


def _case(n: int, bandwidth: float, nbytes: float, codecs: Codings) -> Case:
    rows = "\n".join(
        f"  {name}: {made[0]:,g} bytes, encoded in {1e3 * made[1]:g} ms, "
        f"decoded in {1e3 * made[2]:g} ms"
        for name, made in codecs.items()
    )
    shown = f"n = {n}, bandwidth = {bandwidth:,g} bytes/s, nbytes = {nbytes:,g}\n{rows}"
    return Case(shown, (n, bandwidth, nbytes, dict(codecs)))


SIGNS, TOP = (125_000, 0.3e-3, 0.2e-3), (65_000, 2e-3, 0.2e-3)
MB = 1e6


def _drawn(rng: np.random.Generator) -> Case:
    """One in which the fastest is so by a tenth, whether one's own payload is decoded or not."""
    while True:
        n, bandwidth = int(rng.integers(2, 65)), float(rng.choice([20, 50, 200, 500, 2000]) * MB)
        codecs = {
            name: (int(rng.integers(40, 1200)) * 1000, *(rng.integers(1, 30, 2) / 1e4).tolist())
            for name in ("signs", "top 1 %", "8 bits")
        }
        took = [exchange(Coding(*made), n, bandwidth) for made in codecs.values()]
        others = [t - made[2] for t, made in zip(took, codecs.values(), strict=True)]
        whole = summed(4 * MB, n) / bandwidth
        orders = [sorted([*seconds, whole]) for seconds in (took, others)]
        same = np.argmin([*took, whole]) == np.argmin([*others, whole])
        if same and all(order[1] > 1.1 * order[0] for order in orders):
            return _case(n, bandwidth, 4 * MB, codecs)


def _stub(n: int, bandwidth: float, nbytes: float, codecs: Codings) -> str: ...  # type: ignore[empty-body]


def _by(
    n: int,
    bandwidth: float,
    nbytes: float,
    codecs: Codings,
    *,
    whole: float | None = None,
    sent: Callable[[float], float] | None = None,
    work: Callable[[float, float], float] | None = None,
) -> str:
    """A choice by its own idea of the bytes of everything, of a payload's, and of the work."""
    whole = 2 * (n - 1) / n * nbytes if whole is None else whole
    took = {EVERYTHING: whole / bandwidth}
    for name, (size, encode, decode) in codecs.items():
        travels = sent(size) if sent else (n - 1) * size
        took[name] = travels / bandwidth + (work(encode, decode) if work else encode + n * decode)
    return min(took, key=took.__getitem__)


def _fewest_bytes(n: int, bandwidth: float, nbytes: float, codecs: Codings) -> str:
    return min(codecs, key=lambda name: codecs[name][0])


def _no_encoding(n: int, bandwidth: float, nbytes: float, codecs: Codings) -> str:
    return _by(n, bandwidth, nbytes, codecs, work=lambda encode, decode: n * decode)


def _decoded_once(n: int, bandwidth: float, nbytes: float, codecs: Codings) -> str:
    return _by(n, bandwidth, nbytes, codecs, work=lambda encode, decode: encode + decode)


def _work_for_nothing(n: int, bandwidth: float, nbytes: float, codecs: Codings) -> str:
    return _by(n, bandwidth, nbytes, codecs, work=lambda encode, decode: 0.0)


def _summed_like_vectors(n: int, bandwidth: float, nbytes: float, codecs: Codings) -> str:
    return _by(n, bandwidth, nbytes, codecs, sent=lambda size: 2 * (n - 1) / n * size)


def _sent_once(n: int, bandwidth: float, nbytes: float, codecs: Codings) -> str:
    return _by(n, bandwidth, nbytes, codecs, sent=lambda size: size)


def _everything_once(n: int, bandwidth: float, nbytes: float, codecs: Codings) -> str:
    return _by(n, bandwidth, nbytes, codecs, whole=nbytes)


def _everything_gathered(n: int, bandwidth: float, nbytes: float, codecs: Codings) -> str:
    return _by(n, bandwidth, nbytes, codecs, whole=(n - 1) * nbytes)


CODEC_FOR_LINK = Exercise(
    name="codec_for_link",
    question="The fastest way to exchange a gradient over a link: everything, or one of the "
    "codecs.",
    reference=codec_for_link,
    key=exchange,
    helpers=[gathered, summed],
    key_says="The first is the time with a codec; everything takes summed(nbytes, n) / bandwidth.",
    stub=_stub,
    cases=[
        _case(2, MB, 4 * MB, {"signs": SIGNS, "top 1 %": TOP}),
        _case(2, 1e4 * MB, 4 * MB, {"signs": SIGNS, "top 1 %": TOP}),
        _case(8, 1e3 * MB, 4 * MB, {"signs": SIGNS, "top 1 %": TOP}),
        _case(8, 1e3 * MB, 4 * MB, {"top 1 %": TOP}),
        _case(16, 1e3 * MB, 4 * MB, {"signs": (125_000, 0.3e-3, 0.5e-3)}),
        _case(128, 1e2 * MB, 4 * MB, {"signs": SIGNS, "top 1 %": TOP}),
    ],
    drawn=_drawn,
    observe=_observe,
    without={break_even: OWN, summed: OWN, gathered: OWN},
    hints=[
        "What does a worker wait for in a step, one after the other, with a codec and without?",
        "Everything goes round a ring: 2 (n - 1) / n vectors through each link. Payloads are "
        "gathered: n - 1 of them. And who decodes how many?",
        "Everything: 2 * (n - 1) / n * nbytes / bandwidth. A codec: encode + (n - 1) * its bytes "
        "/ bandwidth + n * decode. min(seconds, key=seconds.get) is the name of the smallest.",
    ],
    mutants=[
        Mutant(_fewest_bytes, "bandwidth = 1e+10"),
        Mutant(_no_encoding, "expected  'signs'"),
        Mutant(_decoded_once, "n = 16"),
        Mutant(_work_for_nothing, "expected  'everything'"),
        Mutant(_summed_like_vectors, "n = 128"),
        Mutant(_sent_once, "n = 128"),
        Mutant(_everything_once, "got       'everything'"),
        Mutant(_everything_gathered, "expected  'everything'"),
    ],
)
