"""Compare GeoSCVI with SCVI: ``python benchmarks/counts.py [NAME …] [--seeds 3] [--epochs 150] [--write]``.

Three models: `scgeoae.model.GeoSCVI` with its defaults; the same without its regularizer and with the decoder of
`scvi.model.SCVI`, which is SCVI with two layers and the same learning rate; and SCVI with its own defaults. All have
two latent dimensions, the same 1,000 variable genes, a negative binomial likelihood, batches, epochs, seeds and
held-out cells. The tables have the medians over the seeds of:

- CN, VPres and ISO of the decoder at the cells, and the held-out loss: reconstruction, and negative ELBO;
- iLISI of batches over their number, and silhouette and purity of cell types;
- by how much the straight line is longer than the geodesic, median over 50 pairs of cells;
- seconds of training.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scanpy as sc
import scvi
import torch
from harmonypy import compute_lisi
from reference_data import FOLDER
from torch import nn

import scgeoae as sg
from scgeoae.quality import evaluate

RESULTS = Path(__file__).parent / "results"
DATA = {
    "packer2019_amphid_neurons": {"batch_key": "batch", "labels": "cell_type"},
    "zilionis2019_mouse_lung": {"batch_key": "animal", "labels": "major_cell_type"},
}
SCVI = {
    "regularizer": None,
    "use_batch_norm": "both",
    "extra_decoder_kwargs": {"activation_fn": nn.ReLU},
}
# arguments of the model and of its training plan
MODELS = {
    "SCVI": (SCVI | {"n_layers": 1}, {"lr": 1e-3}),
    "SCVI, same settings": (SCVI, {}),
    "GeoSCVI": ({}, {}),
}
N_GENES = 1000
N_PAIRS = 50
N_SAMPLES = 10


def read_counts(name: str) -> anndata.AnnData:
    """Read one data set with its counts in a layer and its most variable genes."""
    adata = anndata.read_h5ad(FOLDER / f"{name}.h5ad")
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=N_GENES)
    return adata[:, adata.var["highly_variable"]].copy()


def straightness(adata: anndata.AnnData, seed: int) -> float:
    """Return the median excess of the straight line over the geodesic, in percent."""
    rng = np.random.default_rng(seed)
    pairs = [rng.choice(adata.obs_names, 2, replace=False) for _ in range(N_PAIRS)]
    paths = [sg.tl.geodesic(adata, *pair, key="geoscvi", genes=[]) for pair in pairs]
    return 100 * float(np.median([path.straight_length / path.length - 1 for path in paths]))


def measure(name: str, settings: dict, plan: dict, seed: int, epochs: int) -> dict[str, float]:
    """Train one model and measure it."""
    adata, keys = read_counts(name), DATA[name]
    # reading leaves two, which wait for each other wherever the machine has other work
    torch.set_num_threads(1)
    scvi.settings.seed = seed
    sg.model.GeoSCVI.setup_anndata(adata, layer="counts", batch_key=keys["batch_key"])
    model = sg.model.GeoSCVI(adata, gene_likelihood="nb", **settings)
    start = time.process_time()
    model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False, logger=False, plan_kwargs=dict(plan))
    seconds = time.process_time() - start
    model.to_anndata()
    held_out = model.validation_indices
    loss = [float(model.get_reconstruction_error(indices=held_out)["reconstruction_loss"]) for _ in range(N_SAMPLES)]
    elbo = [float(model.get_elbo(indices=held_out)) for _ in range(N_SAMPLES)]
    z = adata.obsm["X_geoscvi"]
    batches = adata.obs[keys["batch_key"]]
    mixing = compute_lisi(z, adata.obs, [keys["batch_key"]], perplexity=30)[:, 0]
    quality = evaluate(z, {"z": z}, labels=pd.factorize(adata.obs[keys["labels"]])[0])["z"].scores
    return {
        **{which: sg.get.scores(adata, key="geoscvi")[which] for which in ("CN", "VPres", "ISO")},
        "held-out loss": np.abs(np.mean(loss)),
        "held-out −ELBO": np.abs(np.mean(elbo)),
        "iLISI": (np.median(mixing) - 1) / (batches.nunique() - 1),
        "silhouette": quality["silhouette"].value,
        "purity": quality["purity"].value,
        "excess of straight lines, %": straightness(adata, seed),
        "seconds": seconds,
    }


def main() -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=list(DATA))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    for name in given.names:
        medians = {}
        for model, (settings, plan) in MODELS.items():
            runs = []
            for seed in range(given.seeds):
                runs.append(measure(name, settings, plan, seed, given.epochs))
                print(name, model, seed, ", ".join(f"{which} {v:.4g}" for which, v in runs[-1].items()), flush=True)
            medians[model] = pd.DataFrame(runs).median()
        table = pd.DataFrame(medians)
        for other in list(MODELS)[:-1]:
            table[f"ratio to {other}"] = table["GeoSCVI"] / table[other]
        text = "\n".join(
            [
                f"# Maps of counts: {name}",
                "",
                f"Medians of {given.seeds} seeds, {given.epochs} epochs, {N_GENES} genes.",
                "",
                "| measure | " + " | ".join(table) + " |",
                "|" + " --- |" * (1 + table.shape[1]),
                *(f"| {which} | " + " | ".join(f"{v:.4g}" for v in row) + " |" for which, row in table.iterrows()),
                "",
            ]
        )
        print(text, flush=True)
        if given.write:
            (RESULTS / f"counts_{name}.md").write_text(text)


if __name__ == "__main__":
    main()
