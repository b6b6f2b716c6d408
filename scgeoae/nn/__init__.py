"""Networks that compute their own derivatives."""

from .activations import ACTIVATIONS
from .autoencoder import Autoencoder
from .count_decoder import CountDecoder
from .map_decoder import MapDecoder
from .mlp import Mlp

__all__ = ["ACTIVATIONS", "Autoencoder", "CountDecoder", "MapDecoder", "Mlp"]
