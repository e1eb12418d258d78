"""Gets an image ready for its first learner: Binder's, and the Dockerfile's.

Run once the kit is installed. It stops the build if a requirement is not met, turns JupyterLab's
question about news off, and runs a few workers, which compiles what is compiled at its first use.
The machine code is for the processor that it was compiled on; on another it is compiled again.
"""

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

OVERRIDES = Path(__file__).parents[1] / "labs" / "overrides.json"


def unmet(package: str, extra: str) -> list[str]:
    """The requirements of an installed package that this environment does not meet, as sentences.

    Those of the extra count as well. Where dependencies came from conda, pip has not looked.
    """
    sentences = []
    for text in metadata.requires(package) or []:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        needs = f"{package} needs {requirement.name}{requirement.specifier}"
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            sentences.append(f"{needs}, which is not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            sentences.append(f"{needs}, got {version}")
    return sentences


def ask_nothing() -> None:
    """Put our settings where JupyterLab looks for its defaults; $JUPYTERLAB_DIR moves that."""
    from jupyterlab.commands import get_app_dir

    settings = Path(get_app_dir()) / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    shutil.copy(OVERRIDES, settings / "overrides.json")


def warm() -> None:
    """Run what labs run, small: compiled and interpreted, alone and together, with torch loaded."""
    import numpy as np

    import ddml_kit.notebook  # noqa: F401 - what labs import first
    from ddml_kit.aggregation import geometric_median, krum, median, trimmed_mean
    from ddml_kit.cluster.processes import Processes
    from ddml_kit.compression import QSGD, Mantissa, Sign, TernGrad, TopK
    from ddml_kit.problems import Logistic, TorchModule, sparse_logistic  # noqa: F401 - has torch
    from ddml_kit.training.hogwild import hogwild
    from ddml_kit.training.hogwild_compiled import hogwild_compiled

    data = sparse_logistic(samples=200, features=100, nonzeros=5, seed=0)
    problem = Logistic(data.x, data.y)
    for size in (1, 2):  # each has machine code of its own
        Processes(size).run(hogwild_compiled, problem, passes=1, lr=0.1)
    Processes(2).run(hogwild, problem, steps=5, lr=0.1)
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        gradients = rng.normal(size=(5, 40)).astype(dtype)
        for codec in (Sign(), QSGD(4), TernGrad(), TopK(2), Mantissa(4)):
            codec.decode(codec.encode(gradients[0], rng))
        for rule in (median, trimmed_mean, krum, geometric_median):
            rule(gradients, 1)


if __name__ == "__main__":
    if sentences := unmet("ddml_kit", "labs"):
        sys.exit("\n".join(sentences))
    ask_nothing()
    warm()
