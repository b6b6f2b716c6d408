"""The names of the slots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Side = Literal["decoder", "encoder"]
SIDES: tuple[Side, ...] = ("decoder", "encoder")
EVALUATION = "evaluation"
"""In `uns`, the table of `scgeoae.tl.evaluate` unless it was given another name."""
COLUMNS = ("basis", "measure", "value", "error", "better", "use_rep", "n_sample")
"""Of that table."""


@dataclass(frozen=True)
class Slots:
    """The names under which the results with the name `key` are stored."""

    key: str = "geoae"
    side: Side = "decoder"
    """Whose metric the slots of tensors are about."""

    @property
    def _suffix(self) -> str:
        return "_encoder" if self.side == "encoder" else ""

    @property
    def embedding(self) -> str:
        """In `obsm`."""
        return f"X_{self.key}"

    @property
    def metric(self) -> str:
        """In `obsm`, the upper triangles of the tensors, and in `obsp`, the tensors on the graph."""
        return f"{self.key}_metric{self._suffix}"

    @property
    def log_area(self) -> str:
        """In `obs`."""
        return f"{self.key}_log_area{self._suffix}"

    @property
    def anisotropy(self) -> str:
        """In `obs`."""
        return f"{self.key}_anisotropy{self._suffix}"

    @property
    def distances(self) -> str:
        """In `obsp`."""
        return f"{self.key}_distances"

    @property
    def connectivities(self) -> str:
        """In `obsp`."""
        return f"{self.key}_connectivities"

    @property
    def reconstruction_error(self) -> str:
        """In `obs`."""
        return f"{self.key}_reconstruction_error"

    @property
    def outlier_score(self) -> str:
        """In `obs` of cells that were placed on a map."""
        return f"{self.key}_outlier_score"

    @property
    def outlier(self) -> str:
        """In `obs` of cells that were placed on a map."""
        return f"{self.key}_outlier"

    @property
    def torn(self) -> str:
        """In `obs`, the share of torn edges of each cell, and in `obsp`, the torn edges."""
        return f"{self.key}_torn"

    @property
    def broken(self) -> str:
        """In `obs`."""
        return f"{self.key}_broken"

    @property
    def distortion(self) -> str:
        """In `uns`, for an embedding that is not ours: what made it may have ``uns[key]``, as `scanpy.tl.umap` does."""
        return f"{self.key}_distortion"

    @property
    def gaussian_curvature(self) -> str:
        """In `obs`."""
        return f"{self.key}_gaussian_curvature"

    @property
    def mean_curvature(self) -> str:
        """In `obs`."""
        return f"{self.key}_mean_curvature"

    @property
    def extrinsic_curvature(self) -> str:
        """In `obs`."""
        return f"{self.key}_extrinsic_curvature"

    @property
    def pseudotime(self) -> str:
        """In `obs`."""
        return f"{self.key}_pseudotime"

    @property
    def rank_genes(self) -> str:
        """In `uns`, unless it was given another name."""
        return f"{self.key}_rank_genes"

    @property
    def neighborhood_preservation(self) -> str:
        """In `obs`, of any embedding."""
        return f"{self.key}_neighborhood_preservation"

    @property
    def trust(self) -> str:
        """In `obs`, of any embedding."""
        return f"{self.key}_trust"


def checked_side(side: str) -> Side:
    """Return `side`, or say which there are."""
    if not isinstance(side, str) or side not in SIDES:
        msg = f"Expected `side` to be 'decoder' or 'encoder', found {side!r}."
        raise ValueError(msg)
    return side


def checked_key(key_added: str | None, default: str) -> str:
    """Return the name of results, or say why it cannot be one."""
    key = default if key_added is None else key_added
    if not isinstance(key, str) or not key or "/" in key:
        msg = f"Expected `key_added` to be a name without '/', found {key_added!r}."
        raise ValueError(msg)
    return key


def checked_map_key(key_added: str | None, default: str) -> str:
    """Return the name of the results of a map, which its whole key of `obsm` gives too, as in Scanpy."""
    return checked_key(key_added.removeprefix("X_") if isinstance(key_added, str) else key_added, default)
