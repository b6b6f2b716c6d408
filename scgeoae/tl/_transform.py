from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from scanpy import logging as logg

from .._anndata.blockwise import Job, check_client, check_packages, map_alone, target_of, write_reference
from .._anndata.incoming import choose_incoming
from .._anndata.labels import colors_of, labels_to_transfer, transferred
from .._anndata.map import from_triangles
from .._anndata.params import without_none
from .._anndata.placing import Placer
from .._anndata.reference import read_reference
from .._anndata.results import Results, changes_of_map, distortion_scores
from .._anndata.slots import SIDES, Slots
from .._anndata.source import needs_store, open_source
from .._anndata.store import Unfinished
from .._anndata.units import N_READ
from .._anndata.write import write
from .._arguments import check_adata, check_flag, check_option, checked_integer
from .._matrix import digest, digest_of_rows, spread_rows
from .._runtime import default_torch_modes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData
    from anndata.experimental import AnnCollection
    from numpy.typing import NDArray

    from .._anndata.map import Map
    from .._anndata.representation import Representation
    from .._anndata.slots import Side

# Cells of a store that the measures of distortion are computed from, at most.
N_SCORED = 10**6
# Parameters that describe only the reference and are not passed on to new cells.
OF_REFERENCE = ("layer", "n_cells", "data", "interrupted_at")


