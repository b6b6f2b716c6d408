"""The representation, the matrix that is embedded: chosen by Scanpy's rules, or found again for a map."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scanpy import logging as logg
from scipy import sparse

from .._arguments import check_adata, check_found, check_name, checked_integer, known
from .._matrix import blocks, dense, in_memory, is_stored
from .columns import obs_numbers

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .params import Params


@dataclass(frozen=True)
class Representation:
    """A matrix, and where it came from."""

    matrix: Any
    """(n, D) real numbers in any form: dense or sparse, in memory, lazy or on disk."""
    name: str
    """Readable name, such as ``adata.obsm['X_pca']``."""
    params: dict[str, Any]
    """Arguments that select this matrix again."""
    computed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Slots of a PCA that had to be computed: values by attribute of the AnnData and key."""

    def dense(self, *, may_be_equal: bool = False) -> NDArray[Any]:
        """Return a NumPy array, or raise if it has NaN or, unless `may_be_equal`, all cells are equal."""
        return _checked(dense(self.matrix), self.name, may_be_equal=may_be_equal)

    def check(self, *, may_be_equal: bool = False) -> None:
        """Raise as `dense` does, for a matrix that is read block by block."""
        n_bad, is_finite, low, high = 0, True, np.inf, -np.inf
        for _, block in blocks(self.matrix):
            bad = _beyond_float32(block).any(axis=1)
            n_bad += int(np.count_nonzero(bad))
            is_finite &= bool(np.isfinite(block[bad]).all())
            low, high = np.minimum(low, block.min(0)), np.maximum(high, block.max(0))
        if n_bad:
            raise _not_finite(n_bad, self.matrix.shape[0], self.name, is_finite=is_finite)
        if not may_be_equal:
            _check_varies(low, high, self.matrix.shape[0], self.name)

    def checked_matrix(self) -> Any:
        """Return a NumPy array, a CSR matrix, or what is lazy or on disk as it is; raise as `check` does."""
        if is_stored(self.matrix):
            self.check()
            return self.matrix
        if not sparse.issparse(self.matrix):
            return _checked(dense(self.matrix), self.name)
        _check_finite(self.matrix, self.name)
        return sparse.csr_matrix(self.matrix)


def choose_representation(
    adata: AnnData,
    *,
    use_rep: str | None,
    n_pcs: int | None,
    layer: str | None,
    basis: str | None = None,
    neighbors_key: str | None = None,
) -> Representation:
    """Choose a representation by Scanpy's rules, without changing `adata`.

    `use_rep` is a key of `obsm`, or ``"X"``. Without it, the representation of the neighbor graph in
    ``uns["neighbors"]`` is used, as in Scanpy's UMAP. Without a graph, X is used if it has at most 50 variables
    (`scanpy.settings.N_PCS`) or `n_pcs` is 0; otherwise ``obsm["X_pca"]``, which is computed if it is missing. A
    `layer` takes the place of X; its components are ``obsm["X_pca_{layer}"]``.
    """
    import scanpy as sc

    check_adata(adata)
    check_name(use_rep, "use_rep")
    check_name(layer, "layer")
    n_pcs = None if n_pcs is None else checked_integer(n_pcs, "n_pcs", 0, or_="None")
    if layer is not None:
        check_found(layer, adata.layers, "adata.layers")
    if use_rep is None and n_pcs == 0:
        use_rep = "X"
    if (
        use_rep is None
        and layer is None
        and (followed := _followed(adata, basis, neighbors_key or "neighbors")) is not None
    ):
        use_rep, n_pcs, source = followed[0], followed[1] if n_pcs is None else n_pcs, followed[2]
        if use_rep != components_slot(adata):
            logg.info(
                f"using {'adata.X' if use_rep == 'X' else f'adata.obsm[{use_rep!r}]'}, as recorded in "
                f"adata.uns[{source!r}]; choose another with `use_rep`"
            )
        if use_rep == "X":
            n_pcs = None
    if use_rep is not None and use_rep != "X":
        check_one(use_rep, layer)
        if use_rep in adata.layers:
            hint = f"; it is a layer: give layer={use_rep!r} in place of use_rep"
        else:
            hint = "; compute it first (for 'X_pca', sc.pp.pca(adata)) or set use_rep='X'"
        check_found(use_rep, adata.obsm, "adata.obsm", hint)
        return _from_obsm(adata, use_rep, n_pcs)

    pca_key = components_slot(adata) if layer is None else f"X_pca_{layer}"
    has_matrix = adata.n_vars > 0 and (layer is not None or adata.X is not None)
    if use_rep is None and pca_key in adata.obsm and (adata.n_vars > sc.settings.N_PCS or not has_matrix):
        return _from_obsm(adata, pca_key, n_pcs)
    if not has_matrix:
        msg = f"adata.X is empty; name a representation with `use_rep`: adata.obsm has {known(adata.obsm)}."
        raise ValueError(msg)

    matrix = adata.X if layer is None else adata.layers[layer]
    name = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    given = {} if layer is None else {"layer": layer}
    if use_rep is None and adata.n_vars > sc.settings.N_PCS:
        return _from_pca(adata, in_memory(matrix), name, pca_key, n_pcs, layer)
    return Representation(sliceable(matrix, name), name, {"use_rep": "X", **given})


