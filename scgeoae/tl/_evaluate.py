from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scanpy import logging as logg

from .._anndata.columns import obs_labels
from .._anndata.evaluation import checked_table_key, find_bases, own_map, read_maps
from .._anndata.map import read_map
from .._anndata.representation import choose_representation
from .._anndata.results import named_scores
from .._anndata.slots import COLUMNS, Slots
from .._anndata.write import Changes, check_writable, write
from .._arguments import check_name, checked_seed
from .._runtime import default_torch_modes
from ..geometry import distortion
from ..quality import MEASURES
from ..quality import evaluate as measure
from ..quality.evaluation import MIN_CELLS, Estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from .._anndata.map import Map


@default_torch_modes
def evaluate(
    adata: AnnData,
    *,
    basis: str | Sequence[str] | None = None,
    use_rep: str | None = None,
    n_pcs: int | None = None,
    layer: str | None = None,
    groupby: str | None = None,
    n_sample: int = 3000,
    local_scores: bool = False,
    random_state: int | np.random.RandomState | None = 0,
    key_added: str | None = None,
) -> pd.DataFrame:
    r"""Measure how well embeddings keep neighbors, densities and distances, and compare them.

    Works for any embedding, whoever computed it. All are held against one representation:

    ======================= ====== ==============================================================
    measure                 best   what it is
    ======================= ====== ==============================================================
    ``kNN``                 1 ↑    share of the k nearest neighbors that are kept, averaged over
                                   k = 10, 20, …, 200, as far as k < n/2
    ``Trust``               1 ↑    trustworthiness, averaged over the same k
    ``kNN_10``              1 ↑    share of the 10 nearest neighbors that are kept
    ``AUC_RNX``             1 ↑    neighborhoods of all sizes, the small ones above all; 0 is
                                   chance
    ``KL_0.1``, ``KL_100``  0 ↓    divergence of the densities on a middle and on a wide scale
    ``Spear``, ``Pearson``  1 ↑    correlation of all pairwise distances
    ``dCor``                1 ↑    distance correlation
    ``Stress``              0 ↓    misfit of all distances, in their units
    ``Stress_scale_free``   0 ↓    misfit of all distances at the best scale
    ``silhouette``          1 ↑    how far apart the labels of `groupby` lie on the embedding
    ``purity``              1 ↑    share of the 15 nearest neighbors on the embedding with the
                                   same label of `groupby`
    ``CN``, ``VPres``,      0 ↓    distance of the decoder from conformal, area-preserving and
    ``ISO``                        isometric at the cells
    ``MSE``,                0 ↓    error of the reconstruction, of all cells and of those not
    ``MSE_held_out``               trained on
    ======================= ====== ==============================================================

    The formulas are in `scgeoae.quality`. The last five are there for embeddings of
    `scgeoae.tl.geoae` only. The silhouette rewards separation whether the data has it or not.

    Up to `n_sample` cells everything is exact. Beyond, a random sample of the cells is measured:
    neighbors, densities and silhouettes of these among all cells, distances among themselves
    (`scgeoae.quality.evaluate` has the details). 2,500 cells take 4 s for one embedding on one core,
    68,000 some 45 s.

    Parameters
    ----------
    adata
        Annotated data.
    basis
        The embedding, or a list of them: ``"umap"`` is looked up under ``X_umap`` and ``umap`` in
        ``adata.obsm``; the whole key is found too. By default every array in ``adata.obsm``
        that has two or three columns, in alphabetical order, but neither the representation
        itself, nor metric tensors, positions in space (``spatial``) or arrows
        (``velocity_umap``). With a warning it also leaves out data frames, shares that sum to one
        in each cell, and what cannot be measured: text, NaN or infinite values, a single point.
    use_rep
        What the embeddings are held against: a key of ``adata.obsm``, or ``"X"``. By default,
        if neither `n_pcs` nor `layer` is given, what the first `basis` from `scgeoae.tl.geoae`
        was trained on; without such a basis, Scanpy's choice: X up to 50 variables, else
        ``obsm["X_pca"]``, which is computed when it is not there.
    n_pcs
        Use the first `n_pcs` columns of the representation.
    layer
        Use this layer in place of X.
    groupby
        Column of ``adata.obs`` with labels, for ``silhouette`` and ``purity``.
    n_sample
        Measure at most this many cells, at least 100. Memory goes as its square: 3,000 take
        200 MB, 10,000 some 5 GB.
    local_scores
        Write neighborhood preservation and trustworthiness of each cell into ``adata.obs``, to
        be drawn with ``sc.pl.embedding``. Neighbors and densities of every cell are then measured,
        which takes time as n² log n: some 15 minutes at 68,000 cells.
    random_state
        Seed of the sample, and of the order in which neighbors at equal distances are counted.
    key_added
        Name of the table in ``adata.uns``, by default ``"evaluation"``.

    Returns
    -------
    A table with one row for each basis and measure, which also becomes ``adata.uns[key_added]``,
    with the columns below. A run that replaces one of the maps removes its rows from the stored
    table; one that replaces only its tensors, as `scgeoae.tl.distortion`, those about the decoder.

    ``basis`` : str
        The embedding's key without ``X_``.
    ``measure`` : str
        Its name in `scgeoae.quality.MEASURES`.
    ``value`` : float64
        What was measured.
    ``error`` : float64
        Standard error of `value` as an estimate of what all cells would give; 0 if all were
        measured. NaN for ``MSE`` and ``MSE_held_out``, which are read from the scores of
        the run and not measured again.
    ``better`` : str
        ``"higher"`` or ``"lower"``.
    ``use_rep`` : str
        The representation, as ``X_pca[:, :20]`` with `n_pcs` and ``layers['counts']`` with `layer`.
    ``n_sample`` : int64
        Number of cells measured; 0 where `error` is NaN.

    With ``local_scores=True`` it also sets, as float32 between 0 and 1, 1 best, with `basis` as in
    the table:

    ``adata.obs["{basis}_neighborhood_preservation"]``
        Share of the cell's k nearest neighbors that are kept, averaged over the same k as
        ``kNN``, whose value is its mean: an average over neighborhoods of 10 to 200 cells is
        smooth enough to be read cell by cell. In clusters of fewer than 200 cells it is low on
        any map, because the larger neighborhoods reach into other clusters.
    ``adata.obs["{basis}_trust"]``
        The same of ``Trust``. Low where cells from elsewhere lie in between.

    Raises
    ------
    KeyError
        If `basis`, `use_rep`, `layer` or `groupby` does not exist.
    ValueError
        If an argument is out of its range, there are fewer than 21 cells, an embedding of `basis`
        or the representation has NaN or infinite values or is one point, there is no embedding,
        `groupby` has missing values or fewer than two categories, or `key_added` is taken by
        something else.
    TypeError
        If an embedding of `basis` does not hold numbers.

    See Also
    --------
    scgeoae.pl.evaluation : Draw the table.
    scgeoae.get.scores : Only what the run itself measured.

    References
    ----------
    Venna & Kaski 2001; Székely, Rizzo & Bakirov 2007; Lee, Peluffo-Ordóñez & Verleysen 2015; Moor
    et al. 2020; Nazari, Damrich & Hamprecht 2023, arXiv 2306.17638.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> table = sg.tl.evaluate(adata, basis=["geoae", "umap"], groupby="bulk_labels")
    >>> wide = table.pivot(index="basis", columns="measure", values="value")
    >>> bool(wide.loc["geoae", "Spear"] > wide.loc["umap", "Spear"])
    True
    """
    table_key = checked_table_key(adata, key_added)
    if adata.n_obs < MIN_CELLS:
        msg = f"Expected at least {MIN_CELLS} cells, twice a neighborhood of 10, found {adata.n_obs}."
        raise ValueError(msg)
    bases = find_bases(adata, basis)
    labels = None if groupby is None else _labels(adata, groupby)
    own = own_map(adata, bases) if use_rep is None and n_pcs is None and layer is None else None
    if own is not None:
        representation = own.representation
    else:
        representation = choose_representation(adata, use_rep=use_rep, n_pcs=n_pcs, layer=layer)
    if basis is None:
        bases = {name: key for name, key in bases.items() if key != representation.params["use_rep"]}
    points = read_maps(adata, bases, named=basis is not None)
    if not points:
        msg = (
            "adata.obsm has no embedding of two or three columns; compute one first (sg.tl.geoae(adata), "
            "sc.tl.umap(adata)), or name one of more columns with `basis`."
        )
        raise ValueError(msg)
    decoders = {name: _decoder_scores(read_map(adata, name)) for name in points if bases[name] == Slots(name).embedding}

    check_writable(adata, copy=False)
    start = logg.info(f"evaluating {', '.join(points)} against {representation.name}")
    found = measure(
        representation.dense(),
        points,
        labels=labels,
        n_sample=n_sample,
        local_scores=local_scores,
        random_state=checked_seed(random_state),
    )
    described = _described(representation.params)
    rows = [
        (name, which, estimate.value, estimate.error, MEASURES[which].better, described, estimate.n_cells)
        for name, quality in found.items()
        for which, estimate in (quality.scores | decoders.get(name, {})).items()
    ]
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"n_sample": "int64"})
    changes = Changes()
    for attribute, entries in representation.computed.items():
        for name, value in entries.items():
            changes += Changes({(attribute, name): value}, [f"{attribute}[{name!r}], computed for it"])
    if local_scores:
        for name, quality in found.items():
            slots = Slots(name)
            for slot, values in (
                (slots.neighborhood_preservation, quality.neighborhood_preservation),
                (slots.trust, quality.trust),
            ):
                changes += Changes({("obs", slot): values.astype(np.float32)}, [f"obs[{slot!r}]"])
    # the caller may change the one that is returned
    changes += Changes({("uns", table_key): table.copy()}, [f"uns[{table_key!r}], the table"])
    write(adata, changes, start=start)
    return table


