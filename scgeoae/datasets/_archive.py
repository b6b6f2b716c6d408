"""Download the archive of a published data set once, and read files from it.

Nothing is ever unpacked: the files that are wanted are read from the archive into memory, so no member of it, whatever
its name or kind, can write anywhere.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

_BASE_URL = "http://cb.csail.mit.edu/cb/densvis/datasets/"
_RETRIES = 2
_TIMEOUT = 30
"""Seconds without an answer or a byte."""
_BLOCK = 2**20
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True)
class Archive:
    """Files of an archive."""

    path: Path
    """Where it is on disk."""
    url: str
    """Where it is from."""
    files: dict[str, bytes]
    """The content of each file that was asked for, by its name without folders."""


def read_archive(name: str, *choices: Sequence[str], progress_bar: bool) -> Archive:
    """Read the files of the first of `choices` that is complete, from whatever folders of the archive they are in.

    The archive is taken from `scanpy.settings.datasetdir`, and downloaded if it is not there. Its sha256 is recorded
    beside it when it was first read, and compared from then on. The environment variable ``SCGEOAE_DATASETS_URL``
    names another folder to download from.
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
        # what was downloaded just now, or is recorded, is whole
        if is_here and not is_recorded:
            _check_whole(path)
        files = _read(path, choices)
    except _DAMAGED as error:
        msg = f"{path} is damaged ({error}); delete it and call again to download it from {url}."
        raise ValueError(msg) from error
    if not is_recorded:
        _record(path, record)
    return Archive(path, url, files)


def _download(base_url: str, path: Path, *, progress_bar: bool) -> None:
    """Download to a temporary name, and move the file to its own when all of it is there."""
    import pooch

    def download(address: str, file: str, caller: pooch.Pooch) -> None:
        pooch.HTTPDownloader(progressbar=progress_bar, chunk_size=2**16, timeout=_TIMEOUT)(address, file, caller)
        try:
            # a server may close early without having said how much there is
            _check_whole(Path(file))
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


def _check_whole(path: Path) -> None:
    """Read an archive to its end, where gzip has its checksum, and only then look what is in it."""
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
        for member in archive:
            if not member.isfile():
                continue
            seen.append(member.name)
            name = PurePosixPath(member.name).name
            if name not in wanted:
                continue
            if name in found:
                msg = f"Expected {path} to have one file named {name!r}, found several, such as {member.name!r}."
                raise ValueError(msg)
            found[name] = archive.extractfile(member).read()
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
    # a server that calls gzip an encoding of the transfer has it undone on the way
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    with (gzip.open if is_gzip else open)(path, "rb") as stream:
        yield stream


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
        partial.write_text(f"{_sha256(path)}  {path.name}\n")  # as `sha256sum --check` reads it
        partial.replace(record)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
