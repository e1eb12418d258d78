"""The dashboards of the labs, each one call in a cell."""

from ddml_kit.notebook.play.lab00 import up_or_out
from ddml_kit.notebook.play.lab01 import which_way_and_how_far
from ddml_kit.notebook.play.lab02 import ways_to_write
from ddml_kit.notebook.play.lab03 import how_long_to_wait
from ddml_kit.notebook.play.lab04 import which_way_round
from ddml_kit.notebook.play.lab05 import how_large_a_batch
from ddml_kit.notebook.play.lab06 import what_need_not_be_sent
from ddml_kit.notebook.play.lab07 import nobody_in_the_middle
from ddml_kit.notebook.play.lab09 import (
    drag_the_liars,
    in_one_picture,
    what_if_they_lie,
)
from ddml_kit.notebook.play.lab10 import a_small_push, what_robustness_costs, whom_does_it_fool

__all__ = [
    "a_small_push",
    "drag_the_liars",
    "how_large_a_batch",
    "how_long_to_wait",
    "in_one_picture",
    "nobody_in_the_middle",
    "up_or_out",
    "ways_to_write",
    "what_if_they_lie",
    "what_need_not_be_sent",
    "what_robustness_costs",
    "which_way_and_how_far",
    "which_way_round",
    "whom_does_it_fool",
]
