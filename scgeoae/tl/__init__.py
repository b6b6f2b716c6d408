"""Tools: read an AnnData, compute, write the results into it."""

from ._curvature import curvature
from ._distortion import distortion
from ._evaluate import evaluate
from ._geoae import geoae
from ._metric import metric

__all__ = ["curvature", "distortion", "evaluate", "geoae", "metric"]
