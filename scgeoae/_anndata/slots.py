"""Names of the slots, and the name of a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from .._arguments import check_adata, check_name

if TYPE_CHECKING:
    from anndata import AnnData

Side = Literal["decoder", "encoder"]
SIDES: tuple[Side, ...] = ("decoder", "encoder")
EVALUATION = "evaluation"
"""Default key in `uns` of the table of `scgeoae.tl.evaluate`."""
COLUMNS = ("basis", "measure", "value", "error", "better", "use_rep", "n_sample", "n_cells")
"""Columns of that table."""

OFF_SURFACE = "_off_surface"
"""What a column of `obs` is named after vectors on a map: their slot in `obsm` and this."""


class Slots:
    """Names of everything that is stored for the map `key`.

    Parameters
    ----------
    key
        Name of the map, without ``X_``.
    side
        Network that slots of metric tensors refer to.
    """

    def __init__(self, key: str, side: Side = "decoder") -> None:
        self.key = key
        suffix = "_encoder" if side == "encoder" else ""
        # obsm
        self.embedding = f"X_{key}"
        # obsm: upper triangles of the tensors; obsp: squared lengths of the edges
        self.metric = f"{key}_metric{suffix}"
        # obsp
        self.distances = f"{key}_distances"
        self.connectivities = f"{key}_connectivities"
        # obs
        self.log_area = f"{key}_log_area{suffix}"
        self.anisotropy = f"{key}_anisotropy{suffix}"
        self.reconstruction_error = f"{key}_reconstruction_error"
        self.gaussian_curvature = f"{key}_gaussian_curvature"
        self.mean_curvature = f"{key}_mean_curvature"
        self.extrinsic_curvature = f"{key}_extrinsic_curvature"
        self.pseudotime = f"{key}_pseudotime"
        self.broken = f"{key}_broken"
        # obs: regions found on the map, and their hidden structure; uns: the table of the regions
        self.region = f"{key}_region"
        self.residual = f"{key}_residual"
        self.residual_params = f"{key}_residual_params"
        # obs and uns: cells per unit of area; obs, followed by the name of a condition: its density and how it compares
        self.density = f"{key}_density"
        self.log_ratio = f"{key}_log_ratio"
        self.fdr = f"{key}_fdr"
        # obs: share of torn edges; obsp: the torn edges
        self.torn = f"{key}_torn"
        # obs, for cells placed on a map
        self.outlier_score = f"{key}_outlier_score"
        self.outlier = f"{key}_outlier"
        # obs, for any embedding that was evaluated
        self.neighborhood_preservation = f"{key}_neighborhood_preservation"
        self.trust = f"{key}_trust"
        # obsm: ellipses; obsp: neighbors that stay; uns: the record
        self.stability = f"{key}_stability"
        # obs
        self.uncertainty = f"{key}_uncertainty"
        self.stable_neighbors = f"{key}_stable_neighbors"
        # uns, for embeddings of other packages, which may own ``uns[key]``, as `scanpy.tl.umap` does
        self.distortion = f"{key}_distortion"
        # uns, default name
        self.rank_genes = f"{key}_rank_genes"


def names_of_map(key: str) -> set[str]:
    """Return the names of all slots of a map but its record, whose name a column may have."""
    return {name for side in SIDES for name in vars(Slots(key, side)).values()} - {key}


class VectorSlots:
    """Names of everything that is stored for the vectors `name` on the map `key`."""

    def __init__(self, name: str, key: str) -> None:
        self.name, self.key = name, key
        # obsm, under the name by which scvelo looks for it, and uns
        self.vectors = f"{name}_{key}"
        # obs
        self.off_surface = self.vectors + OFF_SURFACE
        self.length = f"{name}_{key}_length"


def map_key(adata: AnnData, name: Any, argument: str = "key") -> str:
    """Return the name of a map, given by its name or by its key of `obsm`.

    ``"umap"`` and ``"X_umap"`` name the same map. As in Scanpy, an exact key of `obsm` takes precedence over one that
    would need an ``X_``.
    """
    check_adata(adata)
    check_name(name, argument, required=True)
    slot = f"X_{name}"
    return (slot if slot in adata.obsm and name not in adata.obsm else name).removeprefix("X_")


def embedding_slot(adata: AnnData, key: str) -> str | None:
    """Return the key of the map in `obsm`: ``X_{key}``, or `key` as in version 2 of Scanpy."""
    return next((name for name in (f"X_{key}", key) if name in adata.obsm), None)
