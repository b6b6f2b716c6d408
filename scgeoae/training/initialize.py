"""Start training at positions that the caller has, instead of PCA."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from sklearn.neighbors import NearestNeighbors

from .._matrix import spread_rows
from ..geometry.chart import procrustes
from .batches import batches
from .loop import descend
from .optimizer import AdamW

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from ..nn import Autoencoder
    from .batches import Cells
    from .objective import Objective
    from .settings import Settings
    from .setup import Setup

# Cells whose neighbors set the scale, and number of neighbors of each.
N_SCALE_CELLS = 1000
N_SCALE_NEIGHBORS = 10
# The learning rate of the warm-up does not follow that of the training: it has to arrive in so many steps.
N_WARM_UP_STEPS = 500
LEARNING_RATE = 5e-3


def placed(init_pos: NDArray[np.float64], x: Tensor, principal: Tensor) -> Tensor:
    """Return `init_pos` moved, turned and scaled to where latent space starts, (n, d) like `x`.

    Its mean becomes 0, neighbors in `x` get the same median distance as in `x`, and no rotation or reflection brings it
    closer to the (n, d) coordinates `principal`. So neither the unit nor the pose of `init_pos` affects training.
    """
    y = torch.as_tensor(init_pos - init_pos.mean(0), device="cpu")
    cells = x.cpu()
    some = torch.from_numpy(spread_rows(len(y), N_SCALE_CELLS))
    index = NearestNeighbors(n_neighbors=min(N_SCALE_NEIGHBORS + 1, len(y))).fit(cells.numpy())
    # the first is the cell itself, or a duplicate of it
    near = torch.from_numpy(index.kneighbors(cells[some].numpy(), return_distance=False)[:, 1:])
    in_x = (cells[near] - cells[some, None]).norm(dim=2).double().median()
    in_y = (y[near] - y[some, None]).norm(dim=2).median()
    if in_x == 0 or in_y == 0:
        # most cells have a duplicate: the scale of the whole must do
        in_x, in_y = principal.double().norm().cpu(), y.norm()
    return (in_x / in_y * y @ procrustes(y, principal.cpu())).to(x)


def start_from(
    setup: Setup, cells: Cells, y: Tensor, objective: Objective, settings: Settings, *, noise: float
) -> None:
    """Bring encoder and decoder to where they map the cells to the (n, d) codes `y` and back.

    Their linear parts become the least squares maps, and a short warm-up on the training cells bends them the rest of
    the way. It minimizes the objective of the training, with the regularizers at the codes, and the distances to the
    layout. A network that is fitted to the layout alone changes freely away from the data, and the first steps of a
    regularizer that forbids this would tear the layout up again.
    """
    set_linear(setup.model, setup.x[setup.train], y[setup.train])
    objective = replace(objective, sampler=None, factor=1.0, interval=1, layout_variance=y.square().mean())
    on_device = torch.Generator(device=setup.x.device).manual_seed(settings.seed)
    stream = batches(
        replace(cells, layout=y),
        setup.train,
        objective,
        noise=noise,
        batch_size=settings.batch_size,
        n_steps=N_WARM_UP_STEPS,
        # of its own, so that the training draws the same batches with a layout and without
        generator=torch.Generator().manual_seed(settings.seed),
        on_device=on_device,
    )
    optimizer = AdamW(setup.model, peak=LEARNING_RATE, n_steps=N_WARM_UP_STEPS)
    for _ in descend(setup.model, stream, objective, optimizer, generator=on_device):
        pass


@torch.no_grad()
def set_linear(model: Autoencoder, x: Tensor, y: Tensor) -> None:
    """Make the linear parts the least squares maps from (n, D) cells `x` to (n, d) codes `y` and back."""
    x, y = x.double().cpu(), y.double().cpu()
    # a pseudo-inverse, since constant features have no axis of their own
    model.encoder.linear.copy_((torch.linalg.pinv(x) @ y).T)
    model.decoder.linear.copy_((torch.linalg.pinv(y) @ x).T)
