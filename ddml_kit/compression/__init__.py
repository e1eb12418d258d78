"""Fewer bytes for a vector: codecs, and the memory of what they lose."""

from ddml_kit.compression.codec import Codec
from ddml_kit.compression.payload import Payload
from ddml_kit.compression.sign import Sign
from ddml_kit.compression.top_k import TopK

__all__ = ["Codec", "Payload", "Sign", "TopK"]