def check_one(use_rep: str | None, layer: str | None) -> None:
    """Raise if both a representation and a layer are given."""
    if use_rep is not None and layer is not None:
        msg = f"`layer` takes the place of X, so it cannot be combined with use_rep={use_rep!r}; give one of them."
        raise ValueError(msg)


def representation_of_graph(adata: AnnData, params: Any) -> tuple[str, int | None] | None:
    """Return the representation and `n_pcs` of a graph of `scanpy.pp.neighbors` with these parameters.

    None if the graph was computed from a layer, or the parameters are not Scanpy's.
    """
    import scanpy as sc

    try:
        # Scanpy records its arguments, but not what it chose by default
        use_rep, n_pcs = params.get("use_rep"), params.get("n_pcs")
        if use_rep is None:
            use_rep = components_slot(adata) if adata.n_vars > sc.settings.N_PCS else "X"
        elif not isinstance(use_rep, str):
            # version 2 stores an accessor as JSON in a list: ["obsm", "pca"], or ["layers", null] for X
            slot, name = json.loads(np.ravel(use_rep)[0])
            use_rep = name if slot == "obsm" else "X" if name is None else None
        # old files store it as an array
        n_pcs = None if n_pcs is None else int(np.ravel(n_pcs)[0])
    except (AttributeError, IndexError, TypeError, ValueError):
        return None
    if n_pcs == 0:
        use_rep, n_pcs = "X", None
    return None if use_rep is None else (str(use_rep), n_pcs)


def _followed(adata: AnnData, basis: str | None, neighbors_key: str) -> tuple[str, int | None, str] | None:
    """Return the representation that Scanpy's embeddings follow, and its record, if there is one and it is still there.

    It is recorded in ``uns[basis]``, where `scanpy.tl.tsne` writes it, or with the neighbor graph.
    """
    source = neighbors_key
    if basis is not None and "perplexity" in recorded_params(adata, basis):
        source = basis
    params = recorded_params(adata, source)
    if params.get("use_rep") is None and params.get("n_pcs") is None:
        return None
    found = representation_of_graph(adata, params)
    if found is None or found == (components_slot(adata), None):
        return None
    use_rep, n_pcs = found
    shape: tuple[int, ...] = getattr(adata.obsm.get(use_rep), "shape", ())
    is_there = use_rep == "X" or (len(shape) == 2 and (n_pcs or 0) <= shape[1])
    return (use_rep, n_pcs, source) if is_there else None


def recorded_params(adata: AnnData, name: str) -> Mapping[str, Any]:
    """Return the ``params`` of an entry of `uns`, empty if it has none."""
    entry = adata.uns.get(name)
    params = entry.get("params") if isinstance(entry, Mapping) else None
    return params if isinstance(params, Mapping) else {}


