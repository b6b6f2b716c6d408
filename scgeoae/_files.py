"""Write files completely or not at all, and explain errors in reading them."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ._arguments import check_path

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_target(path: str | Path) -> Path:
    """Return where a file of this name will be written, following links.

    Raises
    ------
    FileNotFoundError
        If its folder does not exist.
    OSError
        If the name belongs to a folder or a device, which would be lost.
    TypeError
        If it is not a path.
    """
    check_path(path)
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        msg = f"There is no folder {str(target.parent)!r} to write {target.name!r} to."
        raise FileNotFoundError(msg)
    if target.exists() and not target.is_file():
        msg = f"Expected a file to write, and {str(path)!r} is {'a folder' if target.is_dir() else 'a device'}."
        raise OSError(msg)
    return target


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a scratch file beside `path`, which replaces it once it has been written.

    Until then an older file stays intact, also after a crash, a kill or a full disk. A link keeps its target. A killed
    process leaves its scratch file ``.{name}.….part``, whose name no other run has.

    Raises
    ------
    OSError
        If the file cannot be written, see `check_target`.
    """
    target = check_target(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        scratch.chmod(target.stat().st_mode if target.exists() else 0o666 & ~_umask())
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def _umask() -> int:
    # the mask can only be read by setting it
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def explain_missing_filter() -> Iterator[None]:
    """Name the missing package if HDF5 lacks the filter that an array was compressed with."""
    try:
        yield
    except OSError as error:
        # HDF5 reports a missing filter if there is a folder of plugins, otherwise a missing folder
        text = str(error)
        if not ("required filter" in text or ("can't open directory" in text and "plugin" in text)):
            raise
        msg = (
            "An array in the file is compressed by a filter that h5py lacks, such as the Blosc of SnapATAC2: "
            "run pip install hdf5plugin and, in Python, import hdf5plugin."
        )
        raise OSError(msg) from error
