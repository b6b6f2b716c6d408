"""The second stage: each cell's position becomes a parameter of its own."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.spatial import KDTree
from tqdm.auto import tqdm

from .._runtime import training_threads
from ..nn import flatten
from .adamw import AdamW
from .affinities import conditional
from .batches import Cells, batches_of_cells
from .descent import Descent
from .jumps import Jumps
from .neighbors import within
from .positions import Positions
from .search import InvertedFile, Neighbors, nearest_neighbors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from ..nn import Autoencoder
    from .loss import Term


class Pace(NamedTuple):
    """How cells move."""

    n_steps: int
    rate: float
    """Length of the first steps, in widths."""
    jumps: Jumps

    def at_most(self, n_steps: int | None) -> Pace:
        """Return the same with at most so many steps."""
        return self if n_steps is None else self._replace(n_steps=min(self.n_steps, n_steps))


# Of the networks, that follow the positions.
LEARNING_RATE, CLIMB = 3e-3, 0.1
# Weight of the penalties against that of the first stage: here they cost hardly any error (docs/defaults.md). Where the
# first stage found the largest weight that the error allows, that one stays.
PENALTY_FACTOR = 5.0
LARGEST = 1e38
# Weight of the misfit of distances across the surface (docs/defaults.md).
CHORD_WEIGHT = 1.5
# Beyond so many cells a random sample of this size moves first: it travels further, as its cells are further apart,
# and its neighbors are those of a wider neighborhood. The others then start among the nearest of them.
N_COARSE = 10_000
# Steps, their first length in widths, and which cells jump: of the sample, of all cells after it, and of all where
# there is no sample (docs/defaults.md).
COARSE = Pace(200, 1.0, Jumps(within=3, gain=1.5))
ALL = Pace(200, 0.5, Jumps(within=3, gain=1.5))
FEW = Pace(400, 0.5, Jumps(within=6, gain=3))
# Beyond so many cells there are fewer steps in proportion, but at least so many: a million cells then take minutes.
MAX_FULL, LEAST_STEPS = 200_000, 50
# Nearest cells of the sample that another one starts among, and how many of these count.
N_NEAREST, N_COUNTED = 10, 5


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What the second stage minimizes, besides the reconstruction error."""

    terms: Sequence[Term]
    """The penalties on the decoder,"""
    factor: float
    """what their weights are multiplied by,"""
    is_found: bool
    """and whether that is the largest factor that the reconstruction error allows."""
    n_around: int
    """How many cells around each those see that ask for them."""
    divergence: float
    """Of t-SNE's divergence."""
    perplexity: float
    """Of its affinities."""
    keeps_chords: bool
    """Whether distances across the surface are held, too."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How it is minimized."""

    batch_size: int
    noise: float
    seed: int
    n_threads: int
    progress_bar: bool
    most_steps: int | None = None
    """At most, whatever suits the number of cells."""
    keeps_interrupted: bool = False
    """Whether Ctrl-C ends it with the positions so far, and is not raised."""


def settle(
    model: Autoencoder,
    x: Tensor,
    codes: NDArray[np.float32],
    neighbors: Neighbors,
    *,
    train: Tensor,
    weights: Weights,
    effort: Effort,
) -> tuple[NDArray[np.float32], str | None]:
    """Move each cell among its neighbors, the networks along with it, and return the (n, d) positions.

    The second of what is returned says at which step an interrupt ended it, if one did and that is kept. Beyond 10,000
    cells a random sample of these moves first.

    Parameters
    ----------
    model
        Trained, on the CPU; changed in place.
    x, codes
        (n, D) standardized cells, and the (n, d) latent positions where they start.
    neighbors
        Of the cells in the representation.
    train
        Row numbers of the cells that the networks learn from.
    """
    n = len(x)
    if n <= N_COARSE:
        return _settle(model, x, codes, neighbors, train, weights, effort, FEW)
    rows = np.sort(np.random.default_rng(effort.seed).choice(n, N_COARSE, replace=False))
    sample = x[rows]
    is_train = torch.zeros(n, dtype=torch.bool).index_fill_(0, train, value=True)
    moved, interrupted_at = _settle(
        model,
        sample,
        codes[rows],
        nearest_neighbors(sample.numpy(), min(neighbors.indices.shape[1], N_COARSE - 1), seed=effort.seed),
        is_train[rows].nonzero()[:, 0],
        weights,
        effort,
        COARSE,
    )
    codes = among_nearest(x.numpy(), sample.numpy(), moved, seed=effort.seed)
    codes[rows] = moved
    if interrupted_at is not None:
        return codes, interrupted_at
    n_steps = max(int(ALL.n_steps * min(MAX_FULL / n, 1)), LEAST_STEPS)
    # those that are near on the map are near in memory, too, where the forces find them sooner
    # a copy, as the tree keeps its own from being written to, of which torch warns
    order = KDTree(codes, balanced_tree=False).indices.copy()
    rank = np.empty(n, dtype=np.int32)
    rank[order] = np.arange(n, dtype=np.int32)
    indices = neighbors.indices[order]
    there = indices >= 0
    indices[there] = rank[indices[there]]
    moved, interrupted_at = _settle(
        model,
        x[order],
        codes[order],
        Neighbors(indices, neighbors.distances[order]),
        is_train[order].nonzero()[:, 0],
        weights,
        effort,
        ALL.at_most(n_steps),
    )
    codes[order] = moved
    return codes, interrupted_at


