"""Transfer labels from the cells of a map to new cells."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.neighbors import KNeighborsClassifier

from .._anndata.columns import obs_labels
from .._arguments import checked_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

# Nearest reference cells that vote, as many as in Scanpy's neighbor graph by default.
N_VOTERS = 15


def labels_to_carry(adata: AnnData, adata_new: AnnData, obs: str | Sequence[str] | None) -> dict[str, pd.Categorical]:
    """Return the labels of the reference for each column of `obs`, or raise if they cannot be transferred."""
    found = {}
    for name in [] if obs is None else checked_names(obs, "obs"):
        labels = obs_labels(adata, name)
        is_empty = not (labels.codes >= 0).any()
        if is_empty or pd.api.types.is_float_dtype(labels.categories):
            what = "none" if is_empty else "numbers"
            msg = f"Expected adata.obs[{name!r}] to hold labels, found {what}."
            raise ValueError(msg)
        if name in adata_new.obs and _confidence(name) not in adata_new.obs:
            msg = (
                f"adata_new.obs[{name!r}] has its own labels, which would be lost; rename them first: "
                f"adata_new.obs[{name + '_before'!r}] = adata_new.obs.pop({name!r})."
            )
            raise ValueError(msg)
        found[name] = labels
    return found


def carry(
    labels: dict[str, pd.Categorical], reference: NDArray[Any], x: NDArray[Any], adata: AnnData
) -> dict[str, dict[str, Any]]:
    """Return label slots for (n, D) new cells from (m, D) reference cells, by attribute and key.

    Each new cell gets the label that most of its 15 nearest reference cells in the representation have, and the share
    of these cells that have it.
    """
    columns, colors = {}, {}
    for name, known in labels.items():
        has_label = known.codes >= 0
        voters = KNeighborsClassifier(min(N_VOTERS, int(has_label.sum())))
        shares = voters.fit(reference[has_label], known.codes[has_label]).predict_proba(x)
        codes = voters.classes_[shares.argmax(1)]
        columns[name] = pd.Categorical.from_codes(codes, categories=known.categories, ordered=known.ordered)
        columns[_confidence(name)] = shares.max(1).astype(np.float32)
        if f"{name}_colors" in adata.uns:
            colors[f"{name}_colors"] = copy(adata.uns[f"{name}_colors"])
    return {"obs": columns, "uns": colors}


def _confidence(name: str) -> str:
    return f"{name}_confidence"
