"""Write results into an AnnData: all or none."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scanpy import logging as logg

from .columns import is_lazy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

MAPPINGS = ("obsm", "varm", "obsp", "uns")


@dataclass
class Changes:
    """What a call writes."""

    slots: dict[tuple[str, str], Any] = field(default_factory=dict)
    """Values by attribute of the AnnData and key. None removes a slot."""
    lines: list[str] = field(default_factory=list)
    """Their descriptions in the log."""

    def apply_to(self, adata: AnnData) -> None:
        """Set and remove the slots."""
        for (attribute, name), value in self.slots.items():
            mapping = getattr(adata, attribute)
            if value is not None:
                mapping[name] = value
            elif name in mapping:
                # from an `obs` that was read lazily only its Dataset deletes columns
                del (mapping.ds if attribute == "obs" and is_lazy(adata) else mapping)[name]

    def __iadd__(self, other: Changes) -> Changes:
        self.slots |= other.slots
        self.lines += other.lines
        return self


def write(adata: AnnData, changes: Changes, *, start: Any, copy: bool = False, done: str = "") -> AnnData | None:
    """Write the changes into `adata`, or into a copy that is returned, and log them.

    Into an AnnData that is on disk or lazy they are written in memory, beside what stays on disk. A copy is read as a
    whole.

    If an array with one row per cell has values that are not finite, raise and write nothing.

    Parameters
    ----------
    start
        Result of `scanpy.logging.info` at the start of the call.
    done
        Final message for the log.
    """
    check_finite(changes)
    if copy:
        adata = adata.to_memory() if adata.isbacked or is_lazy(adata) else adata.copy()
    with all_or_nothing(adata):
        changes.apply_to(adata)
    logg.info(
        "    finished" + (f": {done}" if done else ""),
        time=start,
        deep="added\n" + "\n".join(f"    {line}" for line in changes.lines),
    )
    return adata if copy else None


@contextmanager
def all_or_nothing(adata: AnnData) -> Iterator[None]:
    """Restore the slots if anything is raised inside, including Ctrl-C and out-of-memory errors.

    Arrays are not copied, since slots are only replaced and arrays never change in place.
    """
    frame, before = adata.obs.copy(deep=False), {name: dict(getattr(adata, name)) for name in MAPPINGS}
    try:
        yield
    except BaseException:
        adata.obs = frame
        for name, entries in before.items():
            setattr(adata, name, entries)
        raise


def check_finite(changes: Changes) -> None:
    """Raise if an array with one row per cell has values that are not finite."""
    for (attribute, name), values in changes.slots.items():
        if attribute not in ("obs", "obsm") or not isinstance(values, np.ndarray) or values.dtype.kind != "f":
            continue
        bad = ~np.all(np.isfinite(values).reshape(len(values), -1), axis=1)
        if bad.any():
            msg = (
                f"{bad.sum()} of {len(bad)} cells, the first of them in row {bad.argmax()}, would have values that are "
                f"not finite in {name}, and nothing was written: the model is beyond float32 there. Train it with a "
                "lower learning rate or strength, or without cells that are far from all others."
            )
            raise RuntimeError(msg)
