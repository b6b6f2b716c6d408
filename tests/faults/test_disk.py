"""No room on the disk: one line that says so, and the old file is whole."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys

import numpy as np
import pytest
import torch
from anndata import AnnData

import scgeoae as sg
from scgeoae.__main__ import main
from scgeoae._files import atomic_write

from ..for_each import for_each

resource = pytest.importorskip("resource")


@pytest.fixture
def source(tmp_path):
    values = np.random.default_rng(0).normal(size=(200, 20)).astype(np.float32)
    path = tmp_path / "in.h5ad"
    AnnData(values, obsm={"X_large": np.repeat(values, 50, axis=1)}).write_h5ad(path)
    return path


def run_limited(limit, arguments):
    """Run the command line in a process of its own under a limit."""
    code = f"import resource, sys; {limit}; from scgeoae.__main__ import main; sys.exit(main(sys.argv[1:]))"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)


@pytest.mark.slow
def test_a_limit_of_file_sizes(source, tmp_path):
    out = tmp_path / "out.h5ad"
    out.write_bytes(b"old")
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))"
    done = run_limited(limit, [source, "-o", out])
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()[-1:]
    assert re.match(r"scgeoae: error: could not write .*out\.h5ad", line)
    assert out.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.h5ad", "out.h5ad"]


@pytest.mark.slow
def test_a_full_disk(source, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", disk], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        (disk / "out.h5ad").write_bytes(b"old")
        assert main([str(source), "-o", str(disk / "out.h5ad")]) == 2
        assert [p.name for p in disk.iterdir()] == ["out.h5ad"]
        assert (disk / "out.h5ad").read_bytes() == b"old"
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_a_limit_of_memory(source, tmp_path):
    # enough to import everything and to read the file; not enough for 200 cells of 400,000 features
    code = "import scgeoae.tl, scgeoae.pl, anndata, numpy as np, torch"
    limit = f"{code}; size = int(open('/proc/self/statm').read().split()[0]) * 4096"
    limit += "; resource.setrlimit(resource.RLIMIT_AS, (size + 300_000_000,) * 2)"
    values = np.random.default_rng(0).normal(size=(200, 400_000)).astype(np.float32)
    AnnData(np.zeros((200, 1), np.float32), obsm={"X_wide": values}).write_h5ad(tmp_path / "wide.h5ad")
    done = run_limited(limit, [tmp_path / "wide.h5ad", "--use-rep", "X_wide", "-o", tmp_path / "out.h5ad"])
    assert done.returncode == 2, done.stderr
    assert "memory" in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "out.h5ad").exists()


@pytest.mark.parametrize("fail", [True, False])
def test_a_file_is_replaced_as_a_whole(tmp_path, fail):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)

    def write():
        with atomic_write(link) as scratch:
            scratch.write_bytes(b"new")
            if fail:
                raise OSError

    if fail:
        with pytest.raises(OSError):  # noqa: PT011
            write()
    else:
        write()
    assert path.read_bytes() == (b"old" if fail else b"new")
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert not list(tmp_path.glob(".*"))


def test_a_model_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "map.safetensors"
    sg.nn.Autoencoder(4, 2).save(path)
    old = path.read_bytes()

    def cut(_tensors, scratch, **_kwargs):
        scratch.write_bytes(old[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scgeoae.nn.file.save_file", cut)
    with pytest.raises(OSError, match="No space"):
        sg.nn.Autoencoder(5, 2).save(path)
    assert path.read_bytes() == old
    assert not list(tmp_path.glob(".*"))


@for_each("function", ["fit", "fit_decoder"])
def test_too_little_memory_on_a_device(function, monkeypatch):
    """The CPU plays the device that has none."""
    raw = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    settings = sg.training.Settings(n_steps=5, regularizer=None, neighbors_weight=0)
    given = {"fit": (raw, settings), "fit_decoder": (raw, raw[:, :2], settings)}[function]
    fit, seen = getattr(sg.training, function), []
    train = sg.training.fit.__globals__["train"]

    def failing_once(*args, **kwargs):
        seen.append(args)
        if len(seen) == 1:
            msg = "CUDA out of memory. Tried to allocate 20.00 GiB."
            raise torch.cuda.OutOfMemoryError(msg)
        return train(*args, **kwargs)

    monkeypatch.setitem(fit.__globals__, "train", failing_once)
    with pytest.warns(UserWarning, match="Tried to allocate .*: computing on the CPU instead"):
        fitted = fit(*given)
    assert np.isfinite(fitted.metric).all()
    seen.clear()
    with pytest.raises(RuntimeError, match=r"has too little memory .* give device='cpu' or a lower `batch_size`"):
        fit(*given, device="cpu")
