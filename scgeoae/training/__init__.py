"""Fit an autoencoder to a matrix in memory. No AnnData here."""

from .fit import Fit, default_steps, fit
from .settings import STRENGTHS, Settings

__all__ = ["STRENGTHS", "Fit", "Settings", "default_steps", "fit"]
