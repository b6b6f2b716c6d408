"""Published data sets, from a server on this machine that has small archives of their layout."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections import Counter
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import anndata
import numpy as np
import pooch
import pytest
import scanpy as sc

import scgeoae as sg
from scgeoae.datasets import _download

N = 30
RNG = np.random.default_rng(0)


def text(matrix: np.ndarray) -> bytes:
    file = io.StringIO()
    np.savetxt(file, matrix, delimiter="\t", fmt="%.6g")
    return file.getvalue().encode()


def lines(*rows: str) -> bytes:
    return ("\n".join(rows) + "\n").encode()


def npy(matrix: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, matrix)
    return file.getvalue()


PBMC, CANCER, WORM = (RNG.normal(size=(N, width)) for width in (50, 306, 100))
ARCHIVES = {
    "zheng_pbmc_data.tar.gz": {
        "pca50.npy": npy(PBMC),
        "zheng17-cell-labels.txt": lines("barcode\tcelltype", *(f"AAAC-{i}\tCD{i % 3}" for i in range(N))),
    },
    "zilionis_cancer_data.tar.gz": {
        "cancer_qc_final.txt": text(CANCER),
        "cancer_qc_final_metadata.txt": lines(
            "Library\tBarcode\tMajor cell type\tTotal counts",
            *(f"p{i % 2}t1\tb{i}\tt{'TBN'[i % 3]}\t{i}" for i in range(N)),
        ),
    },
    "packer_c-elegans_data.tar.gz": {
        "packer_c-elegans/c-elegans_qc_final.txt": text(WORM),
        "packer_c-elegans/c-elegans_qc_final_metadata.txt": lines(
            ",cell,cell.type,embryo.time",
            *(f"c{i},c{i},{'ADL' if i % 2 else ''},{i}" for i in range(N)),
        ),
    },
}
LOADERS = {
    "zheng_pbmc_data.tar.gz": (sg.datasets.pbmc68k, PBMC),
    "zilionis_cancer_data.tar.gz": (sg.datasets.zilionis, CANCER),
    "packer_c-elegans_data.tar.gz": (sg.datasets.packer_celegans, WORM),
}


def pack(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return raw.getvalue()


class Server:
    """What it serves, how much of it, and how often it was asked."""

    def __init__(self):
        self.files = {name: pack(files) for name, files in ARCHIVES.items()}
        self.cut_after: int | None = None
        self.asked = Counter()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rsplit("/", 1)[-1]
                outer.asked[name] += 1
                if name not in outer.files:
                    self.send_error(404)
                    return
                content = outer.files[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: outer.cut_after])

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/data/"
        Thread(target=partial(self.http.serve_forever, 0.01), daemon=True).start()


@pytest.fixture
def server(tmp_path, monkeypatch):
    server = Server()
    monkeypatch.setattr(_download, "URL", server.url)
    monkeypatch.setattr(_download, "N_RETRIES", 0)
    folder, sc.settings.datasetdir = sc.settings.datasetdir, tmp_path
    yield server
    sc.settings.datasetdir = folder
    server.http.shutdown()
    server.http.server_close()


@pytest.mark.parametrize("name", LOADERS)
def test_it_is_what_the_archive_holds(name, server, tmp_path):
    load, components = LOADERS[name]
    adata = load()
    np.testing.assert_allclose(adata.obsm["X_pca"], components, rtol=1e-4, atol=1e-6)
    assert adata.obsm["X_pca"].dtype == np.float32
    assert adata.obs["cell_type"].dtype == "category"
    again = load()
    assert server.asked[name] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [name, f"{name}.sha256"]
    again.write_h5ad(tmp_path / "a.h5ad")
    read = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert list(read.obs["cell_type"]) == list(adata.obs["cell_type"])
    assert name in read.uns["source"]


def test_labels(server):
    assert list(sg.datasets.pbmc68k().obs["cell_type"][:4]) == ["CD0", "CD1", "CD2", "CD0"]
    assert sg.datasets.pbmc68k().obs_names[3] == "AAAC-3"
    assert list(sg.datasets.zilionis().obs["cell_type"][:3]) == ["tT", "tB", "tN"]
    worm = sg.datasets.packer_celegans()
    assert list(worm.obs["cell_type"][:2]) == ["unknown", "ADL"]
    assert worm.obs["embryo.time"].iloc[5] == 5
    assert worm.obs_names[5] == "c5"


def test_other_names_of_the_same_files(server):
    name = "zheng_pbmc_data.tar.gz"
    files = {
        "pbmc_68k/pbmc_qc_final.txt": text(PBMC),
        "pbmc_68k/pbmc_qc_final_labels.txt": lines(*(f"CD{i % 3}" for i in range(N))),
    }
    server.files[name] = pack(files)
    adata = sg.datasets.pbmc68k()
    np.testing.assert_allclose(adata.obsm["X_pca"], PBMC, rtol=1e-4, atol=1e-6)
    assert list(adata.obs["cell_type"][:2]) == ["CD0", "CD1"]


def test_it_can_be_mapped(server):
    adata = sg.datasets.pbmc68k()
    sg.tl.geoae(adata, n_steps=5, progress_bar=False)
    assert adata.obsm["X_geoae"].shape == (N, 2)
    assert adata.uns["geoae"]["params"]["use_rep"] == "X_pca"


@pytest.mark.parametrize("share", np.linspace(0, 0.999, 8))
def test_a_download_that_ends_early_leaves_nothing(share, server, tmp_path):
    name = "zilionis_cancer_data.tar.gz"
    server.cut_after = int(share * len(server.files[name]))
    with pytest.raises(ConnectionError, match=r"Could not download .*put it at"):
        sg.datasets.zilionis()
    assert not list(tmp_path.iterdir())
    server.cut_after = None
    assert sg.datasets.zilionis().n_obs == N


def test_a_failed_download_is_tried_again(server, monkeypatch):
    monkeypatch.setattr(_download, "N_RETRIES", 2)
    monkeypatch.setattr(pooch.core.time, "sleep", lambda _: server.files.update(kept))
    kept = dict(server.files)
    server.files.clear()
    assert sg.datasets.zilionis().n_obs == N


def test_file_that_is_not_there(server):
    server.files.clear()
    with pytest.raises(ConnectionError, match="404"):
        sg.datasets.zilionis()


def test_no_network_says_where_to_put_it_by_hand(server, tmp_path):
    server.http.shutdown()
    server.http.server_close()
    name = "zilionis_cancer_data.tar.gz"
    with pytest.raises(ConnectionError, match=f"put it at {tmp_path / name}"):
        sg.datasets.zilionis()
    (tmp_path / name).write_bytes(server.files[name])
    assert sg.datasets.zilionis().n_obs == N


@pytest.mark.parametrize("damage", ["cut", "flipped", "checksum", "foreign"])
def test_damaged_archive(damage, server, tmp_path):
    name = "zilionis_cancer_data.tar.gz"
    content = bytearray(server.files[name])
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2] ^= 255
    elif damage == "checksum":
        content[-8] ^= 255
    else:
        content = gzip.compress(b"<html>moved</html>" * 1000)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is damaged .* delete it"):
        sg.datasets.zilionis()


def test_archive_that_changed(server, tmp_path):
    sg.datasets.zilionis()
    name = "zilionis_cancer_data.tar.gz"
    changed = pack(ARCHIVES[name] | {"more.txt": b"more"})
    (tmp_path / name).write_bytes(changed)
    with pytest.raises(
        ValueError, match=r"is not the file that was there first.*zilionis_cancer_data\.tar\.gz\.sha256"
    ):
        sg.datasets.zilionis()
    (tmp_path / name).unlink()
    assert sg.datasets.zilionis().n_obs == N


@pytest.mark.parametrize("kind", ["parent", "absolute", "link", "device"])
def test_nothing_leaves_the_archive(kind, server, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        member = tarfile.TarInfo(
            {"parent": f"../{outside.name}", "absolute": str(outside)}.get(kind, "cancer_qc_final.txt")
        )
        if kind == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
        elif kind == "device":
            member.type = tarfile.CHRTYPE
        archive.addfile(member)
    (tmp_path / "zilionis_cancer_data.tar.gz").write_bytes(raw.getvalue())
    with pytest.raises(ValueError, match=r"has no file cancer_qc_final\.txt"):
        sg.datasets.zilionis()
    assert not outside.exists()


def test_labels_of_other_cells(server):
    name = "zilionis_cancer_data.tar.gz"
    files = ARCHIVES[name] | {"cancer_qc_final.txt": text(CANCER[:-1])}
    server.files[name] = pack(files)
    with pytest.raises(ValueError, match=f"components of {N - 1} cells and the labels of {N}"):
        sg.datasets.zilionis()


def test_no_cell_types(server):
    name = "zilionis_cancer_data.tar.gz"
    server.files[name] = pack(ARCHIVES[name] | {"cancer_qc_final_metadata.txt": lines("a\tb", *["x\ty"] * N)})
    with pytest.raises(ValueError, match=r"no column 'Major cell type' of cell types, but 'a', 'b'"):
        sg.datasets.zilionis()
