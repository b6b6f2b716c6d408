"""Networks that know their own derivatives."""

from .activations import ACTIVATIONS
from .autoencoder import Autoencoder
from .mlp import Jet, Mlp

__all__ = ["ACTIVATIONS", "Autoencoder", "Jet", "Mlp"]
