"""The nearest cells on a map, found by sorting alone, for devices on which a tree would be slow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

# Cells in a leaf at most, and leaves with which a group of cells is compared at first. A cell for which these are not
# enough is compared again, each time with so many times as many leaves.
LEAF_SIZE, N_COMPARED, WIDENING = 64, 16, 4
# Numbers in a table of distances: 0.5 GB in float32.
TABLE_SIZE = 2**27


class Partition:
    """The cells of a map in boxes that hold equally many: the leaves of a balanced k-d tree.

    Each level of the tree is one sort of a table. A search compares all cells of a leaf with those of the nearest
    leaves at once, and then checks whether a cell of another leaf could be nearer. All operations are regular: they run
    on any device of torch and give the same bits each time.

    Parameters
    ----------
    z
        (n, d) finite positions.
    """

    def __init__(self, z: Tensor) -> None:
        self.n = n = len(z)
        depth = max(-(-n // LEAF_SIZE) - 1, 0).bit_length()
        size = -(-n // 2**depth)
        # rows infinitely far away fill up the leaves
        self.z = torch.cat([z, z.new_full((size * 2**depth - n, z.shape[1]), torch.inf)])
        leaves = torch.arange(len(self.z), device=z.device)[None]
        for _ in range(depth):
            at = self.z[leaves]
            low, high = _box(at)
            longest = (high - low).argmax(1)[:, None, None].expand(-1, at.shape[1], 1)
            order = at.gather(2, longest)[:, :, 0].sort(dim=1, stable=True).indices
            leaves = leaves.gather(1, order).view(2 * len(leaves), -1)
        self.leaves = leaves
        """(number of leaves, cells in each) row numbers."""
        self.low, self.high = _box(self.z[leaves])

    @property
    def order(self) -> Tensor:
        """(n,) row numbers, leaf by leaf: cells that are near each other on the map are near each other here."""
        rows = self.leaves.flatten()
        return rows[rows < self.n]

    def nearest_others(self, k: int, cells: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the `k` nearest others of all cells, or of the m cells in rows `cells`, (m, k), and their distances.

        The nearest come first. A cell is never its own neighbor, however many others lie at its position.

        Examples
        --------
        >>> import torch
        >>> from scgeoae.graphs.partition import Partition
        >>> near, distance = Partition(torch.tensor([[0.0], [1.0], [3.0]])).nearest_others(1)
        >>> near.ravel().tolist(), distance.ravel().tolist()
        ([1, 0, 1], [1.0, 1.0, 2.0])
        """
        rows = torch.arange(len(self.z), device=self.z.device) if cells is None else cells
        near = torch.empty(len(rows), k, dtype=torch.int32, device=self.z.device)
        squares = self.z.new_empty(len(rows), k)
        # positions in `rows` of groups of cells that are compared with the same others
        groups = self.leaves if cells is None else torch.arange(len(cells), device=self.z.device)[:, None]
        n_leaves, size = self.leaves.shape
        n_compared = min(max(N_COMPARED, -(-(k + 1) // size)), n_leaves)
        while len(groups):
            left = []
            for group in groups.split(max(TABLE_SIZE // max(groups.shape[1] * n_compared * size, n_leaves), 1)):
                found, square, is_certain = self._compare(rows[group], k, n_compared)
                near[group], squares[group] = found, square
                left.append(group[~is_certain])
            # alone, a cell has nearer leaves than as one of a group
            groups = torch.cat(left)[:, None]
            if n_compared == n_leaves:
                # only what is not finite has no nearest cells now
                break
            n_compared = min(WIDENING * n_compared, n_leaves)
        m = self.n if cells is None else len(cells)
        return near[:m], squares[:m].sqrt()

    def _compare(self, rows: Tensor, k: int, n_compared: int) -> tuple[Tensor, Tensor, Tensor]:
        """Compare groups of cells, (g, q), with those in the nearest leaves.

        Returns the `k` nearest of these, (g, q, k), their squared distances, and for which cells, (g, q), no cell in
        another leaf can be nearer.
        """
        points = self.z[rows]
        gap = _gap(*_box(points), self.low, self.high)
        # leaves around those compared are looked at cell by cell, since a cell is further from them than its group is
        gap, nearest = gap.topk(min(2 * n_compared + 1, len(self.leaves)), largest=False)
        around = nearest[:, n_compared : 2 * n_compared]
        beyond = _gap(points, points, self.low[around], self.high[around])
        beyond = torch.cat([beyond, gap[:, None, 2 * n_compared :].expand(-1, points.shape[1], -1)], dim=2)
        beyond = torch.nn.functional.pad(beyond, (0, 1), value=torch.inf).amin(2)
        candidates = self.leaves[nearest[:, :n_compared]].flatten(1)
        others = self.z[candidates]
        square = points.new_zeros(*rows.shape, candidates.shape[1])
        for axis in range(points.shape[2]):
            square += (points[:, :, None, axis] - others[:, None, :, axis]).square_()
        square.masked_fill_(rows[:, :, None] == candidates[:, None], torch.inf)
        square, columns = square.topk(k, largest=False)
        found = candidates[:, None].expand(-1, rows.shape[1], -1).gather(2, columns)
        return found.int(), square, (square[:, :, -1] <= beyond) | (rows >= self.n)


def _gap(low: Tensor, high: Tensor, other_low: Tensor, other_high: Tensor) -> Tensor:
    """Return the squared distances between boxes, (..., q), and others, (..., l), as (..., q, l)."""
    gap = low.new_zeros(*low.shape[:-1], other_low.shape[-2])
    for axis in range(low.shape[-1]):
        below = other_low[..., None, :, axis] - high[..., None, axis]
        above = low[..., None, axis] - other_high[..., None, :, axis]
        gap += torch.maximum(below, above).clamp_(min=0).square_()
    return gap


def _box(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and the largest coordinates, (g, d), of groups of points, (g, q, d), that are not infinite."""
    return points.amin(1), points.where(points < torch.inf, -torch.inf).amax(1)
