"""One vector from n, of which some lie: pure rules, (n, d) and f to (d,), on arrays and tensors."""

from ddml_kit.aggregation.bounds import BOUNDS, Bound, smallest_n
from ddml_kit.aggregation.bulyan import bulyan
from ddml_kit.aggregation.clipping import CentredClipping, centred_clipping, norm_clipping
from ddml_kit.aggregation.coordinates import mean, median, trimmed_mean
from ddml_kit.aggregation.distances import squared_distances
from ddml_kit.aggregation.geometric_median import geometric_median
from ddml_kit.aggregation.gradients import Rule
from ddml_kit.aggregation.krum import in_the_paper, krum, multi_krum, one_more

__all__ = [
    "BOUNDS",
    "Bound",
    "CentredClipping",
    "Rule",
    "bulyan",
    "centred_clipping",
    "geometric_median",
    "in_the_paper",
    "krum",
    "mean",
    "median",
    "multi_krum",
    "norm_clipping",
    "one_more",
    "smallest_n",
    "squared_distances",
    "trimmed_mean",
]
