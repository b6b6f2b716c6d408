"""Data that are known by their principal components."""

from __future__ import annotations

from io import BytesIO
from typing import IO, TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNKNOWN = "unknown"


def read_npy(file: IO[bytes]) -> NDArray[np.float32]:
    """Read an array of NumPy."""
    return np.load(BytesIO(file.read()), allow_pickle=False).astype(np.float32)


def read_matrix(file: IO[bytes]) -> NDArray[np.float32]:
    """Read numbers separated by tabs."""
    return pd.read_csv(file, sep="\t", header=None, dtype=np.float32).to_numpy()


def read_table(file: IO[bytes], *, header: int | None = 0) -> pd.DataFrame:
    """Read a table whose columns are separated by tabs, or by commas if there is no tab in it."""
    text = file.read().decode()
    first, _, _ = text.partition("\n")
    table = pd.read_csv(
        BytesIO(text.encode()), sep="\t" if "\t" in first else ",", header=header, low_memory=False, dtype={0: str}
    )
    return table.rename(columns=str)


def assemble_components(components: NDArray, obs: pd.DataFrame, *, cell_type: str, source: str) -> AnnData:
    """Return an AnnData without genes, with components in ``obsm["X_pca"]`` and types in ``obs["cell_type"]``."""
    if len(components) != len(obs):
        msg = f"The archive has the components of {len(components)} cells and the labels of {len(obs)}."
        raise ValueError(msg)
    if cell_type not in obs:
        msg = f"The archive has no column {cell_type!r} of cell types, but {', '.join(map(repr, obs))}."
        raise ValueError(msg)
    types = obs[cell_type].astype(object).where(obs[cell_type].notna(), UNKNOWN).astype(str)
    names = obs.iloc[:, 0].astype(str)
    obs = obs.set_axis(names if names.is_unique else np.arange(len(obs)).astype(str))
    obs.index.name = None
    adata = AnnData(obs=obs, shape=(len(obs), 0))
    adata.obs["cell_type"] = pd.Categorical(types)
    adata.obsm["X_pca"] = components
    adata.uns["source"] = source
    return adata
