"""Published data sets, from a server on this machine."""

from __future__ import annotations

import errno
import gzip
import inspect
import io
import os
import shutil
import socket
import tarfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

import scgeoae as sg
from scgeoae._anndata.representation import choose_representation

from ..for_each import for_each

N_OBS = 40
RNG = np.random.default_rng(0)
TYPES = np.array(["B cell", "CD4+/CD25 T Reg", "NK, other"])[RNG.integers(0, 3, N_OBS)]


def components(n_components: int) -> np.ndarray:
    return np.random.default_rng(n_components).normal(size=(N_OBS, n_components)) * np.linspace(9, 1, n_components)


def as_text(table: np.ndarray | pd.DataFrame, sep: str = "\t", **options) -> bytes:
    return pd.DataFrame(table).to_csv(sep=sep, lineterminator="\n", **options).encode()


def matrix_text(n_components: int) -> bytes:
    return as_text(components(n_components), header=False, index=False)


def npy(matrix: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, matrix)
    return buffer.getvalue()


def metadata(column: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Barcode": [f"cell {i}" for i in range(N_OBS)],
            "Total counts": np.arange(N_OBS),
            "used": [True] * (N_OBS - 1) + [None],
            "b/t": ["blood"] * N_OBS,
            column: TYPES,
        }
    )


LABELS = as_text(TYPES, header=["x"])
ZILIONIS = as_text(metadata("Major cell type"), index=False)
PACKER = metadata("cell.type")
PACKER.loc[3, "cell.type"] = None
LAYOUTS = {
    "pbmc68k": {"zheng_pbmc/pca50.npy": npy(components(50)), "zheng_pbmc/zheng17-cell-labels.txt": LABELS},
    "zilionis": {"./a/b/cancer_qc_final.txt": matrix_text(306), "./a/cancer_qc_final_metadata.txt": ZILIONIS},
    "packer_celegans": {
        "packer_c-elegans/c-elegans_qc_final.txt": matrix_text(100),
        "packer_c-elegans/._c-elegans_qc_final.txt": b"Mac OS X",
        "packer_c-elegans/c-elegans_qc_final_metadata.txt": as_text(PACKER, sep=",", index=False),
    },
}
NAMES = {
    "pbmc68k": "zheng_pbmc_data.tar.gz",
    "zilionis": "zilionis_cancer_data.tar.gz",
    "packer_celegans": "packer_c-elegans_data.tar.gz",
}
N_COMPONENTS = {"pbmc68k": 50, "zilionis": 306, "packer_celegans": 100}
PBMC = NAMES["pbmc68k"]


def plain_tar(files: dict[str, bytes], *special: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in special:
            archive.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def tar_gz(files: dict[str, bytes], *special: tarfile.TarInfo) -> bytes:
    return gzip.compress(plain_tar(files, *special), mtime=0)


GOOD = {NAMES[name]: tar_gz(files) for name, files in LAYOUTS.items()}


@dataclass
class Server:
    """What the server has, how it misbehaves, and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    """Each request takes one, and its answer ends there."""
    says_length: bool = True
    encoding: str | None = None
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch):
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.removeprefix("/densvis/")
            state.requests.append(name)
            if name not in state.files:
                self.send_error(404)
                return
            content = state.files[name]
            self.send_response(200)
            if state.says_length:
                self.send_header("Content-Length", str(len(content)))
            if state.encoding:
                self.send_header("Content-Encoding", state.encoding)
            self.end_headers()
            self.wfile.write(content[: state.cuts.pop(0)] if state.cuts else content)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("SCGEOAE_DATASETS_URL", f"http://127.0.0.1:{http.server_port}/densvis")
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder of data sets; nothing waits before it tries again."""
    import scanpy as sc

    path = tmp_path / "below" / "data"
    before = sc.settings.datasetdir
    sc.settings.datasetdir = path
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)
    yield path
    sc.settings.datasetdir = before


def load(name: str = "pbmc68k") -> anndata.AnnData:
    return getattr(sg.datasets, name)(progress_bar=False)


