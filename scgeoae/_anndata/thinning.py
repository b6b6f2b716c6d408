"""Draw the counts behind a representation again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from .._arguments import check_found, check_name
from .._matrix import blocks, dense, in_memory, row_sums, spread_rows
from .units import Conversion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..nn.genes import Genes, Units
    from .map import Map

# Number of cells on which it is checked that the counts lead to the representation, and the squared deviation of these
# at most, as a share of the variance.
N_CHECKED, MAX_DEVIATION = 500, 0.05


class Thinning(NamedTuple):
    """Counts from which the representation of a map can be computed again.

    If each molecule is kept with a probability of one half, the shares of the genes in a cell vary around those that
    were measured as much as these vary around the true ones.
    """

    counts: sparse.csr_matrix
    """(n, g)"""
    columns: NDArray[np.intp]
    """Those of the genes that the representation is computed from."""
    genes: Genes
    units: Units

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the (n, D) representation of a random half of the molecules of each cell."""
        half = self.counts.copy()
        half.data = rng.binomial(half.data.astype(np.int64), 0.5).astype(np.float32)
        return self.project(half)

    def project(self, counts: sparse.csr_matrix) -> NDArray[np.float32]:
        """Return the (m, D) representation of (m, g) counts."""
        units = self.units
        base = np.e if np.isnan(units.base) else units.base
        convert = Conversion(
            target_sum=units.target_sum,
            to_log=base if units.kind == "log1p" else None,
            scaling=units.scaling,
        )
        sums, parts = row_sums(counts), []
        for start, block in blocks(counts, self.columns):
            parts.append(self.genes.project(convert(block, sums[start : start + len(block)])))
        return np.concatenate(parts)


def thinning_of(m: Map, layer: str) -> Thinning:
    """Return the counts in a layer, or raise if they are not those that the representation of the map comes from."""
    check_name(layer, "counts", required=True)
    adata, name = m.adata, f"adata.layers[{layer!r}]"
    check_found(layer, adata.layers, "adata.layers")
    genes = m.model.genes
    units = None if genes is None else genes.units
    if genes is None or units is None or units.kind not in ("normalized", "log1p") or np.isnan(units.target_sum):
        msg = (
            f"counts={layer!r} needs a representation that the map can compute from counts: principal components of "
            "X with their loadings in adata.varm, where X has normalized counts (sc.pp.normalize_total, sc.pp.log1p) "
            "of all genes. Leave `counts` out to resample cells alone."
        )
        raise ValueError(msg)
    counts = sparse.csr_matrix(in_memory(adata.layers[layer]))
    values = counts.data
    if values.dtype.kind not in "biuf" or not np.all((values >= 0) & (values == np.rint(values))):
        msg = f"Expected {name} to hold counts, which are whole numbers >= 0, found other values."
        raise ValueError(msg)
    names = adata.var_names.astype(str)
    columns = names.get_indexer(genes.projected) if names.is_unique else np.array([-1])
    if (columns < 0).any():
        msg = "adata.var_names are not unique or lack genes that the map was made from; restore them."
        raise ValueError(msg)
    found = Thinning(counts, columns, genes, units)
    rows = spread_rows(adata.n_obs, N_CHECKED)
    expected = dense(m.representation.matrix[rows]).astype(np.float64)
    deviation = np.square(found.project(counts[rows]) - expected).sum() / max(expected.var(0).sum() * len(rows), 1e-300)
    if not deviation <= MAX_DEVIATION:
        msg = (
            f"{name}, normalized as X was, does not lead to {m.representation.name}, which the map was made from: "
            f"they differ by {deviation:.0%} of its variance. Give the counts that X was computed from, or leave "
            "`counts` out to resample cells alone."
        )
        raise ValueError(msg)
    return found
