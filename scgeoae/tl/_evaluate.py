from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scanpy import logging as logg

from .._anndata.columns import obs_labels
from .._anndata.evaluation import checked_table_key, find_bases, made_from, maps_with_model, read_maps
from .._anndata.map import read_map
from .._anndata.representation import choose_representation
from .._anndata.results import named_scores
from .._anndata.slots import COLUMNS, Slots
from .._anndata.write import Changes, write
from .._arguments import check_found, check_name, checked_integer, checked_names, checked_seed
from .._matrix import in_memory
from .._runtime import default_torch_modes
from ..geometry import distortion
from ..quality import MEASURES, openproblems
from ..quality import evaluate as measure
from ..quality.evaluation import MIN_SAMPLE
from ..quality.measures import OPENPROBLEMS, Estimate
from ..quality.points import MIN_CELLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from .._anndata.map import Map
    from .._anndata.representation import Representation
    from ..quality.measures import Quality

MISSING = Estimate(float("nan"), float("nan"), 0)
NO_DECODER = "a decoder is needed; sg.tl.distortion(adata, basis=...) fits one to an embedding that has none"
DECODER = [name for name, which in MEASURES.items() if which.about == "decoder"]


@default_torch_modes
def evaluate(
    adata: AnnData,
    *,
    basis: str | Sequence[str] | None = None,
    use_rep: str | None = None,
    n_pcs: int | None = None,
    layer: str | None = None,
    groupby: str | None = None,
    measures: str | Sequence[str] | None = None,
    n_sample: int = 3000,
    local_scores: bool = False,
    random_state: int | np.random.RandomState | None = 0,
    key_added: str | None = None,
) -> pd.DataFrame:
    r"""Compare how well embeddings keep neighbors, densities, distances and labels.

    Works for any set of embeddings, whichever method computed them, and compares all of them with one representation:

    ========================== ====== ==============================================================================
    measure                    best   what it is
    ========================== ====== ==============================================================================
    ``kNN``                    1 ↑    share of the k nearest neighbors that are kept, averaged over k = 10, 20, …,
                                      200 (only k < n/2)
    ``Trust``                  1 ↑    trustworthiness (1 if neighbors on the map are also close in the data),
                                      averaged over the same k
    ``Continuity``             1 ↑    continuity (1 if neighbors in the data are also close on the map), averaged over
                                      the same k
    ``kNN_10``                 1 ↑    share of the 10 nearest neighbors that are kept
    ``AUC_RNX``                1 ↑    neighborhoods of all sizes, with the most weight on small ones; 0 is chance
    ``KL_0.1``, ``KL_100``     0 ↓    divergence of the densities, on a medium and on a wide scale
    ``Spear``, ``Pearson``     1 ↑    correlation of all pairwise distances
    ``dCor``                   1 ↑    distance correlation
    ``Stress``                 0 ↓    error of all distances, in their units
    ``Stress_scale_free``      0 ↓    error of all distances at the best scale
    ``silhouette``             1 ↑    how well the embedding separates the labels of `groupby`
    ``purity``                 1 ↑    share of the 15 nearest neighbors on the embedding with the same label of
                                      `groupby`
    ``label_accuracy``         1 ↑    share of cells whose label is that of most of their 15 nearest neighbors on the
                                      embedding; a tie of t labels counts 1/t
    ``CN``, ``VPres``, ``ISO`` 0 ↓    how far the decoder is from preserving angles, areas and lengths at the cells
    ``MSE``, ``MSE_held_out``  0 ↓    reconstruction error of all cells, and of the validation (held-out) cells
    ========================== ====== ==============================================================================

    ``measures="openproblems"`` computes instead what OpenProblems' task "dimensionality reduction for visualization"
    (v0.2) measures, under the names of its metrics, so that the numbers can be compared (`scgeoae.quality.openproblems`
    has the definitions); 1 is best for all of them:

    ================================= =======================================================================
    ``waypoint_distance_correlation`` rank correlation of all pairwise distances
    ``spectral_distance_correlation`` the same with the distances in a spectral layout of the data; close to
                                      noise at some 1,000 cells, and missing beyond 10,000
                                      (beyond 6,000 if the representation has over 100 columns)
    ``continuity_at_k30``,            co-ranking measures of the 30 nearest neighbors
    ``trustworthiness_at_k30``,
    ``qnx_at_k30``, ``lcmc_at_k30``
    ``qnx_auc``, ``qlocal``,          share of the neighbors that are kept, averaged over neighborhoods of
    ``qglobal``                       all sizes, of small ones and of large ones
    ``density_preservation``          correlation of the local radii
    ``centroid_distance_correlation`` rank correlation of the distances from cells to the centroids of labels,
    ``label_distance_correlation``    and between these centroids
    ``normalized_mutual_information`` agreement of the best of 20 Leiden clusterings of the embedding with
    ``adjusted_rand_index``           the labels (``pip install leidenalg igraph``)
    ================================= =======================================================================

    `scgeoae.quality` has the formulas. The measures of a decoder exist only for embeddings that have one:
    those of `scgeoae.tl.geoae`, and those that `scgeoae.tl.distortion` or `scgeoae.tl.adopt` fitted one to. The
    silhouette rewards separation even if the data do not have it.

    If the representation is lazy or on disk, it is read in blocks of rows, and memory holds one block, the sample and
    0.5 GB of distances. It is read about n_sample × n / 67 million times, so 45 times for a million cells. The measures
    of OpenProblems read it as a whole.

    Up to `n_sample` cells, everything is exact. With more cells, a random sample is measured: the neighbors, densities
    and labels of the sampled cells are searched among *all* cells, without approximation; the correlations of distances
    and the stresses use the pairs within the sample (`scgeoae.quality.evaluate`). On one core, an embedding of 2,500
    cells takes 4 s and one of 68,000 about 25 s; the time falls with the number of threads (`torch.set_num_threads`).
    The measures of OpenProblems take about 90 s for 10,000 cells with 50 columns. For 68,000, the Leiden clusters take
    some 15 minutes, and the other measures about 70 s.

    Parameters
    ----------
    adata
        Annotated data.
    basis
        Name of the embedding, or a list of names, with or without ``X_``. Default: every array in ``adata.obsm`` with
        two or three columns, in alphabetical order, except the representation, metric tensors, ellipses, positions in
        space, arrows, and, with a warning, arrays that are no embedding or cannot be measured (docs/quality.md).
    use_rep
        The representation to compare with: a key of ``adata.obsm``, or ``"X"`` for all genes of X, or with `layer` of
        that layer. Sparse matrices are read in blocks of rows and never become dense as a whole. Default: what the
        first `basis` that has a model was made from, or ``"geoae"`` if `basis` is not given (a warning names maps that
        were made from another matrix), unless `n_pcs` or `layer` is given; without such a map as in
        `scgeoae.tl.geoae`.
    n_pcs
        Use only the first `n_pcs` columns of the representation.
    layer
        Use this layer instead of X: its principal components, or all its genes with ``use_rep="X"``.
    groupby
        Column of ``adata.obs`` with labels, for the measures that need them. If all cells have one label, or each has
        its own, these measures are missing, and a warning says why.
    measures
        ``"openproblems"`` for these 14 measures, or names of measures in `scgeoae.quality.MEASURES`. By default, all
        measures except these 14. A measure that you name but that is not defined is NaN, and a warning says why. A
        warning also says where a value of OpenProblems' measures tells little, as with many duplicate cells.
    n_sample
        Largest number of cells to measure, at least 100. The measures of OpenProblems always use all cells, or 10,000
        if they compare all pairs of cells. A larger sample has smaller errors, but memory grows with its square: 3,000
        cells take 0.5 GB, 10,000 about 6 GB.
    local_scores
        Also write scores of each cell into ``adata.obs``, for ``sc.pl.embedding``. All cells are then measured, in a
        time that grows as n² log n: about 15 minutes for 68,000 cells.
    random_state
        Seed of the sample, and of the order in which neighbors at equal distances are counted.
    key_added
        Name of the table in ``adata.uns``. Default: ``"evaluation"``.

    Returns
    -------
    A table with one row for each basis and measure, which is also stored as ``adata.uns[key_added]``. Replacing a map
    removes its rows from the stored table; replacing its tensors (`scgeoae.tl.distortion`), those about the decoder.

    ``basis`` : str
        Key of the embedding without ``X_``.
    ``measure`` : str
        Name of the measure in `scgeoae.quality.MEASURES`.
    ``value`` : float64
        Value of the measure. On all cells of `scgeoae.tl.atlas`, ``MSE`` is that of all cells, and there is no
        ``MSE_held_out``; `scgeoae.get.scores` has those of the sample.
    ``error`` : float64
        Standard error of `value` as an estimate for all cells; 0 if all cells were measured. NaN for ``MSE`` and
        ``MSE_held_out``, which are the stored scores of the run and are not measured again, and for measures of
        OpenProblems that use only 10,000 of the cells.
    ``better`` : str
        ``"higher"`` or ``"lower"``.
    ``use_rep`` : str
        The representation; ``X_pca[:, :20]`` with `n_pcs`, and ``layers['counts']`` with `layer`.
    ``n_sample`` : int64
        Number of cells measured, all or a sample; 0 for ``MSE`` and ``MSE_held_out``, and where `value` is NaN.
    ``n_cells`` : int64
        Number of all cells, among which the neighbors of the measured cells are searched.

    With ``local_scores=True`` it also sets, between 0 and 1 (best), with `basis` as in the table:

    ``adata.obs["{basis}_neighborhood_preservation"]`` : float32
        Share of the k nearest neighbors of the cell that are kept, averaged over the same k as ``kNN``, which is its
        mean. The average is smooth enough to be read cell by cell. In clusters of fewer than 200 cells it is low on any
        map, because large neighborhoods reach into others.
    ``adata.obs["{basis}_trust"]`` : float32
        Trustworthiness of each cell, likewise. It is low where cells from elsewhere lie in between.

    Raises
    ------
    KeyError
        If `basis`, `use_rep`, `layer`, `groupby` or one of the `measures` does not exist.
    ValueError
        If an argument is out of range, there are fewer than 21 cells, there is no embedding, an embedding in `basis` or
        the representation has NaN or infinite values or is a single point, `groupby` has missing values, or `key_added`
        is already in use for something else.
    TypeError
        If an embedding in `basis` does not hold numbers.

    See Also
    --------
    scgeoae.pl.evaluation : Draw the table.
    scgeoae.get.scores : Read only what the run itself measured.

    References
    ----------
    Venna & Kaski 2001; Székely, Rizzo & Bakirov 2007; Lee, Peluffo-Ordóñez & Verleysen 2015; Moor et al. 2020; Nazari,
    Damrich & Hamprecht 2023, arXiv 2306.17638.

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
    wanted = _wanted(measures)
    n_sample = checked_integer(n_sample, "n_sample", MIN_SAMPLE)
    labels = None if groupby is None else _labels(adata, groupby)
    unusable = _unusable(labels, groupby)
    own = maps_with_model(adata, bases) if use_rep is None and n_pcs is None and layer is None else []
    if own:
        if basis is None:
            own.sort(key=lambda m: m.key != "geoae")
        representation = own[0].representation
        if others := [m.key for m in own if made_from(m) != made_from(own[0])]:
            logg.warning(
                f"comparing all embeddings with {representation.name}, from which {own[0].key!r} was made; "
                f"{', '.join(map(repr, others))} was made from another matrix, so choose one with `use_rep` if you "
                "mean another"
            )
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

    start = logg.info(f"evaluating {', '.join(points)} against {representation.name}")
    seed = checked_seed(random_state)
    cells = representation.checked_matrix()
    usable = labels if unusable is None else None
    found: list[dict[str, Quality]] = []
    if local_scores or not set(wanted) <= {*OPENPROBLEMS, *DECODER}:
        found += [
            measure(cells, points, labels=usable, n_sample=n_sample, local_scores=local_scores, random_state=seed)
        ]
    if benchmark := [which for which in wanted if which in OPENPROBLEMS]:
        found += [openproblems(in_memory(cells), points, labels=usable, measures=benchmark, random_state=seed)]
    # what is missing by default has a row only if it was asked for
    missing = {"labels": unusable} if unusable and (groupby is not None or measures is not None) else {}
    missing |= {"decoder": NO_DECODER} if measures is not None else {}
    all_scores = {}
    notes: dict[str, dict[str, str]] = {}
    for name in points:
        scores, notes[name] = dict(decoders.get(name, {})), {}
        for of_name in found:
            scores |= of_name[name].scores
            notes[name] |= of_name[name].notes
        for which in wanted:
            why = missing.get(MEASURES[which].about)
            if why is not None and np.isnan(scores.get(which, MISSING).value):
                scores[which], notes[name][which] = MISSING, why
        all_scores[name] = {which: scores[which] for which in wanted if which in scores}
    _warn(notes, all_scores)
    table = _table(all_scores, _described(representation.params), adata.n_obs)
    changes = _computed(representation)
    for of_name in found:
        for name, quality in of_name.items():
            changes += _local_scores(Slots(name), quality)
    # store a copy, because the caller may change the table that is returned
    changes += Changes({("uns", table_key): table.copy()}, [f"uns[{table_key!r}], the table"])
    write(adata, changes, start=start)
    return table


def _table(scores: dict[str, dict[str, Estimate]], described: str, n: int) -> pd.DataFrame:
    rows = [
        (name, which, estimate.value, estimate.error, MEASURES[which].better, described, estimate.n_cells, n)
        for name, of_name in scores.items()
        for which, estimate in of_name.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"n_sample": "int64", "n_cells": "int64"})


def _computed(representation: Representation) -> Changes:
    """Return the slots of a PCA that had to be computed."""
    changes = Changes()
    for attribute, entries in representation.computed.items():
        for name, value in entries.items():
            changes += Changes({(attribute, name): value}, [f"{attribute}[{name!r}], computed for it"])
    return changes


def _local_scores(slots: Slots, quality: Quality) -> Changes:
    """Return the scores of each cell, if they were computed."""
    changes = Changes()
    for slot, values in (
        (slots.neighborhood_preservation, quality.neighborhood_preservation),
        (slots.trust, quality.trust),
    ):
        if values is not None:
            changes += Changes({("obs", slot): values.astype(np.float32)}, [f"obs[{slot!r}]"])
    return changes


def _wanted(measures: str | Sequence[str] | None) -> list[str]:
    """Return the names of the measures to compute."""
    if measures is None:
        return [name for name in MEASURES if name not in OPENPROBLEMS]
    names = list(OPENPROBLEMS) if measures == "openproblems" else checked_names(measures, "measures")
    for name in names:
        check_found(name, MEASURES, "scgeoae.quality.MEASURES", ", and 'openproblems' stands for several")
    if not names:
        msg = "Expected `measures` to be None, 'openproblems' or names of measures, found an empty list."
        raise ValueError(msg)
    return names


def _unusable(labels: NDArray[np.intp] | None, groupby: str | None) -> str | None:
    """Return why measures of labels are not defined, or None if they are."""
    if labels is None:
        return "labels are needed; name a column of adata.obs with `groupby`"
    n_kinds = len(np.unique(labels))
    if 2 <= n_kinds < len(labels):
        return None
    found = "all cells have the same label" if n_kinds == 1 else "each cell has a label of its own"
    return f"{found} in adata.obs[{groupby!r}]; choose another column with `groupby`"


def _warn(notes: dict[str, dict[str, str]], scores: dict[str, dict[str, Estimate]]) -> None:
    """Say once for each reason which measures of which embeddings have no value, or one that tells little."""
    concerned: dict[tuple[bool, str], tuple[dict[str, None], dict[str, None]]] = {}
    for name, of_name in notes.items():
        for which, why in of_name.items():
            is_missing = bool(np.isnan(scores[name][which].value))
            bases, measures = concerned.setdefault((is_missing, why), ({}, {}))
            bases[name] = measures[which] = None
    for (is_missing, why), (bases, measures) in concerned.items():
        what = f"{', '.join(measures)} of {', '.join(bases)}"
        logg.warning(f"No value for {what}: {why}." if is_missing else f"Of little meaning: {what}, as {why}.")


def _labels(adata: AnnData, groupby: str) -> NDArray[np.intp]:
    check_name(groupby, "groupby")
    codes, _ = pd.factorize(obs_labels(adata, groupby))
    if n_missing := np.count_nonzero(codes < 0):
        msg = (
            f"{n_missing} of {adata.n_obs} cells have no label in adata.obs[{groupby!r}]; "
            f"drop them with adata[adata.obs[{groupby!r}].notna()]."
        )
        raise ValueError(msg)
    return codes


def _decoder_scores(m: Map) -> dict[str, Estimate]:
    """Return the scores of the decoder of a map: distortion at the cells, and stored errors."""
    if m.slots.metric not in m.adata.obsm:
        return {}
    measures = named_scores(distortion(torch.from_numpy(m.metric())))
    found = {which: Estimate(value, 0.0, m.adata.n_obs) for which, value in measures.items()}
    if m.sample is not None:
        # the scores of the run are those of the sample
        unit = m.model.n_features * float(m.autoencoder.scale) ** 2
        error = float(m.column(m.slots.reconstruction_error).mean()) / unit
        return found | {"MSE": Estimate(error, 0.0, m.adata.n_obs)}
    stored = m.scores if m.is_own else {}
    return found | {
        which: Estimate(stored[which], float("nan"), 0) for which in ("MSE", "MSE_held_out") if which in stored
    }


def _described(params: dict[str, Any]) -> str:
    if "layer" in params:
        return f"layers[{params['layer']!r}]"
    return params["use_rep"] + (f"[:, :{params['n_pcs']}]" if "n_pcs" in params else "")
