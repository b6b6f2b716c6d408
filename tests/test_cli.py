from __future__ import annotations

import subprocess
import sys

import anndata
import numpy as np
import pytest

from scgeoae.__main__ import main


def test_default_run_as_a_process(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "scgeoae", "--figures", tmp_path / "figures"], check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("700 cells, regularizer isometric, seed 0\n  CN ")
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {"indicatrices.png", "jacobian_heatmap.png"}
    assert all(p.stat().st_size > 10_000 for p in (tmp_path / "figures").iterdir())


def test_options(small, tmp_path, capsys):
    small.obsm["X_rep"] = small.X[:, :5]
    small.write_h5ad(tmp_path / "in.h5ad")
    out = tmp_path / "out.h5ad"
    options = ["--use-rep", "X_rep", "--regularizer", "geomae", "--strength", "0.2", "--color", "side", "--seed", "7"]
    options += ["--neighbors-weight", "0.05"]
    assert main([str(tmp_path / "in.h5ad"), "-o", str(out), "--figures", str(tmp_path), *options]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in ("CN", "VPres", "ISO", "MSE", "MSE_held_out"))
    params = anndata.read_h5ad(out).uns["geoae"]["params"]
    assert (params["use_rep"], params["regularizer"], params["strength"]) == ("X_rep", "volume", 0.2)
    assert (params["random_state"], params["neighbors_weight"]) == (7, 0.05)
    assert not list(tmp_path.glob(".*"))


def test_no_regularizer(small, tmp_path):
    small.write_h5ad(tmp_path / "in.h5ad")
    assert main([str(tmp_path / "in.h5ad"), "--regularizer", "none"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope.h5ad"], "there is no file nope.h5ad"),
        (["-o", "nope/out.h5ad"], "there is no folder nope to write out.h5ad to"),
        (["{broken}"], "broken.h5ad is not a readable h5ad file"),
        (["{good}", "--color", "spam"], "did not find 'spam' in adata.obs, which has 'side', nor among the genes"),
        (["{good}", "--use-rep", "spam"], "Did not find 'spam' in adata.obsm"),
        (["{good}", "--regularizer", "spam"], "`regularizer` to be None, one of"),
        (["{good}", "--strength", "-1"], "`strength` to be a finite number >= 0 or 'auto', found -1.0"),
        (["{good}", "--strength", "nan"], "`strength` to be a finite number >= 0 or 'auto', found nan"),
    ],
)
def test_errors_are_one_line_and_status_2(arguments, message, small, tmp_path, capsys):
    small.write_h5ad(tmp_path / "good.h5ad")
    (tmp_path / "broken.h5ad").write_bytes(b"spam")
    places = {"good": tmp_path / "good.h5ad", "broken": tmp_path / "broken.h5ad"}
    assert main([a.format(**places) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("scgeoae: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_unknown_option():
    with pytest.raises(SystemExit) as error:
        main(["--spam"])
    assert error.value.code == 2


def test_a_failed_write_leaves_the_old_file(small, tmp_path, monkeypatch):
    small.write_h5ad(tmp_path / "in.h5ad")
    out = tmp_path / "out.h5ad"
    small.write_h5ad(out)
    before = out.read_bytes()

    def full_disk(self, path, **kwargs):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(anndata.AnnData, "write_h5ad", full_disk)
    assert main([str(tmp_path / "in.h5ad"), "-o", str(out)]) == 2
    assert out.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"in.h5ad", "out.h5ad"}
    assert np.isfinite(small.X).all()