def _settle(
    model: Autoencoder,
    x: Tensor,
    codes: NDArray[np.float32],
    neighbors: Neighbors,
    train: Tensor,
    weights: Weights,
    effort: Effort,
    pace: Pace,
) -> tuple[NDArray[np.float32], str | None]:
    """Let all cells move, and return where they are and at which step an interrupt ended it.

    In each step all move once (`Positions`), and both networks learn from a batch of the cells `train` where these
    now lie: the decoder what is there, the encoder where a cell goes.
    """
    n_steps, rate, jumps = pace.at_most(effort.most_steps)
    generator = torch.Generator().manual_seed(effort.seed)
    optimizer = AdamW(flatten(model), peak=LEARNING_RATE, n_steps=n_steps, climb=CLIMB)
    descend = Descent(model, terms=weights.terms)
    shown = {"desc": f"settling {len(x):,} cells", "unit": "step", "delay": 1, "leave": False}
    bar = tqdm(total=n_steps, disable=not effort.progress_bar, **shown)
    positions = Positions(
        codes,
        x,
        neighbors,
        perplexity=weights.perplexity,
        n_steps=n_steps,
        rate=rate,
        divergence_weight=weights.divergence,
        chord_weight=CHORD_WEIGHT if weights.keeps_chords else 0.0,
        jumps=jumps,
        seed=effort.seed,
        n_threads=effort.n_threads,
    )
    around = None
    if any(term.regularizer.of == "neighbors" for term in weights.terms):
        around = within(neighbors.indices[:, : weights.n_around], np.arange(len(x)), train)
    # a view of the positions, which move
    cells = Cells(x, neighbors=around, codes=torch.from_numpy(positions.values))
    stream = batches_of_cells(
        cells,
        train,
        noise=effort.noise,
        measured=False,
        batch_size=effort.batch_size,
        generator=generator,
        on_device=generator,
    )
    # so that no weight is beyond float32
    heaviest = max((term.weight for term in weights.terms), default=0.0)
    factor = weights.factor if weights.is_found else PENALTY_FACTOR * weights.factor
    factor = min(factor, LARGEST / max(heaviest, 1.0))
    interrupted_at = None
    with bar, training_threads(effort.batch_size, x.device):
        try:
            for _ in range(n_steps):
                positions.step(model)
                descend(next(stream), factor)
                optimizer.step()
                bar.update()
        except KeyboardInterrupt:
            if not effort.keeps_interrupted:
                raise
            interrupted_at = f"step {positions.n_done} of {n_steps} of the second stage"
            warnings.warn(f"Interrupted at {interrupted_at}; the positions so far are kept.", stacklevel=2)
    for p in model.parameters():
        p.grad = None
    if not np.isfinite(positions.values).all():
        msg = (
            f"The second stage diverged within {positions.n_done} steps. Lower `tsne_weight` or `strength`, or give "
            "refine=False for the map of the encoder alone."
        )
        raise RuntimeError(msg)
    return positions.values, interrupted_at


def among_nearest(
    x: NDArray[np.float32], known: NDArray[np.float32], positions: NDArray[np.float32], *, seed: int = 0
) -> NDArray[np.float32]:
    """Return for each of the (n, D) cells the mean position, (n, d), of the nearest of the (m, D) `known` ones.

    They count as t-SNE's affinities do.
    """
    near, distances = InvertedFile(known, seed).nearest(min(N_NEAREST, len(known)), of=x)
    return (conditional(distances, N_COUNTED)[:, :, None] * positions[near]).sum(1)
