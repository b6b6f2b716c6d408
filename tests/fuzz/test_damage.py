"""Files and `uns` entries that were damaged, or made to do harm: the package says so, or reads them, and nothing else.

Hypothesis draws the damage for the suite; `tests/fuzz/__main__.py` lets a coverage-guided fuzzer draw it.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import torch
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

import scgeoae as sg
from scgeoae._anndata.results import changes_of_map, results_of_counts
from scgeoae._anndata.write import write
from scgeoae.nn import Autoencoder, CountDecoder

from ..checks.judge import check_error
from .damage import JSON, OBJECTS, SPLICES, edited, edits, file_of, header_of, paths_of, spliced, with_header

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK = {"n_steps": 5, "hidden": (4,), "n_neighbors": 4, "batch_size": 16, "progress_bar": False}


@functools.cache
def maps() -> dict[str, tuple[AnnData, str]]:
    """Return small AnnData with a map each, and the key of that."""
    rng = np.random.default_rng(0)

    def cells(n_vars: int = 6) -> AnnData:
        adata = AnnData(rng.normal(size=(24, n_vars)).astype(np.float32))
        adata.obs["group"] = ["a", "b", "c"] * 8
        return adata

    of_x = cells()
    of_x.layers["counts"] = of_x.X * 2
    sg.tl.geoae(of_x, layer="counts", ambient="mahalanobis", **QUICK)

    of_pca = cells()
    centered = of_pca.X - of_pca.X.mean(0)
    axes = np.linalg.svd(centered, full_matrices=False)[2][:4]
    of_pca.obsm["X_pca"], of_pca.varm["PCs"] = centered @ axes.T, axes.T
    of_pca.uns["pca"] = {"params": {}}
    sg.tl.geoae(of_pca, use_rep="X_pca", n_pcs=3, ambient=np.ones(3), **QUICK)

    adopted, estimated = cells(), cells()
    for adata in (adopted, estimated):
        adata.obsm["X_umap"] = rng.normal(size=(24, 2))
        adata.uns["umap"] = {"params": {"a": 1.0}}
    sg.tl.distortion(adopted, **QUICK)
    sg.tl.distortion(estimated, method="laplacian", n_neighbors=4)

    counts = cells()
    counts.layers["counts"] = rng.poisson(3, size=counts.shape).astype(np.float32)
    model = count_decoder()
    z = rng.normal(size=(24, 2)).astype(np.float32)
    params = {"use_rep": "X", "layer": "counts", "library_size": 100.0, "ambient": "fisher", "made_by": "GeoSCVI"}
    results = results_of_counts(
        z,
        model.metric(torch.from_numpy(z)).detach().numpy(),
        model=model,
        error=None,
        scores={"MSE": 1.0},
        history=None,
        params=params,
        n_neighbors=4,
    )
    write(counts, changes_of_map(counts, "geoscvi", results), start=None)
    return {
        "X": (of_x, "geoae"),
        "PCA": (of_pca, "geoae"),
        "adopted": (adopted, "umap"),
        "estimated": (estimated, "umap"),
        "counts": (counts, "geoscvi"),
    }


def count_decoder() -> CountDecoder:
    layers = ("linear", "layer_norm", "relu", "linear", "softmax")
    torch_state = torch.get_rng_state()
    decoder = CountDecoder(layers, [(2, 5), (5, 6)], library_size=100.0, fisher=True)
    torch.set_rng_state(torch_state)
    return decoder


@functools.cache
def models() -> list[dict]:
    """Return models as arrays."""
    of_x, _ = maps()["X"]
    return [of_x.uns["geoae"]["model"], Autoencoder(3, 1, hidden=()).to_arrays(), count_decoder().to_arrays()]


def entry_of(adata: AnnData, key: str) -> str:
    return f"{key}_distortion" if f"{key}_distortion" in adata.uns else key


def some_of(adata: AnnData) -> AnnData:
    """Return three cells, without `uns`, of which an entry may be too large to copy."""
    some = adata[:3]
    # anndata 0.13 has X among the layers
    layers = {name: layer for name, layer in some.layers.items() if name is not None}
    return AnnData(some.X.copy(), obs=some.obs, var=some.var, obsm=dict(some.obsm), layers=layers)


CALLS = {
    "get.model": lambda adata, key: sg.get.model(adata, key=key),
    "get.scores": lambda adata, key: sg.get.scores(adata, key=key),
    "tl.transform": lambda adata, key: sg.tl.transform(some_of(adata), adata, key=key),
    "tl.decode": lambda adata, key: sg.tl.decode(adata, [[0, 0]], key=key),
    "tl.metric": lambda adata, key: sg.tl.metric(adata, key=key, side="encoder"),
    "tl.curvature": lambda adata, key: sg.tl.curvature(adata, key=key),
    "tl.pseudotime": lambda adata, key: sg.tl.pseudotime(adata, "0", key=key),
    "tl.distortion": lambda adata, key: sg.tl.distortion(adata, basis=key, **QUICK),
    "tl.evaluate": lambda adata, key: sg.tl.evaluate(adata, basis=key),
    "tl.rank_genes_by_jacobian": lambda adata, key: sg.tl.rank_genes_by_jacobian(adata, "group", key=key),
    "pl.indicatrices": lambda adata, key: sg.pl.indicatrices(adata, basis=key, where="grid", n_tiles=3, show=False),
    "pl.jacobian_heatmap": lambda adata, key: sg.pl.jacobian_heatmap(adata, basis=key, resolution=5, show=False),
}


def check_call(call: str, adata: AnnData, key: str) -> None:
    """Call a function on an AnnData that was damaged: it works, or says what is wrong."""
    try:
        # numbers that are absurd, but numbers, overflow
        with warnings.catch_warnings(action="ignore"):
            CALLS[call](adata, key)
    except Exception as error:  # noqa: BLE001
        check_error(error)
    finally:
        plt.close("all")


def check_file(content: bytes) -> None:
    """Read a file that was damaged, and use the model if there is one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.safetensors"
        path.write_bytes(content)
        try:
            model = sg.load(path)
        except Exception as error:  # noqa: BLE001
            check_error(error)
            assert "map.safetensors" in str(error)
            return
    z = torch.zeros(2, model.n_components)
    try:
        assert model.decode(z).shape == (2, model.n_features)
        assert model.metric(z).shape == (2, model.n_components, model.n_components)
        if isinstance(model, Autoencoder):
            assert model.encode(torch.zeros(2, model.n_features)).shape == z.shape
    except ValueError as error:
        check_error(error)  # of an ambient metric that was a function


