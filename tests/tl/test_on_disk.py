"""Maps of cells on disk: the answers are those in memory, and the matrices are never read as a whole."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scgeoae as sg
from scgeoae import _matrix
from scgeoae._anndata.write import Changes, write

from ..checks.slots import in_memory, slots
from ..conftest import pbmc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anndata import AnnData

QUICK = {"n_steps": 20, "progress_bar": False}


@cache
def folder() -> Path:
    return Path(mkdtemp(prefix="scgeoae-on-disk-"))


def cells() -> AnnData:
    adata = pbmc().copy()
    adata.X = sparse.csr_matrix(adata.X)
    # zarr cannot store it in the third version of the format
    del adata.raw, adata.uns["rank_genes_groups"]
    adata.obsm["to_b"] = (
        adata.obsm["X_pca"][(adata.obs["bulk_labels"] == "CD19+ B").to_numpy()].mean(0) - adata.obsm["X_pca"]
    )
    return adata


def write_zarr(adata: AnnData, path: Path, zarr_format: int = 3) -> None:
    with anndata.settings.override(zarr_write_format=zarr_format), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # blocks of cells, as in a store of many of them
        adata.write_zarr(path, chunks=(100, adata.n_vars))


@cache
def stored(kind: str) -> Path:
    """Return the folder with a map by `sg.tl.geoae`, or with all cells of `sg.tl.atlas`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(kind)


def make(kind: str) -> Path:
    path = folder() / kind
    path.mkdir()
    adata = cells()
    if kind == "own":
        sg.tl.geoae(adata, **QUICK)
        sg.tl.evaluate(adata, basis=["geoae", "umap"])
    else:
        write_zarr(adata, path / "cells.zarr")
        sample = sg.tl.atlas(path / "cells.zarr", n_sample=300, use_rep="X_pca", graph=True, **QUICK)
        sample.write_h5ad(path / "sample.h5ad")
        adata = anndata.read_zarr(path / "cells.zarr")
    adata.write_h5ad(path / "cells.h5ad")
    if kind == "own":
        for zarr_format in (2, 3):
            write_zarr(adata, path / f"cells{zarr_format}.zarr", zarr_format)
    return path


def dask(kind: str) -> AnnData:
    import dask.array as da

    adata = anndata.read_h5ad(stored(kind) / "cells.h5ad")
    adata.X = da.from_array(adata.X.toarray(), chunks=(100, -1)).map_blocks(sparse.csr_matrix)
    for name, values in list(adata.obsm.items()):
        adata.obsm[name] = da.from_array(np.asarray(values), chunks=(100, -1))
    return adata


def lazy(path: Path) -> AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return anndata.experimental.read_lazy(path)


INPUTS: dict[str, Callable[[str], AnnData]] = {
    "backed": lambda kind: anndata.read_h5ad(stored(kind) / "cells.h5ad", backed="r"),
    "read lazily from zarr": lambda kind: lazy(stored(kind) / ("cells3.zarr" if kind == "own" else "cells.zarr")),
    "read lazily from zarr 2": lambda kind: lazy(stored(kind) / ("cells2.zarr" if kind == "own" else "cells.zarr")),
    "read lazily from h5ad": lambda kind: lazy(stored(kind) / "cells.h5ad"),
    "Dask arrays": dask,
}


def placed_on(adata: AnnData, **kwargs: Any) -> AnnData:
    new = cells()[::20].copy()
    del new.obs["bulk_labels"]
    sg.tl.transform(new, adata, use_rep="X_pca", obs="bulk_labels", **kwargs)
    return new


def vectors(adata: AnnData) -> None:
    sg.tl.project_vectors(adata, "to_b", key_added="b")


def curvature_heatmap(adata: AnnData) -> Any:
    sg.tl.curvature(adata)
    return sg.pl.curvature_heatmap(adata, show=False)


def sample() -> AnnData:
    return anndata.read_h5ad(stored("atlas") / "sample.h5ad")


