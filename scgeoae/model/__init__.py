"""Geometric autoencoders of counts, as models of scvi-tools. The import loads scvi-tools, which takes seconds."""

from ._geoscvi import GeoSCVI

__all__ = ["GeoSCVI"]
