"""Plots: draw what `scgeoae.tl` has stored. Nothing is trained here."""

from ._broken_neighborhoods import broken_neighborhoods
from ._curvature_heatmap import curvature_heatmap
from ._decoded_genes import decoded_genes
from ._density import density
from ._embedding import embedding
from ._evaluation import evaluation
from ._gap import gap
from ._gene_compass import gene_compass
from ._geodesic_genes import geodesic_genes
from ._geodesics import geodesics
from ._indicatrices import indicatrices
from ._interactive import interactive
from ._jacobian_heatmap import jacobian_heatmap
from ._stability import stability
from ._transform import transform
from ._vectors import vectors

__all__ = [
    "broken_neighborhoods",
    "curvature_heatmap",
    "decoded_genes",
    "density",
    "embedding",
    "evaluation",
    "gap",
    "gene_compass",
    "geodesic_genes",
    "geodesics",
    "indicatrices",
    "interactive",
    "jacobian_heatmap",
    "stability",
    "transform",
    "vectors",
]
