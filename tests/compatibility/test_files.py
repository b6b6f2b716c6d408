"""Files of earlier versions load, and what is in them still means the same; `write_files.py` has written them."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch
import zarr

import scgeoae as sg
from scgeoae.geometry import anisotropy, relative_log_area
from scgeoae.nn.arrays import FORMAT

FILES = Path(__file__).parent / "files"
EXPECTED = {
    (version.name, case): expected
    for version in sorted(FILES.iterdir())
    for case, expected in json.loads((version / "expected.json").read_text()).items()
}


def unpacked(version: str, name: str, folder: Path) -> Path:
    path = folder / name
    path.write_bytes(lzma.decompress((FILES / version / f"{name}.xz").read_bytes()))
    return path


@pytest.fixture(params=EXPECTED, ids="-".join)
def stored(request, tmp_path):
    """Return an AnnData from a file, the name of its results, and what is expected of it."""
    version, case = request.param
    adata = anndata.read_h5ad(unpacked(version, f"{case}.h5ad", tmp_path))
    return adata, EXPECTED[request.param]["key"], EXPECTED[request.param]


def check_decoder(model, expected):
    positions = torch.tensor(expected["positions"])
    decoded = np.array(expected["decoded"])
    np.testing.assert_allclose(model.decode(positions), decoded, rtol=1e-5, atol=1e-5 * np.abs(decoded).max())


def test_the_decoder_says_what_it_said(stored):
    adata, key, expected = stored
    check_decoder(sg.get.model(adata, key=key), expected)


def test_slots_agree(stored):
    adata, key, _ = stored
    model, z = sg.get.model(adata, key=key), torch.from_numpy(adata.obsm[f"X_{key}"])
    metric = torch.from_numpy(sg.get.metric_tensors(adata, key=key))
    assert metric.shape == (30, 2, 2)
    torch.testing.assert_close(model.metric(z), metric, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(anisotropy(metric), adata.obs[f"{key}_anisotropy"], atol=1e-5)
    # of cells that were placed on a map of others, areas are relative to these
    shift = relative_log_area(metric).numpy() - adata.obs[f"{key}_log_area"].to_numpy()
    np.testing.assert_allclose(shift, shift[0], atol=1e-5)
    if f"{key}_metric" in adata.obsp:
        graph = adata.obsp[f"{key}_metric"].tocoo()
        step = z[graph.col] - z[graph.row]
        length = torch.einsum("na,nab,nb->n", step, metric[graph.row], step)
        np.testing.assert_allclose(graph.data, length, rtol=1e-4)
    assert sg.get.scores(adata, key=key)


def test_cells_are_encoded_where_they_are(stored):
    adata, key, _ = stored
    if key == "geoscvi":
        with pytest.raises(ValueError, match=r"place cells by GeoSCVI\.to_anndata"):
            sg.tl.transform(adata.copy(), adata, key=key)
        return
    again = sg.tl.transform(adata, adata, key=key, copy=True)
    x = torch.from_numpy(np.asarray(adata.X))
    encoded = sg.get.model(adata, key=key).encode(x)
    span = np.ptp(adata.obsm[f"X_{key}"])
    if not again.uns.get(key, {}).get("params", {}).get("refine", False):
        np.testing.assert_allclose(again.obsm[f"X_{key}"], encoded, atol=1e-5 * span)
    # an encoder that was fitted to somebody's positions comes near them only
    if key != "umap":
        np.testing.assert_allclose(again.obsm[f"X_{key}"], adata.obsm[f"X_{key}"], atol=1e-5 * span)


def test_plots_are_drawn(stored):
    adata, key, _ = stored
    assert sg.pl.indicatrices(adata, basis=key, show=False)
    assert sg.pl.jacobian_heatmap(adata, basis=key, show=False)


@pytest.mark.parametrize("version", [version for version, case in EXPECTED if case == "default"])
def test_zarr_has_the_same(version, tmp_path):
    with zarr.storage.ZipStore(unpacked(version, "default.zarr.zip", tmp_path), mode="r") as store:
        adata = anndata.read_zarr(store)
    same = anndata.read_h5ad(unpacked(version, "default.h5ad", tmp_path))
    np.testing.assert_array_equal(adata.obsm["X_geoae"], same.obsm["X_geoae"])
    check_decoder(sg.get.model(adata), EXPECTED[version, "default"])


@pytest.mark.parametrize("version", [path.parent.name for path in sorted(FILES.glob("*/*.safetensors.xz"))])
def test_safetensors_have_the_same(version, tmp_path):
    check_decoder(sg.load(unpacked(version, "default.safetensors", tmp_path)), EXPECTED[version, "default"])


def test_there_is_a_file_of_each_format(tmp_path):
    found = set()
    for version, case in EXPECTED:
        adata = anndata.read_h5ad(unpacked(version, f"{case}.h5ad", tmp_path))
        found |= {int(entry["model"]["format"]) for entry in adata.uns.values() if "model" in entry}
    assert found == set(range(1, FORMAT + 1)), "run tests/compatibility/write_files.py as CONTRIBUTING.md says"


def test_a_file_of_a_newer_format_asks_for_an_update(tmp_path):
    version = max(version for version, case in EXPECTED if case == "default")
    adata = anndata.read_h5ad(unpacked(version, "default.h5ad", tmp_path))
    adata.uns["geoae"]["model"] = {"format": FORMAT + 1, "invented_later": np.ones(3)}
    newer = rf"format {FORMAT + 1} was written by a newer version of scgeoae.*pip install --upgrade scgeoae"
    for call in (sg.get.model, sg.tl.metric, lambda stored: sg.pl.indicatrices(stored, where="grid", show=False)):
        with pytest.raises(ValueError, match=rf"adata\.uns\['geoae'\] cannot be read: {newer}") as error:
            call(adata)
        assert "damaged" not in str(error.value)
        assert "again" not in str(error.value)
