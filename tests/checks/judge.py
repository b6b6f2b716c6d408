"""What may come out of a call, whatever goes in."""

from __future__ import annotations

import linecache
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import scanpy
from anndata import AnnData
from scipy import sparse

import scgeoae as sg

from .slots import fingerprint, fingerprints, slots
from .values import Values, flat

if TYPE_CHECKING:
    from collections.abc import Callable

OURS = Path(sg.__file__).parent
DRAWS = tuple(Path(package.__file__).parent for package in (scanpy, mpl))
ERRORS = (KeyError, ValueError, TypeError, RuntimeError, OSError)
# NaN on purpose: statistics that a ranking by derivatives does not have and whose columns Scanpy asks for, the error of
# a score that is not an estimate, and the hidden structure at a cell that is in no region.
UNKNOWN = ("logfoldchanges", "pvals", "pvals_adj", "['error']", "_residual']")
NOT_COMPARED = "environment"
COMPUTED = ("obsm['X_pca']", "varm['PCs']", "uns['pca']")


@dataclass
class Outcome:
    """What came of a call."""

    error: str | None
    """Class and message of our error; ``scanpy`` for one that Scanpy or matplotlib raised."""
    returned: Values
    slots: dict[str, Values]
    """Every slot of the AnnData after the call, or of the copy that was returned."""
    written: set[str]
    """Slots that the call set."""

    def values(self, slots: set[str] | None = None) -> Values:
        """Return what was returned and what is in some slots, by default in those that were written."""
        found = dict(self.returned)
        for slot in self.written if slots is None else slots:
            if NOT_COMPARED not in slot and not slot.endswith("_colors']"):
                found |= self.slots.get(slot, {})
        return found


def judged(call: Callable[[], Any], adata: AnnData, *, may_write: bool) -> Outcome:
    """Call, and return what came of it. What no call may do is an AssertionError.

    - An error is one of `ERRORS`, raised in a module of ours, in words. Plots may end in one of Scanpy or matplotlib.
      Nothing has changed.
    - Without an error, whatever was there before and is not ours is as it was, and what is new is finite.
    - NumPy does not warn of a number.
    """
    before = fingerprints(adata)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            returned = call()
        except Exception as error:  # noqa: BLE001 -- that is what is judged
            foreign = not may_write and raised_while_drawing(error)
            if not foreign:
                check_error(error)
            after = fingerprints(adata)
            changed = [path for path, value in after.items() if before.get(path) != value]
            assert not changed, f"changed before it failed: {changed}"
            assert len(after) == len(before), "slots were removed before it failed"
            return Outcome("scanpy" if foreign else f"{type(error).__name__}: {error.args[0]}", {}, {}, set())
    numeric = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
    assert not numeric, f"warnings of numbers: {numeric}"
    written = check_written(adata, before, may_write=may_write)
    after = slots(adata)
    if isinstance(returned, AnnData) and returned.shape == adata.shape:  # a copy of what was given
        after, returned = slots(returned), None
        written |= slots_changed(after, before)
    return Outcome(
        None, flat(returned, "returned"), {name: flat(value, name) for name, value in after.items()}, written
    )


def slots_changed(now: dict[str, Any], before: dict[str, tuple[Any, ...]]) -> set[str]:
    """Return the slots that a call wrote."""
    return {path for path, value in now.items() if before.get(path) != fingerprint(value)}


def raised_while_drawing(error: Exception) -> bool:
    """Return whether Scanpy or matplotlib was at work."""
    paths = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(path.is_relative_to(package) for path in paths for package in DRAWS)


def check_error(error: Exception) -> None:
    """Check that an error was raised by us, in a sentence that names what is wrong."""
    told = "".join(traceback.format_exception(error))
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    path = Path(frame.f_code.co_filename)
    assert isinstance(error, ERRORS), told
    assert not isinstance(error, Warning), told
    # what Python itself says of a call that does not fit the signature is raised where it is called
    if isinstance(error, TypeError) and (path.parent == Path(__file__).parent or path.name == "_runtime.py"):
        return
    assert path.is_relative_to(OURS), f"a foreign traceback:\n{told}"
    raising = linecache.getline(str(path), line).strip()
    assert raising.startswith("raise "), f"not raised but let through:\n{told}"
    (message,) = error.args
    assert isinstance(message, str), f"no message: {error!r}"
    assert len(message.split()) >= 5, f"no sentence: {error!r}"
    assert any(mark in message for mark in ("adata", "`", "'", "=", "cells", "AnnData")), f"names nothing: {error!r}"
    assert len(message) < 2000, f"a message of {len(message)} characters: {message[:200]!r}"
    assert message.replace("\n", " ").isprintable(), f"cannot be printed: {message[:200]!r}"


def check_written(adata: AnnData, before: dict[str, tuple[Any, ...]], *, may_write: bool) -> set[str]:
    """Check that what is not ours stayed, and that what is new is finite. Return the slots that were written."""
    now = slots(adata)
    changed = slots_changed(now, before)
    gone = sorted(before.keys() - now.keys())
    # components that are not there are computed, as Scanpy does
    computed = {path for path in changed if path not in before and path.startswith(COMPUTED)} if may_write else set()
    foreign = [path for path in [*changed, *gone] if path not in computed and not is_ours(path, may_write=may_write)]
    assert not foreign, f"changed what is not ours: {foreign}"
    for path in changed:
        value = now[path]
        value = value.data if sparse.issparse(value) else np.asarray(value)
        if path.endswith("['evaluation']['value']"):
            # a measure that is not defined is measured on no cell
            value = value[np.asarray(now[path.replace("['value']", "['n_sample']")]) > 0]
        if value.dtype.kind == "f" and not any(name in path for name in UNKNOWN):
            assert np.isfinite(value).all(), f"{path} has {np.count_nonzero(~np.isfinite(value))} that are not finite"
    return changed


def is_ours(path: str, *, may_write: bool) -> bool:
    """Return whether a call may change this slot."""
    if path.endswith("_colors']"):  # as Scanpy's plots do
        return True
    names = ("geoae", "geoscvi", "umap", "evaluation", "spam")
    return may_write and path != "obsm['X_umap']" and any(name in path for name in names)