def components_slot(adata: AnnData) -> str:
    """Return the key of the principal components in `obsm`, which is ``"pca"`` in version 2 of Scanpy."""
    return "pca" if "pca" in adata.obsm and "X_pca" not in adata.obsm else "X_pca"


def loadings_slot(key: str) -> str:
    """Return the key in `varm` of the loadings of ``obsm[key]``: ``"PCs"`` for ``"X_pca"``, with any layer suffix."""
    suffix = key.removeprefix("X_")
    return "PCs" if suffix == "pca" else f"PCs_{suffix}"


def slots_of_pca(key: str) -> tuple[tuple[str, str], ...]:
    """Return the attribute and the name of each slot of a PCA, of which ``obsm[key]`` has the components."""
    return ("obsm", key), ("varm", loadings_slot(key)), ("uns", key.removeprefix("X_"))


def read_points(adata: AnnData, key: str) -> NDArray[Any]:
    """Return any embedding ``obsm[key]`` as a dense (n, d) array of finite numbers."""
    return _checked(real_matrix(adata.obsm[key], f"adata.obsm[{key!r}]"), f"adata.obsm[{key!r}]")


def embedding_positions(adata: AnnData, slot: str) -> NDArray[Any]:
    """Return the (n, d) positions in ``obsm[slot]``, or raise if they are not a valid map."""
    positions = read_points(adata, slot)
    if np.linalg.matrix_rank(positions - positions.mean(0)) < positions.shape[1]:
        msg = f"The positions in adata.obsm[{slot!r}] do not fill its dimensions, shape {positions.shape}."
        raise ValueError(msg)
    return positions


def _from_obsm(adata: AnnData, key: str, n_pcs: int | None) -> Representation:
    name = f"adata.obsm[{key!r}]"
    matrix = adata.obsm[key]
    if n_pcs is not None:
        if n_pcs > matrix.shape[1]:
            msg = (
                f"Expected `n_pcs` to be at most {matrix.shape[1]}, the number of columns of {name}, "
                f"found {n_pcs}; lower it or rerun sc.pp.pca(adata, n_comps={n_pcs})."
            )
            raise ValueError(msg)
        matrix = matrix.iloc[:, :n_pcs] if isinstance(matrix, pd.DataFrame) else matrix[:, :n_pcs]
    params = {"use_rep": key} if n_pcs is None else {"use_rep": key, "n_pcs": int(n_pcs)}
    return Representation(sliceable(matrix, name), name, params)


def _from_pca(adata: AnnData, matrix: Any, name: str, key: str, n_pcs: int | None, layer: str | None) -> Representation:
    import scanpy as sc
    from anndata import AnnData

    _check_finite(matrix, name)
    limit = min(matrix.shape) - 1
    if limit < 1 or (n_pcs is not None and n_pcs > limit):
        msg = f"Expected `n_pcs` to be at most {limit} for {name} of shape {matrix.shape}, found {n_pcs}."
        raise ValueError(msg)
    hint = "Set use_rep='X' to embed the variables themselves."
    if _looks_like_counts(matrix):
        hint = (
            "It holds whole numbers: normalize counts first with sc.pp.normalize_total(adata) and sc.pp.log1p(adata), "
            "or map them with sg.model.GeoSCVI."
        )
    warnings.warn(
        f"{name} has {adata.n_vars} variables and adata.obsm has no {key!r}: computing it with sc.pp.pca. {hint}",
        stacklevel=4,
    )
    scratch = AnnData(X=matrix, var=adata.var.copy())
    if not np.issubdtype(matrix.dtype, np.floating):
        scratch.X = matrix.astype(np.float32)
    # without `key_added`, the names of the slots depend on Scanpy's preset
    sc.pp.pca(scratch, n_comps=n_pcs, key_added="pca")
    # Scanpy records the layer, too
    scratch.uns["pca"]["params"] |= {} if layer is None else {"layer": layer}
    computed = {attribute: {name: getattr(scratch, attribute)["pca"]} for attribute, name in slots_of_pca(key)}
    pcs = f"adata.obsm[{key!r}]"
    return Representation(np.asarray(scratch.obsm["pca"]), pcs, {"use_rep": key}, computed)


