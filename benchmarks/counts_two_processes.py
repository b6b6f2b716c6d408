"""Train a map of counts in several processes: ``python benchmarks/counts_two_processes.py [1|2]``.

With the same 128 cells a step: 128 in one process, or 64 in each of two. Prints the losses of every tenth epoch.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings

import scvi
from counts import read_counts

import scgeoae as sg


def main() -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    n_processes = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    scvi.settings.seed = int(os.environ.get("SEED", "0"))
    adata = read_counts("zilionis2019_mouse_lung")
    sg.model.GeoSCVI.setup_anndata(adata, layer="counts", batch_key="animal")
    model = sg.model.GeoSCVI(adata, gene_likelihood="nb")
    several = {"devices": n_processes, "strategy": "ddp_find_unused_parameters_true"} if n_processes > 1 else {}
    model.train(
        max_epochs=40,
        batch_size=128 // n_processes,
        train_size=0.96,
        accelerator="cpu",
        enable_progress_bar=False,
        **several,
    )
    if os.environ.get("LOCAL_RANK", "0") == "0":
        table = model.history["train_loss"].join(model.history["geometric_loss_train"])
        print(table[9::10].to_string(), flush=True)


if __name__ == "__main__":
    main()
