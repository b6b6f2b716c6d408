"""What asv runs (benchmarks/benchmarks): every benchmark once, with its first parameters."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from .conftest import DATA

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MODULES = ("calls", "imports", "steps")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="not a clone"),
    pytest.mark.skipif(not DATA.is_dir(), reason="cells are drawn near those of PBMC 3k"),
]


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """The modules, in a folder with the files that `setup_cache` writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        patch.chdir(tmp_path_factory.mktemp("asv"))
        found = {name: importlib.import_module(f"benchmarks.{name}") for name in MODULES}
        patch.setattr(found["calls"], "SIZES", found["calls"].SIZES[:1])
        found["calls"].Geoae().setup_cache()
        yield found


def benchmarks_of(module):
    """Yield each benchmark of a module, set up with its first parameters, and these."""
    for cls in vars(module).values():
        if not isinstance(cls, type) or cls.__name__.startswith("_") or cls.__module__ != module.__name__:
            continue
        params = [values[0] for values in getattr(cls, "params", ())]
        assert len(params) == len(getattr(cls, "param_names", ())), cls
        for name in dir(cls):
            if name.startswith(("time_", "timeraw_", "peakmem_", "track_")):
                benchmark = cls()
                getattr(benchmark, "setup", lambda *_: None)(*params)
                yield name, benchmark, params
                getattr(benchmark, "teardown", lambda *_: None)(*params)


@pytest.mark.parametrize("name", MODULES)
def test_every_benchmark_runs(modules, name):
    seen = set()
    for method, benchmark, params in benchmarks_of(modules[name]):
        result = getattr(benchmark, method)(*params)
        seen.add(f"{type(benchmark).__name__}.{method}")
        if method.startswith("timeraw_"):
            subprocess.run([sys.executable, "-c", result], check=True, timeout=120)
        elif method.startswith("track_"):
            assert np.isfinite(result)
            assert result > 0
    assert seen


def test_calls_write_what_they_are_named_after(modules):
    calls = modules["calls"]
    slots = {calls.Geoae: "X_geoae", calls.Transform: "X_geoae", calls.Distortion: "plane_metric"}
    for cls, slot in slots.items():
        call = cls()
        params = [values[0] for values in cls.params]
        call.setup(*params)
        adata = call.mapped if cls is calls.Distortion else call.cells
        assert slot not in adata.obsm
        call.time_call(*params)
        assert np.isfinite(adata.obsm[slot]).all()