def put(folder: Path, content: bytes, name: str = PBMC) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.mark.parametrize("name", NAMES)
def test_slots(name, server, folder, tmp_path):
    server.files = GOOD
    adata = load(name)
    d = N_COMPONENTS[name]
    assert adata.shape == (N_OBS, d)
    assert adata.obsm["X_pca"].dtype == adata.X.dtype == np.float32
    np.testing.assert_allclose(adata.obsm["X_pca"], components(d), rtol=1e-6)
    np.testing.assert_array_equal(adata.X, adata.obsm["X_pca"])
    assert not np.shares_memory(adata.X, adata.obsm["X_pca"])
    assert list(adata.var_names[:2]) == ["PC1", "PC2"]
    expected = TYPES.astype(object)
    if name == "packer_celegans":
        expected[3] = "unknown"
        assert adata.obs["cell.type"].isna().sum() == 1
    assert isinstance(adata.obs["cell_type"].dtype, pd.CategoricalDtype)
    assert list(adata.obs["cell_type"]) == list(expected)
    if name != "pbmc68k":
        assert {"Barcode", "Total counts", "used", "b_t"} < set(adata.obs)
        assert adata.obs["Total counts"].dtype == np.int64
    assert "doi:10." in adata.uns["source"]
    assert adata.uns["source"].endswith(f"/densvis/{NAMES[name]}")
    assert names_in(folder) == {NAMES[name], f"{NAMES[name]}.sha256"}

    adata.write_h5ad(tmp_path / "again.h5ad")
    again = anndata.read_h5ad(tmp_path / "again.h5ad")
    np.testing.assert_array_equal(again.obsm["X_pca"], adata.obsm["X_pca"])
    pd.testing.assert_series_equal(again.obs["cell_type"], adata.obs["cell_type"])


@for_each("name", NAMES)
def test_all_components_are_what_is_embedded(name, server):
    server.files = GOOD
    chosen = choose_representation(load(name), use_rep=None, n_pcs=None, layer=None)
    assert chosen.matrix.shape == (N_OBS, N_COMPONENTS[name])
    assert not chosen.computed


def test_defaults_embed_it(server):
    server.files = GOOD
    adata = load("packer_celegans")
    sg.tl.geoae(adata, progress_bar=False)
    assert adata.obsm["X_geoae"].shape == (N_OBS, 2)


@pytest.mark.parametrize("name", NAMES)
def test_second_call_needs_no_network(name, server):
    server.files = GOOD
    first = load(name)
    assert server.requests == [NAMES[name]]
    server.files = {}
    second = load(name)
    assert len(server.requests) == 1
    np.testing.assert_array_equal(first.X, second.X)


def test_progress_is_shown(server, capsys):
    server.files = GOOD
    sg.datasets.pbmc68k()
    assert "100%" in capsys.readouterr().err


def test_calling_convention():
    for name in NAMES:
        parameters = inspect.signature(getattr(sg.datasets, name)).parameters
        assert [p.kind for p in parameters.values()] == [inspect.Parameter.KEYWORD_ONLY]


def test_address_and_datasetdir(folder):
    """What users of the published archives expect, without a server."""
    from scgeoae.datasets import _published

    assert _published._BASE_URL == "http://cb.csail.mit.edu/cb/densvis/datasets/"
    put(folder, GOOD[PBMC])
    assert load().uns["source"].endswith("http://cb.csail.mit.edu/cb/densvis/datasets/zheng_pbmc_data.tar.gz")


@for_each("header", ["x\n", "\tx\n", "cell\tx\n"])
def test_labels_are_the_second_field_of_a_row(header, folder):
    shutil.rmtree(folder, ignore_errors=True)
    labels = header + "".join(f"{i + 1}\t{label}\n" for i, label in enumerate(TYPES))
    files = {"pca50.npy": npy(components(50)), "zheng17-cell-labels.txt": labels.encode()}
    put(folder, tar_gz(files))
    adata = load()
    assert list(adata.obs["cell_type"]) == list(TYPES)
    assert list(adata.obs_names[:2]) == ["0", "1"]
    assert len(adata.obs.columns) == 3


def test_pbmcs_as_text(folder):
    labels = as_text(TYPES, header=False, index=False)
    put(folder, tar_gz({"z/pbmc_qc_final.txt": matrix_text(50), "z/pbmc_qc_final_labels.txt": labels}))
    adata = load()
    assert list(adata.obs["cell_type"]) == list(TYPES)
    np.testing.assert_allclose(adata.X, components(50), rtol=1e-6)