def _looks_like_counts(matrix: Any) -> bool:
    some = dense(matrix[:100])
    return bool((some >= 0).all() and (some == np.round(some)).all() and some.max() > 1)


def sliceable(matrix: Any, name: str) -> Any:
    """Return a matrix whose rows can be sliced, or raise if its type or shape is wrong."""
    if isinstance(matrix, pd.DataFrame):
        matrix = matrix.to_numpy()
    if sparse.issparse(matrix) and matrix.format != "csr":
        matrix = matrix.tocsr()
    check_real(matrix, name)
    if len(matrix.shape) != 2:  # a sparse matrix on disk has no ndim
        msg = f"Expected {name} to be a matrix, found an array of shape {matrix.shape}."
        raise ValueError(msg)
    if 0 in matrix.shape:
        msg = f"{name} is empty: its shape is {matrix.shape}."
        raise ValueError(msg)
    return matrix


def _checked(matrix: NDArray[Any], name: str, *, may_be_equal: bool = False) -> NDArray[Any]:
    """Return a dense real array, or raise if something is wrong with it."""
    matrix = sliceable(matrix, name)
    _check_finite(matrix, name)
    if matrix.dtype == bool:
        matrix = matrix.astype(np.float32)
    if not may_be_equal:
        _check_varies(matrix.min(0), matrix.max(0), len(matrix), name)
    return matrix


def _check_varies(low: Any, high: Any, n: int, name: str) -> None:
    """Raise if the least and the largest values of each column of n cells are the same."""
    # models compute in float32, where smaller differences vanish
    if not (np.subtract(high, low, dtype=np.float64) > np.finfo(np.float32).tiny).any():
        msg = f"All {n} cells are equal in {name}, so there is no structure in it."
        raise ValueError(msg)


def check_real(matrix: Any, name: str) -> None:
    """Raise if a matrix does not hold real numbers."""
    if not (
        matrix.dtype == bool or np.issubdtype(matrix.dtype, np.integer) or np.issubdtype(matrix.dtype, np.floating)
    ):
        msg = f"Expected {name} to hold real numbers, found dtype {matrix.dtype}."
        raise TypeError(msg)


def _check_finite(matrix: Any, name: str) -> None:
    check_real(matrix, name)
    if sparse.issparse(matrix):
        matrix = matrix.tocoo()
        values, bad = matrix.data, np.unique(matrix.row[_beyond_float32(matrix.data)])
    else:
        values, bad = matrix, np.flatnonzero(_beyond_float32(matrix).any(axis=1))
    if not len(bad):
        return
    raise _not_finite(len(bad), matrix.shape[0], name, is_finite=bool(np.isfinite(values).all()))


def _not_finite(n_bad: int, n: int, name: str, *, is_finite: bool) -> ValueError:
    what = "values beyond float32" if is_finite else "NaN or infinite values"
    return ValueError(f"{n_bad} of {n} cells have {what} in {name}; drop these cells or recompute it.")


def _beyond_float32(values: NDArray[Any]) -> NDArray[np.bool_]:
    # also true for NaN
    return ~(np.abs(values) <= np.finfo(np.float32).max)


