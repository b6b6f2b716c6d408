"""The representation of new cells, as the map needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from scanpy import logging as logg

from .._arguments import check_found, check_name, check_option, known
from .._matrix import blocks
from .representation import Representation, check_one, choose_representation, loadings_slot, sliceable
from .units import READINGS, read_units

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..nn.genes import Genes
    from .map import Map
    from .units import Conversion, Reading


@dataclass(frozen=True)
class Stored:
    """New cells have the representation of a map already."""

    use_rep: str
    """Key of `obsm`."""
    layer: ClassVar[None] = None

    def of(self, adata_new: AnnData, m: Map) -> Representation:
        """Return the representation of new cells."""
        name, n_columns = f"adata_new.obsm[{self.use_rep!r}]", m.model.n_features
        matrix = choose_representation(adata_new, use_rep=self.use_rep, n_pcs=None, layer=None).matrix
        n_found = matrix.shape[1]
        if n_found < n_columns or (n_found > n_columns and m.params.get("n_pcs") is None):
            msg = f"{name} has {n_found} columns, and the map was made of {n_columns}."
            raise ValueError(msg)
        return Representation(matrix[:, :n_columns], name, {"use_rep": self.use_rep})


@dataclass(frozen=True)
class Projected:
    """The representation of a map is computed from the genes of new cells."""

    layer: str | None
    """Layer that has them, None for X."""
    columns: NDArray[np.intp]
    """(g,) their columns, without those that are missing."""
    is_there: NDArray[np.bool_]
    """(n_projected,) which of the genes of the map the new cells have."""
    convert: Conversion
    """To the units of the map."""
    use_rep: ClassVar[None] = None

    def of(self, adata_new: AnnData, m: Map) -> Representation:
        """Return the representation of new cells that have the same genes in the same units."""
        made_of, genes = m.params["use_rep"], m.genes
        matrix, name = _expression(adata_new, self.layer)
        is_whole = self.is_there.all()
        if (
            made_of == "X"
            and is_whole
            and self.convert.is_identity
            and np.array_equal(self.columns, np.arange(adata_new.n_vars))
        ):
            return Representation(
                matrix, name, {"use_rep": "X"} | ({} if self.layer is None else {"layer": self.layer})
            )
        sums = self.convert.sums(matrix)
        x = np.empty((adata_new.n_obs, m.model.n_features), dtype=np.float32)
        for start, block in blocks(matrix, self.columns):
            rows = slice(start, start + len(block))
            y = self.convert(block, None if sums is None else sums[rows])
            x[rows] = genes.project(y, None if is_whole else self.is_there)
        rep = f"{m.key}_representation" if made_of == "X" else made_of
        if rep in adata_new.obsm and rep == made_of:
            logg.warning(f"adata_new.obsm[{rep!r}] is replaced by the projection on the components of the reference")
        return Representation(x, name, {"use_rep": rep}, {"obsm": {rep: x}})


Incoming = Stored | Projected


def choose_incoming(
    adata_new: AnnData,
    m: Map,
    *,
    use_rep: str | None,
    layer: str | None,
    units: Reading | None,
    impute: bool,
) -> Incoming:
    """Choose how the representation of a map is found for new cells, of which `adata_new` may have only some."""
    check_name(use_rep, "use_rep")
    check_name(layer, "layer")
    if units is not None:
        check_option(units, "units", READINGS)
    check_one(use_rep, layer)
    if layer is not None:
        check_found(layer, adata_new.layers, "adata_new.layers")
    genes = m.autoencoder.genes if use_rep is None or use_rep == "X" else None
    if genes is not None and genes.n_projected:
        return _projected(adata_new, genes, layer=layer, units=units, impute=impute)
    adata, made_of = m.adata, m.params["use_rep"]
    name = made_of if use_rep is None else use_rep
    for value, argument in ((units, "units"), (layer, "layer"), ("mean" if impute else None, "missing")):
        if value is not None:
            msg = (
                f"The new cells are taken from adata_new.obsm[{name!r}], and no genes are projected. Therefore "
                f"{argument}={value!r} has no effect; leave it out."
            )
            raise ValueError(msg)
    is_of_components = made_of in ("pca", "X_pca") or made_of in adata.varm or loadings_slot(made_of) in adata.varm
    lacks_loadings = "there were no PCA loadings in adata.varm with the X they belong to, to project genes by"
    if is_of_components and use_rep is None and name in adata_new.obsm:
        msg = (
            f"The map was made of {name!r}, and {lacks_loadings}. adata_new.obsm[{name!r}] may be its own PCA, "
            f"which is another one: give use_rep={name!r} if it has the components of the reference."
        )
        raise ValueError(msg)
    if name not in adata_new.obsm:
        reason = f" When the map was made, {lacks_loadings}." if is_of_components else ""
        msg = (
            f"The map was made of {made_of!r}; adata_new.obsm, which has {known(adata_new.obsm)}, lacks {name!r}: "
            f"compute it by the model that made it, or name it with `use_rep`.{reason}"
        )
        raise KeyError(msg)
    return Stored(name)


def _expression(adata_new: AnnData, layer: str | None) -> tuple[Any, str]:
    """Return X or a layer, and its name."""
    matrix = adata_new.X if layer is None else adata_new.layers[layer]
    name = "adata_new.X" if layer is None else f"adata_new.layers[{layer!r}]"
    if matrix is None:
        msg = f"{name} is empty, so there are no genes to project; name a representation with `use_rep`."
        raise ValueError(msg)
    return sliceable(matrix, name), name


def _projected(
    adata_new: AnnData, genes: Genes, *, layer: str | None, units: Reading | None, impute: bool
) -> Projected:
    """Find the genes of the map among those of the new cells, and their units."""
    if layer is None and genes.layer in adata_new.layers:
        layer = genes.layer
    matrix, name = _expression(adata_new, layer)
    # only the names of these genes have to be unique
    wanted = adata_new.var_names.isin(genes.projected)
    names = adata_new.var_names[wanted]
    if not names.is_unique:
        msg = (
            f"adata_new.var_names are not unique, such as {names[names.duplicated()][0]!r}; run "
            "adata_new.var_names_make_unique() first."
        )
        raise ValueError(msg)
    if not pd.Index(genes.projected).is_unique:
        msg = "Names of genes of the map are not unique; run adata.var_names_make_unique() and make the map again."
        raise ValueError(msg)
    at = names.get_indexer(genes.projected)
    at = np.where(at < 0, -1, np.flatnonzero(wanted)[at] if len(names) else -1)
    is_there, absent = at >= 0, genes.projected[at < 0]
    if len(absent) == len(at) or (len(absent) and not impute):
        shown = ", ".join(map(repr, absent[:5].tolist())) + (", …" if len(absent) > 5 else "")
        msg = f"adata_new.var_names lack {len(absent)} of the {len(at)} genes of the reference: {shown}"
        msg += (
            ". Do they have names of another kind?"
            if len(absent) == len(at)
            else ". Give missing='mean' to take their mean in the reference instead."
        )
        raise ValueError(msg)
    if len(absent):
        logg.warning(f"{len(absent)} of {len(at)} genes of the reference are missing and are replaced by their mean")
    columns = at[is_there]
    return Projected(layer, columns, is_there, read_units(adata_new, matrix, name, genes, columns, is_there, units))
