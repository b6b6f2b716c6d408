from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._anndata.map import read_map
from .._matrix import digest

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._anndata.map import Map

# What was embedded, with the neighbour graph it was given; the first and the last are digests.
DATA = ("data", "n_cells", "use_rep", "n_pcs", "layer", "neighbors_key", "neighbors")
# Entries of an array that a table can show, and that are read for a digest: no run records more.
MAX_SHOWN, MAX_DIGESTED = 100, 10**8


def provenance(
    adata: AnnData, *, key: str = "geoae", other: AnnData | None = None, other_key: str | None = None
) -> pd.DataFrame:
    """Say what a map was made of, with and by; or in which of these two maps differ.

    On one machine the same data, arguments, versions and number of threads give the same bits, so whatever two maps
    differ by has its reason in this table.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae`, `scgeoae.tl.adopt` or `scgeoae.tl.distortion` was run, or to which
        a GeoSCVI was written.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    other
        Another, or the same, to compare with.
    other_key
        The `key_added` of its run; `key` by default.

    Returns
    -------
    A data frame with a row for each entry, by its name, and the columns ``kind`` and ``value``:

    - ``"data"``: a digest of the representation that was embedded, as float32, and which slot it is; the same of the
      neighbour graph if there was one.
    - ``"argument"``: what the run was told, and what it found for what was left to it.
    - ``"environment"``: versions, threads, device, kind of processor.
    - ``"map"``: a digest of the embedding. Where nothing else differs, one of the two was changed afterwards.

    With `other` only the rows that differ, and the column ``other`` with its values: no row, no difference. What one of
    the two did not record is None.

    Raises
    ------
    KeyError
        If there is no map under `key`, or none under `other_key` in `other`.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata, n_steps=50)
    >>> sg.tl.geoae(adata, n_steps=50, random_state=1, key_added="again")
    >>> sg.get.provenance(adata, other=adata, other_key="again").loc["random_state", ["value", "other"]].tolist()
    [0, 1]
    """
    mine = _entries(read_map(adata, key))
    if other is None:
        return pd.DataFrame.from_dict(mine, orient="index", columns=["kind", "value"])
    theirs = _entries(read_map(other, key if other_key is None else other_key, "other_key"))
    absent = (None, None)
    rows = {
        name: ((mine.get(name) or theirs[name])[0], mine.get(name, absent)[1], theirs.get(name, absent)[1])
        for name in dict.fromkeys([*mine, *theirs])
    }
    differing = {name: row for name, row in rows.items() if row[1] != row[2]}
    return pd.DataFrame.from_dict(differing, orient="index", columns=["kind", "value", "other"], dtype=object)


def _entries(m: Map) -> dict[str, tuple[str, Any]]:
    """Return kind and value of each entry."""
    stored: dict[str, Any] = dict(m.params)
    data = {name: stored.pop(name) for name in DATA if name in stored}
    machine = dict(stored.pop("environment", {}))
    return {
        **{name: ("data", value) for name, value in _flat(data).items()},
        **{name: ("argument", value) for name, value in _flat(stored).items()},
        **{name: ("environment", value) for name, value in _flat(machine).items()},
        "embedding": ("map", digest(m.positions.astype(np.float32))),
    }


def _flat(entries: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested entries under names with dots, as plain Python values, which files give back in other types."""
    flat: dict[str, Any] = {}
    for name, value in entries.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = _plain(np.asarray(value))
    return flat


def _plain(array: NDArray) -> Any:
    """Return what is in an array, or of a large one, such as an ambient metric, its shape and a digest."""
    if array.size <= MAX_SHOWN:
        return array.tolist()
    told = f"{array.dtype} of shape {array.shape}"
    return f"{told}, {digest(array)}" if array.size <= MAX_DIGESTED else told
