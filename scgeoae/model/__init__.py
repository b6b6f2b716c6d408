"""Geometric autoencoders of counts, as models of scvi-tools. The import loads scvi-tools, which takes seconds."""

from importlib.util import find_spec

if find_spec("scvi") is None:
    msg = "sg.model needs the package 'scvi-tools': pip install 'scgeoae[scvi]'."
    raise ImportError(msg)

from ._geoscvi import GeoSCVI

__all__ = ["GeoSCVI"]
