"""Read the results that `scgeoae.tl` stored."""

from ._card import card
from ._provenance import provenance
from ._stored import metric_tensors, model, scores

__all__ = ["card", "metric_tensors", "model", "provenance", "scores"]
