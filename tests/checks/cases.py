"""What is wrong, or unusual, with the data: each case changes an AnnData or returns another."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from .calls import made, raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

    Case = Callable[[AnnData], AnnData]

CASES: dict[str, Case] = {}
"""Data that are unusual, for a function that makes a map, or of which a map was made, or that change after it."""
AFTER: dict[str, Case] = {}
"""What becomes of an AnnData that has a map."""
PLAIN: dict[str, Case] = {}
"""The same values in the plain form, where these are not the values of "as it is"."""


def case(name: str, cases: dict[str, Case] = CASES, plain: Case | None = None) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        cases[name] = function
        if plain is not None:
            PLAIN[name] = plain
        return function

    return register


def matrix_case(name: str, convert: Callable[[Any], Any], *, rounds: bool = False) -> None:
    def change(adata: AnnData) -> AnnData:
        adata.X = convert(adata.X)
        return adata

    def change_values(adata: AnnData) -> AnnData:
        adata.X = convert(adata.X).astype(np.float32)
        return adata

    CASES[name] = change
    if rounds:
        PLAIN[name] = change_values


def values_case(name: str, change_values: Callable[[np.ndarray], Any]) -> None:
    """X is changed in place, or replaced."""

    def change(adata: AnnData) -> AnnData:
        x = np.array(adata.X, dtype=np.float64)
        with np.errstate(all="ignore"):
            changed = change_values(x)
            adata.X = (x if changed is None else changed).astype(np.float32)
        return adata

    CASES[name] = change


def slot_case(name: str, attribute: str, entry: str) -> None:
    def change(adata: AnnData) -> AnnData:
        mapping = getattr(adata, attribute)
        if entry in mapping:
            del mapping[entry]
        return adata

    AFTER[name] = change


# --- kinds of matrices
matrix_case("as it is", lambda x: x)
matrix_case("float16", lambda x: x.astype(np.float16), rounds=True)
matrix_case("float64", lambda x: x.astype(np.float64))
matrix_case("integers", lambda x: np.rint(3 * x).astype(np.int64), rounds=True)
matrix_case("unsigned bytes", lambda x: np.rint(np.abs(3 * x)).astype(np.uint8), rounds=True)
matrix_case("booleans", lambda x: x > np.median(x, axis=0), rounds=True)
matrix_case("complex numbers", lambda x: x.astype(np.complex64))
matrix_case("float64 beyond float32", lambda x: x.astype(np.float64) * 1e300)
matrix_case("float64 below float32", lambda x: x.astype(np.float64) * 1e-300)
matrix_case("CSR matrix", sparse.csr_matrix)
matrix_case("CSC matrix", sparse.csc_matrix)
matrix_case("CSR array", sparse.csr_array)
matrix_case("CSC array", sparse.csc_array)
matrix_case("Fortran order", np.asfortranarray)


@case("read-only arrays")
def _(adata: AnnData) -> AnnData:
    adata.X = read_only(adata.X)
    for name in list(adata.obsm):
        adata.obsm[name] = read_only(np.asarray(adata.obsm[name]))
    return adata


def read_only(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.flags.writeable = False
    return values


@case("Dask array")
def _(adata: AnnData) -> AnnData:
    import dask.array as da

    adata.X = da.from_array(np.asarray(adata.X), chunks=(16, adata.n_vars))
    return adata


@case("Dask array of sparse blocks")
def _(adata: AnnData) -> AnnData:
    import dask.array as da

    adata.X = da.from_array(np.asarray(adata.X), chunks=(16, adata.n_vars)).map_blocks(sparse.csr_matrix)
    return adata


@case("Dask arrays in blocks of columns, in obsm too")
def _(adata: AnnData) -> AnnData:
    import dask.array as da

    adata.X = da.from_array(np.asarray(adata.X), chunks=(16, 3))
    for name in list(adata.obsm):
        adata.obsm[name] = da.from_array(np.asarray(adata.obsm[name]), chunks=(16, 1))
    return adata


@case("masked array")
def _(adata: AnnData) -> AnnData:
    adata.X = np.ma.masked_array(adata.X, mask=np.asarray(adata.X) > 4)
    return adata


@case("read lazily")
def _(adata: AnnData) -> AnnData:
    from anndata.experimental import read_lazy

    # from a zarr store, since what is read lazily from an h5ad file cannot be copied
    file = Path(mkdtemp(prefix="scgeoae-checks-")) / "data.zarr"
    adata.write_zarr(file)
    return read_lazy(file)


@case("view", plain=lambda adata: adata[: adata.n_obs - 5].copy())
def _(adata: AnnData) -> AnnData:
    return adata[: adata.n_obs - 5]


@case("view in another order", plain=lambda adata: adata[::-1].copy())
def _(adata: AnnData) -> AnnData:
    return adata[::-1]


@case("backed")
def _(adata: AnnData) -> AnnData:
    file = Path(mkdtemp(prefix="scgeoae-checks-")) / "data.h5ad"
    adata.write_h5ad(file)
    return anndata.read_h5ad(file, backed="r")


@case("float64 layout")
def _(adata: AnnData) -> AnnData:
    adata.obsm["X_umap"] = adata.obsm["X_umap"].astype(np.float64)
    return adata


@case("layout in a data frame")
def _(adata: AnnData) -> AnnData:
    adata.obsm["X_umap"] = pd.DataFrame(adata.obsm["X_umap"], index=adata.obs_names, columns=["u", "v"])
    return adata


@case("bytes in the other order")
def _(adata: AnnData) -> AnnData:
    adata.X = np.asarray(adata.X).astype(">f4")
    for name in list(adata.obsm):
        adata.obsm[name] = np.asarray(adata.obsm[name]).astype(">f4")
    return adata


# --- names and groups
@case("names of cells twice")
def _(adata: AnnData) -> AnnData:
    adata.obs_names = ["cell"] * adata.n_obs
    return adata


@case("names of genes twice")
def _(adata: AnnData) -> AnnData:
    adata.var_names = ["gene"] * adata.n_vars
    return adata


@case("names that are numbers")
def _(adata: AnnData) -> AnnData:
    adata.obs.index = pd.Index(np.arange(adata.n_obs))
    adata.var.index = pd.Index(np.arange(adata.n_vars))
    return adata


@case("columns whose names are numbers")
def _(adata: AnnData) -> AnnData:
    adata.obs[0] = 1.0
    return adata


@case("groups that are numbers")
def _(adata: AnnData) -> AnnData:
    adata.obs["group"] = pd.Categorical(adata.obs["group"].cat.codes)
    return adata


@case("groups that are text")
def _(adata: AnnData) -> AnnData:
    adata.obs["group"] = adata.obs["group"].astype(object)
    return adata


@case("a group without cells")
def _(adata: AnnData) -> AnnData:
    adata.obs["group"] = adata.obs["group"].cat.add_categories(["nobody"])
    return adata


@case("cells without a group")
def _(adata: AnnData) -> AnnData:
    adata.obs["group"] = adata.obs["group"].where(np.arange(adata.n_obs) % 3 > 0)
    return adata


@case("no cell has a group")
def _(adata: AnnData) -> AnnData:
    adata.obs["group"] = pd.Categorical([None] * adata.n_obs, categories=["a", "b"])
    return adata


@case("one group")
def _(adata: AnnData) -> AnnData:
    adata.obs["group"] = pd.Categorical(["a"] * adata.n_obs)
    return adata


@case("every cell a group")
def _(adata: AnnData) -> AnnData:
    adata.obs["group"] = pd.Categorical([f"a{i}" if i else "a" for i in range(adata.n_obs)])
    return adata


@case("groups that are measurements")
def _(adata: AnnData) -> AnnData:
    adata.obs["group"] = adata.obs["value"]
    return adata


@case("groups that are dates")
def _(adata: AnnData) -> AnnData:
    adata.obs["group"] = pd.date_range("2020-01-01", periods=3, unit="ns")[adata.obs["group"].cat.codes]
    return adata


@case("groups of nullable text")
def _(adata: AnnData) -> AnnData:
    column = adata.obs["group"].astype("string")
    column.iloc[::4] = pd.NA
    adata.obs["group"] = column
    return adata


@case("groups of text and numbers")
def _(adata: AnnData) -> AnnData:
    adata.obs["group"] = np.resize(np.array(["a", 1, 2.5, None], dtype=object), adata.n_obs)
    return adata


@case("groups 1 and '1'")
def _(adata: AnnData) -> AnnData:
    adata.obs["group"] = pd.Categorical(np.resize(np.array([1, "1"], dtype=object), adata.n_obs))
    return adata


@case("groups that are lists")
def _(adata: AnnData) -> AnnData:
    adata.obs["group"] = [[i] for i in range(adata.n_obs)]
    return adata


@case("the column of groups twice")
def _(adata: AnnData) -> AnnData:
    adata.obs = pd.concat([adata.obs, adata.obs[["group"]]], axis=1)
    return adata


@case("colors of groups are a number")
def _(adata: AnnData) -> AnnData:
    adata.uns["group_colors"] = 3
    return adata


@case("colors of groups are no colors")
def _(adata: AnnData) -> AnnData:
    adata.uns["group_colors"] = ["spam", "spam", "spam"]
    return adata


@case("raw of other genes")
def _(adata: AnnData) -> AnnData:
    adata.raw = anndata.AnnData(np.ones((adata.n_obs, 3), np.float32), obs=adata.obs[[]].copy())
    return adata


# --- a neighbor graph
def neighbors_case(name: str, change: Callable[[AnnData], None]) -> None:
    def change_graph(adata: AnnData) -> AnnData:
        import scanpy as sc

        sc.pp.neighbors(adata, n_neighbors=5, use_rep="X", method="gauss")
        change(adata)
        return adata

    CASES[f"neighbor graph {name}"] = change_graph


def recorded(**params: Any) -> Callable[[AnnData], None]:
    return lambda adata: adata.uns["neighbors"].update(params)


def graph_as(convert: Callable[[Any], Any]) -> Callable[[AnnData], None]:
    def change(adata: AnnData) -> None:
        adata.obsp["distances"] = convert(adata.obsp["distances"])

    return change


neighbors_case("as it is", lambda _: None)
neighbors_case("without parameters", lambda adata: adata.uns["neighbors"].pop("params"))
neighbors_case("whose parameters are a number", recorded(params=3))
neighbors_case("of a representation 3", recorded(params={"use_rep": 3}))
neighbors_case("of a representation in a list", recorded(params={"use_rep": ["spam"]}))
neighbors_case("of NaN components", recorded(params={"n_pcs": float("nan")}))
neighbors_case("under a name in a list", recorded(distances_key=["distances"]))
neighbors_case("of NaN", graph_as(lambda graph: graph * np.nan))
neighbors_case("of negative numbers", graph_as(lambda graph: -graph))
neighbors_case("of zeros", graph_as(lambda graph: graph * 0))
neighbors_case("that is dense", graph_as(lambda graph: graph.toarray()))
PLAIN["neighbor graph that is dense"] = CASES["neighbor graph as it is"]


# --- sizes
for _n in (0, 1, 2, 3, 4, 5):

    @case(f"{_n} cell{'' if _n == 1 else 's'}")
    def _(adata: AnnData, n: int = _n) -> AnnData:
        return adata[:n].copy()


for _g in (0, 1, 2):

    @case(f"{_g} feature{'' if _g == 1 else 's'}")
    def _(adata: AnnData, g: int = _g) -> AnnData:
        return adata[:, :g].copy()


def components() -> AnnData:
    """Return 60 genes and their principal components, which are then what is embedded."""
    import scanpy as sc

    adata = raw(n_features=60)
    sc.pp.pca(adata, n_comps=6)
    return adata


@case("60 genes")
def _(_adata: AnnData) -> AnnData:
    return raw(n_features=60)


@case("components")
def _(_adata: AnnData) -> AnnData:
    return components()


@case("components in a data frame", plain=lambda _: components())
def _(_adata: AnnData) -> AnnData:
    adata = components()
    adata.obsm["X_pca"] = pd.DataFrame(adata.obsm["X_pca"], index=adata.obs_names).rename(columns=str)
    return adata


@case("NaN in the components of one cell")
def _(_adata: AnnData) -> AnnData:
    adata = components()
    adata.obsm["X_pca"][3, 1] = np.nan
    return adata


@case("map of components", AFTER)
def _(_adata: AnnData) -> AnnData:
    return made(components())


@case("map of components without loadings", AFTER, plain=lambda _: made(components()))
def _(_adata: AnnData) -> AnnData:
    adata = made(components())
    del adata.varm["PCs"]
    return adata


@case("map of components without X", AFTER, plain=lambda _: made(components()))
def _(_adata: AnnData) -> AnnData:
    adata = made(components())
    adata.X = None
    return adata


@case("map of components with X of objects", AFTER, plain=lambda _: made(components()))
def _(_adata: AnnData) -> AnnData:
    adata = made(components())
    del adata.varm["PCs"]
    adata.X = adata.X.astype(object)
    return adata


@case("map of components with NaN in X", AFTER, plain=lambda _: made(components()))
def _(_adata: AnnData) -> AnnData:
    adata = made(components())
    del adata.varm["PCs"]
    adata.X[0, 0] = np.nan
    return adata


@case("map of components of other genes", AFTER, plain=lambda _: made(components()))
def _(_adata: AnnData) -> AnnData:
    adata = made(components())
    adata.X = adata.X[:, ::-1].copy()
    return adata


@case("X is missing")
def _(adata: AnnData) -> AnnData:
    adata.X = None
    return adata


# --- values
def far_apart(x: np.ndarray) -> None:
    x[::2] += 1e6


def one_far(x: np.ndarray) -> None:
    x[-1] += 1e6


def one(value: float) -> Callable[[np.ndarray], None]:
    def change(x: np.ndarray) -> None:
        x[1, 0] = value

    return change


def duplicates(x: np.ndarray) -> None:
    x[: len(x) // 2] = x[0]


def on_a_line(x: np.ndarray) -> np.ndarray:
    return x[:, :1] * np.arange(1, x.shape[1] + 1)


values_case("all cells are equal", np.ones_like)
values_case("half of the cells are one", duplicates)
values_case("a feature is constant", lambda x: np.where(np.arange(x.shape[1]) == 0, 1.0, x))
values_case("all cells on a line", on_a_line)
values_case("two clusters 1e6 apart", far_apart)
values_case("one cell 1e6 away", one_far)
values_case("scale 1e-12", lambda x: x * 1e-12)
values_case("scale 1e12", lambda x: x * 1e12)
values_case("scale 1e-30", lambda x: x * 1e-30)
values_case("scale 1e30", lambda x: x * 1e30)
values_case("offset 1e6", lambda x: x + 1e6)
values_case("NaN in one cell", one(np.nan))
values_case("infinity in one cell", one(np.inf))
values_case("NaN everywhere", lambda x: np.full_like(x, np.nan))
values_case("zeros", np.zeros_like)


@case("NaN in the layout")
def _(adata: AnnData) -> AnnData:
    if adata.n_obs:
        adata.obsm["X_umap"][0, 0] = np.nan
    return adata


@case("layout of 3 dimensions")
def _(adata: AnnData) -> AnnData:
    umap = adata.obsm["X_umap"]
    adata.obsm["X_umap"] = np.c_[umap, umap[:, 0] * umap[:, 1]].astype(np.float32)
    return adata


@case("layout without columns")
def _(adata: AnnData) -> AnnData:
    adata.obsm["X_umap"] = adata.obsm["X_umap"][:, :0]
    return adata


@case("layout on a line")
def _(adata: AnnData) -> AnnData:
    adata.obsm["X_umap"] = np.outer(np.arange(adata.n_obs), [1.0, 2.0]).astype(np.float32)
    return adata


# --- what becomes of an AnnData with a map
for _slot in (
    "obsm X_geoae",
    "obsm geoae_metric",
    "obsm geoae_metric_encoder",
    "obsm X_umap",
    "obsm umap_metric",
    "obsp geoae_metric",
    "obsp geoae_distances",
    "obsp geoae_connectivities",
    "obsp umap_torn",
    "obs geoae_log_area",
    "obs geoae_anisotropy",
    "obs geoae_gaussian_curvature",
    "obs group",
    "uns geoae",
    "uns umap_distortion",
    "uns evaluation",
):
    slot_case(f"without {_slot}", *_slot.split())

for _entry in ("params", "scores", "model", "history", "distances_key"):

    @case(f"without {_entry} in uns", AFTER)
    def _(adata: AnnData, entry: str = _entry) -> AnnData:
        for name in ("geoae", "umap_distortion"):
            adata.uns.get(name, {}).pop(entry, None)
        return adata


for _value in (3, "text", None, [], np.zeros(3)):

    @case(f"uns is {'an array' if isinstance(_value, np.ndarray) else repr(_value)}", AFTER)
    def _(adata: AnnData, value: Any = _value) -> AnnData:
        for name in ("geoae", "umap_distortion", "evaluation"):
            adata.uns[name] = value
        return adata


@case("NaN in the map", AFTER)
def _(adata: AnnData) -> AnnData:
    adata.obsm["X_geoae"][0, 0] = np.nan
    return adata


COLUMNS = ("geoae_log_area", "geoae_log_area_encoder", "geoae_gaussian_curvature", "umap_broken", "umap_log_area")


@case("NaN in the columns", AFTER)
def _(adata: AnnData) -> AnnData:
    for name in COLUMNS:
        adata.obs[name] = adata.obs[name].astype(float).where(np.arange(adata.n_obs) > 0)
    return adata


@case("columns of text", AFTER)
def _(adata: AnnData) -> AnnData:
    for name in COLUMNS:
        adata.obs[name] = adata.obs[name].astype(str)
    return adata


@case("columns twice", AFTER)
def _(adata: AnnData) -> AnnData:
    adata.obs = pd.concat([adata.obs, adata.obs[list(COLUMNS)]], axis=1)
    return adata


@case("NaN in the tensors", AFTER)
def _(adata: AnnData) -> AnnData:
    for name in ("geoae_metric", "geoae_metric_encoder", "umap_metric"):
        adata.obsm[name][0] = np.nan
    return adata


@case("tensors are zero", AFTER)
def _(adata: AnnData) -> AnnData:
    for name in ("geoae_metric", "geoae_metric_encoder", "umap_metric"):
        adata.obsm[name][:] = 0
    return adata


@case("map of another dimension", AFTER)
def _(adata: AnnData) -> AnnData:
    adata.obsm["X_geoae"] = np.c_[adata.obsm["X_geoae"], adata.obsm["X_geoae"][:, :1]]
    return adata


FORMS = {
    f"map and tensors as {form}": convert
    for form, convert in {
        "CSR matrices": sparse.csr_matrix,
        "CSR arrays": sparse.csr_array,
        "float16": lambda z: z.astype(np.float16),
        "extended precision": lambda z: z.astype(np.longdouble),
        "integers": lambda z: np.rint(100 * z).astype(np.int64),
        "booleans": lambda z: z > 0,
        "complex numbers": lambda z: z.astype(np.complex64),
        "text": lambda z: z.astype(str),
        "objects": lambda z: z.astype(object),
        "blocks": lambda z: z[:, :, None],
        "numbers beyond float32": lambda z: z.astype(np.float64) * 1e300,
        "numbers below float32": lambda z: z.astype(np.float64) * 1e-300,
    }.items()
}
GRAPHS = {
    f"graphs {form}": convert
    for form, convert in {
        "of text": lambda graph: graph.toarray().astype(str),
        "of NaN": lambda graph: graph * np.nan,
        "as float16": lambda graph: graph.toarray().astype(np.float16),
    }.items()
}


def convert_graphs(adata: AnnData, convert: Callable[[Any], Any]) -> AnnData:
    for name in ("geoae_distances", "umap_torn"):
        adata.obsp[name] = convert(adata.obsp[name])
    return adata


for _name, _convert in GRAPHS.items():

    @case(_name, AFTER)
    def _(adata: AnnData, convert: Callable[[Any], Any] = _convert) -> AnnData:
        return convert_graphs(adata, convert)


def convert_map(adata: AnnData, convert: Callable[[Any], Any]) -> AnnData:
    for name in ("X_geoae", "geoae_metric", "geoae_metric_encoder", "X_umap", "umap_metric"):
        adata.obsm[name] = convert(adata.obsm[name])
    return adata


for _name, _convert in FORMS.items():

    @case(_name, AFTER)
    def _(adata: AnnData, convert: Callable[[Any], Any] = _convert) -> AnnData:
        return convert_map(adata, convert)


def rounded(values: Any) -> Any:
    return values.astype(np.float16).astype(np.float32)


PLAIN["map and tensors as float16"] = lambda adata: convert_map(adata, rounded)
PLAIN["graphs as float16"] = lambda adata: convert_graphs(adata, lambda graph: rounded(graph.toarray()))


@case("subset", AFTER)
def _(adata: AnnData) -> AnnData:
    return adata[::2].copy()


@case("concatenated with itself", AFTER)
def _(adata: AnnData) -> AnnData:
    return anndata.concat([adata, adata], index_unique="-", uns_merge="first", merge="first")


@case("concatenated without uns", AFTER)
def _(adata: AnnData) -> AnnData:
    return anndata.concat([adata, adata], index_unique="-")


@case("written and read, h5ad", AFTER)
def _(adata: AnnData) -> AnnData:
    file = Path(mkdtemp(prefix="scgeoae-checks-")) / "data.h5ad"
    adata.write_h5ad(file)
    return anndata.read_h5ad(file)


@case("other genes", AFTER)
def _(adata: AnnData) -> AnnData:
    adata.var_names = [f"other{i}" for i in range(adata.n_vars)]
    return adata


@case("embedding renamed as Scanpy will", AFTER)
def _(adata: AnnData) -> AnnData:
    for name in ("geoae", "umap"):
        adata.obsm[name] = adata.obsm.pop(f"X_{name}")
    return adata
