"""The second stage: each cell's position becomes a parameter of its own."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm.auto import tqdm

from ..nn import flatten
from .adamw import AdamW
from .affinities import affinities, conditional
from .batches import Cells, batches_of_cells
from .descent import Descent
from .positions import Positions
from .search import nearest_neighbors
from .tuning import tuned_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from ..nn import Autoencoder
    from .loss import Term
    from .search import Neighbors

# Of the networks, that follow the positions.
LEARNING_RATE, CLIMB = 3e-3, 0.1
# Weight of the penalties against that of the first stage: here they cost hardly any error (docs/defaults.md).
PENALTY_FACTOR = 5.0
# Beyond so many cells a random sample of this size moves first: it travels further, as its cells are further apart,
# and its neighbors are those of a wider neighborhood. The others then start among the nearest of them.
N_COARSE = 10_000
# Nearest cells of the sample that another one starts among, and how many of these count.
N_NEAREST, N_COUNTED = 10, 5
# Cells that are compared with the sample at a time.
BLOCK = 2048


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What the second stage minimizes, besides the reconstruction error."""

    terms: Sequence[Term]
    """The penalties on the decoder,"""
    factor: float
    """and what their weights are multiplied by."""
    divergence: float
    """Of t-SNE's divergence."""
    perplexity: float
    """Of its affinities."""
    chord: float
    """Of the misfit of distances across the surface."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How it is minimized."""

    batch_size: int
    noise: float
    seed: int
    n_threads: int
    progress_bar: bool
    n_steps: int | None = None
    """At most, of each run; None for the usual number."""


@dataclass(frozen=True)
class Pace:
    """How many steps there are, and their first length in widths."""

    n_steps: int
    rate: float

    def at_most(self, n_steps: int | None) -> Pace:
        """Return the same with fewer steps, if these are fewer."""
        return self if n_steps is None else replace(self, n_steps=min(self.n_steps, n_steps))


# Of the sample, of all cells after it, and of all where they are few.
COARSE, ALL, FEW = Pace(300, 1.0), Pace(150, 0.5), Pace(300, 0.5)


def settle(
    model: Autoencoder,
    x: Tensor,
    codes: NDArray[np.float32],
    neighbors: Neighbors,
    *,
    train: Tensor,
    weights: Weights,
    effort: Effort,
) -> NDArray[np.float32]:
    """Move each cell among its neighbors, the networks along with it, and return the (n, d) positions.

    Beyond 10,000 cells a random sample of these moves first. Ctrl-C keeps the positions so far, with a warning.

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
        return _settle(model, x, codes, neighbors, train, weights, effort, FEW)[0]
    rows = np.sort(np.random.default_rng(effort.seed).choice(n, N_COARSE, replace=False))
    sample = x[rows]
    is_train = torch.zeros(n, dtype=torch.bool).index_fill_(0, train, value=True)
    moved, is_complete = _settle(
        model,
        sample,
        codes[rows],
        nearest_neighbors(sample.numpy(), neighbors.indices.shape[1], seed=effort.seed),
        is_train[rows].nonzero()[:, 0],
        weights,
        effort,
        COARSE,
    )
    codes = among_nearest(x, sample, moved)
    codes[rows] = moved
    return _settle(model, x, codes, neighbors, train, weights, effort, ALL)[0] if is_complete else codes


def _settle(
    model: Autoencoder,
    x: Tensor,
    codes: NDArray[np.float32],
    neighbors: Neighbors,
    train: Tensor,
    weights: Weights,
    effort: Effort,
    pace: Pace,
) -> tuple[NDArray[np.float32], bool]:
    """Let all cells move, and return where they are and whether no interrupt came before the last step.

    In each step all move once (`Positions`), and both networks learn from a batch of the cells `train` where these
    now lie: the decoder what is there, the encoder where a cell goes.
    """
    pace = pace.at_most(effort.n_steps)
    generator = torch.Generator().manual_seed(effort.seed)
    optimizer = AdamW(flatten(model), peak=LEARNING_RATE, n_steps=pace.n_steps, climb=CLIMB)
    descend = Descent(model, terms=weights.terms)
    shown = {"desc": f"settling {len(x):,} cells", "unit": "step", "delay": 1, "leave": False}
    bar = tqdm(total=pace.n_steps, disable=not effort.progress_bar, **shown)
    positions = Positions(
        codes,
        x,
        affinities(neighbors, weights.perplexity),
        n_steps=pace.n_steps,
        rate=pace.rate,
        divergence_weight=weights.divergence,
        chord_weight=weights.chord,
        seed=effort.seed,
        n_threads=effort.n_threads,
    )
    # a view of the positions, which move
    cells = Cells(x, codes=torch.from_numpy(positions.values))
    stream = batches_of_cells(
        cells,
        train,
        noise=effort.noise,
        measured=False,
        batch_size=effort.batch_size,
        generator=generator,
        on_device=generator,
    )
    is_complete = False
    with bar, tuned_for(effort.batch_size, x.device):
        try:
            for _ in range(pace.n_steps):
                positions.step(model)
                descend(next(stream), PENALTY_FACTOR * weights.factor)
                optimizer.step()
                bar.update()
            is_complete = True
        except KeyboardInterrupt:
            warnings.warn(
                f"The second stage was interrupted at step {positions.n_done} of {pace.n_steps}; the positions so far "
                "are kept.",
                stacklevel=2,
            )
    for p in model.parameters():
        p.grad = None
    return positions.values, is_complete


@torch.no_grad()
def among_nearest(x: Tensor, known: Tensor, positions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return for each of the (n, D) cells the mean position, (n, d), of the nearest of the (m, D) `known` ones.

    They count as t-SNE's affinities do.
    """
    square = known.square().sum(1)
    k = min(N_NEAREST, len(known))
    found = np.empty((len(x), positions.shape[1]), dtype=np.float32)
    for start in range(0, len(x), BLOCK):
        cells = x[start : start + BLOCK]
        compared, near = torch.addmm(square, cells, known.T, alpha=-2).topk(k, largest=False)
        distance = (compared + cells.square().sum(1, keepdim=True)).clamp_(min=0).sqrt_()
        share = conditional(distance.numpy(), N_COUNTED)
        found[start : start + BLOCK] = (share[:, :, None] * positions[near.numpy()]).sum(1)
    return found
