"""How well an embedding keeps neighbors, densities and distances, on NumPy arrays alone."""

from .abundance import cell_p_values, sample_p_values
from .benchmark import openproblems
from .cell_scores import auc_rnx, density_kl, kernel_density, neighbor_ranks, purity, recall, silhouette, trust
from .density import cell_areas, neighborhoods
from .distances import distance_correlation, scale_free_stress, stress
from .evaluation import evaluate
from .measures import MEASURES
from .outlier_detection import outliers

__all__ = [
    "MEASURES",
    "auc_rnx",
    "cell_areas",
    "cell_p_values",
    "density_kl",
    "distance_correlation",
    "evaluate",
    "kernel_density",
    "neighbor_ranks",
    "neighborhoods",
    "openproblems",
    "outliers",
    "purity",
    "recall",
    "sample_p_values",
    "scale_free_stress",
    "silhouette",
    "stress",
    "trust",
]
