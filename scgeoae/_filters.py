"""Files of HDF5 whose compression h5py does not know."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def naming_filter() -> Iterator[None]:
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
