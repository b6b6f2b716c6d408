"""Every kind of map is the same after it was written to a file and read."""

from __future__ import annotations

import logging
import warnings

import anndata
import numpy as np
import pytest
import torch
from anndata import AnnData

import scgeoae as sg
from scgeoae.geometry import anisotropy

from ..checks.values import differences, flat

SMALL = {"hidden": (8, 8), "n_steps": 30, "n_neighbors": 4, "progress_bar": False}


def sheet() -> AnnData:
    """30 cells on a bent sheet in 6 dimensions, and where they are on it."""
    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, size=(30, 2))
    x = np.column_stack([3 * t, t[:, 0] ** 2, t[:, 0] * t[:, 1], 0.01 * rng.normal(size=(30, 2))])
    return AnnData(x.astype(np.float32), obsm={"X_umap": np.tanh(t).astype(np.float32)})


def default() -> tuple[AnnData, str]:
    adata = sheet()
    sg.tl.geoae(adata, **SMALL)
    return adata, "geoae"


def both_sides() -> tuple[AnnData, str]:
    adata = sheet()
    sg.tl.geoae(adata, side="both", key_added="both", **SMALL)
    return adata, "both"


def encoder_alone() -> tuple[AnnData, str]:
    adata = sheet()
    sg.tl.geoae(adata, refine=False, **SMALL)
    return adata, "geoae"


def ambient() -> tuple[AnnData, str]:
    adata = sheet()
    sg.tl.geoae(adata, ambient=np.diag([1.0, 1, 4, 1, 1, 1]), **SMALL)
    return adata, "geoae"


def foreign() -> tuple[AnnData, str]:
    adata = sheet()
    sg.tl.distortion(adata, basis="X_umap", **SMALL)
    return adata, "umap"


def adopted() -> tuple[AnnData, str]:
    adata = sheet()
    sg.tl.adopt(adata, basis="X_umap", **SMALL)
    return adata, "umap"


def placed() -> tuple[AnnData, str]:
    adata = sheet()
    sg.tl.transform(adata, default()[0])
    return adata, "geoae"


def counts() -> tuple[AnnData, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scvi-tools and torch expect more than 30 cells
        scvi = pytest.importorskip("scvi")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        scvi.settings.seed = 0
        expression = np.exp(1 + sheet().X)
        adata = AnnData(np.random.default_rng(0).poisson(expression).astype(np.float32))
        sg.model.GeoSCVI.setup_anndata(adata)
        model = sg.model.GeoSCVI(adata, n_hidden=8, gene_likelihood="nb")
        model.train(max_epochs=20, accelerator="cpu", enable_progress_bar=False)
        model.to_anndata(n_neighbors=4)
    return adata, "geoscvi"


KINDS = {
    make.__name__: make for make in (default, both_sides, encoder_alone, ambient, foreign, adopted, placed, counts)
}


FIRST = ("default", "foreign", "placed", "counts")


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind not in FIRST)) for kind in KINDS])
def test_a_map_survives_h5ad_and_zarr(kind, tmp_path):
    adata, key = KINDS[kind]()
    positions = torch.from_numpy(np.asarray(adata.obsm[f"X_{key}"])[:4] * 1.1)
    decoded = sg.get.model(adata, key=key).decode(positions)
    adata.write_h5ad(tmp_path / "map.h5ad")
    adata.write_zarr(tmp_path / "map.zarr")
    for again in (anndata.read_h5ad(tmp_path / "map.h5ad"), anndata.read_zarr(tmp_path / "map.zarr")):
        assert differences(flat(again), flat(adata)) == {}
        assert torch.equal(sg.get.model(again, key=key).decode(positions), decoded)
        check_slots_agree(again, key)
        check_cells_are_placed_where_they_are(again, key)
        assert sg.get.scores(again, key=key) == sg.get.scores(adata, key=key)
        assert sg.pl.indicatrices(again, basis=key, show=False)
        assert sg.pl.jacobian_heatmap(again, basis=key, show=False)


def check_slots_agree(adata: AnnData, key: str) -> None:
    z = torch.from_numpy(adata.obsm[f"X_{key}"])
    metric = torch.from_numpy(sg.get.metric_tensors(adata, key=key))
    torch.testing.assert_close(sg.get.model(adata, key=key).metric(z), metric, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(anisotropy(metric), adata.obs[f"{key}_anisotropy"], atol=1e-5)


def check_cells_are_placed_where_they_are(adata: AnnData, key: str) -> None:
    if key == "geoscvi":
        with pytest.raises(ValueError, match=r"GeoSCVI\.to_anndata"):
            sg.tl.transform(adata.copy(), adata, key=key)
        return
    again = sg.tl.transform(adata, adata, key=key, copy=True)
    # an encoder that was fitted to positions made elsewhere comes near them only
    if key != "umap":
        apart = np.abs(again.obsm[f"X_{key}"] - adata.obsm[f"X_{key}"]).max()
        assert apart <= 1e-5 * np.ptp(adata.obsm[f"X_{key}"])


def test_a_model_survives_safetensors(tmp_path):
    adata, key = default()
    model, positions = sg.get.model(adata, key=key), torch.from_numpy(adata.obsm[f"X_{key}"])
    model.save(tmp_path / "map.safetensors")
    assert torch.equal(sg.load(tmp_path / "map.safetensors").decode(positions), model.decode(positions))


def test_a_newer_format_asks_for_an_update():
    adata, _ = default()
    adata.uns["geoae"]["model"] = {"format": 1000, "invented_later": np.ones(3)}
    for call in (sg.get.model, sg.tl.metric, lambda stored: sg.pl.indicatrices(stored, where="grid", show=False)):
        with pytest.raises(ValueError, match=r"format 1000 .*newer version.*pip install --upgrade scgeoae"):
            call(adata)
