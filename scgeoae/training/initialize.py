"""Where training starts, if not at PCA: positions that the caller has."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from ..geometry.chart import procrustes
from ..nn import flatten
from .adamw import AdamW
from .batches import batches_of_cells
from .loss import loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from ..nn import Autoencoder
    from .batches import Cells
    from .contrast import Contrast
    from .loss import Term

# Cells whose near neighbours set the scale, and how many neighbours of each.
N_SCALE_CELLS = 1000
N_SCALE_NEIGHBORS = 10
# Of the warm-up, whatever that of the training is: it has to arrive in so many steps.
N_WARM_UP_STEPS = 500
LEARNING_RATE = 5e-3


def check_init(init_pos: NDArray, n: int, d: int) -> NDArray[np.float64]:
    """Return `init_pos` as an (n, d) array of finite numbers, in a unit in which the largest is near to 1.

    Raises
    ------
    ValueError
        If it is not, or if its positions lie in fewer than d dimensions.
    """
    try:
        if np.iscomplexobj(init_pos):
            raise TypeError
        init_pos = np.asarray(init_pos, dtype=np.float64)
    except (TypeError, ValueError):
        msg = f"Expected `init_pos` to be an array of numbers of shape ({n}, {d}), found {type(init_pos).__name__}."
        raise ValueError(msg) from None
    if init_pos.shape != (n, d):
        msg = f"Expected `init_pos` to have shape ({n}, {d}), one position for each cell, found {init_pos.shape}."
        raise ValueError(msg)
    n_bad = int((~np.isfinite(init_pos)).any(axis=1).sum())
    if n_bad:
        msg = f"Expected `init_pos` to be finite, found NaN or infinite values in {n_bad} of {n} rows."
        raise ValueError(msg)
    if np.linalg.matrix_rank(init_pos - init_pos.mean(0)) < d:
        msg = f"Expected the positions of `init_pos` to fill {d} dimensions; they lie in fewer."
        raise ValueError(msg)
    # their squares are numbers too; a power of two changes no digit
    return np.ldexp(init_pos, -np.frexp(np.abs(init_pos).max())[1])


def place(init_pos: NDArray[np.float64], x: Tensor, principal: Tensor) -> Tensor:
    """Return `init_pos` moved, turned and scaled to where latent space starts, (n, d) like `x`.

    Its mean is 0, the median distance between cells that are near in `x` is that in `x`, and no
    rotation or reflection brings it nearer to the (n, d) coordinates `principal`. So neither the unit nor the
    pose of `init_pos` has an effect on training.
    """
    y = torch.as_tensor(init_pos - init_pos.mean(0), device="cpu")
    cells = x.cpu()
    some = torch.linspace(0, len(y) - 1, min(len(y), N_SCALE_CELLS), dtype=torch.float32).long()
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
    model: Autoencoder,
    cells: Cells,
    y: Tensor,
    *,
    train: Tensor,
    terms: Sequence[Term],
    contrast: Contrast | None,
    noise: float,
    batch_size: int,
    seed: int,
) -> None:
    """Bring encoder and decoder to where they map the cells to the (n, d) codes `y` and back.

    Their linear parts become the least squares maps, and a short warm-up on the cells `train` bends
    them the rest of the way. Its loss is that of the training, with the regularisers `terms` at the
    codes, and the distances to the layout besides: a network fitted to the layout alone changes as
    it likes beside the data, and the first steps of a regulariser that forbids this would tear the
    layout up again.
    """
    set_linear(model, cells.x[train], y[train])
    optimizer = AdamW(flatten(model), peak=LEARNING_RATE, n_steps=N_WARM_UP_STEPS)
    stream = batches_of_cells(
        cells,
        train,
        noise=noise,
        measured=any(term.is_of_rows or term.is_of_decoder for term in terms),
        batch_size=batch_size,
        # of its own, so that the regular training draws the same batches with a layout and without
        generator=torch.Generator().manual_seed(seed),
        on_device=torch.Generator(device=cells.x.device).manual_seed(seed),
    )
    # in units of the variance, so that the unit of the layout has no say in which counts more
    variance = y.square().mean()
    for batch in islice(stream, N_WARM_UP_STEPS):
        target = y[batch.rows]
        encoding = (model.encoder(batch.x) - target).square().mean() / variance
        decoding = (model.decoder(target) - batch.x).square().mean()
        optimizer.flat.grad.zero_()
        (loss(model, batch, terms=terms, contrast=contrast).total + encoding + decoding).backward()
        optimizer.step()


@torch.no_grad()
def set_linear(model: Autoencoder, x: Tensor, y: Tensor) -> None:
    """Make the linear parts the least squares maps from (n, D) cells `x` to (n, d) codes `y` and back."""
    x, y = x.double().cpu(), y.double().cpu()
    # a pseudo-inverse, since constant features have no axis of their own
    model.encoder.linear.copy_((torch.linalg.pinv(x) @ y).T)
    model.decoder.linear.copy_((torch.linalg.pinv(y) @ x).T)
