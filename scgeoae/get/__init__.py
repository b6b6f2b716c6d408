"""Read the results that `scgeoae.tl` stored."""

from ._provenance import provenance
from ._stored import metric_tensors, model, scores

__all__ = ["metric_tensors", "model", "provenance", "scores"]
