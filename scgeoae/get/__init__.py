"""Read the results that `scgeoae.tl` stored."""

from ._metric_tensors import metric_tensors
from ._model import model
from ._provenance import provenance
from ._scores import scores

__all__ = ["metric_tensors", "model", "provenance", "scores"]
