"""Write the files that later versions have to read: `python tests/compatibility/write_files.py FOLDER [case ...]`.

FOLDER gets, for each case, an h5ad file and what its decoder says at some positions; of the first also a zarr store and
a safetensors file. All are tiny and compressed by xz, because most of an h5ad file of 30 cells is padding.
"""

from __future__ import annotations

import argparse
import json
import logging
import lzma
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
import zarr
from anndata import AnnData

import scgeoae as sg

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


def both() -> tuple[AnnData, str]:
    adata = sheet()
    sg.tl.geoae(adata, side="both", key_added="both", **SMALL)
    return adata, "both"


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
    import scvi

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    scvi.settings.seed = 0
    expression = np.exp(1 + sheet().X)
    adata = AnnData(np.random.default_rng(0).poisson(expression).astype(np.float32))
    sg.model.GeoSCVI.setup_anndata(adata)
    model = sg.model.GeoSCVI(adata, n_hidden=8, gene_likelihood="nb")
    model.train(max_epochs=20, accelerator="cpu", enable_progress_bar=False)
    model.to_anndata(n_neighbors=4)
    return adata, "geoscvi"


CASES = {made.__name__: made for made in (default, both, ambient, foreign, adopted, placed, counts)}


def pack(path: Path, folder: Path) -> None:
    (folder / f"{path.name}.xz").write_bytes(lzma.compress(path.read_bytes(), preset=9))


def write(folder: Path, cases: list[str]) -> None:
    folder.mkdir(parents=True)  # files that are there are never written again
    expected = {}
    for case in cases:
        adata, key = CASES[case]()
        model = sg.get.model(adata, key=key)
        positions = torch.from_numpy(np.asarray(adata.obsm[f"X_{key}"])[:4] * 1.1)
        expected[case] = {
            "key": key,
            "positions": positions.tolist(),
            "decoded": model.decode(positions).tolist(),
        }
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary, case)
            adata.write_h5ad(path.with_suffix(".h5ad"))
            pack(path.with_suffix(".h5ad"), folder)
            if case == "default":
                with zarr.storage.ZipStore(path.with_suffix(".zarr.zip"), mode="w") as store:
                    adata.write_zarr(store)
                pack(path.with_suffix(".zarr.zip"), folder)
                if hasattr(model, "save"):  # files of their own came later than maps
                    model.save(path.with_suffix(".safetensors"))
                    pack(path.with_suffix(".safetensors"), folder)
    (folder / "expected.json").write_text(json.dumps(expected, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new one, named after the version that writes")
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; by default all")
    arguments = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of 30 cells scvi-tools and torch expect little
        write(arguments.folder, arguments.cases or list(CASES))
