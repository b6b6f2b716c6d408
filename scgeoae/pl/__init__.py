"""Plots: draw what `scgeoae.tl` stored. Nothing is trained here."""

from ._indicatrices import indicatrices
from ._jacobian_heatmap import jacobian_heatmap

__all__ = ["indicatrices", "jacobian_heatmap"]
