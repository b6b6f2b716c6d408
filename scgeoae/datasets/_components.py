"""Data sets that are known by their principal components."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from ._archive import Archive


def read_array(archive: Archive, name: str) -> NDArray:
    """Read a matrix that NumPy saved."""
    try:
        # an archive from the network never gets to unpickle
        matrix = np.load(io.BytesIO(archive.files[name]), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise _unreadable(archive, name, error) from error
    return _checked(matrix, archive, name)


def read_matrix(archive: Archive, name: str) -> NDArray:
    """Read a matrix of text, tab-separated and without a header."""
    return _checked(_read_csv(archive, name, sep="\t", header=None, dtype=np.float32).to_numpy(), archive, name)


def read_table(archive: Archive, name: str) -> pd.DataFrame:
    """Read a table of text with a header, separated by tabs or commas; its text columns become categorical."""
    # a header by R has no name for the row names, so there may be no tab in it
    start = archive.files[name].split(b"\n", 2)[:2]
    sep = "\t" if b"\t" in b"".join(start) else ","
    names = list(_read_csv(archive, name, sep=sep, nrows=0).columns)
    table = _read_csv(archive, name, sep=sep, header=None, skiprows=1, low_memory=False)
    if table.shape[1] == len(names) + 1:
        names = ["row_names", *names]
    if table.shape[1] != len(names):
        raise _unreadable(archive, name, f"its header has {len(names)} fields, its rows have {table.shape[1]}")
    table.columns = pd.Index(names)
    # names of an h5ad file have no slash
    table.columns = table.columns.str.replace("/", "_")
    for column in table.columns[[not pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes]]:
        table[column] = table[column].map(str, na_action="ignore").astype("category")
    return table


def read_lines(archive: Archive, name: str) -> pd.Series:
    """Read one label a line, without a header."""
    return _read_csv(archive, name, sep="\t", header=None).iloc[:, 0]


def components_as_anndata(
    archive: Archive, components: NDArray, obs: pd.DataFrame, *, labels: pd.Series, paper: str
) -> AnnData:
    """Assemble the AnnData: the components in X and in ``obsm["X_pca"]``."""
    if len(components) != len(obs):
        msg = (
            f"Expected as many rows of components as of labels in {archive.path}, found {len(components)} and "
            f"{len(obs)}; delete it and call again to download it from {archive.url}."
        )
        raise ValueError(msg)
    components = np.ascontiguousarray(components, dtype=np.float32)
    obs = obs.assign(cell_type=labels.astype("category"))
    obs.index = obs.index.astype(str)  # as AnnData counts rows that have no names
    var = pd.DataFrame(index=[f"PC{i + 1}" for i in range(components.shape[1])])
    return AnnData(
        components,
        obs=obs,
        var=var,
        obsm={"X_pca": components.copy()},
        uns={"source": f"{paper}, as distributed with densVis (doi:10.1038/s41587-020-00801-7) at {archive.url}"},
    )


def checked_column(archive: Archive, name: str, table: pd.DataFrame, key: str | int) -> pd.Series:
    """Return the column with a name, or at a place counted from 0, or say which columns there are."""
    known = table.columns if isinstance(key, str) else range(table.shape[1])
    if key not in known:
        found = ", ".join(map(repr, table.columns))
        msg = f"Expected {name} in {archive.path} to have a column {key!r}, found {found}."
        raise ValueError(msg)
    return table[key] if isinstance(key, str) else table.iloc[:, key]


def _read_csv(archive: Archive, name: str, **options: Any) -> pd.DataFrame:
    try:
        return pd.read_csv(io.BytesIO(archive.files[name]), **options)
    except ValueError as error:
        raise _unreadable(archive, name, error) from error


def _checked(matrix: NDArray, archive: Archive, name: str) -> NDArray:
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind not in "fiu":
        msg = f"Expected {name} in {archive.path} to be a matrix of numbers, found {matrix.dtype} of {matrix.shape}."
        raise ValueError(msg)
    if not np.isfinite(matrix).all():
        msg = f"Expected all numbers of {name} in {archive.path} to be finite, found NaN or infinity."
        raise ValueError(msg)
    return matrix


def _unreadable(archive: Archive, name: str, error: Exception | str) -> ValueError:
    return ValueError(f"Could not read {name} in {archive.path}: {error}")
