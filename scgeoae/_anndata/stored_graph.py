"""The metric graph of all cells in a store, made of some rows at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from ..graphs import nearest_others
from ..graphs.metric import connectivities_of, measured_edges
from ..graphs.neighbors import positive
from .slots import Slots

if TYPE_CHECKING:
    from .store import Unfinished

# Cells whose edges are in memory at a time, about 0.5 GB with 15 neighbors.
N_ROWS = 2**20


def write_graph(store: Unfinished, key: str, n_neighbors: int, *, progress_bar: bool) -> None:
    """Write the metric graph of cells that are placed, from their positions and metric tensors in the store."""
    slots = Slots(key)
    z, metric = store.read("obsm", slots.embedding), store.read("obsm", slots.metric)
    n, names = len(z), (slots.metric, slots.distances, slots.connectivities)
    with (
        tqdm(total=3 * n, desc="linking", unit="cell", delay=1, disable=not progress_bar, leave=False) as bar,
        store.graphs(names, n, most=2 * n * n_neighbors) as graphs,
    ):
        neighbors = nearest_others(z, n_neighbors)
        bar.update(n)
        width = np.empty(n)
        ranges = [(start, min(start + N_ROWS, n)) for start in range(0, n, N_ROWS)]
        for start, stop in ranges:
            edges = measured_edges(z, metric, neighbors, start, stop)
            graphs[slots.metric].append(edges.metric)
            graphs[slots.distances].append(edges.distances)
            width[start:stop] = edges.width
            # before the next ones are made
            del edges
            bar.update(stop - start)
        del neighbors
        width = positive(width)
        for start, stop in ranges:
            distances = graphs[slots.distances][start:stop]
            graphs[slots.connectivities].append(connectivities_of(distances, width, start))
            bar.update(stop - start)
