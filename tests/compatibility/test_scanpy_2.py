"""Scanpy's preview of its version 2 has other names of slots, and no `sc.pl.embedding`."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData

import scgeoae as sg

SMALL = {"hidden": (8, 8), "n_steps": 40, "progress_bar": False}


@pytest.fixture
def genes(reduced) -> AnnData:
    """Expression of 700 cells and nothing else."""
    return AnnData(reduced.X.copy(), obs=reduced.obs[["bulk_labels"]], var=reduced.var[[]])


@pytest.fixture
def version_2():
    """Set Scanpy's preview of version 2."""
    before = getattr(sc.settings, "preset", None)
    try:
        sc.settings.preset = sc.Preset.ScanpyV2Preview
    except (AttributeError, ImportError) as error:
        pytest.skip(f"needs scanpy[scanpy2] >= 1.13: {error}")
    if not hasattr(sc.pl, "legacy"):
        sc.settings.preset = before
        pytest.skip("needs scanpy[scanpy2] >= 1.13")
    yield
    sc.settings.preset = before


def test_genes_are_projected_on_components_that_have_one_name(genes):
    known, new = genes[:600].copy(), genes[600:].copy()
    sc.pp.pca(known, n_comps=20, key_added="pca")
    sg.tl.geoae(known, **SMALL)
    assert known.uns["geoae"]["params"]["use_rep"] == "pca"
    sg.tl.transform(new, known)
    expected = (new.X - known.X.mean(0)) @ known.varm["pca"]
    np.testing.assert_allclose(new.obsm["pca"], expected, atol=1e-3)


def test_an_analysis_in_the_preview(genes, version_2):
    with pytest.warns(UserWarning, match=r"computing it with sc\.pp\.pca"):
        sg.tl.geoae(genes, **SMALL)
    sc.pp.pca(genes)
    sc.pp.neighbors(genes, use_rep="obsm.pca")
    sc.tl.umap(genes)
    del genes.obsm["X_pca"]
    sg.tl.geoae(genes, **SMALL)
    assert "neighbors" in genes.uns["geoae"]["params"]
    sg.tl.distortion(genes, **SMALL)
    sc.tl.leiden(genes, neighbors_key="geoae", flavor="igraph", n_iterations=2)
    for basis in ("geoae", "umap"):
        sg.pl.indicatrices(genes, basis=basis, color=["bulk_labels", genes.var_names[0]], show=False)
        sg.pl.jacobian_heatmap(genes, basis=basis, show=False)
    sg.pl.broken_neighborhoods(genes, basis="umap", color="bulk_labels", show=False)
    sg.pl.decoded_genes(genes, [genes.var_names[0]], show=False)
    sg.tl.evaluate(genes, groupby="bulk_labels", local_scores=True)
    sg.pl.evaluation(genes, show=False)
