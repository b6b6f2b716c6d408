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

# Entries about the data: what was embedded, and its neighbor graph. The first and the last are digests.
DATA = ("data", "n_cells", "use_rep", "n_pcs", "layer", "neighbors_key", "neighbors")
# Size up to which an array is shown in the table, and up to which it gets a digest: no run records a larger one.
MAX_SHOWN, MAX_DIGESTED = 100, 10**8


def provenance(
    adata: AnnData, *, key: str = "geoae", other: AnnData | None = None, other_key: str | None = None
) -> pd.DataFrame:
    """List the data, arguments and versions behind a map, or find in which of these two maps differ.

    On one machine, the same data, arguments, versions and number of threads give the same bits, so this table has the
    reason for any difference.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae`, `scgeoae.tl.adopt` or `scgeoae.tl.distortion` was run, or to which a
        GeoSCVI was written.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    other
        Annotated data to compare with, which may be `adata` itself.
    other_key
        The `key_added` of its run. Default: `key`.

    Returns
    -------
    A data frame with one row per entry, indexed by name, with the columns ``kind`` and ``value``. The kinds are:

    - ``"data"``: the slot that was embedded and a digest (checksum) of it as float32; likewise for the neighbor graph,
      if there was one.
    - ``"argument"``: the arguments, and the values that the run chose for those left to it.
    - ``"environment"``: versions, threads, device, and kind of processor.
    - ``"map"``: a digest of the embedding. If only this differs, one of the maps was changed afterwards.

    With `other`, only the rows that differ, with its values in a column ``other``. If nothing differs, there are no
    rows. A value is None if one of the two maps did not record it.

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
    """Return the kind and value of each entry."""
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
    """Return nested entries under dotted names, as plain Python values, because files change their types."""
    flat: dict[str, Any] = {}
    for name, value in entries.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = _plain(np.asarray(value))
    return flat


def _plain(array: NDArray[Any]) -> Any:
    """Return the values of an array, or the shape and digest of a large one, such as an ambient metric."""
    if array.size <= MAX_SHOWN:
        return array.tolist()
    told = f"{array.dtype} of shape {array.shape}"
    return f"{told}, {digest(array)}" if array.size <= MAX_DIGESTED else told
