"""Arguments that are of no use, one at a time."""

from __future__ import annotations

import inspect
from collections.abc import Hashable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import scgeoae as sg

from .battery import READERS, duplicate
from .calls import FUNCTIONS, ROLES, call, good
from .judge import check_error, fingerprints, judged

# What matplotlib draws with is handed to it as it is, and what is wrong with it matplotlib says.
STYLE = ("alpha", "arrow_color", "ax", "cmap", "edgecolor", "facecolor", "line_color", "linewidth", "outlier_color")
STYLE += ("reference_color", "return_fig", "save", "scale", "show", "vcenter", "vmax", "vmin")


class Thing:
    """Of no kind that anything asks for."""

    def __repr__(self) -> str:
        return "<a thing>"


WRONG = {
    "None": None,
    "a thing": Thing(),
    "text": "spam",
    "-1": -1,
    "0": 0,
    "NaN": float("nan"),
    "an empty list": [],
    "a list of text": ["spam"],
    "a tuple": (1, 2, 3),
    "an array": np.array([1.5]),
    "an array of two": np.array([1.0, 2.0]),
    "an array of two things": np.array([None, "spam"], dtype=object),
    "a matrix": np.eye(2),
    "a column": pd.Series([1.0, 2.0]),
    "a data frame": pd.DataFrame({"a": [1.0, 2.0]}),
    "an infinite number": float("inf"),
    "a complex number": 1j,
    "an array of no dimension": np.array(3),
    "True": True,
    "bytes": b"x",
    "a dict": {},
    "a function": len,
}
# In the default suite.
FIRST = ["None", "a thing", "text", "-1", "an empty list"]
NO_ADATA = {
    "None": None,
    "a data frame": pd.DataFrame({"a": [1]}),
    "an array": np.zeros((3, 2)),
    "a path": Path("file.h5ad"),
    "a dict": {},
}
ARGUMENTS = [
    (name, parameter.name)
    for name, function in FUNCTIONS.items()
    for parameter in inspect.signature(function).parameters.values()
    if parameter.kind != parameter.VAR_KEYWORD and parameter.name not in {*STYLE, "adata", "adata_new"}
]
COPIERS = [name for name, function in FUNCTIONS.items() if "copy" in inspect.signature(function).parameters]


@pytest.mark.parametrize("value", NO_ADATA)
@pytest.mark.parametrize("role", ROLES)
def test_no_adata(role, value):
    name, which = ROLES[role]
    with pytest.raises(TypeError, match="Expected an AnnData, found"):
        call(name, NO_ADATA[value], which)


class MuData:
    """What a function sees of several modalities."""

    def __init__(self, **mod):
        self.mod, self.obs, self.obsm, self.obsp, self.uns = mod, pd.DataFrame(), {}, {}, {}
        self.n_obs, self.obs_names, self.var_names = 0, pd.Index([]), pd.Index([])


MODALITIES = (
    r"Expected an AnnData, found a MuData of 'rna', 'atac'; give one of its modalities, "
    r"such as sg\.tl\.geoae\(mdata\.mod\['rna'\]\)\."
)


@pytest.mark.parametrize("role", ROLES)
def test_modalities_are_named(role):
    name, which = ROLES[role]
    with pytest.raises(TypeError, match=MODALITIES):
        call(name, MuData(rna=good(), atac=good()), which)


def test_modalities_are_named_by_a_model_of_counts():
    with pytest.raises(TypeError, match=MODALITIES):
        sg.model.GeoSCVI.setup_anndata(MuData(rna=good(), atac=good()))


@pytest.mark.parametrize(
    "values", [FIRST, pytest.param([value for value in WRONG if value not in FIRST], marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_wrong_argument(name, argument, values):
    for value in map(WRONG.get, values):
        # results under a name of their own are ours too
        adata = duplicate(good())
        may_write = not name.startswith(READERS)
        told = judged(lambda: call(name, adata, **{argument: value}), adata, may_write=may_write)  # noqa: B023
        assert told == "done" or told.split(":")[0] in ("KeyError", "ValueError", "TypeError"), (value, told)


def within(value):
    """Yield what a list, a matrix or a mapping may have in it."""
    yield [value]
    yield (value, value)
    yield [[value, value]]
    yield {"isometric": value}
    if isinstance(value, Hashable):
        yield {value: 1.0}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_wrong_value_within_an_argument(name, argument):
    for value in [form for wrong in WRONG.values() for form in within(wrong)]:
        adata = duplicate(good())
        told = judged(lambda: call(name, adata, **{argument: value}), adata, may_write=not name.startswith(READERS))  # noqa: B023
        assert told == "done" or told.split(":")[0] in ("KeyError", "ValueError", "TypeError"), (value, told)
        plt.close("all")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_unknown_keyword(name):
    adata = duplicate(good())
    told = judged(lambda: call(name, adata, spam=1), adata, may_write=False)
    assert told.startswith("TypeError")
    assert "spam" in told


@pytest.mark.parametrize("name", COPIERS)
def test_a_copy_is_what_would_be_written(name):
    adata, written = duplicate(good()), duplicate(good())
    before = fingerprints(adata)
    role = "adata_new" if name.endswith("transform") else "adata"
    copied = call(name, adata, role, copy=True)
    assert fingerprints(adata) == before
    assert call(name, written, role) is None
    assert fingerprints(copied) == fingerprints(written)


@pytest.mark.parametrize("name", ["open_sphere", "s_shape", "sine_curve", "sphere_patch", "swiss_roll", "torus_patch"])
def test_wrong_argument_of_a_surface(name):
    surface = getattr(sg.datasets, name)
    for argument in inspect.signature(surface).parameters:
        for value in WRONG.values():
            try:
                surface(**{argument: value})
            except Exception as error:  # noqa: BLE001
                check_error(error)


@pytest.mark.parametrize("value", [3, None, b"x", 1.5, [], ".", "", "/nowhere/map.safetensors"])
def test_wrong_path_of_a_model(value):
    for call_with in (sg.load, sg.nn.Autoencoder(3, 2).save):
        with pytest.raises((TypeError, OSError)) as caught:
            call_with(value)
        check_error(caught.value)
