"""A map in a table of a SpatialData is kept by its files."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
import torch

import scgeoae as sg


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a hundred packages that spatialdata brings along
def test_map_in_a_table_survives_writing_and_reading(tmp_path):
    spatialdata = pytest.importorskip("spatialdata")
    cells = sc.datasets.pbmc68k_reduced()
    cells.obsm["spatial"] = np.random.default_rng(0).uniform(size=(cells.n_obs, 2))
    sdata = spatialdata.SpatialData(tables={"table": cells})
    sg.tl.geoae(sdata.tables["table"], refine=False, progress_bar=False)
    sdata.write(tmp_path / "tissue.zarr")

    read = spatialdata.read_zarr(tmp_path / "tissue.zarr").tables["table"]

    positions = read.obsm["X_geoae"]
    np.testing.assert_array_equal(positions, sdata.tables["table"].obsm["X_geoae"])
    decoded = [sg.get.model(adata).decode(torch.tensor(positions)) for adata in (read, sdata.tables["table"])]
    torch.testing.assert_close(*decoded, rtol=0, atol=0)
