"""Plots: draw what `scgeoae.tl` stored. Nothing is trained here."""

from ._curvature_heatmap import curvature_heatmap
from ._evaluation import evaluation
from ._indicatrices import indicatrices
from ._jacobian_heatmap import jacobian_heatmap

__all__ = ["curvature_heatmap", "evaluation", "indicatrices", "jacobian_heatmap"]