def stored_representation(
    adata: AnnData, params: Params, genes: NDArray[np.str_] | None, n_features: int
) -> Representation:
    """Return the representation named by the `params` of a run, or raise if it is missing or does not fit the model.

    If it is expression, the columns of `genes` are found by name and put in order.
    """
    use_rep, layer, n_pcs = params["use_rep"], params.get("layer"), params.get("n_pcs")
    _check_kept(adata, use_rep, layer)
    found = choose_representation(adata, use_rep=use_rep, n_pcs=None if n_pcs is None else int(n_pcs), layer=layer)
    # names may be numbers, and a model has text
    names = adata.var_names.astype(str)
    if use_rep == "X" and genes is not None and not np.array_equal(genes, names):
        found = replace(found, matrix=_columns(found, names, genes))
    if found.matrix.shape[1] != n_features:
        msg = (
            f"{found.name} has {found.matrix.shape[1]} columns, and the model of this map was trained on {n_features}: "
            "restore the one that it was trained on, or compute the map again."
        )
        raise ValueError(msg)
    return _normalized(found, adata, params) if "library_size" in params else found


def _check_kept(adata: AnnData, use_rep: str, layer: str | None) -> None:
    """Raise if the matrix that a map was made of is gone: computed again, it could be another one."""
    mend = "restore it, or make the map again."
    if use_rep == "X" and layer is None:
        if adata.X is None:
            msg = f"adata.X is empty, and the map was made of it: {mend}"
            raise ValueError(msg)
        return
    slot, name = ("obsm", use_rep) if layer is None else ("layers", layer)
    if name not in getattr(adata, slot):
        msg = f"Did not find adata.{slot}[{name!r}], and the map was made of it: {mend}"
        raise KeyError(msg)


def _columns(found: Representation, names: pd.Index, genes: NDArray[np.str_]) -> Any:
    """Return the columns of `genes`, found by name, in their order."""
    if not names.is_unique or (missing := [str(gene) for gene in genes if gene not in names]):
        what = (
            f"lacks {len(missing)} of them, such as {missing[0]!r}" if names.is_unique else "has names more than once"
        )
        msg = (
            f"The map was made of the {len(genes)} genes of {found.name}, which now {what}: restore them, or "
            "make the map again."
        )
        raise ValueError(msg)
    return in_memory(found.matrix)[:, names.get_indexer(genes)]


def _normalized(counts: Representation, adata: AnnData, params: Params) -> Representation:
    """Return log1p of the normalized counts, the representation of a map of counts."""
    matrix = sparse.csr_matrix(in_memory(counts.matrix), dtype=np.float32)
    if "size_factor_key" in params:
        key = params["size_factor_key"]
        sizes = obs_numbers(adata, key)
        if not np.isfinite(sizes).all():
            msg = f"Expected adata.obs[{key!r}], the size factors of this map, to hold finite numbers; restore them."
            raise ValueError(msg)
    else:
        sizes = np.asarray(matrix.sum(1), dtype=np.float64).ravel()
    factors = np.divide(float(params["library_size"]), sizes, out=np.zeros_like(sizes), where=sizes > 0)
    normalized = sparse.csr_matrix(sparse.diags(factors.astype(np.float32)) @ matrix).log1p()
    return Representation(normalized, f"log1p of the normalized {counts.name}", counts.params)


def real_matrix(values: Any, name: str) -> NDArray[Any]:
    """Return a copy of an (n, d) matrix as a contiguous float32 or float64 array, which torch accepts.

    The matrix may be sparse, lazy, on disk or a data frame, and of any memory order, byte order or real dtype.
    """
    values = dense(values)
    return np.array(values, dtype=_real_type(values, name), order="C")


def real_graph(values: Any, name: str) -> sparse.csr_matrix:
    """Return an (n, n) matrix of `obsp`, which may be lazy, as a sparse float32 or float64 matrix in memory."""
    values = in_memory(values)
    kind = _real_type(values, name)
    # SciPy does not support some dtypes, such as float16
    return sparse.csr_matrix(values if sparse.issparse(values) else values.astype(kind), dtype=kind)


def _real_type(values: Any, name: str) -> type[np.floating]:
    """Return the float type that holds the numbers of a matrix, or raise if there is none."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind not in "biuf" or values.ndim != 2:
        msg = f"Expected {name} to be a matrix of real numbers, found one of {values.dtype} and shape {values.shape}."
        raise TypeError(msg)
    return np.float32 if kind == "b" or (kind == "f" and size <= 4) else np.float64
