"""The representation of a map for cells of another AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scanpy import logging as logg

from .._arguments import check_adata, check_name
from .genes import read_projection
from .representation import Representation, choose_representation

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

from .genes import Projection


def incoming_representation(
    adata_new: AnnData,
    adata: AnnData,
    params: dict[str, Any],
    *,
    use_rep: str | None,
    layer: str | None,
    impute: bool,
    key: str,
) -> Representation:
    """Return the representation that the `params` of a run on `adata` name, for the cells of `adata_new`.

    Raises
    ------
    KeyError
        If it is not there and cannot be computed.
    ValueError
        If genes or components are missing.
    """
    check_adata(adata_new)
    check_name(use_rep, "use_rep")
    check_name(layer, "layer")
    if use_rep is not None and layer is not None:
        msg = f"`layer` takes the place of X, so it cannot be combined with use_rep={use_rep!r}; give one of them."
        raise ValueError(msg)
    if layer is not None and layer not in adata_new.layers:
        known = ", ".join(repr(name) for name in adata_new.layers if name is not None) or "nothing"
        msg = f"Did not find {layer!r} in adata_new.layers, which has {known}."
        raise KeyError(msg)
    projection = read_projection(adata, params) if use_rep is None or use_rep == "X" else None
    if projection is not None:
        return _projected(adata_new, adata, projection, params, layer=layer, impute=impute, key=key)
    name = params["use_rep"] if use_rep is None else use_rep
    if name not in adata_new.obsm:
        known = ", ".join(map(repr, adata_new.obsm)) or "nothing"
        msg = (
            f"The map was made of {params['use_rep']!r}; adata_new.obsm, which has {known}, does not have {name!r}: "
            "compute it by the model that made it, or name it with `use_rep`."
        )
        if params["use_rep"].removeprefix("X_").startswith("pca"):
            msg += " The reference has no PCA loadings in adata.varm with the X they belong to, to project genes by."
        raise KeyError(msg)
    found = choose_representation(adata_new, use_rep=name, n_pcs=None, layer=None)
    n_columns = params["n_features"]
    if found.matrix.shape[1] != n_columns and params.get("n_pcs") is None:
        msg = f"adata_new.obsm[{name!r}] has {found.matrix.shape[1]} columns, and the map was made of {n_columns}."
        raise ValueError(msg)
    return Representation(found.matrix[:, :n_columns], f"adata_new.obsm[{name!r}]", {"use_rep": name})


def _projected(
    adata_new: AnnData,
    adata: AnnData,
    projection: Projection,
    params: dict[str, Any],
    *,
    layer: str | None,
    impute: bool,
    key: str,
) -> Representation:
    matrix = adata_new.X if layer is None else adata_new.layers[layer]
    name = "adata_new.X" if layer is None else f"adata_new.layers[{layer!r}]"
    if matrix is None:
        msg = f"{name} is empty, so there are no genes to project; name a representation with `use_rep`."
        raise ValueError(msg)
    if not adata_new.var_names.is_unique:
        msg = "adata_new.var_names are not unique; run adata_new.var_names_make_unique() first."
        raise ValueError(msg)
    genes: pd.Index = projection.genes
    columns = adata_new.var_names.get_indexer(genes)
    absent = genes[columns < 0]
    if len(absent) == len(genes) or (len(absent) and not impute):
        shown = ", ".join(map(repr, absent[:5])) + (", …" if len(absent) > 5 else "")
        msg = f"adata_new.var_names lack {len(absent)} of the {len(genes)} genes of the reference: {shown}"
        msg += (
            ". Are they named in another way?"
            if len(absent) == len(genes)
            else ". Give missing='mean' to take their mean in the reference instead."
        )
        raise ValueError(msg)
    if len(absent):
        logg.warning(f"{len(absent)} of {len(genes)} genes of the reference are missing: taking their mean")
    in_order = np.array_equal(columns, np.arange(adata_new.n_vars))
    x = projection.project(
        matrix if in_order else matrix[:, columns[columns >= 0]], columns < 0 if len(absent) else None
    )
    if params["use_rep"] == "X" and in_order:
        given = {} if layer is None else {"layer": layer}
        return Representation(matrix, name, {"use_rep": "X", **given})
    rep = f"{key}_representation" if params["use_rep"] == "X" else params["use_rep"]
    if rep in adata_new.obsm and rep == params["use_rep"]:
        logg.warning(f"adata_new.obsm[{rep!r}] is replaced by the projection on the components of the reference")
    return Representation(x, name, {"use_rep": rep}, {"obsm": {rep: x}})
