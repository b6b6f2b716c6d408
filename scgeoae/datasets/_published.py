"""Published single-cell data sets, whose archives are downloaded once.

An archive is never unpacked: wanted files are read into memory, so no member of it, whatever its name or kind, can
write anywhere.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
from anndata import AnnData

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, BinaryIO

    from numpy.typing import NDArray

_BASE_URL = "http://cb.csail.mit.edu/cb/densvis/datasets/"
_RETRIES = 2
# Seconds without an answer or a byte.
_TIMEOUT = 30
_BLOCK = 2**20
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True)
class Archive:
    """Files of an archive."""

    path: Path
    """Its place on disk."""
    url: str
    """Its origin."""
    files: dict[str, bytes]
    """The content of each wanted file, by its name without folders."""


def read_archive(name: str, *choices: Sequence[str], progress_bar: bool) -> Archive:
    """Read the files of the first complete one of `choices`, from any folders of the archive.

    The archive is taken from `scanpy.settings.datasetdir`, and downloaded if it is not there. Its sha256 is recorded
    beside it when it is first read, and compared from then on. The environment variable ``SCGEOAE_DATASETS_URL`` names
    another folder to download from.
    """
    import scanpy as sc

    path = Path(sc.settings.datasetdir).resolve() / name
    base_url = os.environ.get("SCGEOAE_DATASETS_URL", _BASE_URL).rstrip("/") + "/"
    url = base_url + name
    record = path.with_name(f"{name}.sha256")
    is_here, is_recorded = path.is_file(), record.is_file()
    if not is_here:
        _download(base_url, path, progress_bar=progress_bar)
    if is_recorded:
        _compare(path, record)
    try:
        # a file that was just downloaded, or is recorded, is known to be complete
        if is_here and not is_recorded:
            _read_to_end(path)
        files = _read(path, choices)
    except _DAMAGED as error:
        msg = f"{path} is damaged ({error}); delete it and call again to download it from {url}."
        raise ValueError(msg) from error
    if not is_recorded:
        _record(path, record)
    return Archive(path, url, files)


def _download(base_url: str, path: Path, *, progress_bar: bool) -> None:
    """Download to a temporary name, and rename the file once it is complete."""
    import pooch

    def download(address: str, file: str, caller: pooch.Pooch) -> None:
        pooch.HTTPDownloader(progressbar=progress_bar, chunk_size=2**16, timeout=_TIMEOUT)(address, file, caller)
        try:
            # a server that did not announce the length may have closed early
            _read_to_end(Path(file))
        except _DAMAGED as error:
            msg = f"what arrived is damaged ({error})"
            raise ValueError(msg) from error

    # no checksums are published for these archives
    folder = pooch.create(path.parent, base_url, registry={path.name: None}, retry_if_failed=_RETRIES)
    try:
        folder.fetch(path.name, downloader=download)
    except (OSError, ValueError) as error:
        msg = (
            f"Could not download {base_url}{path.name}: {error}. Call again later, or get the file on another machine "
            f"or from a mirror and put it at {path} (the folder is scanpy.settings.datasetdir)."
        )
        raise OSError(msg) from error


def _read_to_end(path: Path) -> None:
    """Read an archive to its end, where gzip has its checksum, and only then list its members."""
    with _decompressed(path) as stream:
        while stream.read(_BLOCK):
            pass
    with _decompressed(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for _ in archive:
            pass


def _read(path: Path, choices: Sequence[Sequence[str]]) -> dict[str, bytes]:
    wanted = {name for names in choices for name in names}
    found: dict[str, bytes] = {}
    seen: list[str] = []
    with _decompressed(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in filter(tarfile.TarInfo.isfile, archive):
            seen.append(member.name)
            name = PurePosixPath(member.name).name
            if name in found:
                msg = f"Expected {path} to have one file named {name!r}, found several, such as {member.name!r}."
                raise ValueError(msg)
            if name in wanted:
                found[name] = cast("BinaryIO", archive.extractfile(member)).read()
    for names in choices:
        if found.keys() >= set(names):
            return {name: found[name] for name in names}
    expected = ", or ".join(" and ".join(map(repr, names)) for names in choices)
    msg = (
        f"Expected {path} to have files named {expected}, found {', '.join(map(repr, seen)) or 'no files'}; "
        "if it is not the archive of this data set, delete it and call again to download it."
    )
    raise ValueError(msg)


@contextlib.contextmanager
def _decompressed(path: Path) -> Iterator[BinaryIO]:
    # a server that declares gzip as an encoding of the transfer has it undone on the way
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if is_gzip else path.open("rb") as stream:
        yield cast("BinaryIO", stream)


def _compare(path: Path, record: Path) -> None:
    recorded = record.read_text().split(maxsplit=1)[:1]
    found = _sha256(path)
    if recorded != [found]:
        msg = (
            f"{path} is not the file that was read before: its sha256 is {found}, {record} says "
            f"{''.join(recorded) or 'nothing'}. Delete both to download it again, or only {record.name} to accept it."
        )
        raise ValueError(msg)


def _record(path: Path, record: Path) -> None:
    partial = record.with_name(f"{record.name}.{os.getpid()}")
    # a shared folder may be read-only: nothing is recorded there
    with contextlib.suppress(OSError):
        partial.write_text(f"{_sha256(path)}  {path.name}\n")  # in the format of `sha256sum --check`
        partial.replace(record)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_array(archive: Archive, name: str) -> NDArray[Any]:
    """Read a matrix that NumPy saved, without unpickling anything."""
    with _explained(archive, name):
        matrix = np.load(io.BytesIO(archive.files[name]), allow_pickle=False)
    return _checked(matrix, archive, name)


def read_matrix(archive: Archive, name: str) -> NDArray[Any]:
    """Read a matrix of text, tab-separated and without a header."""
    return _checked(read_csv(archive, name, sep="\t", header=None, dtype=np.float32).to_numpy(), archive, name)


def read_table(archive: Archive, name: str) -> pd.DataFrame:
    """Read a table of text with a header, separated by tabs or commas; its text columns become categorical."""
    # R writes no header for the row names, so the header itself may have no tab
    start = archive.files[name].split(b"\n", 2)[:2]
    sep = "\t" if b"\t" in b"".join(start) else ","
    names = list(read_csv(archive, name, sep=sep, nrows=0).columns)
    table = read_csv(archive, name, sep=sep, header=None, skiprows=1, low_memory=False)
    n_columns = table.shape[1]
    if n_columns == len(names) + 1:
        names = ["row_names", *names]
    with _explained(archive, name):
        if n_columns != len(names):
            msg = f"its header has {len(names)} fields, its rows have {n_columns}"
            raise ValueError(msg)
    # h5ad files allow no slash in names
    table.columns = pd.Index(names).str.replace("/", "_")
    for text in table.columns[[not pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes]]:
        table[text] = table[text].map(str, na_action="ignore").astype("category")
    return table


def read_csv(archive: Archive, name: str, **options: Any) -> pd.DataFrame:
    """Read text with Pandas."""
    with _explained(archive, name):
        return pd.read_csv(io.BytesIO(archive.files[name]), **options)


def column(archive: Archive, name: str, table: pd.DataFrame, key: str | int) -> pd.Series[Any]:
    """Return a column of a table, by its name or its place counted from 0."""
    known = table.columns if isinstance(key, str) else range(table.shape[1])
    if key not in known:
        found = ", ".join(map(repr, table.columns))
        msg = f"Expected {name} in {archive.path} to have a column {key!r}, found {found}."
        raise ValueError(msg)
    return table[key] if isinstance(key, str) else table.iloc[:, key]


def components_as_anndata(
    archive: Archive, components: NDArray[Any], obs: pd.DataFrame, *, labels: pd.Series[Any], paper: str
) -> AnnData:
    """Assemble the AnnData, with the components in X and in ``obsm["X_pca"]``."""
    if len(components) != len(obs):
        msg = (
            f"Expected as many rows of components as of labels in {archive.path}, found {len(components)} and "
            f"{len(obs)}; delete it and call again to download it from {archive.url}."
        )
        raise ValueError(msg)
    components = np.ascontiguousarray(components, dtype=np.float32)
    obs = obs.assign(cell_type=labels.astype("category"))
    obs.index = obs.index.astype(str)  # AnnData's names for rows without names
    var = pd.DataFrame(index=[f"PC{i + 1}" for i in range(components.shape[1])])
    return AnnData(
        components,
        obs=obs,
        var=var,
        obsm={"X_pca": components.copy()},
        uns={"source": f"{paper}, as distributed with densVis (doi:10.1038/s41587-020-00801-7) at {archive.url}"},
    )


@contextlib.contextmanager
def _explained(archive: Archive, name: str) -> Iterator[None]:
    """Name the file whose content cannot be read."""
    try:
        yield
    except (ValueError, EOFError, OSError) as error:
        msg = f"Could not read {name} in {archive.path}: {error}"
        raise ValueError(msg) from error


def _checked(matrix: NDArray[Any], archive: Archive, name: str) -> NDArray[Any]:
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind not in "fiu":
        msg = f"Expected {name} in {archive.path} to be a matrix of numbers, found {matrix.dtype} of {matrix.shape}."
        raise ValueError(msg)
    if not np.isfinite(matrix).all():
        msg = f"Expected all numbers of {name} in {archive.path} to be finite, found NaN or infinity."
        raise ValueError(msg)
    return matrix


def pbmc68k(*, progress_bar: bool = True) -> AnnData:
    """Load the 68k peripheral blood mononuclear cells of Zheng et al. 2017, as 50 components with labels.

    The first call downloads the archive ``zheng_pbmc_data.tar.gz`` (see `scgeoae.datasets`).

    Parameters
    ----------
    progress_bar
        Whether to show the progress of the download.

    Returns
    -------
    AnnData with the components in `X`, as the variables PC1, PC2, …, and

    ``obsm["X_pca"]`` : (n, 50) float32
        The same components, in the units in which they are distributed.
    ``obs["cell_type"]`` : categorical
        The labels that come with the components.
    ``uns["source"]`` : str
        Paper and address.
    ``obs``
        All columns of the table of labels, under their own names.

    Raises
    ------
    OSError
        If the archive is not there and cannot be downloaded.
    ValueError
        If the archive is damaged, has changed since it was first read, or lacks the expected files.

    References
    ----------
    Zheng et al. 2017, Massively parallel digital transcriptional profiling of single cells; one of the data sets of
    Nazari, Damrich & Hamprecht 2023, who use these components; distributed by Narayan, Berger & Cho 2021.
    """
    arrays = "pca50.npy", "zheng17-cell-labels.txt"
    texts = "pbmc_qc_final.txt", "pbmc_qc_final_labels.txt"
    # published code reads one pair or the other
    archive = read_archive("zheng_pbmc_data.tar.gz", arrays, texts, progress_bar=progress_bar)
    if arrays[0] in archive.files:
        components, obs = read_array(archive, arrays[0]), read_table(archive, arrays[1])
        labels = column(archive, arrays[1], obs, 1)
    else:
        components = read_matrix(archive, texts[0])
        labels = read_csv(archive, texts[1], sep="\t", header=None).iloc[:, 0]
        obs = pd.DataFrame(index=labels.index)
    return components_as_anndata(
        archive, components, obs, labels=labels, paper="Zheng et al. 2017 (doi:10.1038/ncomms14049)"
    )


def packer_celegans(*, progress_bar: bool = True) -> AnnData:
    """Load the cells of C. elegans embryos of Packer et al. 2019, as 100 components with labels.

    The first call downloads the archive ``packer_c-elegans_data.tar.gz`` (see `scgeoae.datasets`).

    Parameters
    ----------
    progress_bar
        Whether to show the progress of the download.

    Returns
    -------
    AnnData with the components in `X`, as the variables PC1, PC2, …, and

    ``obsm["X_pca"]`` : (n, 100) float32
        The same components, in the units in which they are distributed.
    ``obs["cell_type"]`` : categorical
        ``obs["cell.type"]``, and ``"unknown"`` where that is missing.
    ``uns["source"]`` : str
        Paper and address.
    ``obs``
        All columns of the table of metadata, under their own names.

    Raises
    ------
    OSError
        If the archive is not there and cannot be downloaded.
    ValueError
        If the archive is damaged, has changed since it was first read, or lacks the expected files.

    References
    ----------
    Packer et al. 2019, A lineage-resolved molecular atlas of C. elegans embryogenesis at single-cell
    resolution; one of the data sets of Nazari, Damrich & Hamprecht 2023, who use these components; distributed by
    Narayan, Berger & Cho 2021.
    """
    matrix, metadata = "c-elegans_qc_final.txt", "c-elegans_qc_final_metadata.txt"
    archive = read_archive("packer_c-elegans_data.tar.gz", [matrix, metadata], progress_bar=progress_bar)
    obs = read_table(archive, metadata)
    labels = column(archive, metadata, obs, "cell.type").astype(object)
    return components_as_anndata(
        archive,
        read_matrix(archive, matrix),
        obs,
        labels=labels.where(labels.notna(), "unknown"),
        paper="Packer et al. 2019 (doi:10.1126/science.aax1971)",
    )


def zilionis(*, progress_bar: bool = True) -> AnnData:
    """Load the immune cells of human lung cancers of Zilionis et al. 2019, as 306 components with labels.

    The first call downloads the archive ``zilionis_cancer_data.tar.gz`` (see `scgeoae.datasets`).

    Parameters
    ----------
    progress_bar
        Whether to show the progress of the download.

    Returns
    -------
    AnnData with the components in `X`, as the variables PC1, PC2, …, and

    ``obsm["X_pca"]`` : (n, 306) float32
        The same components, in the units in which they are distributed.
    ``obs["cell_type"]`` : categorical
        ``obs["Major cell type"]``. The first letter of a label is the tissue: b for blood, t for tumor.
    ``uns["source"]`` : str
        Paper and address.
    ``obs``
        All columns of the table of metadata, under their own names.

    Raises
    ------
    OSError
        If the archive is not there and cannot be downloaded.
    ValueError
        If the archive is damaged, has changed since it was first read, or lacks the expected files.

    Notes
    -----
    The code of Nazari, Damrich & Hamprecht 2023 standardizes every cell over its components before training; here they
    are as distributed. A text matrix of this size takes some seconds to read: for frequent use, keep the AnnData with
    `adata.write_h5ad`.

    References
    ----------
    Zilionis et al. 2019, Single-cell transcriptomics of human and mouse lung cancers reveals conserved myeloid
    populations across individuals and species; one of the data sets of Nazari, Damrich & Hamprecht 2023, who use these
    components; distributed by Narayan, Berger & Cho 2021.
    """
    matrix, metadata = "cancer_qc_final.txt", "cancer_qc_final_metadata.txt"
    archive = read_archive("zilionis_cancer_data.tar.gz", [matrix, metadata], progress_bar=progress_bar)
    obs = read_table(archive, metadata)
    return components_as_anndata(
        archive,
        read_matrix(archive, matrix),
        obs,
        labels=column(archive, metadata, obs, "Major cell type"),
        paper="Zilionis et al. 2019 (doi:10.1016/j.immuni.2019.03.009)",
    )
