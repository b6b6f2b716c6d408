"""Fit an autoencoder to a matrix in memory, without AnnData."""

from .contrastive import ContrastiveLoss
from .dual_ascent import DualAscent
from .finalize import Fit
from .fit import fit
from .fit_decoder import fit_decoder
from .objective import Batch, Objective, Term
from .settings import Settings

__all__ = ["Batch", "ContrastiveLoss", "DualAscent", "Fit", "Objective", "Settings", "Term", "fit", "fit_decoder"]
