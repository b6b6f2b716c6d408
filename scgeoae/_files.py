"""Files: written as a whole or not at all, and read with a helpful error."""

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
    """Return where a file of this name will be, or say why there can be none. A link is followed.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    OSError
        If something that is no file has this name: a folder, or a device, which would be lost.
    TypeError
        If it is no path.
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
    """Give the name of a scratch file beside `path`, which takes its place when it has been written.

    Whatever happens before, a crash, a kill or a full disk, an older file stays whole. A link keeps pointing to where
    it did. A process that is killed leaves its scratch file, whose name no other run has: ``.{name}.….part``.

    Raises
    ------
    OSError
        If there can be no such file, see `check_target`.
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
    # it can only be read by setting it
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def explain_missing_filter() -> Iterator[None]:
    """Say what is missing where HDF5 does not find how an array was compressed.

    Raises
    ------
    OSError
        If so.
    """
    try:
        yield
    except OSError as error:
        # with a folder of plugins HDF5 does not find the filter in it, without one it does not find the folder
        text = str(error)
        if not ("required filter" in text or ("can't open directory" in text and "plugin" in text)):
            raise
        msg = (
            "An array in the file is compressed by a filter that h5py lacks, such as the Blosc of SnapATAC2: "
            "run pip install hdf5plugin and, in Python, import hdf5plugin."
        )
        raise OSError(msg) from error
