"""Embed every data set with every method and seed: ``python benchmarks/embed_cells.py [DATA ...]``.

A map becomes one file of the folder of ``--maps``, with its seconds of CPU time: of the embedding alone, neighbors
included, after a first run on few cells that compiles what compiles. Maps that exist are kept, so that a run can be
stopped and resumed. A method runs in a process of its own. If it fails, or needs more than 20 minutes or 16 GB, the
reason is kept beside the maps, and the method is not tried again on this data set until that file is deleted.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
import warnings
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import reference_data
import speed
from anndata import read_h5ad
from at_scale import atlas
from methods import LEFT_OUT, METHODS, OF_COUNTS, OURS, RIVALS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

MAPS = Path(__file__).parent / "maps"
DRAWN = ("atlas_20000", "near_pbmc3k_20000", "atlas_68000", "near_pbmc3k_68000")
DATA = (*reference_data.EVERY, *DRAWN)
MINUTES, GIGABYTES = 20, 16
# Scanpy and umap-learn compile their search for neighbors from 4,096 cells
N_COMPILES = 5000


class Cells(NamedTuple):
    """One data set."""

    x: NDArray[np.float32]
    """(n, 50) representation"""
    labels: NDArray[np.integer] | None
    """(n,) code of each cell's label, -1 if it has none"""
    counts: csr_matrix | None
    """(n, 2000) counts of the most variable genes"""


def read(name: str) -> Cells:
    """Read or draw one of `DATA`."""
    if name.startswith("atlas"):
        x, labels, _ = atlas(int(name.rsplit("_", 1)[1]))
        return Cells(x, labels, None)
    if name in DRAWN:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cells.h5ad"
            speed.draw(int(name.rsplit("_", 1)[1]), path)
            return Cells(np.asarray(read_h5ad(path).obsm["X_pca"]), None, None)
    adata = reference_data.read(name)
    labels = pd.factorize(adata.obs[reference_data.EVERY[name]])[0]
    counts = adata.layers["counts"][:, adata.var["highly_variable"].to_numpy()] if "counts" in adata.layers else None
    return Cells(np.ascontiguousarray(adata.obsm["X_pca"], dtype=np.float32), labels, counts)


def embed(method: str, cells: NDArray | csr_matrix, seed: int) -> dict[str, NDArray | float]:
    """Return the map, and for a model of ours how far its decoder is from the geometry and from the cells."""
    if method in RIVALS:
        return {"map": np.asarray(RIVALS[method](cells, seed), dtype=np.float32)}
    import torch

    import scgeoae as sg
    from scgeoae.training import Settings, fit

    if method == LEFT_OUT:
        return embed_and_place(cells, seed)
    fitted = fit(cells, Settings(seed=seed, **OURS[method]))
    measures = sg.geometry.distortion(torch.from_numpy(fitted.metric))
    decoder = {"CN": measures.cn, "VPres": measures.vpres, "ISO": measures.iso, "MSE": float(fitted.error.mean())}
    return {"map": fitted.embedding, **decoder}


def embed_and_place(x: NDArray, seed: int) -> dict[str, NDArray | float]:
    """Return the default map of four fifths of the cells with the others placed on it, and which these are."""
    import torch

    from scgeoae.training import Settings, fit
    from scgeoae.training.neighbors import NeighborSearch
    from scgeoae.training.placement import Field

    placed = np.zeros(len(x), dtype=bool)
    placed[np.random.default_rng(seed).permutation(len(x))[: len(x) // 5]] = True
    settings = Settings(seed=seed)
    fitted = fit(x[~placed], settings)
    model = fitted.model
    cells = model.standardize(x).numpy()
    weights = {"perplexity": settings.perplexity, "divergence_weight": settings.tsne_weight}
    field = Field(model, NeighborSearch(cells[~placed]), model.to_latent(fitted.embedding).numpy(), **weights)
    latent = field.place(cells[placed])
    z = np.empty((len(x), 2), dtype=np.float32)
    z[~placed], z[placed] = fitted.embedding, model.to_map(torch.from_numpy(latent)).numpy()
    error = (model.decode(z[placed]) - torch.from_numpy(x[placed])).square().mean() / float(model.scale) ** 2
    return {"map": z, "placed": placed, "MSE": float(error)}


def embed_seeds(name: str, method: str, seeds: list[int], folder: Path) -> None:
    """Write one map for each seed, or the reason why there is none."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (GIGABYTES << 30, GIGABYTES << 30))
    try:
        cells = read(name)
        if method in OF_COUNTS and cells.counts is None:
            msg = "needs counts"
            raise ValueError(msg)
        values = cells.counts if method in OF_COUNTS else cells.x
        embed(method, values[: N_COMPILES if method in ("UMAP", "densMAP", "PyMDE, neighbors") else 300], 0)
        for seed in seeds:
            start = time.process_time()
            resource.setrlimit(resource.RLIMIT_CPU, (int(start) + 60 * MINUTES, resource.RLIM_INFINITY))
            found = embed(method, values, seed)
            np.savez(folder / f"{method}.{seed}.npz", seconds=time.process_time() - start, **found)
    except Exception as error:  # noqa: BLE001 a rival may raise anything
        (folder / f"{method}.failed.txt").write_text(f"{type(error).__name__}: {error}".splitlines()[0] + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=DATA, metavar="DATA", help=f"of {', '.join(DATA)}; by default all")
    parser.add_argument("--methods", nargs="+", default=METHODS, metavar="METHOD", help=f"of {'; '.join(METHODS)}")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--maps", type=Path, default=MAPS, metavar="FOLDER")
    options = parser.parse_args()
    for name in options.data:
        folder = options.maps / name
        folder.mkdir(parents=True, exist_ok=True)
        for method in options.methods:
            missing = [seed for seed in range(options.seeds) if not (folder / f"{method}.{seed}.npz").exists()]
            failed = folder / f"{method}.failed.txt"
            if not missing or failed.exists():
                continue
            process = get_context("spawn").Process(target=embed_seeds, args=(name, method, missing, folder))
            process.start()
            process.join()
            if process.exitcode:
                limit = f"more than {MINUTES} minutes of CPU time" if process.exitcode == -24 else "crashed"
                failed.write_text(f"{limit}\n")
            outcome = failed.read_text().strip() if failed.exists() else f"{len(missing)} maps"
            print(f"{time.strftime('%H:%M')} {name}, {method}: {outcome}", flush=True)


if __name__ == "__main__":
    main()
