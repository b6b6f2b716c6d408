"""Neighbor graphs of a map, on NumPy arrays alone."""

from .bridges import bridged
from .laplacian import laplacian_metric
from .metric import MetricGraph, metric_graph
from .nearest import nearest_others
from .tears import Tears, tears

__all__ = ["MetricGraph", "Tears", "bridged", "laplacian_metric", "metric_graph", "nearest_others", "tears"]
