"""Find the embeddings to compare, and store and read the table of results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scanpy import logging as logg

from .._arguments import check_adata, check_name, checked_key, checked_names, known
from .columns import entry_in_memory
from .map import read_map
from .representation import read_points
from .slots import COLUMNS, EVALUATION, OFF_SURFACE, SIDES, Slots, embedding_slot, map_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from .map import Map

# positions of cells that are not embeddings
NO_MAPS = ("spatial", "X_spatial")
# prefixes of arrows on a map in scVelo, dynamo and CellRank, such as velocity_umap
ARROWS = ("velocity_", "acceleration_", "T_fwd_", "T_bwd_")
# tolerance for the sum of a cell's shares, which may have been rounded for a file
ROUNDING = 1e-3


def find_bases(adata: AnnData, basis: str | Sequence[str] | None) -> dict[str, str]:
    """Return the keys of `obsm`, by the names of the embeddings.

    An embedding can be named by its key or without ``X_``. By default, all embeddings with two or three columns are
    found, except for metric tensors, the ellipses of `scgeoae.tl.stability`, spatial positions, and arrows. Names have
    no ``X_`` unless that makes them ambiguous.
    """
    if basis is None:
        slots = [Slots(key.removeprefix("X_"), side) for key in adata.obsm for side in SIDES]
        arrows = {key for key in adata.obsm if f"{key}{OFF_SURFACE}" in adata.obs}
        others = {name for of_map in slots for name in (of_map.metric, of_map.stability)} | arrows | set(NO_MAPS)
        # files sort them, too
        keys = sorted(key for key in adata.obsm if key not in others and not key.startswith(ARROWS))
        keys = [key for key in keys if getattr(adata.obsm[key], "shape", ())[1:] in ((2,), (3,))]
    else:
        keys = list(dict.fromkeys(_find(adata, name) for name in checked_names(basis, "basis")))
        if not keys:
            msg = "Expected `basis` to be None, the name of an embedding or a list of names, found an empty list."
            raise ValueError(msg)
    short = [key.removeprefix("X_") for key in keys]
    return {name if short.count(name) == 1 else key: key for name, key in zip(short, keys, strict=True)}


def read_maps(adata: AnnData, bases: Mapping[str, str], *, named: bool) -> dict[str, NDArray[Any]]:
    """Return the (n, d) positions by name. Unless they were `named`, leave out invalid ones with a warning."""
    if named:
        return {name: read_points(adata, key) for name, key in bases.items()}
    found = {}
    for name, key in bases.items():
        try:
            found[name] = _read_unnamed(adata, key)
        except (TypeError, ValueError) as error:
            logg.warning(f"Left out of the table: {error}")
    return found


def _read_unnamed(adata: AnnData, key: str) -> NDArray[Any]:
    """Return the (n, d) positions in a slot that the user did not name, or raise if they do not look like a map."""
    if hasattr(adata.obsm[key], "columns"):
        msg = f"adata.obsm[{key!r}] is a data frame, not an array; name it with `basis` if it is a map."
        raise TypeError(msg)
    positions = read_points(adata, key)
    if (positions >= 0).all() and np.allclose(positions.sum(1), 1, rtol=0, atol=ROUNDING):
        msg = f"adata.obsm[{key!r}] has shares that sum to one in each cell; name it with `basis` if it is a map."
        raise ValueError(msg)
    return positions


def _find(adata: AnnData, name: str) -> str:
    if (key := embedding_slot(adata, map_key(adata, name))) is not None:
        return key
    msg = (
        f"Did not find an embedding {name!r} in adata.obsm, which has {known(adata.obsm)}; "
        f"compute it first (as by sg.tl.geoae(adata) or sc.tl.umap(adata)) or give one of these."
    )
    raise KeyError(msg)


def maps_with_model(adata: AnnData, bases: Mapping[str, str]) -> list[Map]:
    """Return those of the embeddings that have a model."""
    maps = (read_map(adata, name) for name, key in bases.items() if key == Slots(name).embedding)
    return [m for m in maps if m.has_model]


def made_from(m: Map) -> dict[str, Any]:
    """Return the arguments that select the representation of a map."""
    return {name: value for name in ("use_rep", "n_pcs", "layer") if (value := m.params.get(name)) is not None}


def checked_table_key(adata: AnnData, key_added: str | None) -> str:
    """Return the name of the table, or raise if it cannot be used."""
    check_adata(adata)
    key = checked_key(key_added, EVALUATION)
    if key in adata.uns and not isinstance(entry_in_memory(adata.uns[key]), pd.DataFrame):
        msg = f"adata.uns[{key!r}] holds something else that would be lost; give another `key_added`."
        raise ValueError(msg)
    return key


def read_evaluation(adata: AnnData, key: str) -> pd.DataFrame:
    """Return the table, or raise if it is missing or invalid."""
    check_adata(adata)
    check_name(key, "key", required=True)
    call = "sg.tl.evaluate(adata)" if key == EVALUATION else f"sg.tl.evaluate(adata, key_added={key!r})"
    if key not in adata.uns:
        msg = f"Did not find adata.uns[{key!r}]; run {call} first."
        raise KeyError(msg)
    table = entry_in_memory(adata.uns[key])
    if not isinstance(table, pd.DataFrame) or not set(COLUMNS) <= set(table):
        msg = f"adata.uns[{key!r}] is not a table of sg.tl.evaluate; run {call}, or give the `key` of one."
        raise ValueError(msg)
    if table.empty or table.duplicated(["basis", "measure"]).any():
        msg = f"adata.uns[{key!r}] is damaged: it does not have one row for each measure of a basis; run {call} again."
        raise ValueError(msg)
    return table


def read_evaluations(adata: AnnData) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield all tables in `uns`, with their names."""
    for name, entry in adata.uns.items():
        # other entries are not read
        table = entry_in_memory(entry) if hasattr(entry, "columns") else None
        if isinstance(table, pd.DataFrame) and set(COLUMNS) <= set(table):
            yield name, table
