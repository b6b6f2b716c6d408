"""Differential geometry of maps and of batches of metric tensors, on PyTorch tensors alone."""

from .ambient import Ambient, fisher_metric
from .chart import procrustes
from .curvature import extrinsic_curvature, gaussian_curvature, mean_curvature
from .distortion_measures import anisotropy, chord_ratio, distortion, indicatrix_axes, relative_log_area
from .geodesic import shorten
from .jet import Jet
from .metric import inverse, log_det, pullback, trace

__all__ = [
    "Ambient",
    "Jet",
    "anisotropy",
    "chord_ratio",
    "distortion",
    "extrinsic_curvature",
    "fisher_metric",
    "gaussian_curvature",
    "indicatrix_axes",
    "inverse",
    "log_det",
    "mean_curvature",
    "procrustes",
    "pullback",
    "relative_log_area",
    "shorten",
    "trace",
]
