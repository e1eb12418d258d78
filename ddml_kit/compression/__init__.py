"""Fewer bytes for a vector: codecs, and the memory of what they lose."""

from ddml_kit.compression import elias, entries
from ddml_kit.compression.atomo import ATOMO
from ddml_kit.compression.codec import Codec
from ddml_kit.compression.feedback import ErrorFeedback
from ddml_kit.compression.mantissa import Mantissa
from ddml_kit.compression.one_bit import OneBit
from ddml_kit.compression.payload import Payload
from ddml_kit.compression.qsgd import QSGD
from ddml_kit.compression.random_k import RandomK
from ddml_kit.compression.shrunk import Shrunk
from ddml_kit.compression.sign import Sign
from ddml_kit.compression.sketch import Sketch
from ddml_kit.compression.terngrad import TernGrad
from ddml_kit.compression.threshold import Threshold
from ddml_kit.compression.top_k import TopK

__all__ = [
    "ATOMO",
    "QSGD",
    "Codec",
    "ErrorFeedback",
    "Mantissa",
    "OneBit",
    "Payload",
    "RandomK",
    "Shrunk",
    "Sign",
    "Sketch",
    "TernGrad",
    "Threshold",
    "TopK",
    "elias",
    "entries",
]
