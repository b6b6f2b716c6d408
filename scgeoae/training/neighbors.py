"""The cells around each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

N_PARTNERS = 10
"""How many cells the neighbour term pulls each cell to: the fewer, the finer the structure that it keeps
(docs/defaults.md)."""
# Cells that are pulled, and among which their neighbours are searched. The search costs as many distances for each
# cell, so that with more of them its time would grow with the square of their number; neighbours among
# a random 10,000 are those of a somewhat wider neighbourhood.
MAX_SEARCHED = 10_000
# Standard deviation of the noise that keeps the encoder from memorising cells (docs/defaults.md), and how long it
# may be against the distance of a cell to its neighbours. Among the cells of a tissue it is shorter by itself; on
# points that fill a surface it would jump from one fold to the next.
NOISE = 0.25
MAX_NOISE_LENGTH = 2 / 3
# Cells that are asked for this distance.
N_NOISE_CELLS = 1000


def find_neighbors(x: Tensor, among: Tensor, k: int, *, of: Tensor | None = None) -> Tensor:
    """Return for each of the (n, D) cells its k nearest others of those in rows `among`, (n, k).

    Fewer where there are fewer cells. If only those in rows `of` are asked for, the others are their own neighbours.
    """
    k = min(k, len(among) - 1)
    rows = among.cpu()
    asked = torch.arange(len(x)) if of is None else of.cpu()
    points = x.cpu().numpy()
    # one more than asked for: a cell that is among them finds itself
    found = NearestNeighbors(n_neighbors=k + 1).fit(points[rows]).kneighbors(points[asked], return_distance=False)
    near = rows[torch.from_numpy(found)]
    others = near != asked[:, None]
    # itself goes last, and the order of the others stays
    order = torch.argsort((~others).int(), dim=1, stable=True)
    table = torch.arange(len(x))[:, None].repeat(1, k)
    table[asked] = near.gather(1, order)[:, :k]
    return table.to(x.device)


def within(neighbors: NDArray[np.integer], rows: NDArray[np.integer], among: Tensor) -> Tensor:
    """Return the (n, k) row numbers `neighbors` of the cells `rows`, as positions in `rows`, (m, k).

    Those that are not at one of the positions `among` are replaced by others of the same cell, the nearest first; a
    cell that has none, and −1 in its place, is its own neighbour.
    """
    n = len(neighbors)
    position = torch.full((n + 1,), -1)  # the last for −1
    allowed = torch.from_numpy(rows)[among.cpu()]
    position[allowed] = among.cpu()
    table = position[torch.from_numpy(np.asarray(neighbors[rows], dtype=np.int64))]
    kept = table >= 0
    order = torch.argsort((~kept).int(), dim=1, stable=True)
    counts = kept.sum(1, keepdim=True)
    cycle = torch.arange(table.shape[1]) % counts.clamp(min=1)
    itself = torch.arange(len(table))[:, None]
    return torch.where(counts > 0, table.gather(1, order).gather(1, cycle), itself).to(among.device)


def suitable_noise(x: Tensor, partners: Tensor, of: Tensor) -> float:
    """Return the standard deviation of the noise beside a neighbour term.

    0.25, but so that the noise on the (n, D) cells is at most two thirds as long as the median
    distance of a cell in rows `of` to those in its row of the (n, k) table `partners`.
    """
    some = of[torch.linspace(0, len(of) - 1, min(len(of), N_NOISE_CELLS), dtype=torch.float32, device=x.device).long()]
    distance = (x[partners[some]] - x[some, None]).norm(dim=2).mean(1).median().item()
    return min(NOISE, MAX_NOISE_LENGTH * distance / x.shape[1] ** 0.5)
