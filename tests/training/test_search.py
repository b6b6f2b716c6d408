from __future__ import annotations

import numpy as np
import pytest

from scgeoae.training.neighbors import NeighborSearch, nearest_neighbors


@pytest.mark.parametrize("max_exact", [500, 10_000])
def test_company_and_calls_do_not_matter(monkeypatch, max_exact):
    monkeypatch.setattr("scgeoae.training.neighbors.MAX_EXACT", max_exact)
    rng = np.random.default_rng(0)
    cells, asked = (rng.normal(size=(n, 3)).astype(np.float32) for n in (6000, 300))
    search, expected = NeighborSearch(cells), nearest_neighbors(cells, 15, of=asked)
    some = rng.permutation(len(asked))[:50]
    for rows in (slice(None), some, some[:1]):
        found = search.nearest(asked[rows], 15)
        assert found.indices.tobytes() == expected.indices[rows].tobytes()
        assert found.distances.tobytes() == expected.distances[rows].tobytes()
