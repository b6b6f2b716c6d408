from __future__ import annotations

import subprocess
import sys

import anndata
import h5py
import numpy as np
import pytest

import scgeoae as sg
from scgeoae.__main__ import main

from .for_each import for_each


@pytest.mark.slow
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
    written = anndata.read_h5ad(out)
    scores = sg.get.scores(written)
    lines = printed.splitlines()[1 : 1 + len(scores)]
    assert dict(line.split() for line in lines) == {name: f"{value:.4f}" for name, value in scores.items()}
    assert len({len(line) for line in lines}) == 1
    params = written.uns["geoae"]["params"]
    assert (params["use_rep"], params["regularizer"], params["strength"]) == ("X_rep", "volume", 0.2)
    assert (params["random_state"], params["neighbors_weight"]) == (7, 0.05)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("kind", "sampled"),
    [
        ("in.h5ad", ["--n-sample", "40"]),
        pytest.param("in.zarr", ["--n-sample", "40"], marks=pytest.mark.slow),
        pytest.param("in.zarr", [], marks=pytest.mark.slow),
    ],
)
def test_a_sample_is_mapped_and_all_cells_are_placed(kind, sampled, small, tmp_path, capsys):
    small.obsm["X_rep"] = small.X[:, :5]
    source, out = tmp_path / kind, tmp_path / "out.zarr"
    (small.write_zarr if kind == "in.zarr" else small.write_h5ad)(source)
    given = {"use_rep": "X_rep", "refine": False, "random_state": 3, "progress_bar": False}
    sample = sg.tl.atlas(source, out=tmp_path / "expected.zarr", **given, **({"n_sample": 40} if sampled else {}))
    options = ["--use-rep", "X_rep", "--no-refine", "--seed", "3", "--figures", str(tmp_path), *sampled]
    assert main([str(source), "-o", str(out), *options]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{small.n_obs} cells by a sample of {sample.n_obs}, regularizer isometric, seed 3\n")
    assert f"  {sg.get.scores(sample)['CN']:10.4f}\n" in printed
    assert f"wrote {out}\n" in printed
    found, expected = anndata.read_zarr(out), anndata.read_zarr(tmp_path / "expected.zarr")
    np.testing.assert_array_equal(found.obsm["X_geoae"], expected.obsm["X_geoae"])
    np.testing.assert_array_equal(found.obs["geoae_outlier_score"], expected.obs["geoae_outlier_score"])
    np.testing.assert_array_equal(found.uns["geoae"]["sample"], expected.uns["geoae"]["sample"])
    assert (tmp_path / "indicatrices.png").stat().st_size > 10_000


def test_a_store_gets_the_map_of_its_cells(small, tmp_path, capsys):
    small.obsm["X_rep"] = small.X[:, :5]
    small.write_zarr(tmp_path / "in.zarr")
    assert main([str(tmp_path / "in.zarr"), "--use-rep", "X_rep", "--no-refine", "--color", "side", "--graph"]) == 0
    assert f"wrote {tmp_path / 'in.zarr'}\n" in capsys.readouterr().out
    found = anndata.read_zarr(tmp_path / "in.zarr")
    assert found.obsm["X_geoae"].shape == (small.n_obs, 2)
    assert found.obsp["geoae_metric"].nnz == 15 * small.n_obs


def test_no_regularizer(small, tmp_path):
    small.write_h5ad(tmp_path / "in.h5ad")
    assert main([str(tmp_path / "in.h5ad"), "--regularizer", "none"]) == 0


@for_each(
    "arguments, message",
    [
        (["nope.h5ad"], "Did not find the file nope.h5ad"),
        (["-o", "nope/out.h5ad"], "nope' to write 'out.h5ad' to."),
        (["{good}", "-o", "{folder}"], "' is a folder."),
        (["{good}", "-o", "/dev/null"], "'/dev/null' is a device."),
        (["{good}", "--figures", "{good}"], "good.h5ad is not a folder to write figures into"),
        (["{broken}"], "broken.h5ad is not a readable h5ad file"),
        (["{good}", "--color", "spam"], "did not find 'spam' in adata.obs, which has 'side', or among the genes"),
        (["{good}", "--use-rep", "spam"], "Did not find 'spam' in adata.obsm"),
        (["{good}", "--regularizer", "spam"], "`regularizer` to be None, one of"),
        (["{good}", "--strength", "-1"], "`strength` to be a finite number >= 0 or 'auto', found -1.0"),
        (["{good}", "--equal-room", "2"], "`equal_room` to be a number from 0 to 1, found 2.0"),
        (["{good}", "--n-sample", "50"], "give -o STORE.zarr for the results"),
        (["{good}", "--n-sample", "2", "-o", "{folder}/map.zarr"], "`n_sample` to be an integer >= 4, found 2"),
        (["{good}", "--n-sample", "50", "-o", "{good}"], "There is something at"),
        (["{good}", "--n-sample", "50", "-o", "{folder}/map.h5ad"], "is the name of a file: give one that ends in"),
        (["{folder}"], "' is neither a zarr store nor an .h5ad file with an AnnData."),
        (["{store}", "--color", "spam"], "did not find 'spam' in adata.obs, which has 'side', or among the genes"),
        (["{good}", "--strength", "nan"], "`strength` to be a finite number >= 0 or 'auto', found nan"),
    ],
)
def test_errors_are_one_line_and_status_2(arguments, message, small, tmp_path, capsys):
    small.write_h5ad(tmp_path / "good.h5ad")
    (tmp_path / "broken.h5ad").write_bytes(b"spam")
    if not (tmp_path / "store.zarr").exists():
        small.write_zarr(tmp_path / "store.zarr")
    places = {"good": tmp_path / "good.h5ad", "broken": tmp_path / "broken.h5ad", "folder": tmp_path}
    places["store"] = tmp_path / "store.zarr"
    assert main([a.format(**places) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("scgeoae: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


@for_each(
    "arguments, message",
    [
        (["--spam"], "unrecognized arguments: --spam"),
        (["--strength", "spam"], "argument --strength: expected a number or 'auto', found 'spam'"),
    ],
)
def test_unknown_option(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_what_is_no_representation_is_said(small, tmp_path, capsys):
    small.obsm["X_complex"] = small.X * 1j
    small.write_h5ad(tmp_path / "in.h5ad")
    assert main([str(tmp_path / "in.h5ad"), "--use-rep", "X_complex"]) == 2
    assert capsys.readouterr().err.startswith("scgeoae: error: Expected adata.obsm['X_complex'] to hold real numbers")


def compressed(path, adata):
    """Write X as Blosc writes it, which h5py cannot read."""
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        x, attributes = file["X"][:], dict(file["X"].attrs)
        del file["X"]
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk(x.shape)
        how.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (2, 2, 4, x.nbytes))
        space = h5py.h5s.create_simple(x.shape)
        array = h5py.h5d.create(file.id, b"X", h5py.h5t.NATIVE_FLOAT, space, how)
        array.write_direct_chunk((0, 0), x.tobytes(), 0)
        file["X"].attrs.update(attributes)


def test_a_file_that_h5py_cannot_decompress(small, tmp_path, monkeypatch, capsys):
    path = tmp_path / "in.h5ad"
    small.obsm["X_umap"] = small.X[:, :2].copy()
    compressed(path, small)
    message = "such as the Blosc of SnapATAC2: run pip install hdf5plugin and, in Python, import hdf5plugin."
    # as if it were not installed
    monkeypatch.setattr("scgeoae.__main__.find_spec", lambda name: None)
    assert main([str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"scgeoae: error: {path} is not a readable h5ad file (An array in the file is compressed ")
    assert message in error
    # h5py reads X when it is asked for
    adata = anndata.read_h5ad(path, backed="r")
    for call in (
        lambda: sg.tl.geoae(adata, use_rep="X", progress_bar=False),
        lambda: sg.tl.distortion(adata, basis="umap", use_rep="X", progress_bar=False),
        lambda: sg.tl.evaluate(adata, basis="umap", use_rep="X"),
    ):
        with pytest.raises(OSError, match=message):
            call()


def test_an_interrupt_while_writing(small, tmp_path, monkeypatch, capsys):
    small.write_h5ad(tmp_path / "in.h5ad")

    def interrupted(self, path, **kwargs):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(anndata.AnnData, "write_h5ad", interrupted)
    assert main([str(tmp_path / "in.h5ad"), "-o", str(tmp_path / "out.h5ad")]) == 130
    assert capsys.readouterr().err == "scgeoae: interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5ad"]


def test_an_interrupt_while_training(small, tmp_path, monkeypatch, capsys):
    small.write_h5ad(tmp_path / "in.h5ad")

    def interrupted(self, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("scgeoae.training.refine.Positions.step", interrupted)
    assert main([str(tmp_path / "in.h5ad"), "-o", str(tmp_path / "out.h5ad")]) == 130
    assert capsys.readouterr() == ("", "scgeoae: interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5ad"]


def test_a_map_is_written_before_its_figures(small, tmp_path, monkeypatch):
    small.write_h5ad(tmp_path / "in.h5ad")

    def broken(*args, **kwargs):
        msg = "no figure"
        raise ValueError(msg)

    monkeypatch.setattr("scgeoae.pl.indicatrices", broken)
    assert main([str(tmp_path / "in.h5ad"), "-o", str(tmp_path / "out.h5ad"), "--figures", str(tmp_path)]) == 2
    assert "X_geoae" in anndata.read_h5ad(tmp_path / "out.h5ad").obsm


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
