"""What fools a trained model: images that are moved a little, and look the same to us."""

from ddml_kit.adversarial.goal import accuracy, cross_entropy, margin, verdicts
from ddml_kit.adversarial.norms import Norm, clipped, l1, l2, linf, sparse_l1
from ddml_kit.adversarial.pgd import fgsm, iterates, pgd

__all__ = [
    "Norm",
    "accuracy",
    "clipped",
    "cross_entropy",
    "fgsm",
    "iterates",
    "l1",
    "l2",
    "linf",
    "margin",
    "pgd",
    "sparse_l1",
    "verdicts",
]
