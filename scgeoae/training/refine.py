"""The refinement stage: the position of each cell becomes a parameter of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.spatial import KDTree

from .._runtime import training_threads
from ..graphs.neighbors import others_in_tree
from .affinities import conditional
from .batches import Cells, batches
from .loop import Watch, descend
from .neighbors import InvertedFile, Neighbors, nearest_neighbors, within
from .objective import Objective
from .optimizer import AdamW
from .positions import Jumps, Positions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from ..nn import Autoencoder
    from .objective import Batch
    from .settings import Settings


class Pace(NamedTuple):
    """How cells move."""

    n_steps: int
    rate: float
    """Length of the first steps, in median widths of the kernels."""
    jumps: Jumps


# The learning rate of the networks, which follow the positions.
LEARNING_RATE, CLIMB = 3e-3, 0.1
# Weight of the penalties against their weight in the first stage: here they cost hardly any error (docs/defaults.md).
# Where the first stage has found the largest weight that the error allows, this weight stays.
PENALTY_FACTOR = 5.0
LARGEST = 1e38
# Weight of the misfit of distances straight through the representation (docs/defaults.md).
CHORD_WEIGHT = 1.5
# Beyond so many cells a random sample of this size moves first. It travels further, as its cells are further apart, and
# its neighbors are those of a wider neighborhood. The other cells then start among the nearest of the sample.
N_COARSE = 10_000
# The pace of the sample, of all cells after it, and of all cells where there is no sample (docs/defaults.md).
COARSE = Pace(200, 1.0, Jumps(within=3, gain=1.5))
ALL = Pace(200, 0.5, Jumps(within=3, gain=1.5))
FEW = Pace(400, 0.5, Jumps(within=6, gain=3))
# Beyond so many cells there are fewer steps in proportion, but at least so many: a million cells then take minutes.
MAX_FULL, LEAST_STEPS = 200_000, 50
# Nearest cells of the sample among which another cell starts, and how many of these count.
N_NEAREST, N_COUNTED = 10, 5
# Neighbors by which the maps of both stages are compared, and number of cells whose neighbors are compared.
N_COMPARED, MAX_COMPARED = 10, 1000


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """What the refinement stage minimizes, and how."""

    settings: Settings
    factor: float
    """What the first stage multiplied the weights of the penalties by."""
    noise: float
    """Standard deviation of the noise on the cells that are encoded."""
    keeps_chords: bool
    """Whether distances straight through the representation are kept as well."""
    progress_bar: bool
    n_threads: int
    """Number of threads that move the positions."""

    @property
    def objective(self) -> Objective:
        """The objective of the networks, which learn where the cells are."""
        terms = self.settings.terms
        factor = self.factor if self.settings.is_auto else PENALTY_FACTOR * self.factor
        # so that no weight is beyond float32
        heaviest = max((term.weight for term in terms), default=0.0)
        return Objective(terms, factor=min(factor, LARGEST / max(heaviest, 1.0)))

    def move(
        self,
        model: Autoencoder,
        x: Tensor,
        codes: NDArray[np.float32],
        neighbors: Neighbors,
        train: Tensor,
        pace: Pace,
    ) -> tuple[NDArray[np.float32], str | None]:
        """Move all cells at one pace; the arguments and results are those of `refine`.

        In each step all cells move once (`Positions`), and both networks learn from a batch of the cells `train` at
        their new positions: the decoder what is there, the encoder where a cell goes.
        """
        settings, objective = self.settings, self.objective
        n_steps = min(pace.n_steps, settings.n_steps or pace.n_steps)
        generator = torch.Generator().manual_seed(settings.seed)
        positions = Positions(
            codes,
            x,
            neighbors,
            perplexity=settings.perplexity,
            n_steps=n_steps,
            rate=pace.rate,
            divergence_weight=settings.tsne_weight,
            chord_weight=CHORD_WEIGHT if self.keeps_chords else 0.0,
            jumps=pace.jumps,
            seed=settings.seed,
            n_threads=self.n_threads,
        )
        around = None
        if objective.has_neighbors:
            around = within(neighbors.indices[:, : settings.n_neighbors], np.arange(len(x)), train)
        stream = batches(
            # a view of the positions, which move
            Cells(x, neighbors=around, codes=torch.from_numpy(positions.values)),
            train,
            objective,
            noise=self.noise,
            batch_size=settings.batch_size,
            n_steps=n_steps,
            generator=generator,
            on_device=generator,
        )

        def moving() -> Iterator[Callable[[], Batch]]:
            for draw in stream:
                positions.step(model)
                yield draw

        optimizer = AdamW(model, peak=LEARNING_RATE, n_steps=n_steps, climb=CLIMB)
        watch = Watch(f"refining {len(x):,} cells", "second stage", n_steps, progress_bar=self.progress_bar)
        if settings.keeps_interrupted:
            watch.kept = "the positions so far are"
        with watch, training_threads(settings.batch_size, x.device):
            for _ in descend(model, moving(), objective, optimizer, generator=generator):
                watch.update()
        if not np.isfinite(positions.values).all():
            msg = (
                f"The second stage diverged within {positions.n_done} steps. Lower `tsne_weight` or `strength`, or "
                "give refine=False for the map of the encoder alone."
            )
            raise RuntimeError(msg)
        return positions.values, watch.interrupted_at


def refine(
    model: Autoencoder,
    x: Tensor,
    codes: NDArray[np.float32],
    neighbors: Neighbors,
    *,
    train: Tensor,
    stage: Refinement,
) -> tuple[NDArray[np.float32], str | None]:
    """Move each cell among its neighbors, the networks along with it, and return the (n, d) positions.

    The second result is the step at which an interrupt ended the stage, in words, if one did and that is kept. Beyond
    10,000 cells a random sample of these moves first.

    Parameters
    ----------
    model
        A trained model on the CPU; changed in place.
    x, codes
        (n, D) standardized cells, and the (n, d) latent positions where they start.
    neighbors
        Neighbors of the cells in the representation.
    train
        Row numbers of the cells that the networks learn from.
    """
    n, seed = len(x), stage.settings.seed
    if n <= N_COARSE:
        return stage.move(model, x, codes, neighbors, train, FEW)
    rows = np.sort(np.random.default_rng(seed).choice(n, N_COARSE, replace=False))
    sample = x[rows]
    is_train = torch.zeros(n, dtype=torch.bool).index_fill_(0, train, value=True)
    near = nearest_neighbors(sample.numpy(), min(neighbors.indices.shape[1], N_COARSE - 1), seed=seed)
    moved, interrupted_at = stage.move(model, sample, codes[rows], near, is_train[rows].nonzero()[:, 0], COARSE)
    codes = among_nearest(x.numpy(), sample.numpy(), moved, seed=seed)
    codes[rows] = moved
    if interrupted_at is not None:
        return codes, interrupted_at
    n_steps = max(int(ALL.n_steps * min(MAX_FULL / n, 1)), LEAST_STEPS)
    # Cells that are near on the map are put near in memory, too, where the loops find them sooner. This is a copy, as
    # torch warns of arrays that cannot be written to, such as those of the tree.
    order = KDTree(codes, balanced_tree=False).indices.copy()
    rank = np.empty(n, dtype=np.int32)
    rank[order] = np.arange(n, dtype=np.int32)
    indices = neighbors.indices[order]
    there = indices >= 0
    indices[there] = rank[indices[there]]
    near = Neighbors(indices, neighbors.distances[order])
    is_train = is_train[order].nonzero()[:, 0]
    pace = ALL._replace(n_steps=n_steps)
    moved, interrupted_at = stage.move(model, x[order], codes[order], near, is_train, pace)
    codes[order] = moved
    return codes, interrupted_at


def among_nearest(
    x: NDArray[np.float32], known: NDArray[np.float32], positions: NDArray[np.float32], *, seed: int = 0
) -> NDArray[np.float32]:
    """Return for each of the (n, D) cells the mean position, (n, d), of the nearest of the (m, D) `known` ones.

    They are weighted as t-SNE's affinities are.
    """
    near, distances = InvertedFile(known, seed).nearest(min(N_NEAREST, len(known)), of=x)
    return (conditional(distances, N_COUNTED)[:, :, None] * positions[near]).sum(1)


def share_kept(z: NDArray[np.float32], neighbors: Neighbors, *, seed: int = 0) -> float:
    """Return the share of the ten nearest cells in the representation that are nearest on the map as well.

    Parameters
    ----------
    z
        (n, d) positions on the map.
    neighbors
        Neighbors of the cells in the representation. At most 1,000 cells are compared.
    """
    n = len(z)
    k = min(N_COMPARED, neighbors.indices.shape[1], n - 1)
    cells = np.random.default_rng(seed).choice(n, min(MAX_COMPARED, n), replace=False)
    near, _ = others_in_tree(KDTree(z), cells, k)
    return float((neighbors.indices[cells, :k, None] == near[:, None]).any(2).mean())
