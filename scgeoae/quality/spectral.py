"""The spectral layout of a graph: coordinates from the eigenvectors of its normalized Laplacian."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, eigsh

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Up to so many cells all eigenvectors are those of a dense matrix.
MAX_DENSE = 2000
# Up to so many columns of more cells, eigenvectors are computed by iteration: 48 columns of 10,000 cells take 1.3 s.
# But 1,000 columns of 2,500 cells take over 30 s in that way, and even 4,000 cells only 11 s as eigenvectors of a dense
# matrix.
MAX_ITERATIVE = 100


def spectral_layout(graph: sparse.csr_matrix, n_components: int) -> NDArray[np.float64]:
    r"""Return the spectral layout of a graph of n cells, (n, n_components).

    Its columns are the eigenvectors of the smallest eigenvalues of :math:`I - D^{-1/2} W D^{-1/2}`, with the degrees
    :math:`D` of the graph :math:`W`, after the trivial one, which is proportional to the square root of the degrees.
    This is umap-learn's layout of a connected graph, computed to full precision. If the graph is in several pieces, it
    is still the layout of the whole graph, whereas umap-learn lays out each piece, small ones at random.

    With more than 100 columns, time grows as n³: 1,000 columns of 4,000 cells take 11 s on one core.

    Only distances between the rows are meaningful: signs, and bases where eigenvalues are equal, are arbitrary.

    Parameters
    ----------
    graph
        (n, n) symmetric weights; no row is empty.
    n_components
        Less than n.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from scgeoae.quality.spectral import spectral_layout
    >>> path = sparse.csr_matrix(np.diag([1.0, 1.0], 1) + np.diag([1.0, 1.0], -1))
    >>> np.abs(spectral_layout(path, 1)).round(3).ravel()
    array([0.707, 0.   , 0.707])
    """
    n = graph.shape[0]
    root = np.sqrt(np.asarray(graph.sum(axis=0)).ravel())
    scale = sparse.diags(1 / root)
    affinity = sparse.csr_matrix(scale @ graph @ scale)
    trivial = root / np.linalg.norm(root)
    # the eigenvalues of the affinity are between -1 and 1; this moves the trivial one from 1 to the other end
    if n <= MAX_DENSE or n_components > MAX_ITERATIVE:
        dense = affinity.toarray()
        dense -= np.outer(3 * trivial, trivial)
        # the transpose of a symmetric matrix is in the order in which LAPACK can work in place
        vectors: NDArray[np.float64] = eigh(dense.T, subset_by_index=[n - n_components, n - 1], overwrite_a=True)[1]
        return vectors

    def apply(v: NDArray[np.float64]) -> NDArray[np.float64]:
        return affinity @ v - 3 * trivial * (trivial @ v)

    start = np.random.default_rng(0).normal(size=n)
    operator = LinearOperator((n, n), matvec=apply, dtype=np.float64)
    return np.asarray(eigsh(operator, n_components, which="LA", v0=start)[1])
