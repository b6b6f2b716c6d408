"""How well an embedding keeps neighbors, densities and distances: pure functions on arrays."""

from .coranking import auc_rnx
from .density import density_kl, kernel_density
from .evaluate import MIN_CELLS, Estimate, Quality, evaluate
from .labels import purity, silhouette
from .measures import MEASURES, Measure
from .neighborhoods import recall, sizes, trust
from .outliers import Outliers, outliers
from .pairs import average_ranks, correlation, distance_correlation, scale_free_stress, stress
from .ranks import Ranks, neighbor_ranks
from .unseen import unseen

__all__ = [
    "MEASURES",
    "MIN_CELLS",
    "Estimate",
    "Measure",
    "Outliers",
    "Quality",
    "Ranks",
    "auc_rnx",
    "average_ranks",
    "correlation",
    "density_kl",
    "distance_correlation",
    "evaluate",
    "kernel_density",
    "neighbor_ranks",
    "outliers",
    "purity",
    "recall",
    "scale_free_stress",
    "silhouette",
    "sizes",
    "stress",
    "trust",
    "unseen",
]
