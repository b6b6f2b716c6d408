"""Tools: make maps of cells, measure them, and use them."""

from ._adopt import adopt
from ._atlas import atlas
from ._curvature import curvature
from ._decode import decode
from ._density import density
from ._distortion import distortion
from ._evaluate import evaluate
from ._gap import gap
from ._geoae import geoae
from ._geodesic import geodesic
from ._geodesic_distances import geodesic_distances
from ._metric import metric
from ._project_vectors import project_vectors
from ._pseudotime import pseudotime
from ._rank_genes_by_jacobian import rank_genes_by_jacobian
from ._residual import residual
from ._stability import stability
from ._transform import transform

__all__ = [
    "adopt",
    "atlas",
    "curvature",
    "decode",
    "density",
    "distortion",
    "evaluate",
    "gap",
    "geoae",
    "geodesic",
    "geodesic_distances",
    "metric",
    "project_vectors",
    "pseudotime",
    "rank_genes_by_jacobian",
    "residual",
    "stability",
    "transform",
]
