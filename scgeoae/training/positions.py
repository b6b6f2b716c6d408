"""Positions of the cells as free parameters, which move down a gradient."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.spatial import KDTree

from .._runtime import parallel_blocks
from ..graphs.neighbors import others_in_tree
from .affinities import affinities
from .gradients import gradients

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from ..nn import Autoencoder
    from .neighbors import Neighbors

# Cells near on the map whose repulsion is summed, and others that are drawn in each step for the rest.
N_NEAR, N_FAR = 40, 10
# The kernel of a cell is as wide as its distance to this neighbor on the map, halfway (in logarithms) to the median of
# these distances (docs/defaults.md). With one width for all, dense groups spread until they are as sparse as others;
# with local widths alone, groups that lie on each other hardly come apart.
WIDTH_NEIGHBOR, SHARED = 3, 0.5
# The width is never below this quantile, nor below this share of the median: equal cells have a distance of 0.
LEAST_QUANTILE, LEAST_SHARE = 0.02, 0.01
# Nor is it below this share of the width at the start: a group of about as many cells as the perplexity has affinities
# that are nearly equal, for which no kernel whose width follows the cells is flat enough; they would end on a point.
LEAST_OF_START = 0.5
# A cell jumps (`Jumps`) among this many of its nearest neighbors in the representation, if the decoder reconstructs it
# there with at most so many times the error. Gradients cannot carry it across the cells between. In the last part of
# the steps no cell jumps.
N_TOGETHER, MORE_ERROR, LAST_JUMP = 10, 2.0, 0.7
# Steps after which neighbors on the map and widths are renewed, and after which the decoder is evaluated again.
RENEW_EVERY, DECODE_EVERY = 20, 20
# Cells to which chords are drawn, another sample each time the decoder is evaluated.
N_LANDMARKS = 24
# Length of the last steps against the first; moments as in Adam.
LAST_RATE = 0.02
MEAN, SQUARE = 0.9, 0.99
# Share of the normalizer that a step renews.
SMOOTHING = 0.2
# Cells that a thread takes at a time, and cells whose decoder is evaluated at a time.
BLOCK, DECODED = 2048, 2048


class Jumps(NamedTuple):
    """Which cells jump to where most of their neighbors in the representation lie together."""

    within: float
    """How far apart cells still lie together, in median widths of the kernels."""
    gain: float
    """How many times as many of them have to lie there as around the cell itself."""


class Adam:
    """Adam (Kingma & Ba 2015) on (n, d) positions, with a step length that falls along half a cosine.

    Parameters
    ----------
    values
        The positions, which change in place.
    n_steps
        Number of steps over which the length falls.
    """

    def __init__(self, values: NDArray[np.float32], n_steps: int) -> None:
        self.values, self.n_steps, self.n_done = values, n_steps, 0
        self.mean, self.square = np.zeros_like(values), np.zeros_like(values)

    def step(self, gradient: NDArray[np.float32], length: float) -> None:
        """Move down a gradient; the first steps have this length."""
        falling = (1 + math.cos(math.pi * self.n_done / self.n_steps)) / 2
        rate = length * (LAST_RATE + (1 - LAST_RATE) * falling)
        self.n_done += 1
        self.mean += (1 - MEAN) * (gradient - self.mean)
        self.square += (1 - SQUARE) * (np.square(gradient) - self.square)
        root = np.sqrt(self.square / np.float32(1 - SQUARE**self.n_done))
        self.values -= np.float32(rate / (1 - MEAN**self.n_done)) * self.mean / (root + np.float32(1e-12))


class Positions:
    r"""Positions of all cells, which move together.

    They minimize

    .. math:: \frac1n \sum_i \frac{\|D(z_i) - x_i\|^2}{D} + \kappa\, \mathrm{KL}(P \| Q)
        + \chi \frac{\langle (\|z_i - z_j\| - c \|D(z_i) - D(z_j)\|)^2 \rangle_{ij}}
        {\langle \|z_i - z_j\|^2 \rangle_{ij}}

    The first term is linearized where the decoder was last evaluated. Q is t-SNE's, with a kernel that is wider where
    cells are further apart, so that it sorts cells among their neighbors and leaves the rest to the other terms. The
    third term makes distances straight through the representation true as well; it takes the decoded points as given.

    Parameters
    ----------
    start
        (n, d) positions in latent space.
    x
        (n, D) standardized cells.
    neighbors, perplexity
        Neighbors of the cells in the representation, and the perplexity of their affinities P.
    n_steps, rate
        Length of the first steps, in units of the median width; it falls over so many steps.
    divergence_weight, chord_weight
        κ and χ.
    jumps
        Which cells jump.
    seed
        Seed of the samples.
    n_threads
        Number of threads. Every number gives the same bits.
    """

    def __init__(
        self,
        start: NDArray[np.float32],
        x: Tensor,
        neighbors: Neighbors,
        *,
        perplexity: float,
        n_steps: int,
        rate: float,
        divergence_weight: float,
        chord_weight: float,
        jumps: Jumps,
        seed: int,
        n_threads: int = 1,
    ) -> None:
        self.values = np.array(start, dtype=np.float32, order="C")
        self.x = x
        d = self.values.shape[1]
        self.gradients = gradients(d)
        self.adam = Adam(self.values, n_steps)
        self.n_steps, self.rate, self.jumps = n_steps, rate, jumps
        self.divergence_weight, self.chord_weight = divergence_weight, chord_weight
        self.nearest = np.ascontiguousarray(neighbors.indices[:, :N_TOGETHER], dtype=np.int32)
        graph = affinities(neighbors, perplexity, n_threads=n_threads)
        self.offsets = graph.indptr.astype(np.int64)
        self.partners, self.affinity = graph.indices.astype(np.int32, copy=False), graph.data
        self.random = np.random.default_rng(seed)
        self.n_threads = n_threads
        self.least_width = np.empty(0, dtype=np.float32)
        self.total = 0.0
        """Z, the sum of all kernels."""
        self.chord_scale: float | None = None
        """c, the least squares scale of chords at the start."""
        self._gradient = np.zeros_like(self.values)
        self._totals = np.zeros(len(self.values), dtype=np.float32)

    @property
    def n_done(self) -> int:
        """Number of steps that are done."""
        return self.adam.n_done

    def step(self, model: Autoencoder) -> None:
        """Move all cells once, on the surface of the decoder of `model`."""
        if self.n_done % RENEW_EVERY == 0:
            if 0 < self.n_done < LAST_JUMP * self.n_steps:
                self.jump(model)
            self.renew()
        if self.n_done % DECODE_EVERY == 0:
            self.decode(model)
        if not self.n_done:
            # without it there is no repulsion
            self.total = self.divergence_gradient()
        self.total += (self.divergence_gradient() - self.total) * SMOOTHING
        gradient = self._gradient
        gradient *= 4 * self.divergence_weight
        if self.chord_weight:
            weight = np.float32(4 * self.chord_weight / self.mean_square_chord)
            self._in_blocks(
                lambda a, b: self.gradients.of_chords(a, b, self.values, self.landmarks, self.chords, weight, gradient)
            )
        moved = np.einsum("nab,nb->na", self.metric, self.values - self.decoded_at)
        gradient += (self.slope + moved) * np.float32(2 / self.x.shape[1])
        self.adam.step(gradient, self.rate * self.median_width)

    def jump(self, model: Autoencoder) -> None:
        """Move cells whose neighbors in the representation lie together elsewhere on the map to these."""
        places, gain = np.empty_like(self.values), np.empty(len(self.values), dtype=np.float32)
        per_square = np.float32((self.jumps.within * self.median_width) ** -2)
        self._in_blocks(
            lambda start, stop: self.gradients.gatherings(
                start, stop, self.values, self.nearest, per_square, places, gain
            )
        )
        # all at once, so that it does not matter which cell comes first
        tempted = np.flatnonzero(gain > self.jumps.gain)
        for start in range(0, len(tempted), DECODED):
            cells = tempted[start : start + DECODED]
            x = self.x[cells]
            here, there = (self._error(model, at[cells], x) for at in (self.values, places))
            jumps = cells[there < MORE_ERROR * here]
            self.values[jumps] = places[jumps]
            self.adam.mean[jumps] = 0
            # where it lay says nothing of how dense it is here
            self.least_width[jumps] = 0

    def renew(self) -> None:
        """Search for the near cells on the map, and set the widths of the kernels."""
        n = len(self.values)
        k = min(N_NEAR, n - 1)
        tree = KDTree(self.values, balanced_tree=False)
        self.near, distance = np.empty((n, k), dtype=np.int32), np.empty((n, k), dtype=np.float32)

        def search(start: int, stop: int) -> None:
            cells = tree.indices[start:stop]
            self.near[cells], distance[cells] = others_in_tree(tree, cells, k)

        self._in_blocks(search)
        width, self.median_width = kernel_widths(distance[:, min(WIDTH_NEIGHBOR, k) - 1])
        if not len(self.least_width):
            self.least_width = LEAST_OF_START * width
        self.narrowness = 1 / np.maximum(width, self.least_width)
        self.near_at = self.values.copy()
        # somewhat more, so that rounding does not count the last one twice
        self.reach = (np.square(distance[:, -1]) * (1 + 1e-5)).astype(np.float32)

    @torch.no_grad()
    def decode(self, model: Autoencoder) -> None:
        """Evaluate the decoder: the slope of the reconstruction error, and the chords of a new sample."""
        n, d = self.values.shape
        self.decoded_at = self.values.copy()
        self.slope, self.metric = np.empty((n, d), dtype=np.float32), np.empty((n, d, d), dtype=np.float32)
        decoded = torch.empty_like(self.x)
        latent = torch.from_numpy(self.decoded_at)
        for start in range(0, n, DECODED):
            rows = slice(start, start + DECODED)
            jet = model.decoder.jet(latent[rows])
            decoded[rows] = jet.values
            transposed = jet.first.mT
            self.slope[rows] = (transposed @ (jet.values - self.x[rows])[:, :, None])[:, :, 0]
            self.metric[rows] = transposed @ jet.first
        sample = torch.from_numpy(self.random.integers(n, size=N_LANDMARKS))
        self.landmarks = self.decoded_at[sample]
        chords = _distances(decoded, decoded[sample]).numpy()
        lengths = _distances(latent, latent[sample]).numpy()
        if self.chord_scale is None and lengths.any():
            self.chord_scale = float((chords * lengths).sum() / max(np.square(chords).sum(), 1e-30))
        self.chords = np.ascontiguousarray((self.chord_scale or 0) * chords, dtype=np.float32)
        # while all cells lie on one place there is no distance that could be true
        self.mean_square_chord = float(np.square(lengths).mean()) or math.inf

    def divergence_gradient(self) -> float:
        """Write the gradient of the divergence, times n/4, into the buffer, and return the sum of all kernels."""
        n = len(self.values)
        n_far = N_FAR if n - 1 > self.near.shape[1] else 0
        key = self.random.integers(2**63)
        per_total = np.float32(n / self.total if self.total else 0)
        self._in_blocks(
            lambda a, b: self.gradients.of_refined(
                a, b, self.values, self.narrowness, self.offsets, self.partners, self.affinity, self.near, self.reach,
                self.near_at, n_far, key, per_total, self._gradient, self._totals,
            )
        )  # fmt: skip
        return float(self._totals.sum(dtype=np.float64))

    @torch.no_grad()
    def _error(self, model: Autoencoder, codes: NDArray[np.float32], x: Tensor) -> NDArray[np.float32]:
        return (model.decoder(torch.from_numpy(codes)) - x).square().mean(1).numpy()

    def _in_blocks(self, work: Callable[[int, int], None]) -> None:
        parallel_blocks(work, len(self.values), block=BLOCK, n_threads=self.n_threads)


def kernel_widths(local: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
    """Return how wide the kernel of each cell is, from its distance to a near one, and the median of these."""
    positive = local[local > 0]
    median = float(np.median(positive)) if len(positive) else 1.0
    local = np.maximum(local, max(float(np.quantile(local, LEAST_QUANTILE)), LEAST_SHARE * median))
    median = float(np.median(local))
    return (local ** (1 - SHARED) * median**SHARED).astype(np.float32), median


def _distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist")
