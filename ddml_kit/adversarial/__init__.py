"""What fools a trained model: images that are moved a little, and look the same to us.

Attacks take a module and arrays or tensors. The number of threads stays as it is; a small model is
attacked faster in one (`problems.torch_threads.one_thread`), above all beside busy workers.
"""

from ddml_kit.adversarial.curves import held, robust_accuracy
from ddml_kit.adversarial.goal import accuracy, cross_entropy, margin, verdicts
from ddml_kit.adversarial.masking import Rounded, Saturated, bpda, rounded
from ddml_kit.adversarial.models import perceptron
from ddml_kit.adversarial.norms import Norm, clipped, l1, l2, linf, sparse_l1
from ddml_kit.adversarial.patch import draw_places, patch, with_patch
from ddml_kit.adversarial.pgd import fgsm, iterates, pgd
from ddml_kit.adversarial.square import square
from ddml_kit.adversarial.surface import Surface, directions, loss_surface

__all__ = [
    "Norm",
    "Rounded",
    "Saturated",
    "Surface",
    "accuracy",
    "bpda",
    "clipped",
    "cross_entropy",
    "directions",
    "draw_places",
    "fgsm",
    "held",
    "iterates",
    "l1",
    "l2",
    "linf",
    "loss_surface",
    "margin",
    "patch",
    "perceptron",
    "pgd",
    "robust_accuracy",
    "rounded",
    "sparse_l1",
    "square",
    "verdicts",
    "with_patch",
]
