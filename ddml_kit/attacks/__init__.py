"""What a lying worker sends: pure attacks on gradients, and on the data they are made of.

    attack(honest (n - a, d), a, rng) -> (a, d)

a: how many attackers there are; they know each other, and most of them see what the honest send.
`poison(batch, rng) -> batch` tampers with the samples instead.
"""

from collections.abc import Callable

import numpy as np

from ddml_kit.attacks.blind import gaussian, nan, zero
from ddml_kit.attacks.data import Poison, Trigger, backdoor, corner, label_flip
from ddml_kit.attacks.little_is_enough import little_is_enough, most_deviations
from ddml_kit.attacks.mimic import mimic
from ddml_kit.attacks.omniscient import inner_product, sign_flip

Attack = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]

__all__ = [
    "Attack",
    "Poison",
    "Trigger",
    "backdoor",
    "corner",
    "gaussian",
    "inner_product",
    "label_flip",
    "little_is_enough",
    "mimic",
    "most_deviations",
    "nan",
    "sign_flip",
    "zero",
]
