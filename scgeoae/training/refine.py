"""The refinement stage: the position of each cell becomes a parameter of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from .._runtime import training_threads
from ..graphs.neighbors import others_in_tree
from ..graphs.partition import Partition
from .affinities import conditional
from .batches import Cells, batches
from .device import native
from .loop import Watch, descend
from .neighbors import InvertedFile, Neighbors, nearest_neighbors, within
from .objective import Objective
from .optimizer import AdamW
from .positions import Jumps, Positions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

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
        codes: Tensor,
        neighbors: Neighbors,
        train: Tensor,
        pace: Pace,
    ) -> tuple[Tensor, str | None]:
        """Move all cells at one pace; the arguments and results are those of `refine`.

        In each step all cells move once (`Positions`), and both networks learn from a batch of the cells `train` at
        their new positions: the decoder what is there, the encoder where a cell goes.
        """
        settings, objective = self.settings, self.objective
        n_steps = min(pace.n_steps, settings.n_steps or pace.n_steps)
        generator = torch.Generator().manual_seed(settings.seed)
        on_device = generator
        if x.device.type != "cpu":
            on_device = torch.Generator(device=x.device).manual_seed(settings.seed)
        positions = Positions(
            codes,
            x,
            neighbors,
            perplexity=settings.perplexity,
            n_steps=n_steps,
            rate=pace.rate,
            divergence_weight=settings.tsne_weight,
            chord_weight=CHORD_WEIGHT * (1 - settings.equal_room) if self.keeps_chords else 0.0,
            equal_room=settings.equal_room,
            jumps=pace.jumps,
            seed=settings.seed,
            n_threads=self.n_threads,
        )
        around = None
        if objective.has_neighbors:
            around = within(neighbors.indices[:, : settings.n_neighbors], np.arange(len(x)), train)
        stream = batches(
            # the positions move
            Cells(x, neighbors=around, codes=positions.values),
            train,
            objective,
            noise=self.noise,
            batch_size=settings.batch_size,
            n_steps=n_steps,
            generator=generator,
            on_device=on_device,
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
            for _ in descend(model, moving(), objective, optimizer, generator=on_device):
                watch.update()
        if not positions.values.isfinite().all():
            msg = (
                f"The second stage diverged within {positions.n_done} steps. Lower `tsne_weight` or `strength`, or "
                "give refine=False for the map of the encoder alone."
            )
            raise RuntimeError(msg)
        return positions.values, watch.interrupted_at


def refine(
    model: Autoencoder,
    x: Tensor,
    codes: Tensor,
    neighbors: Neighbors,
    *,
    train: Tensor,
    stage: Refinement,
) -> tuple[Tensor, str | None]:
    """Move each cell among its neighbors, the networks along with it, and return the (n, d) positions.

    The second result is the step at which an interrupt ended the stage, in words, if one did and that is kept. Beyond
    10,000 cells a random sample of these moves first.

    Parameters
    ----------
    model
        A trained model on the CPU or on CUDA, where all is computed; changed in place.
    x, codes
        (n, D) standardized cells, and the (n, d) latent positions where they start, on the device of the model.
    neighbors
        Neighbors of the cells in the representation.
    train
        Row numbers of the cells that the networks learn from, on the device of the model.
    """
    n, seed = len(x), stage.settings.seed
    if n <= N_COARSE:
        return stage.move(model, x, codes, neighbors, train, FEW)
    rows = torch.from_numpy(np.sort(np.random.default_rng(seed).choice(n, N_COARSE, replace=False))).to(x.device)
    sample = x[rows]
    is_train = torch.zeros(n, dtype=torch.bool, device=x.device).index_fill_(0, train, value=True)
    near = nearest_neighbors(native(sample), min(neighbors.indices.shape[1], N_COARSE - 1), seed=seed)
    moved, interrupted_at = stage.move(model, sample, codes[rows], near, is_train[rows].nonzero()[:, 0], COARSE)
    codes = torch.as_tensor(among_nearest(native(x), native(sample), native(moved), seed=seed))
    codes[rows] = moved
    if interrupted_at is not None:
        return codes, interrupted_at
    n_steps = max(int(ALL.n_steps * min(MAX_FULL / n, 1)), LEAST_STEPS)
    # cells that are near on the map are put near in memory, too, where they are found sooner
    order = map_order(codes)
    rank = torch.empty(n, dtype=torch.int32, device=x.device)
    rank[order] = torch.arange(n, dtype=torch.int32, device=x.device)
    indices, distances = (torch.as_tensor(part, device=x.device)[order] for part in neighbors)
    indices = rank.index_select(0, indices.clamp(min=0).flatten()).view_as(indices).where(indices >= 0, -1)
    near = Neighbors(native(indices), native(distances))
    is_train = is_train[order].nonzero()[:, 0]
    pace = ALL._replace(n_steps=n_steps)
    moved, interrupted_at = stage.move(model, x[order], codes[order], near, is_train, pace)
    codes[order] = moved
    return codes, interrupted_at


def map_order(z: Tensor) -> Tensor:
    """Return the row numbers of the cells, (n,), in an order in which those near on the map are near each other."""
    if isinstance(native(z), Tensor):
        return Partition(z).order
    # a copy, as torch warns of arrays that cannot be written to, such as those of the tree
    return torch.from_numpy(KDTree(z.numpy(), balanced_tree=False).indices.copy())


def among_nearest(x: Any, known: Any, positions: Any, *, seed: int = 0) -> Any:
    """Return for each of the (n, D) cells the mean position, (n, d), of the nearest of the (m, D) `known` ones.

    They are weighted as t-SNE's affinities are. All are arrays or all are tensors.
    """
    near, distances = InvertedFile(known, seed).nearest(min(N_NEAREST, len(known)), of=x)
    return (conditional(distances, N_COUNTED)[:, :, None] * positions[near]).sum(1)


def share_kept(z: NDArray[np.float32] | Tensor, neighbors: Neighbors, *, seed: int = 0) -> float:
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
    if isinstance(z, Tensor):
        z = native(z)
    if isinstance(z, Tensor):
        near = Partition(z).nearest_others(k, torch.from_numpy(cells).to(z.device))[0].cpu().numpy()
    else:
        near, _ = others_in_tree(KDTree(z), cells, k)
    expected = torch.as_tensor(neighbors.indices)[cells, :k].cpu().numpy()
    return float((expected[:, :, None] == near[:, None]).any(2).mean())
