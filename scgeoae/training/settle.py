"""The second stage: each cell's position becomes a parameter of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm.auto import tqdm

from ..nn import flatten
from .adamw import AdamW
from .affinities import affinities
from .batches import Cells, batches_of_cells
from .descent import Descent
from .positions import Positions

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


def settle(
    model: Autoencoder,
    x: Tensor,
    codes: NDArray[np.float32],
    neighbors: Neighbors,
    *,
    terms: Sequence[Term],
    factor: float,
    train: Tensor,
    perplexity: float,
    divergence_weight: float,
    chord_weight: float,
    n_steps: int,
    batch_size: int,
    noise: float,
    seed: int,
    n_threads: int,
    progress_bar: bool,
) -> NDArray[np.float32]:
    """Move each cell among its neighbors, the networks along with it, and return the (n, d) positions.

    In each step all cells move once (`Positions`), and both networks learn from a batch of the cells `train` where
    these now lie: the decoder what is there, the encoder where a cell goes.

    Parameters
    ----------
    model
        Trained, on the CPU; changed in place.
    x, codes
        (n, D) standardized cells, and the (n, d) latent positions where they start.
    neighbors
        Of the cells in the representation.
    terms, factor
        The penalties on the decoder, and what their weights are multiplied by.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = AdamW(flatten(model), peak=LEARNING_RATE, n_steps=n_steps, climb=CLIMB)
    descend = Descent(model, terms=terms)
    bar = tqdm(total=n_steps, desc="settling", unit="step", delay=1, disable=not progress_bar, leave=False)
    with (
        bar,
        Positions(
            codes,
            x,
            affinities(neighbors, perplexity),
            n_steps=n_steps,
            divergence_weight=divergence_weight,
            chord_weight=chord_weight,
            seed=seed,
            n_threads=n_threads,
        ) as positions,
    ):
        # a view of the positions, which move
        cells = Cells(x, codes=torch.from_numpy(positions.values))
        stream = batches_of_cells(
            cells,
            train,
            noise=noise,
            measured=False,
            batch_size=batch_size,
            generator=generator,
            on_device=generator,
        )
        for _ in range(n_steps):
            positions.step(model)
            descend(next(stream), PENALTY_FACTOR * factor)
            optimizer.step()
            bar.update()
    for p in model.parameters():
        p.grad = None
    return positions.values
