from __future__ import annotations

import tarfile
import zlib
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


def read_archive(path: Path, wanted: Sequence[Mapping[str, Callable[[IO[bytes]], Any]]]) -> list[Any]:
    """Read files out of a compressed tar archive, in whatever folder of it they are; nothing is written to disk.

    Parameters
    ----------
    path
        The archive.
    wanted
        For each file to read, the names that it may have and how to read it then.

    Returns
    -------
    What was read, in the order of `wanted`.

    Raises
    ------
    ValueError
        If the archive is damaged, or has no such file.
    """
    readers = {name: (which, read) for which, names in enumerate(wanted) for name, read in names.items()}
    found = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if member.isfile() and name in readers:
                    which, read = readers[name]
                    found[which] = read(archive.extractfile(member))
            # the checksum is at its end
            while archive.fileobj.read(1 << 20):
                pass
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        reason = str(error).partition("\n")[0]
        msg = f"{path} is damaged ({reason}): delete it and {path.name}.sha256, and call this again."
        raise ValueError(msg) from error
    for which, names in enumerate(wanted):
        if which not in found:
            msg = f"{path} has no file {' or '.join(names)}; it is not the archive that was published."
            raise ValueError(msg)
    return [found[which] for which in range(len(wanted))]
