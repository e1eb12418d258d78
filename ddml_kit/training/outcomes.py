"""Which rule holds against which attack: what is expected, who has said so, and what comes out.

The setting: 11 workers and a robust server; a quadratic of 20 parameters, whose samples have their
minima 2.3 away from each other's mean in each coordinate, where the start is 1 away; 100 steps of
SGD, one sample a worker, along a cosine. The rules assume f = 4 liars and there are 4; for Bulyan,
which needs n >= 4f + 3, it is 2 and 2; one is enough to break the mean by noise. In the last column
6 of 11 lie, more than any rule assumes. `remaining` is how much of the loss above the least is left
in the end: 1 is no progress at all. A cell holds if that is a quarter at most, and breaks if it is
half or more; nothing may lie between.

Gradients are thus noisier than they are long. There the sly attacks live, and it is outside what
Krum's proof asks for beside n >= 2f + 3: that eta(n, f) sqrt(d) sigma < |gradient| (Blanchard et
al. 2017, proposition 1). Two consequences can be counted on the fingers. A little is enough pulls
by z deviations: at the mean a/n of them arrive, 4/11 of 0.57, at whoever takes a lie for the best
gradient all of them, which is 7.6 times as much loss. And equal vectors are each other's nearest
neighbours: to Krum and the geometric median 4 equal lies are the one crowd that there is, be they
zeros from workers that have crashed.

A proof is thus no source for what happens here, and where a rule comes from is said in
aggregation/. A letter stands only where the paper has this rule against this attack:

    B   Blanchard, El Mhamdi, Guerraoui, Stainer, NIPS 2017, arXiv 1703.02757: lemma 1 (one liar
        makes the mean any vector), section 5 (Krum among Gaussian noise)
    L   Baruch, Baruch, Goldberg, NeurIPS 2019, arXiv 1902.06156 (A Little Is Enough: hurts Krum and
        the trimmed mean more than no defence at all)
    X   Xie, Koyejo, Gupta, UAI 2019, arXiv 1903.03936 (inner product: Krum and the median)
    =   no source: a sum that can be done on paper, or found here

Centred clipping has its history, but without the momenta that its proof wants, and 4 of 11 are
more than a tenth. Against a majority history makes it worse: it carries the lie on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from ddml_kit.aggregation import (
    CentredClipping,
    Rule,
    bulyan,
    geometric_median,
    krum,
    mean,
    median,
    multi_krum,
    norm_clipping,
    trimmed_mean,
)
from ddml_kit.attacks import (
    Attack,
    gaussian,
    inner_product,
    little_is_enough,
    mimic,
    nan,
    sign_flip,
    zero,
)
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.problems.quadratic import Quadratic
from ddml_kit.training.byzantine import robust_server
from ddml_kit.training.optimisers import sgd
from ddml_kit.training.schedules import cosine

WORKERS, DIM, SAMPLES, STEPS, LR = 11, 20, 550, 100, 0.1
NOISE = 2.3  # deviation of a sample's minimum; the start is 1 away from theirs in each coordinate
RADIUS = 1.5 * NOISE * DIM**0.5  # of clipping: most honest gradients are shorter

MAJORITY = 6  # of the workers, whatever the rule assumes

HOLDS, BREAKS = 0.25, 0.5  # of what there was to lose, at most and at least

RULES: Mapping[str, Rule] = {
    "mean": mean,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "krum": krum,
    "multi_krum": multi_krum,
    "bulyan": bulyan,
    "geometric_median": geometric_median,
    "centred_clipping": CentredClipping(radius=RADIUS, steps=3),
    "norm_clipping": partial(norm_clipping, radius=RADIUS),
}
ATTACKS: Mapping[str, Attack | None] = {
    "none": None,
    "gaussian": gaussian,
    "nan": nan,
    "sign_flip": partial(sign_flip, scale=4.0),
    "zero": zero,
    "little_is_enough": little_is_enough,
    "inner_product": partial(inner_product, epsilon=1.0),
    "mimic": partial(mimic, worker=0),
    "majority": partial(inner_product, epsilon=1.0),
}


@dataclass(frozen=True)
class Cell:
    """A rule that assumes f liars, an attack by so many, and whether the rule is to hold.

    source: letters of the list above.
    """

    rule: str
    attack: str
    f: int
    attackers: int
    holds: bool
    source: str

    @property
    def outcome(self) -> str:
        return "holds" if self.holds else "breaks"


# A column for each attack: + holds, - breaks, and the source.
EXPECTED = """
                  none gaussian nan sign_flip zero little_is_enough inner_product mimic majority
mean              +=   -B       +=  -=        +=   +L               +=            +=    -=
median            +=   +=       +=  +=        +=   -=               -X            +=    -=
trimmed_mean      +=   +=       +=  +=        +=   -L               -=            +=    -=
krum              +=   +B       +=  +=        -=   -L               -X            +=    -=
multi_krum        +=   +=       +=  +=        +=   -=               -=            +=    -=
bulyan            +=   +=       +=  +=        +=   +=               +=            +=    -=
geometric_median  +=   +=       +=  +=        -=   -=               -=            +=    -=
centred_clipping  +=   +=       +=  +=        +=   +=               +=            +=    -=
norm_clipping     +=   +=       +=  +=        +=   +=               +=            +=    -=
"""


def table() -> list[Cell]:
    """All cells, rule by rule."""
    head, *rows = (line.split() for line in EXPECTED.strip().splitlines())
    cells = []
    for rule, *marks in rows:
        for attack, mark in zip(head, marks, strict=True):
            f = 2 if rule == "bulyan" else 4
            attackers = 0 if attack == "none" else f
            if (rule, attack) == ("mean", "gaussian"):
                attackers = 1
            if attack == "majority":
                attackers = MAJORITY
            cells.append(Cell(rule, attack, f, attackers, mark[0] == "+", mark[1:]))
    return cells


def remaining(cell: Cell, *, seed: int = 0) -> float:
    """The share of the loss above the least that is left in the end; 1 is no progress."""
    problem, gap = setting()
    run = Simulated(WORKERS + 1, seed=seed).run(
        robust_server,
        problem,
        sgd(LR),
        steps=STEPS,
        batch_size=1,
        rule=RULES[cell.rule],
        f=cell.f,
        attack=ATTACKS[cell.attack],
        attackers=cell.attackers,
        schedule=cosine(STEPS),
    )
    return gap(run.results[0]) / gap(problem.initial())


def setting() -> tuple[Quadratic, Callable[[np.ndarray], float]]:
    """The quadratic, and the loss of a model above the least."""
    rng = np.random.default_rng(0)
    A = np.diag(np.geomspace(1, 2, DIM))
    minima = 1 + NOISE * rng.standard_normal((SAMPLES, DIM))
    problem = Quadratic(np.broadcast_to(A, (SAMPLES, DIM, DIM)), minima @ A)
    least = problem.loss(minima.mean(axis=0))
    return problem, lambda w: problem.loss(w) - least
