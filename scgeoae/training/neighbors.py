"""The cells around each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from sklearn.neighbors import NearestNeighbors

if TYPE_CHECKING:
    from torch import Tensor


def find_neighbors(x: Tensor, among: Tensor, k: int) -> Tensor:
    """Return for each of the (n, D) cells its k nearest others of those in rows `among`, (n, k).

    Fewer where there are fewer cells.
    """
    k = min(k, len(among) - 1)
    rows = among.cpu()
    points = x.cpu().numpy()
    # one more than asked for: a cell that is among them finds itself
    found = NearestNeighbors(n_neighbors=k + 1).fit(points[rows]).kneighbors(points, return_distance=False)
    near = rows[torch.from_numpy(found)]
    others = near != torch.arange(len(near))[:, None]
    # itself goes last, and the order of the others stays
    order = torch.argsort((~others).int(), dim=1, stable=True)
    return near.gather(1, order)[:, :k].to(x.device)
