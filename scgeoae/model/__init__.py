"""Geometric autoencoders of counts, as models of scvi-tools, which comes with this import and takes seconds."""

from ._geoscvi import GeoSCVI

__all__ = ["GeoSCVI"]
