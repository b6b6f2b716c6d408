"""What the interactive view is given: positions, colors, the decoder, genes, and neighbors in the data."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy import sparse

from ..._anndata.neighbors import neighbors_of
from ..._matrix import spread_rows
from ...nn import Autoencoder
from .arrays import Buffer

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from ..._anndata.map import Map
    from ...nn.genes import Expression
    from .colors import Color, Measured

# Nearest cells in the data for each cell.
N_NEIGHBORS = 10
# They are searched for when a view with a kernel opens if comparing all cells takes less than two seconds on two
# cores, and for a page if their representation has no more numbers than this. A kernel finds those of one cell when
# asked.
MAX_COMPARED, MAX_SEARCHED = 2 * 10**10, 2 * 10**7
NO_NEIGHBOR = np.iinfo(np.uint32).max
# Cells at which the usual size of an indicatrix is measured.
N_MEASURED = 1000
# Genes that are decoded, unless they are named.
MAX_GENES = 5000


class Payload(NamedTuple):
    """What a browser is given."""

    manifest: dict[str, Any]
    """What there is, and where it is in the buffer."""
    buffer: bytes


@dataclass(frozen=True)
class Scene:
    """Maps of the same cells, and what is shown on them."""

    maps: list[Map]
    """The first is the one whose metric is shown."""
    colors: list[str]
    genes: list[str] | None
    """Genes that the user named."""
    measured: Measured
    height: int
    cells: pd.Index
    """Names of the cells when the view was made."""

    @property
    def map(self) -> Map:
        """The map whose metric is shown."""
        return self.maps[0]

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.map.positions)

    def check_cells(self) -> None:
        """Raise if `adata` does not have the cells of the view any more, each in its row."""
        found = self.map.adata.obs_names
        if found is self.cells or found.equals(self.cells):
            return
        change = "their order or names changed" if len(found) == len(self.cells) else f"{len(found):,} are left"
        msg = f"The view shows {self.n_cells:,} cells of adata, and {change} since: call sg.pl.interactive again."
        raise ValueError(msg)

    @property
    def title(self) -> str:
        """Name of the map and number of its cells."""
        return f"{self.map.key}, {self.n_cells:,} cells"

    @cached_property
    def decoder(self) -> Autoencoder | None:
        """The decoder, if a browser can compute with it."""
        if not self.map.has_model or not isinstance(self.map.model, Autoencoder):
            return None
        ambient = self.map.model.ambient
        is_known = ambient is None or isinstance(ambient.tensor, torch.Tensor)
        return self.map.model if is_known else None

    @cached_property
    def expression(self) -> Expression | None:
        """How genes are read off the representation, None if the map knows none of them."""
        if not self.map.has_model or self.map.model.genes is None:
            return None
        known = self.map.genes
        if self.genes is None:
            return _default_genes(self.map)
        named = [gene for gene in self.genes if gene in known.names]
        return self.map.expression(named) if named else None

    def check_genes(self) -> None:
        """Raise if a named gene is neither one of the map nor measured."""
        there = {*self.measured.genes(), *([] if self.expression is None else self.expression.genes)}
        if missing := [gene for gene in self.genes or [] if gene not in there]:
            msg = f"Did not find {', '.join(map(repr, missing[:5]))} among the genes of the map and of adata."
            raise KeyError(msg)

    @cached_property
    def neighbors(self) -> NDArray[np.uint32]:
        """(n, k) nearest cells in the data, the nearest first."""
        k = min(N_NEIGHBORS, self.n_cells - 1)
        indices = neighbors_of(self.map.adata, self.map.representation, k=k).indices
        return np.where(indices < 0, NO_NEIGHBOR, indices.astype(np.int64)).astype(np.uint32)

    def payload(self, *, kernel: bool) -> Payload:
        """Return all that a browser is given, with or without a kernel that answers questions."""
        self.check_cells()
        buffer, notes = Buffer(), []
        manifest: dict[str, Any] = {
            "kernel": kernel,
            "title": self.title,
            # a page fills its window
            "height": self.height if kernel else None,
            "n_cells": self.n_cells,
            "key": self.map.key,
            "views": (views := [self._view(buffer, i) for i in range(len(self.maps))]),
            "unit": views[0]["unit"],
            "colors": [_add_color(buffer, f"color{i}", color) for i, color in enumerate(self._colors)],
            "decoder": None if self.decoder is None else _add_decoder(buffer, self.decoder),
            "genes": [] if self.expression is None else self._add_genes(buffer, self.expression),
            "measured": [] if kernel else self._add_measured(buffer),
        }
        if self.decoder is None:
            notes.append(self._why_no_decoder(kernel=kernel))
        if self.map.has_model and self.map.model.genes is None:
            notes.append("This map knows no genes, because adata.X had none when it was made.")
        if self.n_cells > 1:
            notes += self._add_neighbors(buffer, kernel=kernel)
        return Payload(manifest | {"notes": notes, "arrays": buffer.entries}, buffer.to_bytes())

    @property
    def _colors(self) -> list[Color]:
        return [self.measured.color(name) for name in self.colors]

    def _view(self, buffer: Buffer, i: int) -> dict[str, Any]:
        m = self.maps[i]
        is_measured = m.kind is not None
        # the decoder of the first map gives its metric anywhere
        has_metric = self.decoder is None if i == 0 else is_measured and m.slots.metric in m.adata.obsm
        has_torn = is_measured and m.slots.torn in m.adata.obsp
        metric = m.metric() if has_metric else None if i else self._some_metric()
        return {
            "name": m.key,
            "array": buffer.add(f"view{i}", m.positions, "float32"),
            "unit": _unit(m, metric) if i == 0 or is_measured else None,
            "metric": _add_metric(buffer, f"metric{i or ''}", m.metric()) if has_metric else None,
            "torn": _add_torn(buffer, f"torn{i}", m.torn) if has_torn else None,
        }

    def _some_metric(self) -> NDArray[Any]:
        """Return the metric of the decoder at some cells."""
        assert self.decoder is not None
        z = self.map.positions[spread_rows(self.n_cells, N_MEASURED)]
        return self.decoder.metric(z).numpy()

    def _add_genes(self, buffer: Buffer, expression: Expression) -> list[str]:
        names = [str(gene) for gene in expression.genes]
        if self.decoder is None:
            return []
        known = self.map.genes.statistics
        n = len(names)
        if expression.loadings is None:
            buffer.add("gene_columns", expression.columns, "uint32")
        else:
            buffer.add("loadings", expression.loadings.T, "float32")
        buffer.add("gene_means", np.zeros(n) if expression.intercept is None else expression.intercept, "float32")
        buffer.add("gene_floor", np.full(n, -np.inf) if expression.floor is None else expression.floor, "float32")
        buffer.add("gene_scale", np.ones(n) if known is None else known.std[expression.columns], "float32")
        return names

    def _add_measured(self, buffer: Buffer) -> list[str]:
        measured = [gene for gene in self.genes or [] if self.measured.has(gene)]
        for gene in measured:
            buffer.add(f"gene:{gene}", self.measured.color_of_gene(gene).values)
        return measured

    def _add_neighbors(self, buffer: Buffer, *, kernel: bool) -> list[str]:
        """Add the neighbors in the data, or say why there are none."""
        n = self.n_cells
        try:
            size = n * self.map.model.n_features
            if size > MAX_SEARCHED and not kernel:
                return [f"A page of {n:,} cells has no nearest cells in the data."]
            if not kernel or n * size <= MAX_COMPARED:
                with warnings.catch_warnings():
                    # of numbers that are not those of the map
                    warnings.simplefilter("ignore", RuntimeWarning)
                    buffer.add("neighbors", self.neighbors)
        except (KeyError, TypeError, ValueError) as error:
            return [f"Nearest cells in the data are not shown. {error.args[0]}"]
        return []

    def _why_no_decoder(self, *, kernel: bool) -> str:
        if not self.map.has_model:
            return "This map has metric tensors at its cells but no decoder: there are no paths and no decoded genes."
        rest = "paths and genes are computed there" if kernel else "paths and decoded genes need a notebook"
        return f"The decoder of this map runs in Python only: {rest}."


def _default_genes(m: Map) -> Expression:
    """Return the genes that the representation is computed from, the most variable ones if there are too many."""
    found, known = m.expression(None), m.genes.statistics
    std = np.zeros(len(found.genes)) if known is None else known.std[found.columns]
    return found.of_genes(np.sort(np.argsort(-std, kind="stable")[:MAX_GENES]))


def _unit(m: Map, metric: NDArray[Any] | None) -> dict[str, Any]:
    """Return the unit of a map.

    ``local`` is the median length in the data of small steps of length 1 on the map, and ``range``, where the scale
    varies much, its 10% quantile, median and 90% quantile, relative to ``per_length``.
    """
    local = None if metric is None else float(np.median(np.abs(np.linalg.det(metric.astype(np.float64)))) ** 0.25)
    unit = m.unit
    return {
        "name": unit.name,
        "per_length": unit.per_length,
        "spread": unit.spread,
        "local": local,
        "range": unit.local,
    }


def _add_color(buffer: Buffer, array: str, color: Color) -> dict[str, Any]:
    return {**color.entry, "array": buffer.add(array, color.values)}


def _add_metric(buffer: Buffer, name: str, metric: NDArray[Any]) -> str:
    return buffer.add(name, metric[:, [0, 0, 1], [0, 1, 1]], "float32")


def _add_torn(buffer: Buffer, name: str, torn: sparse.csr_matrix) -> dict[str, str]:
    edges = sparse.triu(torn, k=1)
    return {end: buffer.add(f"{name}.{end}", getattr(edges, end), "uint32") for end in ("row", "col")}


def _add_decoder(buffer: Buffer, model: Autoencoder) -> dict[str, Any]:
    network = model.decoder
    arrays: dict[str, Any] = {
        "axes": network.linear,
        "center": model.center,
        "origin": model.origin,
        "rotation": model.rotation,
    }
    for i, (weight, bias) in enumerate(zip(network.bend.weights, network.bend.biases, strict=True)):
        arrays |= {f"w{i}": weight, f"b{i}": bias}
    if model.ambient is not None:
        arrays["ambient"] = model.ambient.tensor
    for name, tensor in arrays.items():
        buffer.add(f"decoder.{name}", tensor.detach().numpy(), "float32")
    return {
        "activation": model.activation,
        "layers": len(network.bend.weights),
        "unit": float(model.unit),
        "scale": float(model.scale),
    }
