"""Whatever modes PyTorch, NumPy and pandas are in, a function gives the same bits, and leaves the modes as they are."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import scgeoae as sg
from scgeoae.geometry.regularizers import REGULARIZERS

from ..checks.battery import duplicate
from ..checks.calls import QUICK, ROLES, call, good, placed, raw
from ..checks.slots import fingerprints
from ..for_each import for_each


@contextlib.contextmanager
def setting(put, value, old):
    put(value)
    try:
        yield
    finally:
        put(old)


MODES = {
    "float64 by default": lambda: setting(torch.set_default_dtype, torch.float64, torch.float32),
    "another device by default": lambda: setting(torch.set_default_device, "meta", "cpu"),
    "a device of a block": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
    "anomalies are detected": torch.autograd.detect_anomaly,
    "deterministic algorithms": lambda: setting(torch.use_deterministic_algorithms, True, False),  # noqa: FBT003
    "NumPy raises": lambda: np.errstate(all="raise"),
    "copy on write": lambda: pd.option_context("mode.copy_on_write", True),  # noqa: FBT003
}
if importlib.util.find_spec("pyarrow") or pd.__version__ >= "2.3":  # the first versions with the option need it
    MODES["text of pandas 3"] = lambda: pd.option_context("future.infer_string", True)  # noqa: FBT003
FIRST = ("tl.geoae(adata)", "tl.transform(adata_new)", "tl.geodesic(adata)", "pl.jacobian_heatmap(adata)")


def written(role, mode):
    """Call in a mode, and return all slots but the record of the machine."""
    name, which = ROLES[role]
    adata = duplicate(good())
    adata = placed(adata) if role == "pl.transform(adata_new)" else adata
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of options that pandas 3 has no more, and of detecting anomalies
        with mode():
            call(name, adata, which)
    return {path: value for path, value in fingerprints(adata).items() if "environment" not in path}


@functools.cache
def written_in_none(role):
    return written(role, contextlib.nullcontext)


@for_each("mode", MODES)
@pytest.mark.parametrize("role", [pytest.param(r, marks=[] if r in FIRST else pytest.mark.slow) for r in ROLES])
def test_every_function_gives_the_same_bits(role, mode):
    assert written(role, MODES[mode]) == written_in_none(role)


@for_each("regularizer", REGULARIZERS)
def test_every_regularizer_gives_the_same_bits(regularizer):
    options = {name: QUICK[name] for name in ("n_steps", "hidden", "n_neighbors", "progress_bar")}
    alone = raw()
    sg.tl.geoae(alone, regularizer=regularizer, sampling="mixup", **options)
    for mode in ("float64 by default", "another device by default"):
        within = raw()
        with MODES[mode]():
            sg.tl.geoae(within, regularizer=regularizer, sampling="mixup", **options)
        np.testing.assert_array_equal(within.obsm["X_geoae"], alone.obsm["X_geoae"], mode)


@for_each("mode", ["float64 by default", "another device by default"])
def test_a_model_is_of_float32_on_the_cpu(mode, tmp_path):
    path = tmp_path / "map.safetensors"
    sg.get.model(good()).save(path)
    with MODES[mode]():
        models = [sg.get.model(good()), sg.load(path)]
    for model in models:
        assert {(p.dtype, p.device.type) for p in model.parameters()} == {(torch.float32, "cpu")}


def test_modes_are_left(fitted):
    with torch.device("meta"), torch.autocast("cpu"), torch.inference_mode():
        sg.tl.decode(fitted, [[0, 0]])
        assert torch.get_default_device().type == "meta"
        assert torch.is_autocast_enabled("cpu")
        assert torch.is_inference_mode_enabled()
