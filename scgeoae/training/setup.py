"""Set up the training: check the data, standardize them, draw the training cells, and start the model at PCA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from sklearn.decomposition import PCA

from ..nn import Autoencoder
from .standardization import standardize_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from .settings import Settings
    from .standardization import Standardization

# Cells that training draws its batches from, besides the validation cells. A default run looks at some 300,000 cells,
# at each several times where there are fewer. With more cells it learns no better, and needs more memory
# (docs/speed.md).
MAX_SAMPLED = 100_000


class Setup(NamedTuple):
    """A model at PCA and cells to train it on, on the device that computes."""

    model: Autoencoder
    standardization: Standardization
    rows: NDArray[np.integer]
    """(m,) which cells of the matrix these are, in ascending order."""
    x: Tensor
    """(m, D) standardized cells."""
    axes: Tensor
    """(d, D) first principal axes of `x`."""
    train: Tensor
    """Rows of `x` that batches are drawn from."""
    validation: Tensor
    """Rows of `x` that choose the state that is kept; none below 20 cells."""
    generator: torch.Generator
    """Draws the batches."""
    on_device: torch.Generator
    """Draws noise and latent points where the cells are."""

    @property
    def principal(self) -> Tensor:
        """(m, d) first principal components of `x`."""
        return self.x @ self.axes.T


def set_up(raw: Any, settings: Settings, device: torch.device, *, name: str = "the matrix") -> Setup:
    """Set up the fit to an (n, D) matrix that can be read in `blocks`; messages call it `name`.

    Raises
    ------
    ValueError
        If there are more components than features, fewer cells than components + 2, NaN or infinite values, or if all
        cells are equal.
    """
    d = settings.n_components
    n, n_features = raw.shape
    if d > n_features:
        msg = f"Expected `n_components` to be at most {n_features}, the number of features, found {d}."
        raise ValueError(msg)
    if n < d + 2:
        msg = f"A map of {d} dimensions needs at least {d + 2} cells, found {n}."
        raise ValueError(msg)
    generator = torch.Generator().manual_seed(settings.seed)
    order = torch.randperm(n, generator=generator)
    n_validation = min(n // 20, 1000)
    drawn = order[: n_validation + MAX_SAMPLED]
    rows, where = drawn.sort()
    validation, train = where.argsort().split([n_validation, len(drawn) - n_validation])
    standardization, cells = standardize_rows(raw, rows.numpy(), name=name)

    # scikit-learn fixes the signs of the axes; its seed is fixed here, so that every seed starts at the same map
    axes = torch.as_tensor(PCA(d, random_state=0).fit(cells).components_)
    model = Autoencoder(n_features, d, hidden=settings.hidden, activation=settings.activation, generator=generator)
    model.start_at(
        center=torch.as_tensor(standardization.center), scale=torch.as_tensor(standardization.scale), axes=axes
    )
    x = torch.from_numpy(cells)
    if device.type == "cuda":
        x = x.pin_memory()
    x = x.to(device, non_blocking=True)
    model.to(device)
    on_device = torch.Generator(device=device).manual_seed(settings.seed)
    return Setup(
        model, standardization, rows.numpy(), x, axes.to(x), train.to(device), validation.to(device), generator,
        on_device,
    )  # fmt: skip


def check_init(init_pos: Any, n: int, d: int) -> NDArray[np.float64]:
    """Return `init_pos` as an (n, d) array of finite numbers, in a unit in which the largest is close to 1.

    Raises
    ------
    ValueError
        If it is not such an array, or if its positions lie in fewer than d dimensions.
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
    # so that their squares can be represented; a power of two changes no digit
    return np.ldexp(init_pos, -np.frexp(np.abs(init_pos).max())[1])