# What holds a matrix of all cells in memory, as its documentation says, is in WHOLE.
CALLS: dict[str, Callable[[AnnData], Any]] = {
    "get.metric_tensors": sg.get.metric_tensors,
    "get.model": lambda adata: sg.get.model(adata).to_arrays(),
    "get.scores": sg.get.scores,
    "get.card": lambda adata: sorted(sg.get.card(adata).splitlines()),
    "tl.evaluate": lambda adata: sg.tl.evaluate(
        adata, basis=["geoae", "umap"], groupby="bulk_labels", n_sample=200, local_scores=True
    ),
    "tl.evaluate, genes": lambda adata: sg.tl.evaluate(adata, basis="geoae", use_rep="X", n_sample=200),
    "tl.evaluate, OpenProblems": lambda adata: sg.tl.evaluate(
        adata, basis="geoae", measures=["waypoint_distance_correlation", "density_preservation"]
    ),
    "tl.distortion": lambda adata: sg.tl.distortion(adata, basis="geoae"),
    "tl.distortion, UMAP": lambda adata: sg.tl.distortion(adata, basis="umap", **QUICK),
    "tl.decode": lambda adata: sg.tl.decode(adata, [[0, 0], [1, 0.5]]),
    "tl.transform, new": lambda adata: sg.tl.transform(adata, sample(), use_rep="X_pca"),
    "tl.transform, reference": placed_on,
    "tl.curvature": sg.tl.curvature,
    "tl.density": lambda adata: sg.tl.density(adata, groupby="phase"),
    "tl.gap": lambda adata: sg.tl.gap(adata, "CD14+ Monocyte", "CD19+ B", groupby="bulk_labels"),
    "tl.residual": sg.tl.residual,
    "tl.rank_genes_by_jacobian": lambda adata: sg.tl.rank_genes_by_jacobian(adata, groupby="bulk_labels"),
    "tl.project_vectors": vectors,
    "tl.geodesic": lambda adata: sg.tl.geodesic(adata, source=adata.obs_names[0], target=adata.obs_names[5]),
    "tl.pseudotime": lambda adata: sg.tl.pseudotime(adata, root=adata.obs_names[0]),
    "tl.stability": lambda adata: sg.tl.stability(adata, n_fits=4, progress_bar=False),
    "pl.embedding": lambda adata: sg.pl.embedding(adata, color=["bulk_labels", "HES4"], show=False),
    "pl.indicatrices": lambda adata: sg.pl.indicatrices(adata, color="bulk_labels", show=False),
    "pl.jacobian_heatmap": lambda adata: sg.pl.jacobian_heatmap(adata, show=False),
    "pl.curvature_heatmap": curvature_heatmap,
    "pl.evaluation": lambda adata: sg.pl.evaluation(adata, show=False),
}
WHOLE = ("tl.evaluate, OpenProblems", "tl.distortion", "tl.distortion, UMAP", "tl.transform, reference")
OF_OWN = ("tl.stability", "pl.evaluation")
SLOW = ("tl.stability", "tl.evaluate, genes", "tl.distortion, UMAP", "tl.evaluate, OpenProblems")


@contextmanager
def no_whole_matrix(n: int) -> Iterator[None]:
    """Raise where a Dask array of n rows and many columns is computed as a whole."""
    import dask.array as da

    def guarded(name: str) -> Any:
        original = getattr(da.Array, name)

        def read(self: Any, *args: Any, **kwargs: Any) -> Any:
            assert not (self.ndim == 2 and self.shape[0] == n and 50 <= self.shape[1] < n), (
                f"{self} was read as a whole"
            )
            return original(self, *args, **kwargs)

        return read

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_matrix, "BLOCK_SIZE", 2**13)
        for name in ("compute", "__array__"):
            patch.setattr(da.Array, name, guarded(name))
        yield


