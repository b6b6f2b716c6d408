"""Tears of an embedding: neighbors that it pulls apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from .neighbors import both_ways, medians, positive, positive_widths

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Interquartile ranges above the upper quartile at which Tukey draws his outer fence.
FAR_OUT = 3.0
# Bounds of the fence. In a perfect map the fence has no height, and twice is far. In a UMAP, where neighboring edges
# differ by a factor of two to three, it would lie at 17, so more disorder would allow longer tears. In smooth charts of
# known metric no edge is stretched more than 3.1 times, and none 5 times with noise of 12% of the chart's size, but in
# UMAPs of three data sets 0.2% to 2.5% of the edges are.
LEAST, MOST = 2.0, 5.0
# Share of torn edges that makes a cell broken: a single edge of 15 may lead to a doublet.
BROKEN = 0.1


class Tears(NamedTuple):
    """The edges of a neighbor graph that an embedding tears."""

    stretch: sparse.csr_matrix
    """(n, n) symmetric, float32: how many times longer each torn edge is than the edges around it."""
    share: NDArray[np.float32]
    """(n,) share of each cell's edges that are torn."""
    broken: NDArray[np.bool_]
    """(n,) whether a tenth or more of the cell's edges are torn."""
    fence: float
    """The stretch beyond which an edge is torn."""


def tears(z: NDArray[Any], neighbors: NDArray[np.integer], lengths: NDArray[Any]) -> Tears:
    r"""Find neighbors in the representation that an embedding pulls apart: the torn edges of the neighbor graph.

    An edge is torn if it is stretched much more than the edges around it. An embedding that magnifies one region
    smoothly, as Mercator's projection magnifies the poles, has no tears, and its unit does not matter.

    1. The ratio of an edge is its length in the embedding divided by its length in the representation. An edge shorter
       than the median edge of the cells at its ends counts as that long, because the layout places almost equal cells
       at random distances.
    2. The typical ratio at a cell is the median, over the cell and its neighbors, of their median ratios. The second
       median measures a cell that was torn off from all its neighbors by them, not by itself.
    3. The stretch of an edge is its ratio divided by the typical ratio, the geometric mean over its ends.
    4. An edge is torn beyond the outer fence of the log stretches of all edges, the upper quartile plus three
       interquartile ranges (Tukey 1977), which torn edges do not shift while they are less than a quarter. It must be
       stretched more than twofold, and is torn in any case if stretched more than fivefold.

    A cell is broken if a tenth or more of its edges are torn. The package `distortions` (Sankaran et al. 2025) also
    finds broken neighborhoods, as outliers among distances in the embedding for each distance in the representation;
    here each edge is compared with its surroundings.

    Parameters
    ----------
    z
        (n, d) positions in the embedding.
    neighbors
        (n, k) nearest others of each cell in the representation.
    lengths
        (n, k) their distances in the representation.

    Examples
    --------
    A plane cut at 1/2:

    >>> import numpy as np
    >>> from sklearn.neighbors import NearestNeighbors
    >>> from scgeoae.graphs import tears
    >>> x = np.random.default_rng(0).uniform(size=(1000, 2))
    >>> lengths, neighbors = NearestNeighbors(n_neighbors=15).fit(x).kneighbors()
    >>> right = x[:, 0] > 0.5
    >>> found = tears(x + 0.3 * right[:, None], neighbors, lengths)
    >>> i, j = found.stretch.nonzero()
    >>> bool((right[i] != right[j]).all()), float(np.abs(x[found.broken, 0] - 0.5).max()) < 0.1
    (True, True)
    """
    n = len(z)
    z = z.astype(np.float64)
    width = positive_widths(lengths)

    def ratio(i: NDArray[Any], j: NDArray[Any], length: NDArray[Any]) -> NDArray[Any]:
        return np.linalg.norm(z[j] - z[i], axis=-1) / np.maximum(length, (width[i] + width[j]) / 2)

    own = medians(ratio(np.arange(n)[:, None], neighbors, lengths))
    typical = medians(np.concatenate([own[:, None], own[neighbors]], axis=1))
    # where cells lie at one position the embedding has no unit of its own
    typical = positive(typical)

    i, j, length = both_ways(neighbors, lengths)
    stretch = ratio(i, j, length) / np.sqrt(typical[i] * typical[j])
    lower, upper = np.quantile(np.log(np.maximum(stretch, np.finfo(np.float32).tiny)), [0.25, 0.75])
    # clipping before the exponential avoids an overflow
    fence = float(np.exp(np.clip(upper + FAR_OUT * (upper - lower), np.log(LEAST), np.log(MOST))))
    torn = stretch > fence
    share = np.bincount(i, torn, minlength=n) / np.bincount(i, minlength=n)
    matrix = sparse.csr_matrix((stretch[torn].astype(np.float32), (i[torn], j[torn])), shape=(n, n))
    matrix.sort_indices()
    return Tears(matrix, share.astype(np.float32), share >= BROKEN, fence)
