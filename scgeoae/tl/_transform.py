from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scanpy import logging as logg

from .._anndata.area import relative_area
from .._anndata.incoming import incoming_representation
from .._anndata.made_of import read_representation
from .._anndata.results import (
    Results,
    Tensors,
    check_writable,
    embedding_slot,
    has_own_decoder,
    map_key,
    read_embedding,
    read_encoder,
    read_params,
    read_scores,
    writable,
    write_results,
)
from .._anndata.slots import SIDES, Slots
from .._arguments import check_adata, check_flag
from .._runtime import default_torch_modes
from ..geometry import anisotropy, distortion
from ..nn.arrays import to_arrays
from ..quality import outliers
from ..training import Settings
from ..training.placement import Reference, place, placement
from ._labels import carry, labels_to_carry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from .._anndata.representation import Representation
    from ..nn import Autoencoder
    from ..nn.genes import Genes

# Parameters that are those of the reference alone.
OF_REFERENCE = ("layer", "n_features", "n_cells", "data", "interrupted_at")
# Of principal components among the cells that they were made of, which solvers leave.
MAX_CORRELATION = 0.01


@default_torch_modes
def transform(
    adata_new: AnnData,
    adata: AnnData,
    *,
    key: str = "geoae",
    use_rep: str | None = None,
    layer: str | None = None,
    units: Literal["counts", "normalized", "log1p", "same"] | None = None,
    missing: Literal["raise", "mean"] = "raise",
    obs: str | Sequence[str] | None = None,
    allow_subset: bool = False,
    copy: bool = False,
) -> AnnData | None:
    r"""Place new cells on the map of others.

    Each new cell starts where its nearest cells of the reference lie, and settles among them as these did in the
    second stage of `scgeoae.tl.geoae`. Where that was left out, and on a map that somebody else made, the encoder
    places it. Nothing is trained, the reference stays as it is, and a cell lands on the same place whatever cells come
    with it; cells of the reference land on their own places.

    Parameters
    ----------
    adata_new
        New cells, preprocessed as the reference was.
    adata
        Annotated data on which `scgeoae.tl.geoae`, `scgeoae.tl.adopt` or `scgeoae.tl.distortion` was run.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    use_rep
        Key of ``adata_new.obsm`` under which the new cells have the representation of the reference already. By default

        - the genes of a map of X are looked up by name, in whatever order they are;
        - where the reference was made of a PCA whose loadings it had, the new cells are projected on these, which are
          stored with the map. A PCA of their own would be another one, and is not used;
        - any other representation, such as ``"X_scVI"``, is taken from the same key of ``adata_new.obsm``.
    layer
        Take this layer of `adata_new` in the place of X. By default the layer that the reference was made of, if
        `adata_new` has it, else X.
    units
        What the expression of the new cells is: ``"counts"``, ``"normalized"`` (each cell divided by its total),
        ``"log1p"`` (of normalized counts), or ``"same"``, just what the map was made of, scaled if that was. By default
        this is found out by comparing the new cells with the genes of the reference. They are normalized, logarithmized
        and scaled as these were, as far as the map has a record of it, and it is said at warning level what was done.
        If no reading fits this is an error, and if none fits well a warning, with both sets of values described.
    missing
        What to do if the new cells lack genes of the reference: ``"raise"``, or ``"mean"`` to take the mean of the
        reference for them, so that they say nothing.
    obs
        Columns of ``adata.obs`` whose labels are carried over to the new cells, such as ``"cell_type"``.
    allow_subset
        Place the cells also if `adata` has only some of the cells of the map. They then settle among these, so that
        they land elsewhere than among all, and outliers are what is far from these.
    copy
        Return a copy instead of writing into `adata_new`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. It sets in ``adata_new``:

    ``obsm["X_{key}"]`` : (n, d) float32
        Positions on the map of the reference.
    ``obs["{key}_outlier_score"]`` : float32
        How far the cell is from those of the reference in the representation, in distance and in direction
        (`scgeoae.quality.outliers`): about 0 for a typical cell of the reference, above 1 as one or two in a hundred
        of the reference are when the others do not know them. Principal components of a few hundred cells know these,
        which the score allows for where the reference is all the cells that they were made of.
    ``obs["{key}_outlier"]`` : bool
        Whether the score is above 1: such a cell has a position, but may not belong on this map. A kind that lies near
        others is flagged in part; let the share flagged in a cluster of new cells decide.
    ``obsm["{key}_metric"]``, ``obsm["{key}_metric_encoder"]`` : (n, d(d+1)/2) float32
        Metric tensors, as in `scgeoae.tl.geoae`.
    ``obs["{key}_log_area"]``, ``obs["{key}_anisotropy"]``, and the same with ``_encoder`` : float32
        The distortion at each cell; areas are relative to the mean over the reference.
    ``obs["{key}_reconstruction_error"]`` : float32
        Squared distance between the cell and its reconstruction, in squared units of the representation.
    ``obs[name]``, ``obs["{name}_confidence"]`` : category, float32
        For each name in `obs` the label that most of the 15 nearest cells of the reference in the representation have,
        and what share of them has it; and the colors in ``uns["{name}_colors"]``, where the reference has some. Of an
        outlier they say little.
    ``uns["{key}"]`` (or ``uns["{key}_distortion"]``) : dict
        ``params`` and ``model`` of the reference and the ``scores`` of these cells, so that plots and `scgeoae.get`
        work.

    and, where it was computed, the representation under its key of ``obsm``; that of a map of X whose genes come in
    another order under ``"{key}_representation"``.

    Raises
    ------
    KeyError
        If the reference has no map under `key`, or its representation, `use_rep`, `layer` or a column of `obs` is not
        there.
    ValueError
        If genes or components are missing, or in units that do not lead to those of the reference; names are not
        unique; values are not finite or beyond float32; the representation of the reference is no longer what the map
        was made of; cells of the map are missing; or ``adata_new.obs`` has a column of a name in `obs` already, which
        is not from here.

    See Also
    --------
    scgeoae.pl.transform : Draw the new cells over the others.

    References
    ----------
    Breunig, Kriegel, Ng & Sander 2000, *LOF: identifying density-based local outliers*, and Vovk, Gammerman & Shafer
    2005, *Algorithmic learning in a random world*, for the score.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> known, new = adata[:600].copy(), adata[600:].copy()
    >>> sg.tl.geoae(known)
    >>> sg.tl.transform(new, known, use_rep="X_pca")
    >>> new.obsm["X_geoae"].shape
    (100, 2)
    """
    if not isinstance(missing, str) or missing not in ("raise", "mean"):
        msg = f"Expected `missing` to be 'raise' or 'mean', found {missing!r}."
        raise ValueError(msg)
    key = map_key(adata, key)
    read_embedding(adata, key)
    check_flag(allow_subset, "allow_subset")
    check_adata(adata_new)
    labels = labels_to_carry(adata, adata_new, obs)
    params, model = read_params(adata, key), read_encoder(adata, key)
    representation = incoming_representation(
        adata_new, adata, params, use_rep=use_rep, layer=layer, units=units, impute=missing == "mean", key=key
    )
    check_writable(adata_new, copy=copy)
    start = logg.info(f"placing {adata_new.n_obs} cells on the map in adata.obsm[{embedding_slot(adata, key)!r}]")
    x = representation.dense(may_be_equal=True)
    reference = read_representation(adata, key, whole=not allow_subset)
    positions = _settled(adata, key, model, x, reference, params) if params.get("refine", False) else None
    placed = placement(model, x, positions=positions)
    if bad := np.count_nonzero(~np.isfinite(placed.error)):
        msg = (
            f"{bad} of {len(x)} cells in {representation.name} are too far from those of the map for float32; "
            "are they in other units? Preprocess them as the reference was."
        )
        raise ValueError(msg)
    known = reference.dense()
    found = outliers(x, known, made_of=_made_of(model.genes, known))

    metrics = {"decoder": placed.metric, "encoder": placed.encoder_metric}
    tensors = {}
    for side in SIDES:
        # the first files have no tensors of the encoder, to which its areas could be relative
        if side == "encoder" and Slots(key, side).metric not in adata.obsm:
            continue
        metric = torch.from_numpy(metrics[side])
        area = relative_area(adata, key, side)(metric)
        tensors[side] = Tensors(metrics[side], area.numpy(), anisotropy(metric).numpy())
    results = Results(
        tensors=tensors,
        graph=None,
        params={name: value for name, value in params.items() if name not in OF_REFERENCE} | representation.params,
        # how long a distance on the map is, is measured once and for all
        scores=_scores(metrics, placed.error, x.shape[1] * float(model.scale) ** 2)
        | {name: value for name, value in read_scores(adata, key).items() if name.startswith("chord")},
        embedding=placed.embedding,
        ours=has_own_decoder(adata, key),
        reconstruction_error=placed.error,
        model=to_arrays(model),
        outlier_score=found.score,
        outlier=found.is_outlier,
        computed=representation.computed | carry(labels, known, x, adata),
    )
    adata_new = writable(adata_new, copy=copy)
    written = write_results(adata_new, key, results)
    n_outliers = int(found.is_outlier.sum())
    logg.info(
        f"    finished: {n_outliers} of {len(x)} cells are outliers",
        time=start,
        deep="added\n" + "\n".join(f"    {line}" for line in written),
    )
    return adata_new if copy else None


