"""Surfaces and curves of known geometry, and published cells with labels, as AnnData.

The first call downloads published data to `scanpy.settings.datasetdir` and records the sha256 of the archive there;
later calls read the archive and compare. Without a network, put it there by hand. The environment variable
``SCGEOAE_DATASETS_URL`` names the folder of a mirror.
"""

from ._published import packer_celegans, pbmc68k, zilionis
from ._surfaces import open_sphere, s_shape, sine_curve, sphere_patch, swiss_roll, torus_patch

__all__ = [
    "open_sphere",
    "packer_celegans",
    "pbmc68k",
    "s_shape",
    "sine_curve",
    "sphere_patch",
    "swiss_roll",
    "torus_patch",
    "zilionis",
]
