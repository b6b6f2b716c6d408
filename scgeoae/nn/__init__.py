"""Networks that know their own derivatives."""

from .activations import ACTIVATIONS
from .autoencoder import Autoencoder
from .count_decoder import CountDecoder
from .file import load, save
from .flatten import flatten
from .framed import Framed
from .mlp import Mlp
from .passes import Passes

__all__ = ["ACTIVATIONS", "Autoencoder", "CountDecoder", "Framed", "Mlp", "Passes", "flatten", "load", "save"]
