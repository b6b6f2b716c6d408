"""A notebook shows the progress bar and the plots, and nothing that warns."""

from __future__ import annotations

import ast
import os
import sys

import pytest

CELLS = [
    """
import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData
import scgeoae as sg
x = np.random.default_rng(0).normal(size=(300, 10)).astype(np.float32)
adata = AnnData(x)
plt.close(plt.figure())  # the first of a kernel changes settings
""",
    # the bar comes after a second
    """
settings = dict(plt.rcParams)
sg.tl.geoae(adata, n_steps=1500, hidden=(64, 64), progress_bar=True)
""",
    "sg.pl.indicatrices(adata)",
    "sorted(key for key in settings if settings[key] != plt.rcParams[key]), sorted(adata.obsm)",
]


@pytest.mark.slow
def test_train_and_plot(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    for name in ("ipykernel", "ipywidgets"):
        pytest.importorskip(name)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS])
    # the kernel sets its own backend of matplotlib
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, sys.path))
    client = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)
    outputs = [cell.outputs for cell in notebook.cells]
    shown = [[each.output_type if "data" not in each else sorted(each.data) for each in output] for output in outputs]
    # no stream: neither warnings nor anything else on stderr
    assert shown[0] == []
    assert shown[1] == [["application/vnd.jupyter.widget-view+json", "text/plain"]]
    assert shown[2:] == [[["image/png", "text/plain"]], [["text/plain"]]]
    changed, slots = ast.literal_eval(outputs[3][0].data["text/plain"])
    assert changed == []
    assert "X_geoae" in slots
