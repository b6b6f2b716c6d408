"""How well an embedding keeps neighbors, densities and distances, on NumPy arrays alone."""

from .benchmark import openproblems
from .cell_scores import auc_rnx, density_kl, kernel_density, neighbor_ranks, purity, recall, silhouette, trust
from .distances import distance_correlation, scale_free_stress, stress
from .evaluation import evaluate
from .measures import MEASURES
from .outlier_detection import outliers

__all__ = [
    "MEASURES",
    "auc_rnx",
    "density_kl",
    "distance_correlation",
    "evaluate",
    "kernel_density",
    "neighbor_ranks",
    "openproblems",
    "outliers",
    "purity",
    "recall",
    "scale_free_stress",
    "silhouette",
    "stress",
    "trust",
]
