"""Plots: draw what `scgeoae.tl` stored. Nothing is trained here."""

from ._curvature_heatmap import curvature_heatmap
from ._indicatrices import indicatrices
from ._jacobian_heatmap import jacobian_heatmap

__all__ = ["curvature_heatmap", "indicatrices", "jacobian_heatmap"]
