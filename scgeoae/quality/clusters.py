"""How well clusters of cells on an embedding agree with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse

RESOLUTIONS = tuple(i / 10 for i in range(1, 21))


def leiden(graph: sparse.csr_matrix, resolution: float) -> NDArray[np.intp]:
    """Return the Leiden cluster of each of n cells, (n,), as ``sc.tl.leiden`` finds them by default.

    It needs the packages leidenalg and igraph.

    Source: Traag, Waltman & van Eck 2019, *From Louvain to Leiden*, Scientific Reports 9.

    Parameters
    ----------
    graph
        (n, n) symmetric weights, such as `scgeoae.quality.fuzzy_graph.fuzzy_graph`.
    resolution
        The larger, the more clusters.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from scgeoae.quality.clusters import leiden
    >>> leiden(sparse.csr_matrix(np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3))), 1.0)
    array([0, 0, 0, 1, 1, 1])
    """
    import igraph
    import leidenalg

    edges = graph.tocoo()
    network = igraph.Graph(graph.shape[0], zip(edges.row.tolist(), edges.col.tolist(), strict=True), directed=True)
    found = leidenalg.find_partition(
        network,
        leidenalg.RBConfigurationVertexPartition,
        weights=edges.data,
        resolution_parameter=resolution,
        n_iterations=-1,
        seed=0,
    )
    return np.array(found.membership)


def cluster_agreement(graph: sparse.csr_matrix, labels: NDArray[np.integer]) -> dict[str, float]:
    """Return how well Leiden clusters agree with labels, at the best of 20 resolutions.

    This is the first of the resolutions 0.1, 0.2, …, 2.0 at which the normalized mutual information is highest. As the
    labels choose the resolution, even a random embedding can score above 0.

    Parameters
    ----------
    graph
        (n, n) symmetric weights.
    labels
        (n,) of the cells.

    Returns
    -------
    ``normalized_mutual_information`` and ``adjusted_rand_index`` at this resolution, as scikit-learn defines them; 1 is
    best.
    """
    clusters = (leiden(graph, resolution) for resolution in RESOLUTIONS)
    nmi, best = max(
        ((normalized_mutual_info_score(labels, found), found) for found in clusters), key=lambda pair: pair[0]
    )
    return {
        "normalized_mutual_information": float(nmi),
        "adjusted_rand_index": float(adjusted_rand_score(labels, best)),
    }
