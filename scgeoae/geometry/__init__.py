"""Differential geometry of batches of metric tensors, on torch tensors alone."""

from .distortion import Distortion, anisotropy, distortion, relative_log_area
from .frame import Frame, fit_frame
from .graph import MetricGraph, metric_graph
from .indicatrix import indicatrix_axes
from .metric import eigenvalues, log_det, pullback, squared_trace, trace

__all__ = [
    "Distortion",
    "Frame",
    "MetricGraph",
    "anisotropy",
    "distortion",
    "eigenvalues",
    "fit_frame",
    "indicatrix_axes",
    "log_det",
    "metric_graph",
    "pullback",
    "relative_log_area",
    "squared_trace",
    "trace",
]
