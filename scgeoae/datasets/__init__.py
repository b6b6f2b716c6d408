"""Surfaces and curves whose geometry is known, as AnnData."""

from ._open_sphere import open_sphere
from ._s_shape import s_shape
from ._sine_curve import sine_curve
from ._sphere_patch import sphere_patch
from ._swiss_roll import swiss_roll
from ._torus_patch import torus_patch

__all__ = ["open_sphere", "s_shape", "sine_curve", "sphere_patch", "swiss_roll", "torus_patch"]
