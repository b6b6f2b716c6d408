"""Positions of the cells as free parameters, which move down a gradient."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._runtime import one_torch_thread, parallel_blocks
from .affinities import affinity_edges
from .device import native
from .neighbors import Neighbors
from .pairs import CompiledPairs, Near, Repulsion, TorchPairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..nn import Autoencoder

# Cells near on the map whose repulsion is summed, and others that are drawn in each step for the rest.
N_NEAR, N_FAR = 40, 10
# The kernel of a cell is as wide as its distance to this neighbor on the map, halfway (in logarithms) to the median of
# these distances (docs/defaults.md), or as close to the median as `equal_room` asks. With one width for all, dense
# groups spread until they are as sparse as others; with local widths alone, groups that lie on each other hardly come
# apart.
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
# Cells whose decoder is evaluated at a time, on a device at most, and numbers in their decoded points at most.
DECODED, DECODED_ON_DEVICE, TABLE_SIZE = 2048, 2**15, 2**24


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
        The positions, an array or a tensor, which change in place.
    n_steps
        Number of steps over which the length falls.
    """

    def __init__(self, values: Any, n_steps: int) -> None:
        self.values, self.n_steps, self.n_done = values, n_steps, 0
        self.mean, self.square = 0 * values, 0 * values

    def step(self, gradient: Any, length: float) -> None:
        """Move down a gradient; the first steps have this length."""
        falling = (1 + math.cos(math.pi * self.n_done / self.n_steps)) / 2
        rate = length * (LAST_RATE + (1 - LAST_RATE) * falling)
        self.n_done += 1
        self.mean += (1 - MEAN) * (gradient - self.mean)
        self.square += (1 - SQUARE) * (gradient**2 - self.square)
        root = (self.square / (1 - SQUARE**self.n_done)) ** 0.5
        self.values -= rate / (1 - MEAN**self.n_done) * self.mean / (root + 1e-12)


