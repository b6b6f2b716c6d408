from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

if TYPE_CHECKING:
    from torch import Tensor


def topological(x: Tensor, z: Tensor) -> Tensor:
    r"""Penalize changes in length of the edges that connect a batch: the topological loss.

    .. math:: L = \frac{1}{2(n-1)D} \Bigl( \sum_{e \in \pi^X} (d^X_e - d^Z_e)^2 +
       \sum_{e \in \pi^Z} (d^X_e - d^Z_e)^2 \Bigr)

    where π are the persistence pairings of dimension 0 of the Vietoris–Rips complexes of cells and codes, which are the
    edges of their minimum spanning trees. It is divided by the number of edges and of features, to be in the units of
    the reconstruction error. SciPy finds the trees on the CPU.

    Source: Moor, Horn, Rieck & Borgwardt, *Topological Autoencoders*, ICML 2020 (TopoAE).

    Parameters
    ----------
    x
        (n, D) cells.
    z
        (n, m) their codes.
    """
    edges = torch.cat([_spanning_tree(x), _spanning_tree(z)], dim=1).to(x.device)
    a, b = edges
    difference = _length(x[a] - x[b]) - _length(z[a] - z[b])
    return difference.square().sum() / (2 * max(len(x) - 1, 1) * x.shape[1])


def _spanning_tree(points: Tensor) -> Tensor:
    distances = squareform(pdist(points.detach().cpu().numpy()))
    # SciPy takes a zero for a missing edge, and duplicates of a cell are at distance zero; adding a constant to all
    # edges does not change the tree
    tree = minimum_spanning_tree(distances + 1.0).tocoo()
    return torch.stack([torch.from_numpy(tree.row), torch.from_numpy(tree.col)]).long()


def _length(step: Tensor) -> Tensor:
    # the bound keeps the gradient finite for duplicates of a cell
    return step.square().sum(1).clamp(min=1e-12).sqrt()
