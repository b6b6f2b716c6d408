"""Differential geometry of batches of metric tensors, on torch tensors alone."""

from .ambient import Ambient
from .chord_ratio import ChordRatio, chord_ratio
from .curvature import extrinsic_curvature, gaussian_curvature, mean_curvature, second_fundamental_form
from .differential import along, differentials, steepest
from .distortion import Distortion, anisotropy, distortion, relative_log_area
from .fisher import fisher_metric
from .forward import forward_jacobian
from .frame import Frame, fit_frame, procrustes
from .geodesic import chords, shorten
from .indicatrix import indicatrix_axes
from .jet import Jet
from .metric import cometric, eigenvalues, inverse, log_det, pullback, squared_trace, trace

__all__ = [
    "Ambient",
    "ChordRatio",
    "Distortion",
    "Frame",
    "Jet",
    "along",
    "anisotropy",
    "chord_ratio",
    "chords",
    "cometric",
    "differentials",
    "distortion",
    "eigenvalues",
    "extrinsic_curvature",
    "fisher_metric",
    "fit_frame",
    "forward_jacobian",
    "gaussian_curvature",
    "indicatrix_axes",
    "inverse",
    "log_det",
    "mean_curvature",
    "procrustes",
    "pullback",
    "relative_log_area",
    "second_fundamental_form",
    "shorten",
    "squared_trace",
    "steepest",
    "trace",
]