@default_torch_modes
def transform(
    adata_new: AnnData | str | Path | AnnCollection | Iterable[Any],
    adata: AnnData,
    *,
    key: str = "geoae",
    use_rep: str | None = None,
    layer: str | None = None,
    units: Literal["counts", "normalized", "log1p", "same"] | None = None,
    missing: Literal["raise", "mean"] = "raise",
    obs: str | Sequence[str] | None = None,
    allow_subset: bool = False,
    out: str | Path | None = None,
    block_size: int = 2**16,
    client: Any = None,
    progress_bar: bool = True,
    copy: bool = False,
) -> AnnData | None:
    r"""Place new cells on an existing map, flag those that do not belong, and transfer labels to them.

    Each new cell starts near its nearest cells of the reference (the cells of the map) and is optimized among them, as
    they were in the refinement of `scgeoae.tl.geoae`. On a map without refinement, or made by another method, the
    encoder places it. Nothing is trained, and the reference does not change. A cell lands at the same position
    whichever cells come with it, and a cell of the reference at its own.

    Parameters
    ----------
    adata_new
        New cells, preprocessed like the reference; or cells that memory does not hold, which are placed block by block:
        anything that `scgeoae.tl.atlas` reads, such as the path of a zarr store or an h5ad file, or a list of paths.
    adata
        Annotated data on which `scgeoae.tl.geoae`, `scgeoae.tl.adopt` or `scgeoae.tl.distortion` was run; or all cells
        of `scgeoae.tl.atlas`, of which the sample is the reference and is read into memory.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    use_rep
        Key in ``adata_new.obsm`` with the representation of the reference, if the new cells have it already. Default:

        - For a map of X, genes are matched by name, in any order.
        - For a map of a PCA with loadings, the new cells are projected onto the loadings, which are stored with the
          map. A PCA of the new cells themselves would have other components and is not used.
        - Any other representation, such as ``"X_scVI"``, is taken from the same key of ``adata_new.obsm``.
    layer
        Layer of `adata_new` to use instead of X. Default: the layer that the reference was made from if `adata_new` has
        it, else X.
    units
        What the expression values of the new cells are: ``"counts"``, ``"normalized"`` (each cell divided by its
        total), ``"log1p"`` (of normalized counts), or ``"same"`` (as in the reference, scaled if it was scaled).
        Default: found by comparison with the reference. The values are then normalized, log-transformed and scaled like
        the reference, as its record in the map allows, and a message says what was done. Raises if nothing fits, and
        warns if nothing fits well (docs/using.md).
    missing
        What to do if the new cells lack genes of the reference: ``"raise"``, or ``"mean"`` to use the mean of the
        reference, so that these genes have no influence.
    obs
        Columns of ``adata.obs`` whose labels are transferred to the new cells, such as ``"cell_type"``.
    allow_subset
        Place the cells even if `adata` has only some of the cells of the map. They then land elsewhere than they would
        among all cells, and outliers are cells far from those that are left.
    out
        Path of a new zarr store for the results. By default, they are written into `adata_new`, an AnnData or the path
        of a zarr store. Cells from anywhere else need it.
    block_size, client
        Number of cells on disk that are placed at a time, and a ``dask.distributed.Client`` whose workers place them,
        as in `scgeoae.tl.atlas`. An interrupted call goes on in the same way if it is repeated.
    progress_bar
        Whether to show a progress bar while cells on disk are placed.
    copy
        Return a copy instead of writing into `adata_new`, which has to be an AnnData.

    Returns
    -------
    `None`, or the copy with ``copy=True``. It sets in ``adata_new``, or in the store:

    ``obsm["X_{key}"]`` : (n, d) float32
        Positions on the map of the reference.
    ``obs["{key}_outlier_score"]`` : float32
        How unusual the cell's distance and direction from the reference cells are (`scgeoae.quality.outliers`): about 0
        for a typical reference cell, above 1 for one or two in a hundred of them. Principal components of a few hundred
        cells fit these better than new cells; the score corrects for this if the reference is all cells of the PCA.
    ``obs["{key}_outlier"]`` : bool
        Whether the score is above 1. Such a cell has a position, but may not belong on this map. If a missing cell type
        is similar to others, only some of its cells are flagged, so look at the share of flagged cells in each cluster.
    ``obsm["{key}_metric"]``, ``obsm["{key}_metric_encoder"]`` : (n, d(d+1)/2) float32
        Metric tensors, as in `scgeoae.tl.geoae`.
    ``obs["{key}_log_area"]``, ``obs["{key}_anisotropy"]``, and the same with ``_encoder`` : float32
        Distortion at each cell. Areas are relative to the mean over the reference.
    ``obs["{key}_reconstruction_error"]`` : float32
        Squared distance between the cell and its reconstruction, in squared units of the representation.
    ``obs[name]``, ``obs["{name}_confidence"]`` : category, float32
        For each name in `obs`, the label that most of the 15 nearest reference cells in the representation have, and
        the share of them that have it. Among more than 20,000 reference cells, the search finds nearly all of the
        nearest. Colors are copied to ``uns["{name}_colors"]``. Do not rely on the labels of outliers.
    ``uns["{key}"]`` (or ``uns["{key}_distortion"]``) : dict
        ``params`` and ``model`` of the reference and the ``scores`` of the new cells, so that plots and `scgeoae.get`
        work.
    ``obsm[use_rep]`` (or ``obsm["{key}_representation"]``) : (n, D) float32
        The representation, if it had to be computed, but not in a store. The second name is for a map of X whose genes
        come in another order.

    Raises
    ------
    KeyError
        If the reference has no map under `key`, or if its representation, `use_rep`, `layer` or a column of `obs` does
        not exist.
    ValueError
        If genes or components are missing, or their units cannot be converted to those of the reference; if names are
        not unique; if values are not finite or too large for float32; if the representation of the reference has
        changed since the map was made; if cells of the map are missing; if ``adata_new.obs`` already has a column
        named in `obs` that this function did not write; or if the folder ``{out}.part`` belongs to a call with other
        arguments or cells.
    FileNotFoundError, FileExistsError, OSError, RuntimeError, ImportError, TypeError
        As in `scgeoae.tl.atlas`, for cells on disk.

    See Also
    --------
    scgeoae.pl.transform : Draw the new cells over the reference.

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

    New cells on disk, without reading them as a whole:

    >>> import tempfile, anndata
    >>> path = tempfile.mkdtemp() + "/new.zarr"
    >>> adata[600:].write_zarr(path)
    >>> sg.tl.transform(path, known, use_rep="X_pca", progress_bar=False)
    >>> anndata.read_zarr(path).obsm["X_geoae"].shape
    (100, 2)
    """
    check_option(missing, "missing", ("raise", "mean"))
    check_flag(progress_bar, "progress_bar")
    block_size = checked_integer(block_size, "block_size", 1)
    how: dict[str, Any] = {"use_rep": use_rep, "layer": layer, "units": units, "impute": missing == "mean"}
    on_disk = out is not None or needs_store(adata_new)
    if on_disk and copy:
        msg = "`copy` has no effect, since the results are written into a store; leave it out."
        raise TypeError(msg)
    if client is not None and not on_disk:
        msg = "The workers of a `client` read the cells from disk; give their path as `adata_new`."
        raise ValueError(msg)
    if not on_disk:
        check_adata(adata_new)
    m = read_reference(adata, key)
    if not allow_subset:
        m.check_whole()
    if on_disk:
        _into_store(adata_new, m, out, obs, how, block_size=block_size, client=client, progress_bar=progress_bar)
        return None
    adata_new = cast("AnnData", adata_new)
    labels = labels_to_transfer(m.adata, adata_new.obs, obs)
    representation = choose_incoming(adata_new, m, **how).of(adata_new, m)
    start = logg.info(f"placing {adata_new.n_obs} cells on the map in adata.obsm[{m.slot!r}]")
    placer = Placer(m, labels)
    placed = placer.place(representation)
    results = Results(
        tensors=placer.tensors(placed),
        embedding=placed.embedding,
        is_own=m.is_own,
        reconstruction_error=placed.error,
        outlier_score=placed.score,
        outlier=placed.score > 1,
        computed=representation.computed
        | {"obs": transferred(labels, placed.labels), "uns": colors_of(labels, m.adata)},
        **_record(m, representation, placed.error, placed.metrics),
    )
    done = f"{np.count_nonzero(placed.score > 1)} of {adata_new.n_obs} cells are outliers"
    return write(adata_new, changes_of_map(adata_new, m.key, results), start=start, copy=copy, done=done)


