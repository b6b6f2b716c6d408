"""Networks that know their own derivatives."""

from .activations import ACTIVATIONS
from .autoencoder import Autoencoder
from .file import load, save
from .flatten import flatten
from .mlp import Jet, Mlp
from .passes import Passes

__all__ = ["ACTIVATIONS", "Autoencoder", "Jet", "Mlp", "Passes", "flatten", "load", "save"]