@contextlib.contextmanager
def noted(*what: list) -> Iterator[None]:
    """Say beside a failure what led to it."""
    try:
        yield
    except Exception as error:
        error.add_note(" ".join(map(repr, what)))
        raise


@given(st.data())
def test_damaged_uns(data):
    adata, key = maps()[data.draw(st.sampled_from(sorted(maps())))]
    entry = entry_of(adata, key)
    changes = data.draw(edits(paths_of({entry: adata.uns[entry]}), OBJECTS, least=1))
    call = data.draw(st.sampled_from(sorted(CALLS)))
    damaged = adata.copy()
    damaged.uns = edited(dict(adata.uns), changes)
    with noted(changes):
        check_call(call, damaged, key)


@given(st.data())
@settings(max_examples=100)
def test_damaged_files(data):
    arrays = data.draw(st.sampled_from(models()))
    # one kind of damage in a file, since the first one found ends its reading
    where = data.draw(st.sampled_from(["arrays", "header", "bytes"]))
    of_arrays = data.draw(edits(paths_of(arrays), JSON, least=1)) if where == "arrays" else []
    header, rest = header_of(file_of(edited(arrays, of_arrays)))
    of_header = data.draw(edits(paths_of(header), JSON, least=1)) if where == "header" else []
    splices = data.draw(SPLICES) if where == "bytes" else []
    with noted(of_arrays, of_header, splices):
        check_file(spliced(with_header(edited(header, of_header), rest), splices))
