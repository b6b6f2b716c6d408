"""A map of counts of a file beyond memory: ``python benchmarks/counts_on_disk.py [FILE] [--cells N] [--limit GB]``.

Writes FILE unless it is there: cells drawn from those of the mouse lung with the counts of each redrawn, 5,000 genes,
sparse. Then a process that may not hold more than the limit trains on it for an epoch, embeds all cells and prints
what it took.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

N_GENES = 5000
CHUNK = 10_000


def write(path: Path, n_cells: int) -> None:
    """Write the file, a block of cells at a time."""
    import anndata
    import h5py
    import numpy as np
    import pandas as pd
    from reference_data import FOLDER
    from scipy import sparse

    source = anndata.read_h5ad(FOLDER / "zilionis2019_mouse_lung.h5ad")
    source = source[:, np.argsort(-np.asarray(source.X.sum(0)).ravel())[:N_GENES]].copy()
    mean = sparse.csr_matrix(source.X, dtype=np.float64)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, source.n_obs, n_cells)

    def block(chosen: np.ndarray) -> sparse.csr_matrix:
        counts = mean[chosen]
        # at least 1, so that the file is as sparse as the cells it is drawn from
        counts.data = np.maximum(rng.poisson(counts.data), 1).astype(np.float32)
        return counts.astype(np.float32)

    anndata.AnnData(
        X=block(rows[:CHUNK]), obs=source.obs.iloc[rows[:CHUNK]].reset_index(drop=True).rename(str), var=source.var
    ).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        x = anndata.io.sparse_dataset(file["X"])
        for start in range(CHUNK, n_cells, CHUNK):
            x.append(block(rows[start : start + CHUNK]))
        obs = pd.DataFrame({"animal": source.obs["animal"].to_numpy()[rows].astype(str)})
        anndata.io.write_elem(file, "obs", obs.rename(str).astype({"animal": "category"}))


def train(path: Path, limit: float) -> None:
    """Train and embed under a limit of memory."""
    n_bytes = int(limit * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (n_bytes, n_bytes))
    import logging
    import warnings

    warnings.simplefilter("ignore")
    import anndata
    import scvi

    import scgeoae as sg

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    scvi.settings.seed = 0
    adata = anndata.read_h5ad(path, backed="r")
    sg.model.GeoSCVI.setup_anndata(adata, batch_key="animal")
    model = sg.model.GeoSCVI(adata, gene_likelihood="nb")
    start = time.perf_counter()
    model.train(
        max_epochs=1,
        accelerator="cpu",
        enable_progress_bar=False,
        logger=False,
        plan_kwargs={"n_epochs_geometry_warmup": 0},
    )
    trained = time.perf_counter()
    model.to_anndata()
    embedded = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    scores = sg.get.scores(adata, key="geoscvi")
    print(
        f"{adata.n_obs:,} cells, {adata.n_vars:,} genes; file {path.stat().st_size / 1e9:.2f} GB, limit {limit:g} GB, "
        f"peak {peak:.2f} GB ({imported:.2f} GB of it after the imports); an epoch {trained - start:.0f} s, "
        f"all cells embedded {embedded - trained:.0f} s; CN {scores['CN']:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("path", nargs="?", type=Path, default=Path(tempfile.gettempdir()) / "counts_on_disk.h5ad")
    parser.add_argument("--cells", type=int, default=280_000)
    parser.add_argument("--limit", type=float, default=1.2)
    given = parser.parse_args()
    if os.environ.get("COUNTS_ON_DISK_CHILD"):
        train(given.path, given.limit)
        return
    if not given.path.exists():
        write(given.path, given.cells)
    subprocess.run([sys.executable, *sys.argv], env=os.environ | {"COUNTS_ON_DISK_CHILD": "1"}, check=True)


if __name__ == "__main__":
    main()
