"""Nothing that belongs to the whole process is left changed."""

from __future__ import annotations

import json
import locale
import logging
import os
import pickle
import random
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch

from scgeoae._runtime import default_torch_modes

from ..checks.calls import ROLES, call, good, placed
from ..for_each import for_each

PLAIN = (str, int, float, bool, Path, type(None), tuple, list)


def state() -> dict[str, Any]:
    """Return what a function may not change, as values that can be compared."""
    root = logging.getLogger()
    return {
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch dtype": torch.get_default_dtype(),
        "torch gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "torch determinism": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
        ),
        "torch precision": torch.get_float32_matmul_precision(),
        "torch random numbers": torch.get_rng_state().numpy().tobytes(),
        "NumPy random numbers": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "Python random numbers": random.getstate(),
        "matplotlib": {key: repr(value) for key, value in dict.items(mpl.rcParams)},
        "scanpy": {key: repr(value) for key, value in _attributes(sc.settings) if isinstance(value, PLAIN)},
        "scanpy log": (sc.settings.verbosity, sc.settings.logfile),
        "warnings": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "root logger": (root.level, list(root.handlers), logging.root.manager.disable),
        "environment variables": dict(os.environ),
        "folder": Path.cwd(),
        "locale": locale.setlocale(locale.LC_ALL),
        "signals": (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)),
        "NumPy errors": np.geterr(),
        "NumPy printing": np.get_printoptions(),
        "pandas": {key: pd.get_option(key) for key in _pandas_options()},
        "hooks": (sys.excepthook, sys.displayhook, sys.stdout, sys.stderr),
        "sys.path": list(sys.path),
        "recursion limit": sys.getrecursionlimit(),
    }


def _attributes(settings: Any) -> list[tuple[str, Any]]:
    names = [name for name in dir(settings) if not name.startswith("__")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are deprecated
        return [(name, getattr(settings, name, None)) for name in names]


def _pandas_options() -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are deprecated
        return [name for name in pd._config.config._registered_options if name.startswith(("display.", "mode.chained"))]


@for_each("role", ROLES)
def test_every_function_leaves_the_state_of_the_process(role):
    name, of = ROLES[role]
    adata = placed(good()) if of == "adata_new" else good().copy()
    before = state()
    call(name, adata, of)
    after = state()
    assert [key for key in before if before[key] != after[key]] == []


def test_it_is_left_too_where_a_function_fails():
    adata = good().copy()
    adata.X[3, 2] = np.nan
    before = state()
    with pytest.raises(ValueError, match="finite"):
        call("tl.geoae", adata)
    after = state()
    assert [key for key in before if before[key] != after[key]] == []


# the packages under it are imported first: what they do to a process is theirs
OF_IMPORT = """
import json, logging, os, random, signal, sys, warnings
import matplotlib as mpl, numpy as np, scanpy, torch, tqdm.auto, sklearn.neighbors, scipy.spatial
import matplotlib.pyplot

def state():
    return {
        "warnings": [repr(each) for each in warnings.filters],
        "threads": torch.get_num_threads(),
        "torch random numbers": torch.get_rng_state().tolist(),
        "NumPy random numbers": repr(np.random.get_state()),
        "Python random numbers": repr(random.getstate()),
        "matplotlib": {key: repr(value) for key, value in dict.items(mpl.rcParams)},
        "signals": [repr(signal.getsignal(each)) for each in (signal.SIGINT, signal.SIGTERM)],
        "log": [logging.getLogger().level, repr(logging.getLogger().handlers), scanpy.settings.verbosity.value],
        "environment": dict(os.environ),
        "errors": repr(np.geterr()),
    }

before = state()
import scgeoae as sg
for floor in (sg.tl, sg.pl, sg.get, sg.datasets):
    for name in floor.__all__:
        getattr(floor, name)
after = state()
print(json.dumps([key for key in before if before[key] != after[key]]))
"""


def test_importing_it_leaves_the_state_of_the_process():
    run = subprocess.run([sys.executable, "-c", OF_IMPORT], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == []


@for_each("before", [True, False])
def test_gradients_are_as_before_even_if_an_interrupt_left_them_off(before):
    @default_torch_modes
    def interrupted():
        torch.set_grad_enabled(False)
        raise KeyboardInterrupt

    with torch.set_grad_enabled(before):
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert torch.is_grad_enabled() == before
    assert torch.is_grad_enabled()