class Positions:
    r"""Positions of all cells, which move together.

    They minimize

    .. math:: \frac1n \sum_i \frac{\|D(z_i) - x_i\|^2}{D} + \kappa\, \mathrm{KL}(P \| Q)
        + \chi \frac{\langle (\|z_i - z_j\| - c \|D(z_i) - D(z_j)\|)^2 \rangle_{ij}}
        {\langle \|z_i - z_j\|^2 \rangle_{ij}}

    The first term is linearized where the decoder was last evaluated. Q is t-SNE's, with a kernel that is wider where
    cells are further apart, so that it sorts cells among their neighbors and leaves the rest to the other terms; with
    ``equal_room=1`` it is t-SNE's own, and cells spread until all have the same room. The third term makes distances
    straight through the representation true as well; it takes the decoded points as given.

    On the CPU, compiled loops sum over pairs of cells; on CUDA, PyTorch does (``pairs.TorchPairs``). Both draw the same
    samples, and agree to the rounding of float32.

    Parameters
    ----------
    start
        (n, d) positions in latent space.
    x
        (n, D) standardized cells, on the device that computes.
    neighbors, perplexity
        Neighbors of the cells in the representation, and the perplexity of their affinities P.
    n_steps, rate
        Length of the first steps, in units of the median width; it falls over so many steps.
    divergence_weight, chord_weight
        κ and χ.
    equal_room
        How far dense groups spread; see `kernel_widths`.
    jumps
        Which cells jump.
    seed
        Seed of the samples.
    n_threads
        Number of threads on the CPU. Every number gives the same bits.
    """

    def __init__(
        self,
        start: Tensor,
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
        equal_room: float = 0.0,
        n_threads: int = 1,
    ) -> None:
        self.values = start.clone(memory_format=torch.contiguous_format)
        self.x = x
        n, d = self.values.shape
        self.adam = Adam(native(self.values), n_steps)
        self.n_steps, self.rate, self.jumps, self.equal_room = n_steps, rate, jumps, equal_room
        self.divergence_weight, self.chord_weight = divergence_weight, chord_weight
        on_device = isinstance(native(x), Tensor)
        self.n_threads = 1 if on_device else n_threads
        self.n_decoded = max(DECODED, min(DECODED_ON_DEVICE, TABLE_SIZE // x.shape[1])) if on_device else DECODED
        nearest, distances = (torch.as_tensor(part, device=x.device) for part in neighbors)
        self.nearest = nearest[:, :N_TOGETHER].contiguous()
        edges = affinity_edges(Neighbors(native(nearest), native(distances)), perplexity, n_threads=n_threads)
        self.pairs = TorchPairs(edges) if on_device else CompiledPairs(edges, d, n_threads)
        self.random = np.random.default_rng(seed)
        self.least_width = torch.empty(0)
        self.total = torch.full((), torch.inf, dtype=torch.float64, device=x.device)
        """Z, the sum of all kernels; while it is infinite there is no repulsion."""
        self.chord_scale: float | None = None
        """c, the least squares scale of chords at the start."""
        self._n = torch.full_like(self.total, n)
        self._gradient = torch.zeros_like(self.values)

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
            self.total = self.divergence_gradient()
        self.total += (self.divergence_gradient() - self.total) * SMOOTHING
        gradient = self._gradient
        gradient *= 4 * self.divergence_weight
        if self.chord_weight:
            weight = 4 * self.chord_weight / self.mean_square_chord
            self.pairs.add_chords(self.values, self.landmarks, self.chords, weight, gradient)
        moved = self.values - self.decoded_at
        # column by column: a product of many small matrices takes longer, and has few digits on a device
        steeper = sum(self.metric[:, :, axis] * moved[:, axis, None] for axis in range(moved.shape[1]))
        gradient += (self.slope + steeper) * (2 / self.x.shape[1])
        self.adam.step(native(gradient), self.rate * self.median_width)

    def jump(self, model: Autoencoder) -> None:
        """Move cells whose neighbors in the representation lie together elsewhere on the map to these."""
        per_square = (self.jumps.within * self.median_width) ** -2
        places, gain = self.pairs.gatherings(self.values, self.nearest, per_square)
        # all at once, so that it does not matter which cell comes first
        tempted = (gain > self.jumps.gain).nonzero()[:, 0]
        for cells in tempted.split(self.n_decoded):
            x = self.x[cells]
            here, there = (self._error(model, at[cells], x) for at in (self.values, places))
            jumps = cells[there < MORE_ERROR * here]
            self.values[jumps] = places[jumps]
            self.adam.mean[native(jumps)] = 0
            # where it lay says nothing of how dense it is here
            self.least_width[jumps] = 0

    def renew(self) -> None:
        """Search for the near cells on the map, and set the widths of the kernels."""
        k = min(N_NEAR, len(self.values) - 1)
        indices, distance = self.pairs.nearest_others(self.values, k)
        local = distance[:, min(WIDTH_NEIGHBOR, k) - 1].cpu().numpy()
        widths, self.median_width = kernel_widths(local, self.equal_room)
        width = torch.from_numpy(widths).to(distance.device)
        if not len(self.least_width):
            self.least_width = LEAST_OF_START * width
        self.narrowness = 1 / torch.maximum(width, self.least_width)
        self.near = Near(indices, squared_reach(distance), self.values.clone())

    def decode(self, model: Autoencoder) -> None:
        """Evaluate the decoder: the slope of the reconstruction error, and the chords of a new sample."""
        n, d = self.values.shape
        self.decoded_at = self.values.clone()
        self.slope, self.metric = torch.empty_like(self.values), self.values.new_empty(n, d, d)
        decoded = torch.empty_like(self.x)

        def evaluate(start: int, stop: int) -> None:
            rows = slice(start, stop)
            # both modes belong to the thread
            with torch.no_grad(), one_torch_thread():
                found = linearized(model, self.decoded_at[rows], self.x[rows])
                decoded[rows], self.slope[rows], self.metric[rows] = found

        parallel_blocks(evaluate, n, block=self.n_decoded, n_threads=self.n_threads)
        sample = torch.from_numpy(self.random.integers(n, size=N_LANDMARKS)).to(decoded.device)
        self.landmarks = self.decoded_at[sample]
        chords, lengths = (native(_distances(points, points[sample])) for points in (decoded, self.decoded_at))
        if self.chord_scale is None and lengths.any():
            self.chord_scale = float((chords * lengths).sum()) / max(float((chords**2).sum()), 1e-30)
        self.chords = torch.as_tensor((self.chord_scale or 0) * chords)
        # while all cells lie on one place there is no distance that could be true
        self.mean_square_chord = float((lengths**2).mean()) or math.inf

    def divergence_gradient(self) -> Tensor:
        """Write the gradient of the divergence, times n/4, into the buffer, and return the sum of all kernels."""
        n = len(self.values)
        n_far = N_FAR if n - 1 > self.near.indices.shape[1] else 0
        key = int(self.random.integers(2**63))
        # no kernel has a strength where all are 0
        repulsion = Repulsion(n_far, key, self._n / self.total.clamp(min=1e-30))
        return self.pairs.write_divergence(self.values, self.narrowness, self.near, repulsion, self._gradient)

    @torch.no_grad()
    def _error(self, model: Autoencoder, codes: Tensor, x: Tensor) -> Tensor:
        return (model.decoder(codes) - x).square().mean(1)


def linearized(model: Autoencoder, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Evaluate the decoder at (n, d) codes `z` of (n, D) cells `x`.

    Returns
    -------
    The decoded points, (n, D); the slope of half the squared error of each, (n, d); and the metric tensors, (n, d, d),
    by which the slope changes around `z`.
    """
    jet = model.decoder.jet(z)
    transposed = jet.first.mT
    return jet.values, (transposed @ (jet.values - x)[:, :, None])[:, :, 0], transposed @ jet.first


def squared_reach(distance: Any) -> Any:
    """Return the squared distances, (n,), up to which cells are near, from the (n, k) distances to the near ones.

    They are somewhat longer than the last of these, so that rounding does not count it twice.
    """
    return distance[:, -1] ** 2 * (1 + 1e-5)


def kernel_widths(local: NDArray[Any], equal_room: float = 0.0) -> tuple[NDArray[np.float32], float]:
    """Return how wide the kernel of each cell is, from its distance to a near one, and the median of these distances.

    With ``equal_room=1`` all are as wide as the median, and with 0 they lie halfway between the two.
    """
    positive = local[local > 0]
    median = float(np.median(positive)) if len(positive) else 1.0
    local = np.maximum(local, max(float(np.quantile(local, LEAST_QUANTILE)), LEAST_SHARE * median))
    median = float(np.median(local))
    return between(local, median, equal_room), median


def between(local: NDArray[Any], median: float, equal_room: float) -> NDArray[np.float32]:
    """Return widths between the local ones and their median."""
    shared = SHARED + (1 - SHARED) * equal_room
    return (local ** (1 - shared) * median**shared).astype(np.float32)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    if isinstance(native(a), Tensor):
        # without products, which have few digits on a device during training
        parts = a.split(max(TABLE_SIZE // b.numel(), 1))
        return torch.cat([torch.linalg.vector_norm(part[:, None] - b, dim=2) for part in parts])
    return torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist")