def drawn(panel: Any) -> dict[str, Any]:
    """Return what is on the axes."""
    found: dict[str, Any] = {"texts": [text.get_text() for text in panel.texts], "title": panel.get_title()}
    found["view"] = np.array([*panel.get_xlim(), *panel.get_ylim()])
    for i, marks in enumerate(panel.collections):
        found[f"{i}"] = [np.asarray(marks.get_offsets()), np.asarray(marks.get_facecolors())]
        found[f"{i} paths"] = [path.vertices for path in marks.get_paths()]
    for i, image in enumerate(panel.images):
        found[f"image {i}"] = np.asarray(image.get_array())
    return found


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return all arrays and scalars in an answer, in memory."""
    if isinstance(value, anndata.AnnData):
        value = slots(value)
    elif isinstance(value, pd.DataFrame):
        value = {"index": value.index, **{name: value[name] for name in value}}
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    elif hasattr(value, "collections"):
        value = drawn(value)
    elif isinstance(value, np.ndarray) and value.dtype.names:
        value = {name: value[name] for name in value.dtype.names}
    elif isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        return {inner: x for name, entry in value.items() for inner, x in flat(entry, f"{path}/{name}").items()}
    value = in_memory(value)
    return {path: value.toarray() if sparse.issparse(value) else value}


def answer(name: str, adata: AnnData, *, guard: bool) -> dict[str, Any]:
    """Call a function and return its answer with every slot of the AnnData, all in memory."""
    n = adata.n_obs if guard and name not in WHOLE else -1
    with no_whole_matrix(n):
        found = CALLS[name](adata)
    result = flat(found, "answer")
    plt.close("all")
    whole = adata.to_memory()
    # Scanpy writes its colors into what it draws, which is a copy of cells on disk
    return result | {path: value for path, value in flat(whole, "adata").items() if "_colors" not in path}


@cache
def expected(name: str, kind: str) -> dict[str, Any]:
    return answer(name, anndata.read_h5ad(stored(kind) / "cells.h5ad"), guard=False)


def check_same(found: dict[str, Any], true: dict[str, Any]) -> None:
    assert found.keys() == true.keys()
    for path, value in true.items():
        a, b = np.asarray(found[path]), np.asarray(value)
        if b.dtype.kind in "fiu":
            np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=1e-6, atol=1e-6, err_msg=path)
        else:
            assert a.astype(object).tolist() == b.astype(object).tolist(), path


# each function takes one of the maps by default, and the other among the slow tests
PAIRS = [
    pytest.param(name, kind, marks=[pytest.mark.slow] * (name in SLOW or (name not in OF_OWN and (i + j) % 2)))
    for i, name in enumerate(CALLS)
    for j, kind in enumerate(("own", "atlas"))
    if not (kind == "atlas" and name in OF_OWN)
]


@pytest.mark.parametrize(
    "source",
    [
        "read lazily from zarr",
        *(pytest.param(source, marks=pytest.mark.slow) for source in INPUTS if source != "read lazily from zarr"),
    ],
)
@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_answers_are_those_in_memory(name, kind, source):
    found = answer(name, INPUTS[source](kind), guard=True)
    check_same(found, expected(name, kind))


def test_results_that_cannot_be_written_leave_a_lazy_one_as_it_was():
    adata = lazy(stored("own") / "cells3.zarr")
    columns, arrays = set(adata.obs.columns), set(adata.obsm)
    bad = Changes(
        {
            ("obs", "geoae_log_area"): None,
            ("obs", "new"): np.zeros(adata.n_obs),
            ("uns", "geoae"): None,
            ("obsm", "X_new"): np.zeros((adata.n_obs, 2)),
            ("obsm", "wrong"): np.zeros((3, 2)),
        }
    )
    with pytest.raises(ValueError, match="wrong"):
        write(adata, bad, start=None)
    assert set(adata.obs.columns) == columns
    assert set(adata.obsm) == arrays
    assert "geoae" in adata.uns
    assert not isinstance(adata.obs, pd.DataFrame)


def test_only_the_columns_that_are_needed_are_read():
    adata = lazy(stored("own") / "cells3.zarr")
    frame, columns = type(adata.obs), set()
    read = frame.to_memory

    def recorded(self: Any, **kwargs: Any) -> pd.DataFrame:
        columns.update(self.columns)
        return read(self, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame, "to_memory", recorded)
        sg.tl.density(adata, groupby="phase")
        sg.pl.embedding(adata, color="bulk_labels", show=False)
    plt.close("all")
    # `var` is read, too
    assert columns - set(adata.var.columns) == {"phase", "bulk_labels", "geoae_log_area"}


def test_the_sample_is_the_reference_of_an_atlas():
    new = placed_on(lazy(stored("atlas") / "cells.zarr"))
    on_sample = placed_on(sample())
    # the store has the positions at which the cells of the sample were placed, which are theirs up to rounding
    np.testing.assert_allclose(new.obsm["X_geoae"], on_sample.obsm["X_geoae"], atol=1e-5)
    np.testing.assert_allclose(new.obs["geoae_outlier_score"], on_sample.obs["geoae_outlier_score"], atol=1e-5)
    assert list(new.obs["bulk_labels"]) == list(on_sample.obs["bulk_labels"])
    whole = anndata.read_zarr(stored("atlas") / "cells.zarr")
    with pytest.raises(ValueError, match=r"are not the cells that the map .* was made from"):
        placed_on(whole[::-1].copy())
    with pytest.raises(ValueError, match=r"are not the cells that the map .* was made from"):
        placed_on(whole[: whole.n_obs - 50].copy())


def test_components_of_the_sample_are_projected_again_for_new_cells(tmp_path):
    """The store of an atlas has no components if they were computed for its sample."""
    whole = cells()
    for name in ("obsm", "varm", "uns", "obsp"):
        getattr(whole, name).clear()
    path = tmp_path / "cells.zarr"
    whole.write_zarr(path)
    with pytest.warns(UserWarning, match="computing it with sc.pp.pca"):
        sample = sg.tl.atlas(path, n_sample=300, refine=False, **QUICK)
    new = whole[::20].copy()
    expected = sg.tl.transform(new, sample, units="same", copy=True)
    adata = lazy(path)
    regained = adata[np.asarray(adata.uns["geoae"]["sample"])].to_memory()
    for reference in (adata, regained):
        found = sg.tl.transform(new, reference, units="same", copy=True)
        np.testing.assert_allclose(found.obsm["X_geoae"], expected.obsm["X_geoae"], atol=1e-5)
        # the score counts cells, and rounding changes which are farther
        np.testing.assert_allclose(found.obs["geoae_outlier_score"], expected.obs["geoae_outlier_score"], atol=5e-3)
    assert "X_pca" not in regained.obsm
    sg.tl.transform(path, adata, out=tmp_path / "map.zarr", units="same", progress_bar=False)
    with pytest.raises(ValueError, match=r"are not the cells that the map .* was made from"):
        sg.tl.transform(new, adata.to_memory()[::-1].copy(), units="same")
    # without genes
    with pytest.raises(KeyError, match=r"the components are those of the sample.*the one that sg\.tl\.atlas returned"):
        sg.tl.transform(new, adata[:, :0].to_memory(), units="same")


def test_components_that_the_store_lacks_are_not_computed_again():
    whole = anndata.read_zarr(stored("atlas") / "cells.zarr")
    del whole.obsm["X_pca"]
    with pytest.raises(KeyError, match=r"the components are those of the sample.*the one that sg\.tl\.atlas returned"):
        sg.tl.evaluate(whole, basis="geoae")
    # another representation does
    table = sg.tl.evaluate(whole, basis="geoae", use_rep="X_umap", measures="kNN_10")
    assert table["value"].notna().all()


def test_what_needs_the_sample_says_how_to_get_it():
    whole = lazy(stored("atlas") / "cells.zarr")
    with pytest.raises(ValueError, match=r"made of a sample of 300.*np\.asarray\(adata\.uns\['geoae'\]\['sample'\]\)"):
        sg.tl.stability(whole)
    regained = whole[np.asarray(whole.uns["geoae"]["sample"])].to_memory()
    with pytest.raises(ValueError, match=r"only the edges between cells of the sample\. Give all cells, or the sample"):
        sg.tl.pseudotime(regained, root=regained.obs_names[0])
    del whole.obsp["geoae_distances"]
    with pytest.raises(KeyError, match=r"the one that sg\.tl\.atlas returned.* sg\.tl\.atlas with graph=True"):
        sg.tl.pseudotime(whole, root=whole.obs_names[0])
    sg.tl.stability(regained, n_fits=4, progress_bar=False)
    assert regained.obsm["geoae_stability"].shape == (300, 3)


def test_the_error_of_an_atlas_is_that_of_all_cells():
    whole = lazy(stored("atlas") / "cells.zarr")
    table = sg.tl.evaluate(whole, basis="geoae", measures=["CN", "MSE", "MSE_held_out"]).set_index("measure")
    model = sg.get.model(whole)
    x, z = (np.asarray(whole.obsm[name], dtype=np.float64) for name in ("X_pca", "X_geoae"))
    import torch

    with torch.no_grad():
        decoded = model.decode(torch.from_numpy(z).float()).numpy()
    true = ((decoded - x) ** 2).sum(1).mean() / (x.shape[1] * float(model.scale) ** 2)
    assert table.loc["MSE", "value"] == pytest.approx(true, rel=1e-5)
    assert table.loc["MSE", "value"] != pytest.approx(sg.get.scores(whole)["MSE"], rel=1e-3)
    assert table.loc["MSE", ["error", "n_sample"]].tolist() == [0, whole.n_obs]
    assert np.isnan(table.loc["MSE_held_out", "value"])


# new cells may be a collection, since a store gets the results (test_transform_stores.py)
@pytest.mark.parametrize("name", [name for name in CALLS if name != "tl.transform, new"])
def test_a_collection_holds_no_map(name):
    adata = anndata.read_h5ad(stored("own") / "cells.h5ad")
    collection = anndata.experimental.AnnCollection([adata[:400].copy(), adata[400:].copy()], join_vars="inner")
    with pytest.raises(TypeError, match=r"AnnCollection, .* sg\.tl\.atlas\(collection, out='map\.zarr'\)"):
        CALLS[name](collection)
