"""The view in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import anywidget
import numpy as np
import traitlets
from scanpy import logging as logg

from .answers import Answers
from .arrays import to_bytes
from .page import BUNDLE, write_page

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from .scene import Scene


class Rows(traitlets.TraitType[Any, Any]):
    """Rows of cells, which a browser has as unsigned integers of four bytes."""

    info_text = "row numbers of cells, or one True or False for each cell"

    def get(self, obj: Any, cls: Any = None) -> NDArray[np.intp]:
        """Return the row numbers; warn if these rows of `adata` are now other cells."""
        try:
            obj.check_cells()
        except ValueError as error:
            logg.warning(error.args[0])
        return cast("NDArray[np.intp]", super().get(obj, cls))

    def validate(self, obj: Any, value: ArrayLike) -> NDArray[np.intp]:
        """Return the sorted row numbers, each once."""
        rows, n = np.asarray(value), obj.n_cells
        if rows.dtype == bool and rows.shape == (n,):
            return np.flatnonzero(rows)
        if rows.size == 0:
            return np.empty(0, dtype=np.intp)
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n:
            msg = f"Expected `selection` to be row numbers from 0 to {n - 1}, or one True or False for each cell."
            raise ValueError(msg)
        return np.unique(rows).astype(np.intp)


def _rows_to_bytes(rows: NDArray[np.intp], _: Any) -> bytes:
    return to_bytes(rows.astype(np.uint32))


def _rows_from_bytes(stored: Any, _: Any) -> NDArray[np.intp]:
    return np.frombuffer(stored, dtype="<u4").astype(np.intp)


class Widget(anywidget.AnyWidget):
    """An interactive view of a map. `scgeoae.pl.interactive` makes and describes it."""

    _esm = BUNDLE
    _manifest = traitlets.Dict().tag(sync=True)
    _buffer = traitlets.Bytes().tag(sync=True)
    # an echo of many rows to the browser that sent them would fill the channel of Jupyter
    selection = Rows().tag(sync=True, echo_update=False, to_json=_rows_to_bytes, from_json=_rows_from_bytes)

    def __init__(self, scene: Scene) -> None:
        self._scene, self._answers = scene, Answers(scene)
        self.n_cells, self.check_cells = scene.n_cells, scene.check_cells
        manifest, buffer = scene.payload(kernel=True)
        super().__init__(_manifest=manifest, _buffer=buffer, selection=[])
        self.on_msg(self._reply)

    def to_html(self, path: str | Path) -> None:
        """Write the view to one file. See `scgeoae.pl.interactive`."""
        write_page(path, self._scene)

    def _reply(self, _: Any, question: Any, __: Any) -> None:
        if isinstance(question, dict) and "ask" in question:
            self.send(*self._answers.answer(question))

    def __repr__(self) -> str:
        return f"<{self._scene.title}, {len(self.selection):,} of them selected>"
