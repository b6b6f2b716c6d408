"""Neighbor graphs of a map."""

from .laplacian import laplacian_metric
from .metric import metric_graph
from .neighbors import nearest_others
from .torn_edges import tears

__all__ = ["laplacian_metric", "metric_graph", "nearest_others", "tears"]
