"""Surfaces and curves whose geometry is known, and published cells with labels, as AnnData."""

from ._open_sphere import open_sphere
from ._packer_celegans import packer_celegans
from ._pbmc68k import pbmc68k
from ._s_shape import s_shape
from ._sine_curve import sine_curve
from ._sphere_patch import sphere_patch
from ._swiss_roll import swiss_roll
from ._torus_patch import torus_patch
from ._zilionis import zilionis

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
