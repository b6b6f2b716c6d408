"""An AnnData is changed as a whole or not at all."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

MAPPINGS = ("obsm", "varm", "obsp", "uns")


@contextmanager
def all_or_nothing(adata: AnnData) -> Iterator[None]:
    """Bring the slots back to what they were if anything is raised within: Ctrl-C, too little memory, a wrong shape.

    Arrays are not copied: within, slots are set, and none is changed in place.
    """
    frame, before = adata.obs.copy(deep=False), {name: dict(getattr(adata, name)) for name in MAPPINGS}
    try:
        yield
    except BaseException:
        adata.obs = frame
        for name, entries in before.items():
            setattr(adata, name, entries)
        raise
