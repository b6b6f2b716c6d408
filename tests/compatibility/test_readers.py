"""What is stored is the same after each kind of file, and of types that other readers know (docs/readers.md)."""

from __future__ import annotations

import warnings

import anndata
import h5py
import numpy as np
import pytest
import torch
from anndata import AnnData

import scgeoae as sg

from ..checks.values import differences, flat
from .test_round_trips import SMALL, sheet

# those that anndata 0.10 reads; "rec-array" holds ranked genes, in the format of Scanpy
ENCODINGS = {
    "array",
    "categorical",
    "csr_matrix",
    "dataframe",
    "dict",
    "numeric-scalar",
    "rec-array",
    "string",
    "string-array",
}


@pytest.fixture(scope="module")
def full() -> AnnData:
    """Cells with a map, the distortion of a UMAP, and every kind of table."""
    adata = sheet()
    adata.obs["group"] = np.where(np.arange(30) < 15, "a", "b")
    adata.strings_to_categoricals()
    sg.tl.geoae(adata, side="both", **SMALL)
    sg.tl.distortion(adata, basis="umap", **SMALL)
    sg.tl.evaluate(adata, basis=["geoae", "umap"], groupby="group", local_scores=True)
    sg.tl.rank_genes_by_jacobian(adata, "group", direction="into")
    sg.tl.density(adata, groupby="group")
    sg.tl.pseudotime(adata, root=0)
    sg.tl.residual(adata, groupby="group", n_draws=9)
    return adata


def through_h5ad(adata, folder):
    adata.write_h5ad(folder / "map.h5ad")
    return anndata.read_h5ad(folder / "map.h5ad")


def through_zarr(adata, folder, version):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of changes to come in anndata and zarr
        with anndata.settings.override(zarr_write_format=version):
            adata.write_zarr(folder / "map.zarr")
        return anndata.read_zarr(folder / "map.zarr")


def through_mudata(adata, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of changes to come in mudata
        mudata = pytest.importorskip("mudata")
        proteins = AnnData(np.ones((adata.n_obs, 2), dtype=np.float32), obs=adata.obs[[]])
        proteins.var_names = ["CD3", "CD19"]
        mudata.MuData({"rna": adata, "proteins": proteins}).write(folder / "map.h5mu")
        return mudata.read_h5mu(folder / "map.h5mu").mod["rna"]


THROUGH = {
    "h5ad": through_h5ad,
    "zarr v2": lambda adata, folder: through_zarr(adata, folder, 2),
    "zarr v3": lambda adata, folder: through_zarr(adata, folder, 3),
    "h5mu": through_mudata,
}


@pytest.mark.parametrize("kind", THROUGH)
def test_everything_is_the_same_after_a_file(kind, full, tmp_path):
    again = THROUGH[kind](full.copy(), tmp_path)
    assert differences(flat(again), flat(full)) == {}
    for key in ("geoae", "umap"):
        assert again.obsm[f"X_{key}"].dtype == again.obsm[f"{key}_metric"].dtype == np.float32
        positions = torch.tensor(full.obsm[f"X_{key}"])
        decoded = [sg.get.model(adata, key=key).decode(positions) for adata in (again, full)]
        assert torch.equal(*decoded)


def test_files_hold_only_types_that_older_readers_know(full, tmp_path):
    found = {}
    with anndata.settings.override(**plain_strings()):
        full.write_h5ad(tmp_path / "map.h5ad")
    with h5py.File(tmp_path / "map.h5ad") as file:
        for part in ("obs", "obsm", "obsp", "uns"):
            file[part].visititems(lambda name, entry: found.update({entry.attrs.get("encoding-type"): name}))
    found.pop(None)  # the three arrays of a sparse matrix
    assert found.keys() == ENCODINGS, found


def plain_strings():
    """As docs/readers.md says; anndata 0.12 has no other strings under pandas 2."""
    has_setting = hasattr(anndata.settings, "allow_write_nullable_strings")
    return {"allow_write_nullable_strings": False} if has_setting else {}