@pytest.mark.parametrize("says_length", [True, False])
@for_each("cut", [0, 1, 17, *range(512, len(GOOD[PBMC]), 1024), len(GOOD[PBMC]) - 1])
def test_half_a_file_is_never_used(cut, says_length, server, folder):
    server.files, server.says_length = GOOD, says_length
    server.cuts = [cut] * 3
    server.requests.clear()
    with pytest.raises(OSError, match=f"Could not download http://.*{PBMC}"):
        load()
    assert len(server.requests) == 3
    assert not names_in(folder)
    assert load().n_obs == N_OBS
    shutil.rmtree(folder)


def test_tries_again(server):
    server.files = GOOD
    server.cuts = [1000, 2000]
    assert load().n_obs == N_OBS
    assert len(server.requests) == 3


def test_encoding_that_is_undone_on_the_way(server, folder):
    server.files, server.encoding = GOOD, "gzip"
    assert load().n_obs == N_OBS
    assert (folder / PBMC).read_bytes() == plain_tar(LAYOUTS["pbmc68k"])
    assert load().n_obs == N_OBS


def broken_crc() -> bytes:
    content = bytearray(GOOD[PBMC])
    content[-6] ^= 1
    return bytes(content)


def flipped_bit() -> bytes:
    content = bytearray(GOOD[PBMC])
    content[len(content) // 2] ^= 16
    return bytes(content)


DAMAGED = {
    "truncated": GOOD[PBMC][:-100],
    "checksum": broken_crc(),
    "bit": flipped_bit(),
    "page": b"<html>Please log in to the network.</html>" * 50,
    "gzip of no tar": gzip.compress(b"Please log in to the network." * 50),
    "empty": b"",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_archive_on_the_server(kind, server, folder):
    server.files = {PBMC: DAMAGED[kind]}
    with pytest.raises(OSError, match="what arrived is damaged"):
        load()
    assert not names_in(folder)
    server.files = GOOD
    assert load().n_obs == N_OBS


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_archive_on_disk(kind, server, folder):
    path = put(folder, DAMAGED[kind])
    server.files = GOOD
    with pytest.raises(ValueError, match=f"{path} is damaged .*; delete it and call again"):
        load()
    assert names_in(folder) == {PBMC}
    assert not server.requests
    path.unlink()
    assert load().n_obs == N_OBS


def test_checksum_is_recorded_and_compared(server, folder):
    server.files = GOOD
    load()
    path, record = folder / PBMC, folder / f"{PBMC}.sha256"
    recorded, name = record.read_text().split()
    assert name == PBMC
    assert len(recorded) == 64

    other = tar_gz({**LAYOUTS["pbmc68k"], "pca50.txt": b""})
    path.write_bytes(other)
    with pytest.raises(ValueError, match=f"its sha256 is (?!{recorded})[0-9a-f]*, .* says {recorded}. Delete both"):
        load()
    # the archive changed on the server
    path.unlink()
    server.files = {PBMC: other}
    with pytest.raises(ValueError, match=f"{path} is not the file that was read before"):
        load()
    record.write_text("")
    with pytest.raises(ValueError, match="says nothing"):
        load()
    record.unlink()
    assert load().n_obs == N_OBS
    assert record.read_text().split()[0] != recorded


def test_file_put_there_by_hand(server, folder):
    put(folder, GOOD[PBMC])
    assert load().n_obs == N_OBS
    assert not server.requests
    assert names_in(folder) == {PBMC, f"{PBMC}.sha256"}


def test_folder_that_nothing_can_be_written_to(folder, monkeypatch):
    put(folder, GOOD[PBMC])

    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "write_text", refuse)
    assert load().n_obs == N_OBS
    assert names_in(folder) == {PBMC}


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_no_member_leaves_the_archive(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    files = {"../../evil": b"evil", f"{outside}/evil": b"evil", "link/evil": b"evil", **LAYOUTS["pbmc68k"]}
    links = special("link", tarfile.SYMTYPE, str(outside)), special("pipe", tarfile.FIFOTYPE)
    put(folder, tar_gz(files, *links))
    before = {path for path in tmp_path.rglob("*") if path.parent != folder}
    assert load().n_obs == N_OBS
    assert {path for path in tmp_path.rglob("*") if path.parent != folder} == before
    assert names_in(folder) == {PBMC, f"{PBMC}.sha256"}


@for_each("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_links_and_devices_are_not_followed(kind, folder, tmp_path):
    (tmp_path / "secret.npy").write_bytes(npy(components(50)))
    link = special("pca50.npy", kind, str(tmp_path / "secret.npy"))
    put(folder, tar_gz({"zheng17-cell-labels.txt": LABELS}, link))
    with pytest.raises(ValueError, match=r"to have files named 'pca50.npy' and .*, found 'zheng17-cell-labels.txt'"):
        load()


@for_each("name", NAMES)
def test_missing_member(name, server, folder):
    shutil.rmtree(folder, ignore_errors=True)
    for missing in LAYOUTS[name]:
        if "._" in missing:
            continue
        rest = {member: content for member, content in LAYOUTS[name].items() if member != missing}
        path = put(folder, tar_gz(rest), NAMES[name])
        with pytest.raises(ValueError, match=f"Expected {path} to have files named '.*{Path(missing).name}'"):
            load(name)
        assert names_in(folder) == {NAMES[name]}
    put(folder, tar_gz({}), NAMES[name])
    with pytest.raises(ValueError, match="found no files"):
        load(name)


def test_two_members_of_one_name(folder):
    put(folder, tar_gz({**LAYOUTS["pbmc68k"], "old/pca50.npy": npy(components(50))}))
    with pytest.raises(ValueError, match=r"one file named 'pca50\.npy', found several, such as 'old/pca50\.npy'"):
        load()


def test_not_found(server, folder):
    with pytest.raises(OSError, match=f"404.* put it at {folder / PBMC}"):
        load()
    assert not names_in(folder)


def test_no_network(folder, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("SCGEOAE_DATASETS_URL", f"http://127.0.0.1:{port}/")
    message = f"Could not download http://127.0.0.1:{port}/{PBMC}: .* put it at {folder / PBMC}"
    with pytest.raises(OSError, match=message):
        load()
    assert not names_in(folder)


CONTENTS = {
    "rows": ("zilionis", "cancer_qc_final.txt", matrix_text(306).split(b"\n", 1)[1], "found 39 and 40"),
    "words": ("zilionis", "cancer_qc_final.txt", b"1\t2\n3\tfour\n", "Could not read cancer_qc_final.txt in .*four"),
    "ragged": ("zilionis", "cancer_qc_final.txt", b"1\t2\n3\t4\t5\n", "Could not read cancer_qc_final.txt in"),
    "gap": ("zilionis", "cancer_qc_final.txt", b"1\t2\n3\n", "cancer_qc_final.txt in .* to be finite"),
    "nothing": ("zilionis", "cancer_qc_final.txt", b"", "Could not read cancer_qc_final.txt in"),
    "column": ("zilionis", "cancer_qc_final_metadata.txt", as_text(PACKER), "'Major cell type', found .*'cell.type'"),
    "labels": ("pbmc68k", "zheng17-cell-labels.txt", as_text(TYPES[1:], header=["x"]), "found 40 and 39"),
    "header": ("pbmc68k", "zheng17-cell-labels.txt", b"x\n1\ta\tB\n", "its header has 1 fields, its rows have 3"),
    "one column": ("pbmc68k", "zheng17-cell-labels.txt", b"x\nB\nT\n", "to have a column 1, found 'x'"),
    "pickle": ("pbmc68k", "pca50.npy", npy(np.array([{}])), "Could not read pca50.npy in .*allow_pickle"),
    "half": ("pbmc68k", "pca50.npy", npy(components(50))[:-1], "Could not read pca50.npy in"),
    "vector": ("pbmc68k", "pca50.npy", npy(np.ones(40)), r"to be a matrix of numbers, found float64 of \(40,\)"),
    "text array": ("pbmc68k", "pca50.npy", npy(np.full((40, 2), "x")), "to be a matrix of numbers, found <U1"),
}


@for_each("kind", CONTENTS)
def test_unexpected_content(kind, folder):
    shutil.rmtree(folder, ignore_errors=True)
    name, file, content, message = CONTENTS[kind]
    files = {Path(member).name: old for member, old in LAYOUTS[name].items()} | {file: content}
    path = put(folder, tar_gz(files), NAMES[name])
    with pytest.raises(ValueError, match=message) as caught:
        load(name)
    assert str(path) in str(caught.value)
