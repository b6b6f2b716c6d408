"""Place new cells on a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.spatial import KDTree

from .._runtime import one_torch_thread, parallel_blocks
from .affinities import conditional, n_affinities
from .positions import LEAST_SHARE, N_NEAR, WIDTH_NEIGHBOR, between, kernel_widths, linearized, squared_reach
from .settling import loops

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..nn import Autoencoder
    from .neighbors import NeighborSearch

# How often the near cells are searched for and the decoder is evaluated, the steps in between, and their length at
# most, in median widths. Most cells are then at rest. Longer steps would bring the others a little closer to
# their neighbors, and carry outliers several times as far from the map.
N_RENEWALS, N_STEPS, LONGEST = 4, 10, 1.0
# Cells of the reference that stand for all that are not near.
N_FAR = 400
# A new cell is a cell of the reference if the distance between them is at most this share of the distance to its last
# partner.
SAME = 1e-3
# Cells that a thread takes at a time. The decoder always gets blocks of this size, since a matrix product of another
# size may round differently.
BLOCK = 512


class Field:
    """What the cells of a map exert on new ones.

    A new cell starts where the nearest cells of the reference lie, and moves down the gradient of the refinement stage
    (`positions.Positions`), while all others stay. It does not see other new cells, so it ends on the same place
    whatever cells come with it. A cell of the reference gets the place it has there.

    Parameters
    ----------
    model
        The networks of the map.
    search
        A search among the (n, D) standardized cells of the map.
    codes
        (n, d) in latent space.
    perplexity, divergence_weight, equal_room
        As in the refinement of the map.
    """

    def __init__(
        self,
        model: Autoencoder,
        search: NeighborSearch,
        codes: NDArray[np.float32],
        *,
        perplexity: float,
        divergence_weight: float,
        equal_room: float = 0.0,
    ) -> None:
        self.model, self.perplexity, self.divergence_weight = model, perplexity, divergence_weight
        self.search, self.equal_room = search, equal_room
        self.codes = np.ascontiguousarray(codes)
        n, d = self.codes.shape
        self.loops = loops(d)
        self.n_partners = min(n_affinities(perplexity), n)
        self.tree = KDTree(self.codes)
        # as a list, since the number 1 would give no column
        self.which = [*range(1, min(N_NEAR, n) + 1)]
        # the nearest is the cell itself
        distance, _ = self.tree.query(self.codes, [min(WIDTH_NEIGHBOR + 1, n)])
        self.width, self.median_width = kernel_widths(distance[:, 0], equal_room)
        self.narrowness = 1 / self.width
        self.far = np.sort(np.random.default_rng(0).choice(n, min(N_FAR, n), replace=False))
        self.per_total = self._per_total()

    def place(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (m, d) codes of (m, D) standardized cells."""
        neighbors = self.search.nearest(self.n_partners, of=x)
        same = neighbors.distances[:, 0] <= SAME * neighbors.distances[:, -1]
        placed = np.ascontiguousarray(self.codes[neighbors.indices[:, 0]])
        new = np.flatnonzero(~same)

        def settle(start: int, stop: int) -> None:
            rows = new[start:stop]
            affinity = conditional(neighbors.distances[rows], self.perplexity)
            placed[rows] = self.settle(x[rows], neighbors.indices[rows], affinity)

        parallel_blocks(settle, len(new), block=BLOCK)
        return placed

    def settle(
        self, x: NDArray[np.float32], partners: NDArray[np.int32], affinity: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the (m, d) codes of at most `BLOCK` cells, (m, D), from the affinities to their partners, (m, k)."""
        d = x.shape[1]
        z = np.einsum("mk,mkd->md", affinity, self.codes[partners]).astype(np.float32)
        for _ in range(N_RENEWALS):
            distance, near = self.tree.query(z, self.which)
            narrowness = np.float32(1) / self.width_at(distance)
            slope, metric = self._reconstruction(z, x)
            self.loops.settle(
                z, narrowness, self.codes, self.narrowness, partners, affinity, near,
                self.repulsion_of_far(z, narrowness, distance), slope, metric, z.copy(),
                np.float32(self.divergence_weight), np.float32(2 / d), np.float32(self.per_total),
                N_STEPS, np.float32(LONGEST * self.median_width),
            )  # fmt: skip
        return z

    def width_at(self, distance: NDArray[Any]) -> NDArray[np.float32]:
        """Return the widths of the kernels of (m,) cells, from the (m, k) distances to the near ones."""
        local = distance[:, min(WIDTH_NEIGHBOR, distance.shape[1]) - 1]
        local = np.maximum(local, LEAST_SHARE * self.median_width)
        return between(local, self.median_width, self.equal_room)

    def repulsion_of_far(
        self, z: NDArray[np.float32], narrowness: NDArray[np.float32], distance: NDArray[Any]
    ) -> NDArray[np.float32]:
        """Return the gradient, divided by 4, of the repulsion of (m, d) codes by cells that are not near.

        The (m, k) `distance` is that to the near ones.
        """
        gradient = np.empty_like(z)
        self.loops.of_far(
            z, narrowness, self.codes, self.narrowness, self.far, squared_reach(distance).astype(np.float32),
            np.float32(len(self.codes) / len(self.far)), np.float32(self.per_total), gradient,
        )  # fmt: skip
        return gradient

    def _per_total(self) -> float:
        """Return the reciprocal of the normalizer of the map, to which a cell contributes the n-th part on average."""
        n, own, width = len(self.codes), self.codes[self.far], self.width[self.far]
        distance, near = self.tree.query(own, [*range(1, min(N_NEAR + 1, n) + 1)])
        near_kernels = 1 / (1 + np.square(distance) / (width[:, None] * self.width[near]))
        square = np.square(own[:, None] - own).sum(2)
        far_kernels = 1 / (1 + square / np.outer(width, width)) * (square > squared_reach(distance)[:, None])
        total = near_kernels[:, 1:].sum(1) + far_kernels.sum(1) * n / len(self.far)
        return 1 / max(float(total.mean()), 1e-12)

    def _reconstruction(
        self, z: NDArray[np.float32], x: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the slope of half the squared error at (m, d) codes, and the metric, by which it changes."""
        m = len(z)
        filled = torch.arange(BLOCK).clamp(max=m - 1)
        # both modes belong to the thread
        with torch.no_grad(), one_torch_thread():
            _, *found = linearized(self.model, torch.from_numpy(z)[filled], torch.from_numpy(x)[filled])
        slope, metric = (part[:m].contiguous().numpy() for part in found)
        return slope, metric
