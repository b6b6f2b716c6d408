from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scanpy import logging as logg

from .._anndata.area import relative_area
from .._anndata.incoming import incoming_representation
from .._anndata.representation import stored_representation
from .._anndata.results import (
    Results,
    Tensors,
    check_writable,
    embedding_slot,
    has_own_decoder,
    read_embedding,
    read_encoder,
    read_params,
    read_scores,
    writable,
    write_results,
)
from .._anndata.slots import SIDES, Slots
from .._modes import in_own_modes
from ..geometry import anisotropy, distortion
from ..nn.arrays import to_arrays
from ..quality import outliers
from ..training import Settings, Settled, place, placement

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._anndata.representation import Representation
    from ..nn import Autoencoder

# Cells of the reference that are enough to tell whether its representation is still that of the map, and how far on it,
# as a share of its size, one may be encoded from where it lies; in the median where cells have places of their own.
N_CHECKED, MAX_STRAY, MAX_MEDIAN_STRAY = 1000, 0.01, 0.1


@in_own_modes
def transform(
    adata_new: AnnData,
    adata: AnnData,
    *,
    key: str = "geoae",
    use_rep: str | None = None,
    layer: str | None = None,
    missing: Literal["raise", "mean"] = "raise",
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
        New cells, preprocessed as the reference was: the same normalisation and logarithm.
    adata
        Annotated data on which `scgeoae.tl.geoae`, `scgeoae.tl.adopt` or `scgeoae.tl.distortion` was run, or some of
        its cells.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    use_rep
        Key of ``adata_new.obsm`` under which the new cells have the representation of the reference already. By default

        - the genes of a map of X are looked up by name, in whatever order they are;
        - where the reference was made of a PCA and has its loadings, the new cells are projected on these, with its
          centre, and scaled with its means and standard deviations where it was scaled by `scanpy.pp.scale` and they
          are not. A PCA of their own would be another one, and is not used;
        - any other representation, such as ``"X_scVI"``, is taken from the same key of ``adata_new.obsm``.
    layer
        Take this layer of `adata_new` in the place of X.
    missing
        What to do if the new cells lack genes of the reference: ``"raise"``, or ``"mean"`` to take the mean of the
        reference for them, so that they say nothing.
    copy
        Return a copy instead of writing into `adata_new`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. It sets in ``adata_new``:

    ``obsm["X_{key}"]`` : (n, d) float32
        Positions on the map of the reference.
    ``obs["{key}_outlier_score"]`` : float32
        How far the cell is from those of the reference in the representation, in distance and in direction
        (`scgeoae.quality.outliers`): about 0 for a typical cell of the reference, above 1 as three in two hundred of
        the reference are when the others do not know them. Components of a few hundred cells know these: where
        ``adata.uns`` has the record of `scanpy.pp.pca` and `adata` all the cells, the score allows for that.
    ``obs["{key}_outlier"]`` : bool
        Whether the score is above 1: such a cell has a position, but may not belong on this map. A kind that lies near
        others is flagged in part; let the share flagged in a cluster of new cells decide.
    ``obsm["{key}_metric"]``, ``obsm["{key}_metric_encoder"]`` : (n, d(d+1)/2) float32
        Metric tensors, as in `scgeoae.tl.geoae`.
    ``obs["{key}_log_area"]``, ``obs["{key}_anisotropy"]``, and the same with ``_encoder`` : float32
        The distortion at each cell; areas are relative to the mean over the reference.
    ``obs["{key}_reconstruction_error"]`` : float32
        Squared distance between the cell and its reconstruction, in squared units of the representation.
    ``uns["{key}"]`` (or ``uns["{key}_distortion"]``) : dict
        ``params`` and ``model`` of the reference and the ``scores`` of these cells, so that plots and `scgeoae.get`
        work.

    and, where it was computed, the representation under its key of ``obsm``; that of a map of X whose genes come in
    another order under ``"{key}_representation"``.

    Raises
    ------
    KeyError
        If the reference has no map under `key`, or its representation, `use_rep` or `layer` is not there.
    ValueError
        If genes or components are missing, names are not unique, values are not finite or beyond float32, or the
        representation of the reference is no longer what the map was made of.

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
    read_embedding(adata, key)
    params, model = read_params(adata, key), read_encoder(adata, key)
    representation = incoming_representation(
        adata_new, adata, params, use_rep=use_rep, layer=layer, impute=missing == "mean", key=key
    )
    check_writable(adata_new, copy=copy)
    start = logg.info(f"placing {adata_new.n_obs} cells on the map in adata.obsm[{embedding_slot(adata, key)!r}]")
    x = representation.dense(may_be_equal=True)
    reference = stored_representation(adata, params)
    _check_reference(adata, key, model, reference)
    positions = _settled(adata, key, model, x, reference, params) if params.get("refine", False) else None
    placed = placement(model, x, positions=positions)
    if bad := np.count_nonzero(~np.isfinite(placed.error)):
        msg = (
            f"{bad} of {len(x)} cells in {representation.name} are too far from those of the map for float32; "
            "are they in other units? Preprocess them as the reference was."
        )
        raise ValueError(msg)
    known = reference.dense()
    found = outliers(x, known, made_of=_made_of(adata, params, known))

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
        params={k: value for k, value in params.items() if k not in ("layer", "n_features")} | representation.params,
        # how long a distance on the map is, is measured once and for all
        scores=_scores(metrics, placed.error, x.shape[1] * float(model.scale) ** 2)
        | {name: value for name, value in read_scores(adata, key).items() if name.startswith("chord")},
        embedding=placed.embedding,
        ours=has_own_decoder(adata, key),
        reconstruction_error=placed.error,
        model=to_arrays(model),
        outlier_score=found.score,
        outlier=found.is_outlier,
        computed=representation.computed,
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


def _made_of(adata: AnnData, params: dict[str, Any], reference: NDArray) -> tuple[float, int] | None:
    """Return total variance and number of the genes of a PCA of Scanpy, if the reference is all that it was made of."""
    rep = params["use_rep"]
    name = rep.removeprefix("X_")
    record = adata.uns.get(rep, adata.uns.get(name))
    loadings = next((adata.varm[k] for k in (rep, "PCs" if name == "pca" else f"PCs_{name}") if k in adata.varm), None)
    if loadings is None or not isinstance(record, Mapping) or not {"variance", "variance_ratio"} <= set(record):
        return None
    variance = np.asarray(record["variance"])[: reference.shape[1]]
    # of some of the cells, or of others, it would have other variances
    if not np.allclose(reference.var(0, ddof=1), variance, rtol=0.01):
        return None
    return float(variance[0] / record["variance_ratio"][0]), int(np.count_nonzero(np.asarray(loadings).any(1)))


def _settled(
    adata: AnnData, key: str, model: Autoencoder, x: NDArray, reference: Representation, params: dict[str, Any]
) -> NDArray[np.float32]:
    """Return where new cells come to lie among those of the reference, which stay."""
    known = Settled(model.standardize(reference.dense()).numpy(), model.to_latent(read_embedding(adata, key)).numpy())
    codes = place(
        model,
        model.standardize(x).numpy(),
        known,
        perplexity=float(params.get("perplexity", Settings.perplexity)),
        divergence_weight=float(params.get("tsne_weight", Settings.tsne_weight)),
    )
    return model.to_map(torch.from_numpy(codes)).numpy()


def _check_reference(adata: AnnData, key: str, model: Autoencoder, reference: Representation) -> None:
    """Say if the representation of the reference is another than the map was made of; some cells tell."""
    rows = np.unique(np.linspace(0, adata.n_obs - 1, min(adata.n_obs, N_CHECKED)).astype(np.intp))
    z = read_embedding(adata, key)
    known = placement(model, reference.matrix[rows])
    # one cell alone has no size
    size = np.ptp(z, 0).max()
    stray = np.linalg.norm(known.embedding - z[rows], axis=1) / (size if size > 0 else np.inf)
    # an encoder that was fitted to an embedding is only near to it, and one that follows cells nearer
    is_settled = bool(read_params(adata, key).get("refine", False))
    strayed = has_own_decoder(adata, key) and (
        np.median(stray) > MAX_MEDIAN_STRAY if is_settled else stray.max() > MAX_STRAY
    )
    if strayed or not np.isfinite(known.error).all():
        slot = embedding_slot(adata, key)
        msg = (
            f"{reference.name} of the reference is no longer what the map in adata.obsm[{slot!r}] was made of, since "
            "its own cells would lie elsewhere: bring it back, or make the map again."
        )
        raise ValueError(msg)


def _scores(metrics: dict[str, Any], error: Any, unit_of_error: float) -> dict[str, float]:
    scores = {"MSE": float(np.mean(error, dtype=np.float64) / unit_of_error)}
    if len(error) > 1:
        for side, suffix in (("decoder", ""), ("encoder", "_encoder")):
            measures = distortion(torch.from_numpy(metrics[side]))
            scores |= {f"CN{suffix}": measures.cn, f"VPres{suffix}": measures.vpres, f"ISO{suffix}": measures.iso}
    return scores
