"""Place new cells on a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.spatial import KDTree

from .._matrix import blocks
from .._runtime import parallel_blocks
from .affinities import conditional, n_affinities
from .gradients import gradients
from .neighbors import nearest_neighbors
from .positions import LEAST_SHARE, N_NEAR, SHARED, WIDTH_NEIGHBOR, Adam, kernel_widths

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..nn import Autoencoder

# Steps, their first length in widths, and after how many the near cells are searched for and the decoder is evaluated.
N_STEPS, RATE, RENEW_EVERY = 150, 0.2, 10
# Cells of the reference that stand for all that are not near.
N_FAR = 400
# A new cell is the same as a cell of the reference if it is so much nearer to it than this one's neighbors are.
SAME = 1e-3
# Cells at a time, and those that a thread takes. Blocks for the decoder are filled up, because a matrix product of
# another size may round otherwise.
BLOCK, SHARE = 512, 64
# Cells that are encoded at a time, whose layers then fit into the cache.
BATCH_SIZE = 1024


class Reference(NamedTuple):
    """The cells of a map, in standardized units and latent space."""

    x: NDArray[np.float32]
    """(n, D)"""
    codes: NDArray[np.float32]
    """(n, d)"""


class Placement(NamedTuple):
    """What a model says about n cells, in units of the representation and of the map."""

    embedding: NDArray[np.float32]
    """(n, d)"""
    metric: NDArray[np.float32]
    """(n, d, d) metric tensors of the decoder there."""
    encoder_metric: NDArray[np.float32]
    """(n, d, d) metric tensors that the encoder pushes forward from the cells."""
    error: NDArray[np.float32]
    """(n,) squared distance between each cell and its reconstruction."""


@torch.no_grad()
def placement(model: Autoencoder, raw: Any, *, positions: NDArray[np.float32] | None = None) -> Placement:
    """Encode the (n, D) cells of a matrix, block by block, and evaluate both networks there.

    With (n, d) `positions` the decoder is evaluated at these. The matrix may have any form that
    `scgeoae.training.fit` takes.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.training import Settings, fit
    >>> from scgeoae.training.placement import placement
    >>> raw = np.random.default_rng(0).normal(size=(100, 5))
    >>> fitted = fit(raw, Settings(n_steps=10, refine=False))
    >>> bool(np.allclose(placement(fitted.model, raw).metric, fitted.metric, rtol=1e-3))
    True
    """
    parts = []
    for start, block in blocks(raw):
        cells = torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32))
        for first in range(0, len(cells), BATCH_SIZE):
            x = cells[first : first + BATCH_SIZE]
            at = start + first
            z = model.encode(x) if positions is None else torch.from_numpy(positions[at : at + len(x)])
            error = (model.decode(z) - x).square().sum(1)
            parts.append((z, model.metric(z), model.encoder_metric(x), error))
    return Placement(*(torch.cat(part).numpy() for part in zip(*parts, strict=True)))


def place(
    model: Autoencoder,
    x: NDArray[np.float32],
    reference: Reference,
    *,
    perplexity: float,
    divergence_weight: float,
) -> NDArray[np.float32]:
    """Return the (m, d) codes of the (m, D) cells, which are placed among those of the `reference`.

    A cell starts where the nearest cells of the reference lie, and moves down the gradient of the refinement stage
    (``positions.Positions``), while all others stay. It does not see other new cells, so it ends on the
    same place whatever cells come with it. A cell of the reference gets the place it has there.
    """
    neighbors = nearest_neighbors(reference.x, min(n_affinities(perplexity), len(reference.x)), of=x)
    field = Field(model, reference, divergence_weight)
    same = neighbors.distances[:, 0] <= SAME * neighbors.distances[:, -1]
    placed = np.ascontiguousarray(reference.codes[neighbors.indices[:, 0]])
    new = np.flatnonzero(~same)
    for start in range(0, len(new), BLOCK):
        rows = new[start : start + BLOCK]
        affinity = conditional(neighbors.distances[rows], perplexity)
        placed[rows] = field.place(x[rows], neighbors.indices[rows], affinity)
    return placed


class Field:
    """The gradient that the cells of a map exert on others."""

    def __init__(self, model: Autoencoder, reference: Reference, divergence_weight: float) -> None:
        self.model = model
        self.divergence_weight = divergence_weight
        self.codes = np.ascontiguousarray(reference.codes)
        n, d = self.codes.shape
        self.gradients = gradients(d)
        self.n_threads = torch.get_num_threads()
        self.tree = KDTree(self.codes)
        self.k = min(N_NEAR, n)
        # the nearest is the cell itself
        distance, _ = self.tree.query(self.codes, [min(WIDTH_NEIGHBOR + 1, n)])
        self.width, self.median_width = kernel_widths(distance[:, 0])
        self.narrowness = 1 / self.width
        self.per_total = 0.0
        self.far = np.sort(np.random.default_rng(0).choice(n, min(N_FAR, n), replace=False))
        # The normalizer of the map: the kernels of a cell sum to Z/n on average. A list says which neighbors are asked
        # for, since a number of 1 would give no column.
        distance, near = self.tree.query(self.codes[self.far], [*range(1, min(self.k + 1, n) + 1)])
        own, width = self.codes[self.far], self.width[self.far]
        near = np.ascontiguousarray(near[:, 1:])
        totals = self.divergence_gradient(own, width, near, self.is_far(own, distance[:, -1]))[1]
        self.per_total = 1 / max(float(totals.mean()), 1e-12)

    def place(
        self, x: NDArray[np.float32], partners: NDArray[Any], affinity: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the (m, d) codes of (m, D) cells, from the affinities to their partners, (m, k)."""
        z = np.einsum("mk,mkd->md", affinity, self.codes[partners]).astype(np.float32)
        target, adam = torch.from_numpy(x), Adam(z, N_STEPS)
        for step in range(N_STEPS):
            if step % RENEW_EVERY == 0:
                distance, near = self.tree.query(z, self.k)
                distance, near = distance.reshape(len(z), -1), near.reshape(len(z), -1)
                width = self.width_at(distance)
                is_far = self.is_far(z, distance[:, -1])
                slope, metric = self._reconstruction(z, target)
                decoded_at = z.copy()
            gradient, _ = self.divergence_gradient(z, width, near, is_far, partners, affinity)
            gradient *= 4 * self.divergence_weight
            gradient += 2 / x.shape[1] * (slope + np.einsum("mab,mb->ma", metric, z - decoded_at))
            adam.step(gradient, RATE * self.median_width)
        return z

    def width_at(self, distance: NDArray[Any]) -> NDArray[np.float32]:
        """Return the widths of the kernels of (m,) cells, from the (m, k) distances to the near ones."""
        local = distance[:, min(WIDTH_NEIGHBOR, distance.shape[1]) - 1]
        local = np.maximum(local, LEAST_SHARE * self.median_width)
        return (local ** (1 - SHARED) * self.median_width**SHARED).astype(np.float32)

    def is_far(self, z: NDArray[np.float32], reach: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which of the sample are further from each cell than the near ones, (m, f)."""
        square = np.square(z[:, None] - self.codes[self.far]).sum(2)
        # somewhat more, so that rounding does not count the last near one twice
        return square > np.square(reach[:, None]) * (1 + 1e-5)

    def divergence_gradient(
        self,
        z: NDArray[np.float32],
        width: NDArray[np.float32],
        near: NDArray[Any],
        is_far: NDArray[np.bool_],
        partners: NDArray[Any] | None = None,
        affinity: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the gradient of the divergence, divided by 4, and the sum of each cell's kernels."""
        if partners is None:
            partners, affinity = np.empty((len(z), 0), dtype=np.int32), np.empty((len(z), 0), dtype=np.float32)
        offsets = np.arange(len(z) + 1) * partners.shape[1]
        partners, affinity = np.ascontiguousarray(partners).ravel(), np.ascontiguousarray(affinity).ravel()
        gradient, total = np.empty_like(z), np.empty(len(z), dtype=np.float32)
        per_far, per_total = np.float32(len(self.codes) / len(self.far)), np.float32(self.per_total)
        parallel_blocks(
            lambda start, stop: self.gradients.of_placed(
                start, stop, z, 1 / width, self.codes, self.narrowness, offsets, partners, affinity, near, self.far,
                is_far, per_far, per_total, gradient, total,
            ),
            len(z),
            block=SHARE,
            n_threads=self.n_threads,
        )  # fmt: skip
        return gradient, total

    @torch.no_grad()
    def _reconstruction(self, z: NDArray[np.float32], x: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the slope of half the squared error at (m, d) codes, and the metric, by which it changes."""
        filled = torch.arange(BLOCK).clamp(max=len(z) - 1)
        jet = self.model.decoder.jet(torch.from_numpy(z)[filled])
        transposed = jet.first.mT
        slope = (transposed @ (jet.values - x[filled])[:, :, None])[: len(z), :, 0]
        return slope.numpy(), (transposed @ jet.first)[: len(z)].numpy()
