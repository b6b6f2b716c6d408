"""The table of quality measures, and what measuring an embedding returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Measure(NamedTuple):
    """What a measure is about, and which direction is better."""

    better: Literal["higher", "lower"]
    about: Literal["neighbors", "density", "distances", "labels", "decoder"]
    meaning: str


_OURS = {
    "kNN": Measure("higher", "neighbors", "share of the k nearest neighbors kept, mean over k = 10, 20, …, 200"),
    "Trust": Measure(
        "higher",
        "neighbors",
        "how close the neighbors on the embedding are in the data (trustworthiness), mean over k = 10, 20, …, 200",
    ),
    "Continuity": Measure(
        "higher",
        "neighbors",
        "how close the neighbors in the data are on the embedding (continuity), mean over k = 10, 20, …, 200",
    ),
    "kNN_10": Measure("higher", "neighbors", "share of the 10 nearest neighbors kept"),
    "AUC_RNX": Measure("higher", "neighbors", "neighborhoods of all sizes kept, the small ones above all"),
    "KL_0.1": Measure("lower", "density", "divergence of the densities, kernel of width √0.1"),
    "KL_100": Measure("lower", "density", "divergence of the densities, kernel of width 10"),
    "Spear": Measure("higher", "distances", "rank correlation of all distances"),
    "Pearson": Measure("higher", "distances", "correlation of all distances"),
    "dCor": Measure("higher", "distances", "distance correlation of the two sets of points"),
    "Stress": Measure("lower", "distances", "misfit of all distances, in their units"),
    "Stress_scale_free": Measure("lower", "distances", "misfit of all distances at the best scale"),
    "silhouette": Measure("higher", "labels", "how far apart the labels lie on the embedding"),
    "purity": Measure("higher", "labels", "share of the 15 nearest neighbors on the embedding with the cell's label"),
    "label_accuracy": Measure(
        "higher", "labels", "share of cells with the label of most of their 15 nearest neighbors"
    ),
    "CN": Measure("lower", "decoder", "distance of the decoder from conformal"),
    "VPres": Measure("lower", "decoder", "distance of the decoder from area-preserving"),
    "ISO": Measure("lower", "decoder", "distance of the decoder from isometric"),
    "MSE": Measure("lower", "decoder", "mean squared error of the reconstruction"),
    "MSE_held_out": Measure("lower", "decoder", "the same for held-out cells"),
}
_OPENPROBLEMS = {
    "waypoint_distance_correlation": Measure("higher", "distances", "rank correlation of all distances, each twice"),
    "spectral_distance_correlation": Measure("higher", "distances", "rank correlation with a spectral layout"),
    "continuity_at_k30": Measure("higher", "neighbors", "whether the 30 nearest in the data stay near"),
    "trustworthiness_at_k30": Measure("higher", "neighbors", "whether the 30 nearest on the embedding were near"),
    "qnx_at_k30": Measure("higher", "neighbors", "share of the 30 nearest neighbors kept"),
    "lcmc_at_k30": Measure("higher", "neighbors", "share of the 30 nearest neighbors kept, above chance"),
    "qnx_auc": Measure("higher", "neighbors", "share of neighbors kept, mean over neighborhoods of all sizes"),
    "qlocal": Measure("higher", "neighbors", "share of neighbors kept, mean over small neighborhoods"),
    "qglobal": Measure("higher", "neighbors", "share of neighbors kept, mean over large neighborhoods"),
    "density_preservation": Measure("higher", "density", "correlation of the local radii"),
    "centroid_distance_correlation": Measure("higher", "labels", "rank correlation of distances to label centroids"),
    "label_distance_correlation": Measure("higher", "labels", "rank correlation of distances between label centroids"),
    "normalized_mutual_information": Measure("higher", "labels", "agreement of Leiden clusters with the labels"),
    "adjusted_rand_index": Measure("higher", "labels", "agreement of Leiden clusters with the labels, above chance"),
}
OPENPROBLEMS = tuple(_OPENPROBLEMS)
"""Names of the measures of OpenProblems' task "dimensionality reduction for visualization" (`openproblems`)."""
MEASURES: dict[str, Measure] = _OURS | _OPENPROBLEMS
"""By name, in the order of all tables and figures; those about the decoder need a model (`scgeoae.tl.evaluate`)."""


class Estimate(NamedTuple):
    """One number and how well it is known."""

    value: float
    """NaN where the measure is not defined"""
    error: float
    """Standard error; 0 if all cells were measured"""
    n_cells: int
    """Number of cells that were measured"""


class Quality(NamedTuple):
    """The measures of one embedding."""

    scores: dict[str, Estimate]
    """By name, in the order of `MEASURES`"""
    notes: dict[str, str]
    """By name, why a measure is not defined, or what its value does not say"""
    neighborhood_preservation: NDArray[np.float64] | None = None
    """(n,) share of each cell's neighbors that is kept; its mean is ``kNN``"""
    trust: NDArray[np.float64] | None = None
    """(n,) trustworthiness of each cell's neighborhood; its mean is ``Trust``"""
