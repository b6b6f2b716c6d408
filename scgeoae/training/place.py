"""Where new cells come to lie among settled ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.spatial import KDTree

from .._runtime import parallel_blocks
from .affinities import conditional
from .forces import forces
from .positions import LAST_RATE, LEAST_SHARE, MEAN, N_NEAR, SHARED, SQUARE, WIDTH_NEIGHBOR, kernel_widths
from .search import nearest_neighbors
from .settings import n_affinities

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..nn import Autoencoder

# Steps, their first length in widths, and after how many the near cells and the decoder are asked for again.
N_STEPS, RATE, RENEW_EVERY = 150, 0.2, 10
# Cells of the reference that stand for all that are not near.
N_FAR = 400
# A new cell that is so much nearer to one of the reference than this one's neighbors are is the same cell.
SAME = 1e-3
# Cells at a time, and those that a thread takes. Blocks for the decoder are filled up, because a matrix product of
# another size may round otherwise.
BLOCK, SHARE = 512, 64


class Settled(NamedTuple):
    """The cells of a map, in standardized units and latent space."""

    x: NDArray[np.float32]
    """(n, D)"""
    codes: NDArray[np.float32]
    """(n, d)"""


def place(
    model: Autoencoder,
    x: NDArray[np.float32],
    reference: Settled,
    *,
    perplexity: float,
    divergence_weight: float,
) -> NDArray[np.float32]:
    """Return the (m, d) codes of the (m, D) cells, which settle among those of the `reference`.

    A cell starts where the nearest cells of the reference lie, and moves down the gradient of the second stage
    (``scgeoae.training.positions.Positions``) while all others stay. It takes no notice of other new cells, so that it
    lands on the same place whatever cells come with it. One that is in the reference gets the place it has there.
    """
    neighbors = nearest_neighbors(reference.x, min(n_affinities(perplexity), len(reference.x)), of=x)
    field = _Field(model, reference, divergence_weight)
    same = neighbors.distances[:, 0] <= SAME * neighbors.distances[:, -1]
    placed = np.ascontiguousarray(reference.codes[neighbors.indices[:, 0]])
    new = np.flatnonzero(~same)
    for start in range(0, len(new), BLOCK):
        rows = new[start : start + BLOCK]
        affinity = conditional(neighbors.distances[rows], perplexity)
        placed[rows] = field.settle(x[rows], neighbors.indices[rows], affinity)
    return placed


class _Field:
    """The forces of settled cells on others."""

    def __init__(self, model: Autoencoder, reference: Settled, divergence_weight: float) -> None:
        self.model = model
        self.divergence_weight = divergence_weight
        self.codes = np.ascontiguousarray(reference.codes)
        n, d = self.codes.shape
        self.forces = forces(d)
        self.n_threads = torch.get_num_threads()
        self.tree = KDTree(self.codes)
        self.k = min(N_NEAR, n)
        # the nearest is the cell itself
        distance, _ = self.tree.query(self.codes, [min(WIDTH_NEIGHBOR + 1, n)])
        self.width, self.median_width = kernel_widths(distance[:, 0])
        self.narrowness = 1 / self.width
        self.per_total = 0.0
        self.far = np.sort(np.random.default_rng(0).choice(n, min(N_FAR, n), replace=False))
        # the normalizer of the map: the kernels of a cell sum to Z/n in the mean;
        # a list of which are asked for, since of one alone there would be no column
        distance, near = self.tree.query(self.codes[self.far], [*range(1, min(self.k + 1, n) + 1)])
        own, width = self.codes[self.far], self.width[self.far]
        near = np.ascontiguousarray(near[:, 1:])
        totals = self._forces(own, width, near, self._is_far(own, distance[:, -1]))[1]
        self.per_total = 1 / max(float(totals.mean()), 1e-12)

    def settle(self, x: NDArray[np.float32], partners: NDArray, affinity: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (m, d) codes of (m, D) cells, from the affinities to their partners, (m, k)."""
        z = np.einsum("mk,mkd->md", affinity, self.codes[partners]).astype(np.float32)
        target = torch.from_numpy(x)
        mean, square = np.zeros_like(z), np.zeros_like(z)
        for step in range(N_STEPS):
            if step % RENEW_EVERY == 0:
                distance, near = self.tree.query(z, self.k)
                distance, near = distance.reshape(len(z), -1), near.reshape(len(z), -1)
                width = self._width_at(distance)
                is_far = self._is_far(z, distance[:, -1])
                slope, metric = self._reconstruction(z, target)
                asked_at = z.copy()
            gradient = 4 * self.divergence_weight * self._forces(z, width, near, is_far, partners, affinity)[0]
            gradient += 2 / x.shape[1] * (slope + np.einsum("mab,mb->ma", metric, z - asked_at))
            mean += (1 - MEAN) * (gradient - mean)
            square += (1 - SQUARE) * (np.square(gradient) - square)
            falling = (1 + np.cos(np.pi * step / N_STEPS)) / 2
            rate = RATE * self.median_width * (LAST_RATE + (1 - LAST_RATE) * falling) / (1 - MEAN ** (step + 1))
            z -= (rate * mean / (np.sqrt(square / (1 - SQUARE ** (step + 1))) + 1e-12)).astype(np.float32)
        return z

    def _width_at(self, distance: NDArray) -> NDArray[np.float32]:
        local = distance[:, min(WIDTH_NEIGHBOR, distance.shape[1]) - 1]
        local = np.maximum(local, LEAST_SHARE * self.median_width)
        return (local ** (1 - SHARED) * self.median_width**SHARED).astype(np.float32)

    def _is_far(self, z: NDArray[np.float32], reach: NDArray) -> NDArray[np.bool_]:
        """Return which of the sample are further from each cell than the near ones, (m, f)."""
        square = np.square(z[:, None] - self.codes[self.far]).sum(2)
        # somewhat more, so that rounding does not count the last near one twice
        return square > np.square(reach[:, None]) * (1 + 1e-5)

    def _forces(
        self,
        z: NDArray[np.float32],
        width: NDArray[np.float32],
        near: NDArray,
        is_far: NDArray[np.bool_],
        partners: NDArray | None = None,
        affinity: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the gradient of the divergence, divided by 4, and the sum of each cell's kernels."""
        if partners is None:
            partners, affinity = np.empty((len(z), 0), dtype=np.int32), np.empty((len(z), 0), dtype=np.float32)
        force, total = np.empty_like(z), np.empty(len(z), dtype=np.float32)
        per_far, per_total = np.float32(len(self.codes) / len(self.far)), np.float32(self.per_total)
        parallel_blocks(
            lambda start, stop: self.forces.of_settled(
                start, stop, z, 1 / width, self.codes, self.narrowness, partners, affinity, near, self.far, is_far,
                per_far, per_total, force, total,
            ),
            len(z),
            block=SHARE,
            n_threads=self.n_threads,
        )  # fmt: skip
        return force, total

    @torch.no_grad()
    def _reconstruction(self, z: NDArray[np.float32], x: Tensor) -> tuple[NDArray, NDArray]:
        """Return the slope of half the squared error at (m, d) codes, and the metric, by which it changes."""
        filled = torch.arange(BLOCK).clamp(max=len(z) - 1)
        jet = self.model.decoder.jet(torch.from_numpy(z)[filled])
        transposed = jet.first.mT
        slope = (transposed @ (jet.values - x[filled])[:, :, None])[: len(z), :, 0]
        return slope.numpy(), (transposed @ jet.first)[: len(z)].numpy()
