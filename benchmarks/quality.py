"""Quality measures of an embedding, as the literature of geometric autoencoders defines them."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

KS = range(10, 201, 10)


def quality(x: np.ndarray, z: np.ndarray) -> dict[str, float]:
    """Return Trust and kNN, averaged over k = 10, 20, …, 200, and Spear."""
    x_neighbors, z_neighbors = (
        NearestNeighbors(n_neighbors=max(KS)).fit(points).kneighbors(return_distance=False) for points in (x, z)
    )
    shared = [
        np.mean([len(np.intersect1d(a[:k], b[:k])) / k for a, b in zip(x_neighbors, z_neighbors, strict=True)])
        for k in KS
    ]
    return {
        "Trust": float(np.mean([trustworthiness(x, z, n_neighbors=k) for k in KS])),
        "kNN": float(np.mean(shared)),
        "Spear": float(spearmanr(pdist(x), pdist(z)).statistic),
    }
