"""The groups of cells that a column of `obs` names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arguments import check_name
from .columns import obs_labels

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Groups:
    """The groups of a column of `obs` that have cells, in the order of its categories."""

    column: str
    rows: dict[str, NDArray[np.intp]]
    """By the name of the group, which is its label as text."""
    names: dict[Any, str]
    """By the label, as it stands in the column: a number where that holds numbers."""

    def find(self, label: Any) -> str | None:
        """Return the name of the group that has a label, as it stands in the column or as text; None if none has."""
        if not np.isscalar(label):
            return None
        return self.names.get(label, str(label) if str(label) in self.rows else None)

    def name(self, label: Any) -> str:
        """Return the same, or say which groups there are."""
        found = self.find(label)
        if found is None:
            msg = f"Did not find {label!r} in adata.obs[{self.column!r}], whose groups are {self.listed}."
            raise KeyError(msg)
        return found

    @property
    def listed(self) -> str:
        """All names, for a message."""
        return ", ".join(map(repr, self.rows))


def read_groups(adata: AnnData, groupby: str) -> Groups:
    """Return the groups of a column of `obs`.

    Raises
    ------
    KeyError
        If there is no such column.
    TypeError
        If it holds no labels.
    ValueError
        If no cell has a group, or two groups have one name.
    """
    check_name(groupby, "groupby", required=True)
    labels = obs_labels(adata, groupby)
    names = {label: str(label) for label in labels.categories}
    if len(set(names.values())) < len(labels.categories):
        msg = f"adata.obs[{groupby!r}] has labels that differ by their type alone, such as 1 and '1'; make them text."
        raise ValueError(msg)
    found = {name: np.flatnonzero(labels.codes == i) for i, name in enumerate(names.values())}
    rows = {name: cells for name, cells in found.items() if len(cells)}
    if not rows:
        msg = f"No cell has a group in adata.obs[{groupby!r}]."
        raise ValueError(msg)
    return Groups(groupby, rows, {label: name for label, name in names.items() if name in rows})
