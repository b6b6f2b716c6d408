from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
from scanpy import logging as logg

from .._anndata.blockwise import Job, check_client, check_packages, map_alone, target_of, write_reference
from .._anndata.incoming import choose_incoming
from .._anndata.map import read_map
from .._anndata.representation import slots_of_pca
from .._anndata.results import removals
from .._anndata.slots import Slots, names_of_map
from .._anndata.source import open_source
from .._anndata.store import Unfinished
from .._anndata.write import Changes
from .._arguments import check_flag, checked_integer, checked_map_key, checked_seed
from .._matrix import blocks, dense
from .._runtime import default_torch_modes
from ..training.distributed import processes
from ._geoae import geoae

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from anndata import AnnData
    from anndata.experimental import AnnCollection

    from .._anndata.incoming import Incoming
    from .._anndata.map import Map
    from .._anndata.source import Source


@default_torch_modes
def atlas(
    adata: AnnData | str | Path | AnnCollection | Iterable[Any],
    *,
    out: str | Path | None = None,
    n_sample: int = 100_000,
    use_rep: str | None = None,
    layer: str | None = None,
    key_added: str | None = None,
    graph: bool = False,
    block_size: int = 2**16,
    client: Any = None,
    random_state: int | np.random.RandomState | None = 0,
    progress_bar: bool = True,
    **kwargs: Any,
) -> AnnData:
    r"""Map more cells than memory holds: make a map of a sample, and place all cells on it, block by block.

    The sample is mapped by `scgeoae.tl.geoae`, and every cell is placed as `scgeoae.tl.transform` does, so that its
    position does not depend on the cells around it. The time grows in proportion to the number of cells. Memory holds
    the sample and one block of cells.

    Results are gathered in the folder ``{out}.part`` beside the store. If the call is interrupted or killed, or the
    disk is full, repeat it with the same arguments and cells: once the sample is mapped, only the missing blocks are
    placed. The map appears in the store only when it is whole. It replaces an earlier map of the same name.

    Parameters
    ----------
    adata
        Path of a zarr store or an h5ad file, which is read lazily; an AnnData in memory, backed or lazy; a list of
        these, which are joined one after another with the genes that they share, as by `anndata.concat`; or an
        AnnCollection. Or an object that yields blocks of cells, the same each time that it is iterated over: AnnData,
        or the batches of an ``annbatch.Loader`` with ``return_index=True``, in any order. The cells are counted first
        unless it has their number as ``n_obs``. Such blocks are read twice, for the sample and to place the cells.
    out
        Path of the zarr store for the results, which must not exist yet. By default, results are written into the
        store of the cells, if `adata` is the path of a zarr store.
    n_sample
        Number of cells, drawn at random, that the map is made from.
    use_rep, layer, key_added, kwargs
        As in `scgeoae.tl.geoae`, and chosen by the same rules. If there is no representation, the principal components
        of the sample are computed, and the genes of all cells are projected onto them.
    graph
        Whether to write the metric graph of all cells, too, which clustering, geodesics and pseudotime need. It is made
        in parts, and takes about 0.2 kB of memory and 0.3 kB on disk per cell.
    block_size
        Number of cells that are placed at a time.
    client
        A ``dask.distributed.Client``. Its workers place the cells of a path or a list of paths; they read and write
        the same paths. If one is lost, another does its work.
    random_state
        Seed of the sample and of the map.
    progress_bar
        Whether to show progress bars.

    Returns
    -------
    The sample, with its map and everything that `scgeoae.tl.geoae` writes. Other functions take it: draw it, measure
    its distortion, or place new cells on it with `scgeoae.tl.transform`. To get it back from the store, without its
    graph, take the rows in ``uns["{key}"]["sample"]``.

    The store gets, with ``key = key_added or "geoae"`` and in the units of `scgeoae.tl.geoae`:

    ``obsm["X_{key}"]`` : (n, d) float32
        Positions of all cells.
    ``obsm["{key}_metric"]``, ``obsm["{key}_metric_encoder"]`` : (n, d(d+1)/2) float32
        Metric tensors.
    ``obs["{key}_log_area"]``, ``obs["{key}_anisotropy"]``, and the same with ``_encoder`` : float32
        Distortion at each cell. Areas are relative to the mean over the sample.
    ``obs["{key}_reconstruction_error"]`` : float32
        Squared distance between the cell and its reconstruction.
    ``obs["{key}_outlier_score"]``, ``obs["{key}_outlier"]`` : float32, bool
        How unlike the sample a cell is, as in `scgeoae.tl.transform`.
    ``obsp["{key}_metric"]``, ``obsp["{key}_distances"]``, ``obsp["{key}_connectivities"]`` : (n, n) float32 csr
        With ``graph=True``, the metric graph of all cells.
    ``uns["{key}"]`` : dict
        As in `scgeoae.tl.geoae`, and ``sample``: the row numbers of the sample.

    Raises
    ------
    FileNotFoundError
        If there is no file or folder of such a name.
    OSError
        If the folder cannot be written, or the disk is full.
    RuntimeError
        If another call is writing into the store.
    ImportError
        If the packages of ``scgeoae[atlas]`` are not installed.
    FileExistsError
        If there is something else at `out`.
    KeyError
        If `use_rep` or `layer` does not exist.
    TypeError
        If `copy` is given, since nothing is written into `adata`; if `client` is something else; or if blocks of cells
        can be read only once.
    ValueError
        If an argument is out of range, values are not finite, a `client` cannot read the cells, blocks lack cells or
        have other genes, the folder belongs to a run with other arguments or cells, or several processes of
        ``torch.distributed`` would share a store.

    See Also
    --------
    scgeoae.tl.transform : Place other cells on the map of the sample.

    Examples
    --------
    >>> import tempfile
    >>> import anndata, scanpy as sc, scgeoae as sg
    >>> store = tempfile.mkdtemp() + "/cells.zarr"
    >>> sc.datasets.pbmc68k_reduced().write_zarr(store)
    >>> sample = sg.tl.atlas(store, n_sample=500, n_steps=20, progress_bar=False)
    >>> sample.shape
    (500, 765)
    >>> anndata.read_zarr(store).obsm["X_geoae"].shape
    (700, 2)
    """
    n_sample = checked_integer(n_sample, "n_sample", 4)
    block_size = checked_integer(block_size, "block_size", 1)
    check_flag(progress_bar, "progress_bar")
    check_flag(graph, "graph")
    key, seed = checked_map_key(key_added, "geoae"), checked_seed(random_state)
    if "copy" in kwargs:
        msg = "`copy` has no effect, since the results are written into a store; leave it out."
        raise TypeError(msg)
    check_packages("sg.tl.atlas")
    if out is None and processes().n > 1:
        msg = (
            f"The {processes().n} processes of the group of torch.distributed would write into the same store; "
            "give each its own, as by out=f'map{torch.distributed.get_rank()}.zarr'."
        )
        raise ValueError(msg)
    with closing(open_source(adata)) as cells, Unfinished(target_of(cells, out)).locked() as store:
        check_client(client, cells, "adata")

        start = logg.info(f"mapping {cells.n_obs} cells by a sample of {min(n_sample, cells.n_obs)}")
        given = {"n_sample": n_sample, "use_rep": use_rep, "layer": layer, "key_added": key, "block_size": block_size}
        given |= {"graph": bool(graph)}
        settings = {"source": str(cells.places), "shape": cells.shape, "random_state": seed, **given, **kwargs}
        store.begin(settings)
        rows = np.sort(np.random.default_rng(seed).permutation(cells.n_obs)[:n_sample])
        sample = cells.sample(rows)
        if not store.reference.exists():
            geoae(
                sample,
                use_rep=use_rep,
                layer=layer,
                key_added=key,
                random_state=seed,
                progress_bar=progress_bar,
                **kwargs,
            )
            m = read_map(sample, key)
            reference = map_alone(m)
            for name in names_of_map(key) & set(sample.obsp):
                reference.obsp[name] = sample.obsp[name]
            # of a PCA that was computed
            if not cells.has("obsm", m.params["use_rep"]):
                for attribute, name in slots_of_pca(m.params["use_rep"]):
                    if name in (slots := getattr(sample, attribute)):
                        getattr(reference, attribute)[name] = slots[name]
            write_reference(store, reference)
            incoming = _incoming(cells, sample, m)
        else:
            reference = anndata.read_h5ad(store.reference)
            m = read_map(reference, key)
            incoming = _incoming(cells, sample, m)
            if not _is_made_of(m, sample, incoming):
                folder = str(store.folder)
                msg = f"The cells are not those that were mapped; delete the folder {folder!r} and repeat the call."
                raise ValueError(msg)
            _restore(sample, reference, key)
        record = {name: value for name, value in sample.uns[key].items() if graph or not name.endswith("_key")}
        Job(cells, store, key, incoming, block_size).run_all(
            sample,
            lambda: {key: {**record, "sample": rows}},
            n_neighbors=int(m.params["n_neighbors"]) if graph else 0,
            client=client,
            progress_bar=progress_bar,
        )
        logg.info("    finished", time=start, deep=f"the map is in {str(store.out)!r}")
    return sample


