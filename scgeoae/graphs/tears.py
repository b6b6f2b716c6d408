"""Where an embedding tears: neighbours that it pulls apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from .edges import both_ways, positive_widths

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Interquartile ranges above the upper quartile at which Tukey draws his outer fence.
FAR_OUT = 3.0
# The factors between which the fence lies. In a perfect map the fence has no height, and twice is far. In a UMAP,
# where edges beside each other differ by a factor of two to three, it would lie at 17: as if more disorder allowed
# for longer tears. Of smooth charts of known metric no edge is stretched more than 3.1 times, and none 5 times if
# noise of 12% of its size is added to the chart, but in UMAPs of three data sets 0.2% to 2.5% are.
LEAST, MOST = 2.0, 5.0
# Share of its edges that makes a cell broken: a single edge of 15 may be a doublet's.
BROKEN = 0.1


class Tears(NamedTuple):
    """The edges of a neighbour graph that an embedding tears."""

    stretch: sparse.csr_matrix
    """(n, n) symmetric, float32: of each torn edge, how many times longer it is than those around it are."""
    share: NDArray[np.float32]
    """(n,) share of the edges of the cell that are torn."""
    broken: NDArray[np.bool_]
    """(n,) the cells of which a tenth of the edges or more are."""
    fence: float
    """The stretch beyond which an edge is torn."""


def tears(z: NDArray, neighbors: NDArray[np.integer], lengths: NDArray) -> Tears:
    r"""Find the edges of the neighbour graph of a representation that an embedding tears.

    An edge is torn if it is stretched much more than the edges around it. So neither an embedding
    that magnifies one region smoothly (as Mercator's does with the poles) nor its unit has tears.

    1. The ratio of an edge is its length in the embedding to that in the representation, where an edge shorter
       than the median of the cells at its ends counts as long as that: how far two almost equal cells lie apart is
       the layout's noise.
    2. What is typical at a cell is the median, over the cell and its neighbours, of the median ratio of each of them.
       The second median lets a cell that was torn off from all its neighbours be measured by them, not by itself.
    3. The stretch of an edge is its ratio to the typical one, the geometric mean of its ends.
    4. An edge is torn beyond the outer fence of the log stretches of all edges, upper quartile plus three interquartile
       ranges (Tukey 1977), quartiles that less than a quarter of torn edges cannot carry away; but only if it is
       stretched more than twofold, and in any case if more than fivefold.

    A cell is broken if a tenth or more of its edges are torn. The question is that of the broken neighbourhoods of the
    package `distortions` (Sankaran et al. 2025), which looks for outliers among distances in the embedding for each
    distance in the representation; here each edge is compared with its surroundings.

    Parameters
    ----------
    z
        (n, d) positions in the embedding.
    neighbors
        (n, k) nearest others of each cell in the representation.
    lengths
        (n, k) how far they are in the representation.

    Examples
    --------
    A plane that is cut at 1/2:

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

    def ratio(i: NDArray, j: NDArray, length: NDArray) -> NDArray:
        return np.linalg.norm(z[j] - z[i], axis=-1) / np.maximum(length, (width[i] + width[j]) / 2)

    own = np.median(ratio(np.arange(n)[:, None], neighbors, lengths), axis=1)
    typical = np.median(np.concatenate([own[:, None], own[neighbors]], axis=1), axis=1)
    positive = typical[typical > 0]
    # where cells lie on one place the embedding has no unit of its own
    typical = np.maximum(typical, positive.min() if len(positive) else 1.0)

    i, j, length = both_ways(neighbors, lengths)
    stretch = ratio(i, j, length) / np.sqrt(typical[i] * typical[j])
    lower, upper = np.quantile(np.log(np.maximum(stretch, np.finfo(np.float32).tiny)), [0.25, 0.75])
    # the exponent of an overflow is far beyond `MOST`
    fence = float(np.exp(np.clip(upper + FAR_OUT * (upper - lower), np.log(LEAST), np.log(MOST))))
    torn = stretch > fence
    share = np.bincount(i, torn, minlength=n) / np.bincount(i, minlength=n)
    matrix = sparse.csr_matrix((stretch[torn].astype(np.float32), (i[torn], j[torn])), shape=(n, n))
    matrix.sort_indices()
    return Tears(matrix, share.astype(np.float32), share >= BROKEN, fence)
