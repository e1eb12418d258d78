"""Three questions that tests on predictions ask."""

from pathlib import Path

from ddml_kit.notebook import predict


def number(file: Path) -> predict.Number:
    return predict.Number("speedup", "How much faster?", low=0, high=8, unit="×", file=file)


def curve(file: Path) -> predict.Curve:
    return predict.Curve(
        "by density",
        "Draw it.",
        x=[0.1, 0.5, 1.0],
        low=0,
        high=4,
        x_title="density",
        y_title="speed-up",
        file=file,
    )


def choice(file: Path) -> predict.Choice:
    return predict.Choice("who", "Faster is", ["lock", "no lock"], file=file)
