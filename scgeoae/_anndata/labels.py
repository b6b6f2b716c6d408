"""Transfer labels from the cells of a map to new cells, by a vote of the nearest."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._arguments import checked_names
from ..training.neighbors import NeighborSearch
from .columns import obs_labels

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

# Nearest reference cells that vote, as many as in Scanpy's neighbor graph by default.
N_VOTERS = 15


def labels_to_transfer(
    adata: AnnData, columns: Collection[str], obs: str | Sequence[str] | None
) -> dict[str, pd.Categorical]:
    """Return the labels of the reference for each name in `obs`, or raise if they cannot be transferred.

    The new cells have `columns` already.
    """
    found = {}
    for name in [] if obs is None else checked_names(obs, "obs"):
        labels = obs_labels(adata, name)
        is_empty = not (labels.codes >= 0).any()
        if is_empty or pd.api.types.is_float_dtype(labels.categories):
            what = "none" if is_empty else "numbers"
            msg = f"Expected adata.obs[{name!r}] to hold labels, found {what}."
            raise ValueError(msg)
        if name in columns and _confidence(name) not in columns:
            other = f"{name}_of_map"
            msg = (
                f"adata_new.obs[{name!r}] has its own labels, which would be lost; give those of the map another name: "
                f"adata.obs[{other!r}] = adata.obs[{name!r}], and obs={other!r}."
            )
            raise ValueError(msg)
        found[name] = labels
    return found


class Vote:
    """A vote of the nearest labeled cells of the reference on the labels of new cells.

    Parameters
    ----------
    labels
        Labels of the reference by name of their column.
    x
        (m, D) standardized cells of the reference.
    search
        A search among all of them.
    """

    def __init__(self, labels: dict[str, pd.Categorical], x: NDArray[np.float32], search: NeighborSearch) -> None:
        self.labels = labels
        # columns that lack the same labels share a search
        self.searches: dict[bytes, tuple[NeighborSearch, NDArray[np.intp], list[str]]] = {}
        for name, known in labels.items():
            has_label = known.codes >= 0
            if (mask := has_label.tobytes()) not in self.searches:
                of_these = search if has_label.all() else NeighborSearch(x[has_label])
                self.searches[mask] = of_these, np.flatnonzero(has_label), []
            self.searches[mask][2].append(name)

    def __call__(self, x: NDArray[np.float32]) -> dict[str, tuple[NDArray[Any], NDArray[np.float32]]]:
        """Return by name the codes of the labels of (n, D) cells, (n,), and the shares that have them, (n,)."""
        found = {}
        for search, rows, names in self.searches.values():
            voters = rows[search.nearest(min(N_VOTERS, len(rows)), of=x).indices]
            for name in names:
                votes = self.labels[name].codes[voters]
                counts = (votes[:, :, None] == votes[:, None]).sum(2)
                # of equally frequent labels the first
                counts = counts * (len(self.labels[name].categories) + 1) - votes
                winner = votes[np.arange(len(votes)), counts.argmax(1)]
                found[name] = winner, (votes == winner[:, None]).mean(1, dtype=np.float32)
        return found


def transferred(
    labels: dict[str, pd.Categorical], votes: dict[str, tuple[NDArray[Any], NDArray[np.float32]]]
) -> dict[str, Any]:
    """Return the columns of the labels of new cells, by name."""
    columns: dict[str, Any] = {}
    for name, known in labels.items():
        codes, columns[_confidence(name)] = votes[name]
        columns[name] = pd.Categorical.from_codes(codes, categories=known.categories, ordered=known.ordered)
    return columns


def colors_of(labels: Iterable[str], adata: AnnData) -> dict[str, Any]:
    """Return the colors that `adata` has for columns of labels, by their names in `uns`."""
    names = [f"{name}_colors" for name in labels]
    return {name: copy(adata.uns[name]) for name in names if name in adata.uns}


def _confidence(name: str) -> str:
    return f"{name}_confidence"
