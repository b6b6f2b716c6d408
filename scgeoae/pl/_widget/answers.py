"""Answers of Python to what a view asks."""

from __future__ import annotations

from copy import deepcopy
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics.pairwise import euclidean_distances

from ..._anndata.routes import connected_graph, find_place, shortest_curve
from ..._matrix import in_memory
from ..._runtime import default_torch_modes
from ...geometry.geodesic import chords
from .arrays import to_bytes
from .colors import color_of_column
from .scene import N_NEIGHBORS

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar

    from scipy import sparse

    from ...nn import MapDecoder
    from .colors import Color
    from .scene import Scene

# Points of a curve.
N_POINTS = 64
# Genes that are drawn along it.
N_GENES = 8
# What the work on an answer may raise. The view shows the words.
ERRORS = (ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)


class Answer(NamedTuple):
    """What is sent back."""

    content: dict[str, Any]
    buffers: list[bytes]


class Answers:
    """Answer questions about a scene. What takes long is kept for the next question."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    @default_torch_modes
    def answer(self, question: dict[str, Any]) -> Answer:
        """Answer a question, or say in ``error`` why there is no answer."""
        about = {name: value for name, value in question.items() if name not in ("id", "ask")}
        try:
            if question["ask"] not in self._questions:
                msg = (
                    f"Python does not know the question {question['ask']!r}; restart the kernel and load the page anew."
                )
                raise ValueError(msg)
            self._scene.check_cells()
            found = self._questions[question["ask"]](self, **about)
        except ERRORS as error:
            words = error.args[0] if error.args and isinstance(error.args[0], str) else repr(error)
            found = Answer({"error": words}, [])
        return Answer({"id": question.get("id"), **found.content}, found.buffers)

    def _geodesic(self, **ends: Any) -> Answer:
        """Return the shortest curve between two positions, and the genes that change most along it."""
        m = self._scene.map
        start, end = (find_place(m, ends[name], None, name) for name in ("from", "to"))
        curve = shortest_curve(self._model, self._graph, m.positions, start, end, N_POINTS)
        names, expression = self._genes_along(curve.points)
        content = {
            "length": float(curve.distance[-1]),
            "straight": curve.straight_length,
            "through": float(chords(self._model, curve.points[None, [0, -1]])),
            "unit": m.unit.name,
            "genes": names,
        }
        arrays = (curve.points.numpy().astype(np.float32), expression, curve.distance)
        return Answer(content, [to_bytes(array) for array in arrays])

    def _genes_along(self, points: torch.Tensor) -> tuple[list[str], np.ndarray]:
        """Return the names of g genes and their decoded expression at m points, (g, m)."""
        expression = self._scene.expression
        if expression is None:
            return [], np.zeros((0, len(points)), dtype=np.float32)
        with torch.no_grad():
            decoded = expression.of(self._model.decode(points).numpy()).T
        most = np.argsort(-np.ptp(decoded, axis=1), kind="stable")[:N_GENES]
        return [str(gene) for gene in expression.genes[most]], decoded[most]

    @cached_property
    def _model(self) -> MapDecoder:
        return deepcopy(self._scene.map.model).double()

    @cached_property
    def _graph(self) -> sparse.csr_matrix:
        return connected_graph(self._scene.map, self._model)

    def _expression(self, gene: str) -> Answer:
        """Return the measured expression of a gene."""
        return _with_values(self._scene.measured.color_of_gene(gene))

    def _obs(self, column: str) -> Answer:
        """Return a column of `obs`."""
        return _with_values(color_of_column(self._scene.map.adata, column))

    def _neighbors(self, row: int) -> Answer:
        """Return the cells that are nearest to one in the data, and their distances."""
        x = self._representation
        distances = euclidean_distances(x, x[[row]]).ravel()
        distances[row] = -1  # the cell itself comes first, also before others at its place
        k = min(N_NEIGHBORS, len(distances) - 1)
        nearest = np.argpartition(distances, k)[: k + 1]
        nearest = nearest[np.argsort(distances[nearest], kind="stable")][1:]
        return Answer({}, [to_bytes(nearest.astype(np.uint32)), to_bytes(distances[nearest].astype(np.float32))])

    @cached_property
    def _representation(self) -> Any:
        return in_memory(self._scene.map.representation.matrix)

    def _names(self) -> Answer:
        """Return the names of all genes and columns."""
        columns = [name for name in self._scene.map.adata.obs if isinstance(name, str)]
        return Answer({"genes": self._scene.measured.genes(), "columns": columns}, [])

    _questions: ClassVar[dict[str, Callable[..., Answer]]] = {
        "geodesic": _geodesic,
        "expression": _expression,
        "obs": _obs,
        "neighbors": _neighbors,
        "names": _names,
    }


def _with_values(color: Color) -> Answer:
    return Answer({"color": {**color.entry, "dtype": color.values.dtype.name}}, [to_bytes(color.values)])
