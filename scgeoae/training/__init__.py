"""Fit an autoencoder to a matrix in memory. No AnnData here."""

from .ambient import choose_ambient
from .conclude import Fit
from .contrast import Contrast
from .dual_ascent import DualAscent
from .encode import encode
from .environment import environment
from .fit import default_steps, fit
from .fit_decoder import fit_decoder
from .isomap import MAX_UNROLLED
from .loss import Batch, Loss, Term, loss
from .neighbors import N_PARTNERS
from .place import Settled, place
from .placement import Placement, placement
from .search import Neighbors, nearest_neighbors
from .settings import Settings

__all__ = [
    "MAX_UNROLLED",
    "N_PARTNERS",
    "Batch",
    "Contrast",
    "DualAscent",
    "Fit",
    "Loss",
    "Neighbors",
    "Placement",
    "Settings",
    "Settled",
    "Term",
    "choose_ambient",
    "default_steps",
    "encode",
    "environment",
    "fit",
    "fit_decoder",
    "loss",
    "nearest_neighbors",
    "place",
    "placement",
]
