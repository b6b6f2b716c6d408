"""Arguments that are of no use, one at a time: what comes of each is what `arguments.txt` says."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import scgeoae as sg

from ..for_each import for_each
from .battery import READERS, duplicate
from .calls import FUNCTIONS, ROLES, call, good
from .judge import check_error, judged
from .slots import fingerprints
from .table import agrees, matches

FILE = Path(__file__).with_name("arguments.txt")
# matplotlib says what is wrong with them
STYLE = (
    "alpha",
    "arrow_color",
    "ax",
    "cmap",
    "cmap_ratio",
    "colors",
    "edgecolor",
    "facecolor",
    "line_color",
    "linewidth",
    "outlier_color",
)
STYLE += ("reference_color", "return_fig", "save", "scale", "show", "vcenter", "vmax", "vmin")
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


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    number: int
    functions: tuple[str, ...]
    arguments: tuple[str, ...]
    values: tuple[str, ...]
    expected: str


def read_rows() -> list[Row]:
    rows = []
    for number, line in enumerate(FILE.read_text().splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            *fields, expected = (field.strip() for field in line.split(" | "))
            functions, arguments, values = (tuple(map(str.strip, field.split(";"))) for field in fields)
            rows.append(Row(number, functions, arguments, values, expected))
    return rows


ROWS = read_rows()
DECIDES = {
    (name, argument, value): row
    for row in ROWS
    for name, argument in ARGUMENTS
    for value in row.values
    if any(pattern == "*" or pattern == name for pattern in row.functions)
    and any(matches(pattern, argument) for pattern in row.arguments)
}


def value_of(text: str) -> Any:
    return float("nan") if text == "nan" else ast.literal_eval(text)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_of_arguments(name):
    failures = []
    for (function, argument, text), row in DECIDES.items():
        if function != name:
            continue
        adata = duplicate(good())
        given = {argument: value_of(text)}
        try:
            found = judged(lambda: call(name, adata, **given), adata, may_write=not name.startswith(READERS))  # noqa: B023
            error = found.error or "works"
            expected = row.expected.replace("{argument}", argument)
            fits = error == expected or (found.error and agrees(expected, error))
            assert fits, f"expected {expected!r}, found {error!r}"
        except AssertionError as wrong:
            failures.append(f"{name}({argument}={text}), line {row.number} of {FILE.name}: {wrong}")
        plt.close("all")
    assert not failures, "\n\n".join(["", *failures])


def test_every_argument_has_a_row():
    covered = {(name, argument) for name, argument, _ in DECIDES}
    missing = [f"{name}({argument}=)" for name, argument in ARGUMENTS if (name, argument) not in covered]
    assert not missing, f"say in {FILE} what comes of wrong values of {missing}"


def test_every_row_decides_something():
    used = set(DECIDES.values())
    assert not [f"line {row.number}" for row in ROWS if row not in used]


@for_each("value", NO_ADATA)
@for_each("role", ROLES)
def test_no_adata(role, value):
    name, which = ROLES[role]
    # its cells may be on disk
    takes_path = (role, value) == ("tl.transform(adata_new)", "a path")
    error, message = (
        (FileNotFoundError, "no file or store") if takes_path else (TypeError, "Expected an AnnData, found")
    )
    with pytest.raises(error, match=message):
        call(name, NO_ADATA[value], which)


class MuData:
    """What a function sees of several modalities."""

    def __init__(self, **mod):
        self.mod, self.obs, self.obsm, self.obsp, self.uns = mod, pd.DataFrame(), {}, {}, {}
        self.n_obs, self.obs_names, self.var_names = 0, pd.Index([]), pd.Index([])


MODALITIES = r"Expected an AnnData, found a MuData of 'rna', 'atac'.*sg\.tl\.geoae\(mdata\.mod\['rna'\]\)"


@for_each("role", ROLES)
def test_modalities_are_named(role):
    name, which = ROLES[role]
    with pytest.raises(TypeError, match=MODALITIES):
        call(name, MuData(rna=good(), atac=good()), which)


def test_modalities_are_named_by_a_model_of_counts():
    pytest.importorskip("scvi")
    with pytest.raises(TypeError, match=MODALITIES):
        sg.model.GeoSCVI.setup_anndata(MuData(rna=good(), atac=good()))


# plots hand on keywords to scanpy.pl.embedding
@for_each("name", [name for name in FUNCTIONS if not name.startswith("pl.")])
def test_unknown_keyword(name):
    adata = duplicate(good())
    with pytest.raises(TypeError, match="spam"):
        call(name, adata, spam=1)
    assert fingerprints(adata) == fingerprints(good())


@for_each("name", COPIERS)
def test_a_copy_is_what_would_be_written(name):
    adata, written = duplicate(good()), duplicate(good())
    before = fingerprints(adata)
    role = "adata_new" if name.endswith("transform") else "adata"
    copied = call(name, adata, role, copy=True)
    assert fingerprints(adata) == before
    assert call(name, written, role) is None
    assert fingerprints(copied) == fingerprints(written)


@for_each(
    "surface, wrong",
    [
        (surface, {argument: value})
        for surface in ("open_sphere", "s_shape", "sine_curve", "sphere_patch", "swiss_roll", "torus_patch")
        for argument, value in (("n_obs", -1), ("n_obs", "spam"), ("noise", -1.0), ("noise", float("nan")))
    ],
)
def test_wrong_argument_of_a_surface(surface, wrong):
    (argument,) = wrong
    with pytest.raises((TypeError, ValueError), match=f"Expected `{argument}` to be") as caught:
        getattr(sg.datasets, surface)(**wrong)
    check_error(caught.value)


@for_each("value", [3, None, b"x", 1.5, [], ".", "", "/nowhere/map.safetensors"])
def test_wrong_path_of_a_model(value):
    for call_with in (sg.load, sg.nn.Autoencoder(3, 2).save):
        with pytest.raises((TypeError, OSError)) as caught:
            call_with(value)
        check_error(caught.value)
