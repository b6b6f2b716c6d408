"""SIGKILL at any moment of a run of the command line: the file that was there before is whole, or the new one is."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

import anndata
import numpy as np
import pytest
from anndata import AnnData

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a child that has imported everything is forked")
N_STEPS = 30


def embed(source, target):
    """What ``python -m scgeoae source -o target`` does, with few steps."""
    import torch

    from scgeoae import tl
    from scgeoae.__main__ import main

    torch.set_num_threads(1)
    geoae = tl.geoae
    tl.geoae = lambda *args, **kwargs: geoae(*args, **kwargs, n_steps=N_STEPS, hidden=(16,))
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        os._exit(main([str(source), "-o", str(target)]))


def at_work(target: Path) -> str:
    return "writing" if list(target.parent.glob(f".{target.name}.*.part")) else "training"


def campaign(folder: Path, n: int, seed: int) -> Counter:
    """Kill n runs, half of them after their scratch file has appeared, and return when they were killed."""
    import scgeoae.tl  # noqa: F401 -- before the fork, as it takes seconds

    rng, fork = random.Random(seed), multiprocessing.get_context("fork")
    values = np.random.default_rng(0).normal(size=(400, 20)).astype(np.float32)
    source, target = folder / "in.h5ad", folder / "out.h5ad"
    # so much that writing takes a while
    AnnData(values, obsm={"X_large": np.repeat(values, 200, axis=1)}).write_h5ad(source)
    AnnData(values[:10]).write_h5ad(target)
    old = target.read_bytes()

    start = time.perf_counter()
    child = fork.Process(target=embed, args=(source, folder / "once.h5ad"))
    child.start()
    child.join(120)
    assert child.exitcode == 0
    took, when = time.perf_counter() - start, Counter()
    for i in range(n):
        child = fork.Process(target=embed, args=(source, target))
        child.start()
        if i % 2:
            end = time.perf_counter() + 60
            while at_work(target) != "writing" and child.is_alive() and time.perf_counter() < end:
                time.sleep(0.0005)
            time.sleep(rng.uniform(0, 0.05))
        else:
            time.sleep(rng.uniform(0, 1.1 * took))
        state = at_work(target) if child.is_alive() else "finished"
        child.kill()
        child.join(60)
        now = target.read_bytes()
        if now == old:
            when[state] += 1
        else:
            # moved into its place before the kill: then it is complete
            written = anndata.read_h5ad(target)
            assert np.isfinite(written.obsm["X_geoae"]).all()
            assert written.uns["geoae"]["model"]["weights"]
            when["finished"] += 1
            target.write_bytes(old)
        for scratch in folder.glob(".*.part"):
            scratch.unlink()
    return when


def test_kills(tmp_path):
    assert campaign(tmp_path, 8, seed=0).total() == 8


@pytest.mark.slow
def test_two_hundred_kills(tmp_path, capsys):
    when = campaign(tmp_path, 200, seed=int(time.time()))
    with capsys.disabled():
        sys.stdout.write(f" killed: {dict(when)} ")
    assert when.total() == 200
    assert min(when["training"], when["writing"]) >= 20, when
