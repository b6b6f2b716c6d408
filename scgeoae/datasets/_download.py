from __future__ import annotations

from pathlib import Path

URL = "http://cb.csail.mit.edu/cb/densvis/datasets/"
N_RETRIES = 3


def download(name: str) -> Path:
    """Return the path of a file in `scanpy.settings.datasetdir`, downloaded when it is not there.

    Its SHA-256 is written beside it when it is seen first, and compared ever after.

    Raises
    ------
    ConnectionError
        If it cannot be had.
    ValueError
        If it is not what it was when it was seen first.
    """
    import pooch
    import requests
    import scanpy as sc

    folder = Path(sc.settings.datasetdir).absolute()
    path, record = folder / name, folder / f"{name}.sha256"
    if not path.is_file():
        store = pooch.create(folder, URL, registry={name: None}, retry_if_failed=N_RETRIES)
        try:
            # to a temporary name, which becomes this one when all of it is there
            store.fetch(name, downloader=pooch.HTTPDownloader(progressbar=True, timeout=60))
        except requests.RequestException as error:
            msg = f"Could not download {URL}{name} ({error}). Get the file by other means and put it at {path}."
            raise ConnectionError(msg) from error
    found = pooch.file_hash(path)
    if not record.is_file():
        record.write_text(f"{found}  {name}\n")
    expected = record.read_text().split()[0]
    if found != expected:
        msg = (
            f"{path} is not the file that was there first: its SHA-256 is {found}, that in {record.name} {expected}. "
            f"Delete {name} to download it again, or {record.name} too if the new file is right."
        )
        raise ValueError(msg)
    return path