def _made_of(genes: Genes | None, reference: NDArray) -> tuple[float, int] | None:
    """Return total variance and number of the genes of a PCA, if the reference is all that it was made of."""
    if genes is None or genes.loadings is None or not genes.n_projected or len(reference) < 3:
        return None
    # on other cells the components would be correlated
    scores = reference - reference.mean(0)
    covariance = scores.T @ scores / (len(reference) - 1)
    variance = np.diag(covariance)
    size = np.sqrt(np.maximum(np.outer(variance, variance), np.finfo(np.float32).tiny))
    if (np.abs(covariance - np.diag(variance)) > MAX_CORRELATION * size).any():
        return None
    total = np.square(genes.statistics.std[: genes.n_projected], dtype=np.float64).sum()
    return float(total * len(reference) / (len(reference) - 1)), genes.n_projected


def _settled(
    adata: AnnData, key: str, model: Autoencoder, x: NDArray, reference: Representation, params: dict[str, Any]
) -> NDArray[np.float32]:
    """Return where new cells come to lie among those of the reference, which stay."""
    known = Reference(model.standardize(reference.dense()).numpy(), model.to_latent(read_embedding(adata, key)).numpy())
    codes = place(
        model,
        model.standardize(x).numpy(),
        known,
        perplexity=float(params.get("perplexity", Settings.perplexity)),
        divergence_weight=float(params.get("tsne_weight", Settings.tsne_weight)),
    )
    return model.to_map(torch.from_numpy(codes)).numpy()


def _scores(metrics: dict[str, Any], error: Any, unit_of_error: float) -> dict[str, float]:
    scores = {"MSE": float(np.mean(error, dtype=np.float64) / unit_of_error)}
    if len(error) > 1:
        for side, suffix in (("decoder", ""), ("encoder", "_encoder")):
            measures = distortion(torch.from_numpy(metrics[side]))
            scores |= {f"CN{suffix}": measures.cn, f"VPres{suffix}": measures.vpres, f"ISO{suffix}": measures.iso}
    return scores
