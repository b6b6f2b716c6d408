"""Plots: draw what `scgeoae.tl` stored. Nothing is trained here."""

from ._broken_neighborhoods import broken_neighborhoods
from ._curvature_heatmap import curvature_heatmap
from ._evaluation import evaluation
from ._indicatrices import indicatrices
from ._jacobian_heatmap import jacobian_heatmap

__all__ = ["broken_neighborhoods", "curvature_heatmap", "evaluation", "indicatrices", "jacobian_heatmap"]
