"""Speed-up: how many times as fast several workers are, and what bounds it.

What counts is the time until the model is good enough:

    speed-up = time of one worker to a loss / time of n workers to the same loss

and that time has two factors, steps to the loss and seconds a step (or passes over the data and
seconds a pass, which is the same). Samples a second, or seconds a step, are one of the two alone.

The bound for work of which a part is not shared out is that of G. M. Amdahl, "Validity of the
single processor approach to achieving large scale computing capabilities", AFIPS Spring Joint
Computer Conference 30, 1967.
"""

from __future__ import annotations

from ddml_kit.cluster.run import Curve


def speed_up(serial: Curve, parallel: Curve, level: float) -> float:
    """The serial run's time to a level over the parallel one's; 0 if that never gets there.

    Each curve is a loss, over the seconds of one run. Raises ValueError if the serial run never
    gets there, or if both are there before they begin.
    """
    alone, together = serial.time_to(level), parallel.time_to(level)
    if alone == float("inf"):
        raise ValueError(
            f"the serial run never gets to {level:g}: there is nothing to be faster than"
        )
    if together == 0:
        raise ValueError(f"a run that is at {level:g} before it begins takes no time")
    return alone / together


def amdahl(n: int, serial: float) -> float:
    """The speed-up of n workers if the share `serial` of the work has to be done by one.

    1 / (serial + (1 - serial) / n), which stays below 1 / serial for any n.
    """
    if n < 1:
        raise ValueError(f"a speed-up is that of 1 worker or more, got {n}")
    if not 0 <= serial <= 1:
        raise ValueError(f"the serial share of the work is from 0 to 1, got {serial}")
    return 1 / (serial + (1 - serial) / n)