def _incoming(cells: Source, sample: AnnData, m: Map) -> Incoming:
    """Choose how the representation of the map of a sample is found for all cells."""
    genes, layer, use_rep = m.model.genes, None, None
    # a PCA of the sample is not in the source
    if cells.has("obsm", m.params["use_rep"]):
        use_rep = m.params["use_rep"]
    elif genes is not None:
        layer = genes.layer
    return choose_incoming(
        sample, m, use_rep=use_rep, layer=layer, units="same" if use_rep is None else None, impute=False
    )


def _is_made_of(m: Map, sample: AnnData, incoming: Incoming) -> bool:
    """Return whether the cells of a map are still those of a sample."""
    now, before = incoming.of(sample, m).matrix, m.representation.matrix
    for start, block in blocks(now):
        known = dense(before[start : start + len(block)])
        if not np.allclose(block, known, rtol=0, atol=1e-3 * np.abs(known).max()):
            return False
    return True


def _restore(sample: AnnData, reference: AnnData, key: str) -> None:
    """Write the map of a sample into it again."""
    slots = removals(sample, Slots(key), embedding=True)
    for attribute in ("obs", "obsm", "varm", "obsp", "uns"):
        slots |= {(attribute, name): value for name, value in getattr(reference, attribute).items()}
    Changes(slots).apply_to(sample)
