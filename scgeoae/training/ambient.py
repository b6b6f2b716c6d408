"""The ambient metric that a user asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf

from .._matrix import dense
from ..geometry.ambient import Ambient, is_metric

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike
    from torch import Tensor


# Number of cells from which a covariance is estimated.
MAX_CELLS = 100_000


def choose_ambient(ambient: str | ArrayLike | Callable[[Tensor], Tensor] | None, raw: Any) -> Ambient | None:
    """Return the ambient metric of the space of the (n, D) matrix `raw`, with `None` for the Euclidean one.

    ``"mahalanobis"`` is the inverse of the covariance of `raw`, which is shrunk after Ledoit & Wolf (2004) so that it
    has an inverse. Of more than 100,000 cells, every second, third and so on is taken.

    Raises
    ------
    ValueError
        If it does not have the shape of a metric of D features, or is not finite, symmetric and positive definite.
    """
    n_features = raw.shape[1]
    if ambient is None:
        return None
    if isinstance(ambient, str):
        if ambient != "mahalanobis":
            msg = f"Expected `ambient` to be None, 'mahalanobis', an array or a function, found {ambient!r}."
            raise ValueError(msg)
        some = dense(raw[:: -(-raw.shape[0] // MAX_CELLS)])
        if not (np.abs(some) <= np.finfo(np.float32).max).all():
            msg = (
                "ambient='mahalanobis' needs a covariance, and the data have values that are NaN, infinite or beyond "
                "float32; drop these cells."
            )
            raise ValueError(msg)
        covariance, _ = ledoit_wolf(some.astype(np.float64))
        full = np.linalg.matrix_rank(covariance) == n_features
        tensor = _as_tensor(np.linalg.inv(covariance) if full else np.zeros_like(covariance))
        if not is_metric(tensor, diagonal=False):
            msg = (
                "ambient='mahalanobis' inverts the covariance, and this one has no inverse: the features do not vary "
                "enough, or too differently; give another `ambient`."
            )
            raise ValueError(msg)
        return Ambient(tensor)
    if callable(ambient):
        points = torch.from_numpy(np.ascontiguousarray(dense(raw[:3]), dtype=np.float32))
        found = Ambient(ambient)
        _check(found.at(points).detach(), f"`ambient(x)` for {len(points)} points", diagonal=points.shape)
        return found
    tensor = _as_tensor(ambient)
    diagonal, full = (n_features,), (n_features, n_features)
    if tuple(tensor.shape) not in (diagonal, full):
        msg = f"Expected `ambient` to be of shape {diagonal}, a diagonal, or {full}, found {tuple(tensor.shape)}."
        raise ValueError(msg)
    _check(tensor, "`ambient`", diagonal=diagonal)
    return Ambient(tensor)


def _as_tensor(array: Any) -> Tensor:
    try:
        return torch.from_numpy(np.array(array, dtype=np.float32))
    except (TypeError, ValueError):
        msg = f"Expected `ambient` to be None, 'mahalanobis', an array or a function, found {array!r}."
        raise ValueError(msg) from None


def _check(tensor: Tensor, name: str, *, diagonal: tuple[int, ...]) -> None:
    if not is_metric(tensor, diagonal=tensor.shape == diagonal):
        msg = f"Expected {name} to be a metric: finite, symmetric and positive definite."
        raise ValueError(msg)
