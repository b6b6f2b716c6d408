"""Conditions that are compared, and the samples of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._arguments import check_name
from ..quality.abundance import cell_p_values, sample_p_values
from .columns import read_groups

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .columns import Groups


class Comparison(NamedTuple):
    """A condition, and what it is compared with."""

    name: str
    is_own: NDArray[np.bool_]
    """(u,) units of the condition."""
    is_other: NDArray[np.bool_]
    """(u,) units that it is compared with."""


@dataclass(frozen=True)
class Design:
    """The units that are compared: samples, or the conditions themselves if there are no samples."""

    unit: NDArray[np.intp]
    """(n,) unit of each cell, or −1."""
    sizes: NDArray[np.intp]
    """(u,) number of cells of each unit."""
    condition: NDArray[np.intp]
    """(u,) condition of each unit."""
    names: list[str]
    """Names of the conditions."""
    reference: str | None
    has_samples: bool

    @property
    def n_cells(self) -> NDArray[np.intp]:
        """Number of cells of each condition."""
        return np.bincount(self.condition, self.sizes).astype(np.intp)

    @property
    def comparisons(self) -> list[Comparison]:
        """Each condition but the reference, with the reference or all other conditions."""
        own = {name: self.condition == i for i, name in enumerate(self.names)}
        if self.reference is None:
            return [Comparison(name, units, ~units) for name, units in own.items()]
        other = own.pop(self.reference)
        return [Comparison(name, units, other) for name, units in own.items()]

    def share(self, counts: NDArray[np.int32], units: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the share of the cells of some units that is in each neighborhood, the mean over samples, (n,).

        `counts`, (n, u), has the number of cells of each unit in each neighborhood.
        """
        # without samples, it is the share of all of these cells
        weights = None if self.has_samples else self.sizes[units]
        return np.average(counts[:, units] / self.sizes[units], axis=1, weights=weights)

    def p_values(self, counts: NDArray[np.int32], compared: Comparison, n_independent: float) -> NDArray[np.float64]:
        """Return the p-value of no difference in each neighborhood, (n,).

        `n_independent` is the number of neighborhoods that do not overlap.
        """
        _, is_own, is_other = compared
        if self.has_samples:
            return sample_p_values(counts, self.sizes, self.condition, is_own, is_other, n_independent)
        n_own, n_both = self.sizes[is_own].sum(), self.sizes[is_own | is_other].sum()
        return cell_p_values(counts[:, is_own].sum(1), counts[:, is_own | is_other].sum(1), n_own, n_both)


def read_design(adata: AnnData, groupby: str, sample: str | None, reference: str | int | None) -> Design:
    """Return the conditions and samples of the cells, or raise if they cannot be compared."""
    groups = read_groups(adata, groupby)
    _check_conditions(groups)
    found = None if reference is None else groups.name(reference)
    condition = np.full(adata.n_obs, -1)
    for i, rows in enumerate(groups.rows.values()):
        condition[rows] = i
    names, n_conditions = list(groups.rows), len(groups.rows)
    sizes = np.array([len(rows) for rows in groups.rows.values()])
    if sample is None:
        return Design(condition, sizes, np.arange(n_conditions), names, found, has_samples=False)
    check_name(sample, "sample")
    samples = read_groups(adata, sample)
    unit = np.full(adata.n_obs, -1)
    conditions_of: list[int] = []
    for name, rows in samples.rows.items():
        inside = rows[condition[rows] >= 0]
        found_in = np.unique(condition[inside]).tolist()
        if len(found_in) > 1:
            several = " and ".join(repr(names[i]) for i in found_in)
            msg = (
                f"The sample {name!r} in adata.obs[{sample!r}] has cells of {several} in adata.obs[{groupby!r}], and "
                "each sample must be of one condition."
            )
            raise ValueError(msg)
        if found_in:
            unit[inside] = len(conditions_of)
            conditions_of += found_in
    if n_missing := np.count_nonzero((condition >= 0) & (unit < 0)):
        msg = (
            f"{n_missing} of {adata.n_obs} cells have a condition in adata.obs[{groupby!r}] and no sample in "
            f"adata.obs[{sample!r}]."
        )
        raise ValueError(msg)
    for name, n_samples in zip(names, np.bincount(conditions_of, minlength=n_conditions), strict=True):
        if n_samples < 2:
            msg = (
                f"The condition {name!r} has one sample in adata.obs[{sample!r}], and two are needed to see how "
                "samples of one condition differ; without `sample`, cells are taken as independent, which they are not."
            )
            raise ValueError(msg)
    sizes = np.bincount(unit[unit >= 0])
    return Design(unit, sizes, np.array(conditions_of), names, found, has_samples=True)


def _check_conditions(groups: Groups) -> None:
    where = f"adata.obs[{groups.column!r}]"
    if len(groups.rows) < 2:
        msg = f"{where} has one condition, {groups.listed}, and a comparison needs two; leave out `groupby`."
        raise ValueError(msg)
    for name, rows in groups.rows.items():
        if not name or "/" in name:
            msg = (
                f"{where} has a condition named {name!r}, which cannot be part of the name of a column in a file; "
                f"rename it with {where}.astype('category').cat.rename_categories({{{name!r}: ...}})."
            )
            raise ValueError(msg)
        if len(rows) < 2:
            msg = f"The condition {name!r} in {where} has one cell; leave it out, or join it with another condition."
            raise ValueError(msg)