def _into_store(
    adata_new: Any,
    m: Map,
    out: str | Path | None,
    obs: str | Sequence[str] | None,
    how: Mapping[str, Any],
    *,
    block_size: int,
    client: Any,
    progress_bar: bool,
) -> None:
    """Place cells that memory does not hold, and write the results into a store."""
    check_packages("sg.tl.transform, for cells on disk,")
    with closing(open_source(adata_new)) as cells, Unfinished(target_of(cells, out)).locked() as store:
        check_client(client, cells, "adata_new")
        start = logg.info(f"placing {cells.n_obs} cells on a map")
        # as many as are compared with the reference in memory, so that the same units are found
        example = cells.sample(spread_rows(cells.n_obs, N_READ), graphs=False)
        labels = labels_to_transfer(m.adata, example.obs if store.out == cells.path else (), obs)
        incoming = choose_incoming(example, m, **how)
        seen = incoming.of(example, m)
        digests = {"map": digest(m.positions), "cells": digest_of_rows(seen.matrix)}
        digests |= {f"labels {name!r}": digest(known.codes) for name, known in labels.items()}
        store.begin({"source": str(cells.places), "shape": cells.shape, "block_size": block_size, **how, **digests})
        if not store.reference.exists():
            write_reference(store, map_alone(m, labels))
        Job(cells, store, m.key, incoming, block_size, tuple(labels)).run_all(
            example,
            lambda: colors_of(labels, m.adata) | {m.entry: _record(m, seen, *_read(store, m, cells.n_obs))},
            client=client,
            progress_bar=progress_bar,
        )
        logg.info("    finished", time=start, deep=f"the cells are in {str(store.out)!r}")


def _record(
    m: Map, found: Representation, error: NDArray[np.float32], metrics: dict[Side, NDArray[np.float32]]
) -> dict[str, Any]:
    """Return what is recorded of cells that were placed."""
    model = m.autoencoder
    scores = {"MSE": float(error.mean(dtype=np.float64) / (model.n_features * float(model.scale) ** 2))}
    if len(error) > 1:
        for side, metric in metrics.items():
            scores |= distortion_scores(metric, side)
    # the unit of the map was measured on the reference
    scores |= {name: value for name, value in m.scores.items() if name.startswith("chord")}
    kept = {name: value for name, value in m.params.items() if name not in OF_REFERENCE}
    return {"params": without_none(**(kept | found.params)), "scores": scores, "model": model.to_arrays()}


def _read(store: Unfinished, m: Map, n: int) -> tuple[NDArray[np.float32], dict[Side, NDArray[np.float32]]]:
    """Return the errors and the metric tensors of n cells that are in a store."""
    rows = spread_rows(n, N_SCORED)
    metrics = {side: from_triangles(store.read("obsm", Slots(m.key, side).metric, rows)) for side in SIDES}
    return store.read("obs", m.slots.reconstruction_error), metrics