def _labels(adata: AnnData, groupby: str) -> NDArray[np.intp]:
    check_name(groupby, "groupby")
    codes, kinds = pd.factorize(obs_labels(adata, groupby))
    if n_missing := np.count_nonzero(codes < 0):
        msg = (
            f"{n_missing} of {adata.n_obs} cells have no label in adata.obs[{groupby!r}]; "
            f"drop them with adata[adata.obs[{groupby!r}].notna()]."
        )
        raise ValueError(msg)
    if not 2 <= len(kinds) < adata.n_obs:
        found = f"a single one, {kinds[0]!r}" if len(kinds) == 1 else "a different one for each cell"
        msg = f"Expected adata.obs[{groupby!r}] to have at least two labels that cells share, found {found}."
        raise ValueError(msg)
    return codes


def _decoder_scores(m: Map) -> dict[str, Estimate]:
    """Return what is known of the decoder of a map."""
    if m.slots.metric not in m.adata.obsm:
        return {}
    measures = named_scores(distortion(torch.from_numpy(m.metric())))
    stored = m.scores if m.is_own else {}
    return {which: Estimate(value, 0.0, m.adata.n_obs) for which, value in measures.items()} | {
        which: Estimate(stored[which], float("nan"), 0) for which in ("MSE", "MSE_held_out") if which in stored
    }


def _described(params: dict[str, Any]) -> str:
    if "layer" in params:
        return f"layers[{params['layer']!r}]"
    return params["use_rep"] + (f"[:, :{params['n_pcs']}]" if "n_pcs" in params else "")
