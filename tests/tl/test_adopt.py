from __future__ import annotations

import numpy as np
import pytest
import torch

import scgeoae as sg


@pytest.fixture(scope="module")
def adopted(reduced):
    """Do not change: take a copy."""
    return sg.tl.adopt(reduced, basis="X_umap", n_steps=500, progress_bar=False, copy=True)


def test_the_map_stays_and_has_a_model(adopted, reduced):
    assert np.array_equal(adopted.obsm["X_umap"], reduced.obsm["X_umap"])
    model = sg.get.model(adopted, key="umap")
    placed = model.encode(torch.from_numpy(adopted.obsm["X_pca"])).numpy()
    away = np.linalg.norm(placed - adopted.obsm["X_umap"], axis=1)
    assert np.median(away) < 0.03 * np.ptp(adopted.obsm["X_umap"], axis=0).max()
    assert {"MSE_held_out", "MSE_encoder_held_out", "ISO"} <= set(sg.get.scores(adopted, key="umap"))
    assert not {"umap_torn", "umap_broken"} & set(adopted.obs)


def test_it_is_the_model_of_distortion(adopted, reduced):
    other = sg.tl.distortion(reduced, basis="X_umap", n_steps=500, progress_bar=False, copy=True)
    assert np.array_equal(other.obsm["umap_metric"], adopted.obsm["umap_metric"])


def test_the_rest_works_with_it(adopted):
    adata = adopted.copy()
    assert sg.tl.decode(adata, adata.obsm["X_umap"][:3], key="umap").obsm["X_pca"].shape == (3, 50)
    path = sg.tl.geodesic(adata, "CD14+ Monocyte", "CD19+ B", groupby="bulk_labels", key="umap", genes=[])
    assert path.length > 0
    sg.tl.pseudotime(adata, "CD34+", groupby="bulk_labels", key="umap")
    sg.tl.rank_genes_by_jacobian(adata, "bulk_labels", key="umap", n_genes=3)
    assert "umap_rank_genes" in adata.uns
    sg.pl.geodesics(adata, path, basis="umap", show=False)
    sg.pl.indicatrices(adata, basis="umap", where="grid", show=False)
    sg.pl.decoded_genes(adata, "CST3", basis="umap", show=False)


def test_errors(fitted, reduced):
    with pytest.raises(ValueError, match=r"already has its own model; sg\.get\.model"):
        sg.tl.adopt(fitted, basis="geoae")
    with pytest.raises(KeyError, match=r"Did not find 'X_tsne' in adata\.obsm"):
        sg.tl.adopt(reduced, basis="tsne")
    before = reduced.copy()
    bad = reduced.copy()
    bad.obsm["X_umap"] = bad.obsm["X_umap"].copy()
    bad.obsm["X_umap"][0, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 700 cells have NaN"):
        sg.tl.adopt(bad)
    assert list(before.uns) == list(bad.uns)
