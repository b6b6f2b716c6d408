"""A map goes by its short name and by its key of `obsm`, in every function that takes the name of one."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from matplotlib.axes import Axes

import scgeoae as sg

from .battery import duplicate
from .calls import FUNCTIONS, QUICK, call, good
from .slots import fingerprints
from .values import flat

NAMED = [
    (name, argument)
    for name, function in FUNCTIONS.items()
    for argument in ("basis", "key", "other_key")
    # of a table
    if argument in inspect.signature(function).parameters and name != "pl.evaluation"
]
# Those of maps that somebody else made; all others read the first, too.
FOREIGN = ("tl.adopt", "pl.broken_neighborhoods")


def told(result, adata):
    """What came of a call, in a form that can be compared."""
    if isinstance(result, Axes):
        result.figure.canvas.draw()
        places = [np.asarray(drawn.get_offsets()).tolist() for drawn in result.collections]
        return result.get_xlabel(), result.get_ylabel(), places, [line.get_xydata().tolist() for line in result.lines]
    if hasattr(result, "_manifest"):
        return repr(flat(result))
    if isinstance(result, torch.nn.Module):
        return {name: value.tolist() for name, value in result.state_dict().items()}
    if isinstance(result, np.ndarray):
        return result.tolist()
    if isinstance(result, pd.DataFrame | dict):
        return repr(result)
    if isinstance(result, AnnData):
        return fingerprints(result)
    return fingerprints(adata) if result is None else repr(result)


@pytest.mark.parametrize(("name", "argument"), NAMED)
def test_either_name(name, argument):
    short = "umap" if name in FOREIGN else "geoae"
    outcomes = []
    for given in (short, f"X_{short}"):
        adata = duplicate(good())
        others = {"other": adata} if argument == "other_key" else {}
        outcomes.append(told(call(name, adata, **{argument: given}, **others), adata))
    assert outcomes[0] == outcomes[1]


def test_an_embedding_under_a_key_without_prefix():
    adata = duplicate(good())
    adata.obsm["mine"] = adata.obsm["X_umap"][:, ::-1].copy()
    quick = {name: QUICK[name] for name in ("n_steps", "hidden", "n_neighbors", "progress_bar")}
    sg.tl.distortion(adata, basis="mine", **quick)
    sg.tl.curvature(adata, key="mine")
    for plot in (sg.pl.indicatrices, sg.pl.jacobian_heatmap, sg.pl.curvature_heatmap, sg.pl.broken_neighborhoods):
        ax = plot(adata, basis="mine", outliers=True, show=False)
        at = np.asarray(ax.collections[0].get_offsets())
        np.testing.assert_allclose(np.sort(at, axis=0), np.sort(adata.obsm["mine"], axis=0), atol=1e-6)
        assert ax.get_xlabel() == "mine1"
    assert "mine_log_area" in adata.obs


def test_what_an_error_says_to_run_makes_it_work():
    adata = duplicate(good())
    adata.obsm["X_layout"] = adata.obsm["X_umap"].copy()
    with pytest.raises(KeyError, match=r"'layout_metric'\]; run sg\.tl\.distortion\(adata, basis='layout'\) first"):
        sg.pl.indicatrices(adata, basis="X_layout", show=False)
    sg.tl.distortion(adata, basis="layout", n_steps=6, hidden=(8,), progress_bar=False)
    assert sg.pl.indicatrices(adata, basis="X_layout", show=False).get_xlabel() == "layout1"


def test_a_new_map_under_its_key_of_obsm():
    adata = duplicate(good())
    sg.tl.geoae(adata, key_added="X_again", n_steps=6, hidden=(8,), progress_bar=False)
    assert "X_again" in adata.obsm
    assert "X_X_again" not in adata.obsm
    assert sg.get.scores(adata, key="X_again") == sg.get.scores(adata, key="again")


def test_maps_of_earlier_versions_whose_name_begins_like_a_key():
    adata = duplicate(good())
    for attribute in ("obs", "obsm", "obsp", "uns"):
        slots = getattr(adata, attribute)
        for name in [name for name in slots if "geoae" in name]:
            slots[name.replace("X_geoae", "X_X_old").replace("geoae", "X_old")] = slots[name]
    for name in ("X_old", "X_X_old"):
        np.testing.assert_array_equal(sg.get.metric_tensors(adata, key=name), sg.get.metric_tensors(adata))
        assert sg.pl.indicatrices(adata, basis=name, show=False).get_xlabel() == "X_old1"
