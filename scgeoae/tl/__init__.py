"""Tools: read an AnnData, compute, write the results into it."""

from ._geoae import geoae

__all__ = ["geoae"]
