from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._anndata.columns import obs_numbers, read_groups
from .._anndata.evaluation import read_evaluations
from .._anndata.map import read_map
from .._matrix import digest
from .._runtime import default_torch_modes
from ..geometry import anisotropy
from ..geometry.distortion_measures import log_area
from ..geometry.metric import eigenvalues
from ..quality.measures import MEASURES
from ..quality.residual import map_regions
from ..training import Settings
from ..training.device import environment
from ._provenance import provenance

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._anndata.map import Map

N_WORST = 5
KEEPS = {"isometric": "lengths", "unit_isometric": "lengths", "volume": "relative areas", "conformal": "angles"}
# Defaults of the arguments of `scgeoae.tl.distortion` and `scgeoae.tl.adopt`.
OF_FITTED = {"method": "decoder", "n_neighbors": 15, "hidden": [128, 128], "activation": "silu", "batch_size": 128}
OF_FITTED |= {"learning_rate": 5e-3, "random_state": 0}
MEANINGS = {
    "CN": "how far small circles are from circles on the map; 0: angles are preserved",
    "VPres": "variance of the logarithm of areas; 0: relative areas are preserved",
    "ISO": "variance of the logarithm of lengths; 0: lengths are preserved up to one scale",
    "chord": "median over pairs of cells of the distance on the map per straight distance of the decoded points",
    "chord_spread": "share by which two thirds of the pairs of cells are off this median at most",
    "MSE": "mean squared error of the reconstruction; 0: perfect, 1: as bad as the mean of all cells",
    "MSE_encoder": "mean squared distance of the positions from those of the encoder, in units of their variance",
    "NLL": "negative log likelihood of the counts of a cell, in nats",
}
NO_HELD_OUT = {
    "laplacian": "No cells were held out: the tensors were estimated by the graph Laplacian, without a model to try on "
    'other cells. `sg.tl.distortion(adata, basis="{key}", method="decoder")` fits one, and holds out one cell in '
    "twenty.",
    "counts": "No scores of held-out cells are stored. `to_anndata()` of a GeoSCVI stores them if it is given the "
    "AnnData that the model was trained on, and the model was trained with validation cells.",
    "other": "No cells were held out, because there were fewer than 20. With 20 cells or more, `{call}` holds out one "
    "in twenty.",
}


@default_torch_modes
def card(adata: AnnData, *, key: str = "geoae", groupby: str | None = None) -> str:
    r"""Describe a map for the supplement of a paper, as Markdown.

    The text starts with a caption for the figure. Then come the scores, first of all those on cells that training did
    not see; how many neighbors the map keeps, if `scgeoae.tl.evaluate` was run; the five regions that are distorted
    most; all settings, those that differ from the defaults first; and the versions and digests (checksums) that
    identify the data and the model. It has no date and no file names, so equal maps have equal cards.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae`, `scgeoae.tl.adopt` or `scgeoae.tl.distortion` was run, or to which a
        GeoSCVI was written.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    groupby
        Column of `obs` with the groups to compare; cells without a label are left out. Default: regions are found on
        the map, by k-means of the positions, and named by their middle.

    Returns
    -------
    The text. ``print`` it, or write it with ``Path("card.md").write_text(sg.get.card(adata), encoding="utf-8")``.

    Raises
    ------
    KeyError
        If there is no map under `key`, no tensors, or no column `groupby`.
    ValueError
        If what is stored was damaged.

    See Also
    --------
    scgeoae.get.provenance : The same settings, versions and digests as a table, and how two maps differ.
    scgeoae.tl.residual : What the map hides in each region.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> print(sg.get.card(adata).splitlines()[0])
    # Map card of X_geoae
    """
    m = read_map(adata, key)
    if m.n_components == 0:
        msg = f"adata.obsm[{m.slot!r}] has no columns, so there is no map to describe; run {m.call} again."
        raise ValueError(msg)
    entries = provenance(adata, key=m.key)
    groups = None if groupby is None else read_groups(adata, groupby).rows
    sections = [
        [f"# Map card of {_text(str(m.slot))}", _caption(m, entries)],
        ["## Scores", *_scores(m)],
        ["## Neighbors", *_neighbors(m)],
        ["## Regions that are distorted most", *_worst(m, groups)],
        ["## Settings", *_settings(m, entries)],
        ["## Data, model and versions", *_identity(m, entries)],
    ]
    return "\n\n".join(part for section in sections for part in section) + "\n"


def _caption(m: Map, entries: pd.DataFrame) -> str:
    """Return two or three sentences to put under the figure."""
    n, unit = m.n_cells, m.unit
    source = _code(str(m.params.get("layer", m.params["use_rep"])))
    version = entries["value"].get("versions.scgeoae")
    by = "scgeoae" if version is None else f"scgeoae {_text(str(version))}"
    regularizer = m.params.get("regularizer")
    if m.kind == "autoencoder":
        names = [regularizer] if isinstance(regularizer, str) else list(regularizer or ())
        kept = " and ".join(dict.fromkeys(KEEPS[name] for name in names if name in KEEPS))
        trained = f"trained to preserve {kept}" if kept else "without a geometric regularizer"
        made = f"Map of {n:,} cells, computed from {source} by {by} with an autoencoder {trained}"
        made += ", then refined cell by cell" if m.params.get("refine") else ""
    elif m.kind == "counts":
        made = f"Map of the counts of {n:,} cells, computed by {by} with a GeoSCVI, a variational autoencoder"
    else:
        how = "the graph Laplacian" if m.kind == "laplacian" else "a decoder fitted to its positions"
        made = f"Embedding {_code(str(m.slot))} of {n:,} cells, measured against {source} by {by} with {how}"
    length = f"a length of 1 on the map stands for {_text(unit.words(float(f'{unit.per_length:.3g}')))}"
    if unit.spread is not None:
        length = (
            f"in the median over pairs of cells, {length} between their decoded positions, and for two thirds of the"
        )
        length += f" pairs this is right within ± {100 * unit.spread:.0f}%"
    elif unit.is_mean:
        length += " in the mean"
    metric = torch.from_numpy(m.metric())
    area = log_area(metric).numpy() / metric.shape[-1]
    low, high = np.quantile(area, [0.1, 0.9])
    scale = f"The scale of small steps varies {10 ** (high - low):.2f}-fold between the 10% and the 90% quantile of the"
    scale += f" cells, and the anisotropy is {float(anisotropy(metric).mean()):.2f} in the mean"
    return f"{made}. {length[0].upper()}{length[1:]}. {scale} (0: circles stay circles)."


def _scores(m: Map) -> list[str]:
    held_out = {name: value for name, value in m.scores.items() if name.endswith("_held_out")}
    parts = []
    if held_out:
        parts.append("Of cells that training did not see:")
        parts.append(_table(["score", "value", "meaning"], [_score_row(*row) for row in held_out.items()]))
        parts.append("Of all cells, and of those that were trained on:")
    else:
        told = NO_HELD_OUT[m.kind if m.kind in NO_HELD_OUT else "other"]
        parts.append(told.format(key=m.key, call=m.call))
    others = [_score_row(name, value) for name, value in m.scores.items() if name not in held_out]
    return [*parts, _table(["score", "value", "meaning"], others)]


def _score_row(name: str, value: float) -> list[str]:
    base = name.removesuffix("_held_out").removesuffix("_train")
    if base in ("CN_encoder", "VPres_encoder", "ISO_encoder"):
        return [_code(name), _number(value), "the same as without `_encoder`, for the metric of the encoder"]
    return [_code(name), _number(value), MEANINGS.get(base, "")]


def _neighbors(m: Map) -> list[str]:
    """Return the rows about this map of every table that `scgeoae.tl.evaluate` stored."""
    parts = []
    for name, table in sorted(read_evaluations(m.adata), key=lambda item: item[0]):
        mine = table[table["basis"].isin([m.key, m.slots.embedding]) & table["value"].notna()]
        mine = mine[~mine["measure"].isin([which for which, of in MEASURES.items() if of.about == "decoder"])]
        rows = [
            [_code(row.measure), _number(row.value), _number(row.error), row.better, MEASURES[row.measure].meaning]
            for row in mine.itertuples()
            if row.measure in MEASURES
        ]
        if rows:
            parts.append(f"From {_code(f'adata.uns[{name!r}]')}, against {_code(str(mine['use_rep'].iloc[0]))}:")
            parts.append(_table(["measure", "value", "standard error", "better", "meaning"], rows))
    return parts or [f'Not measured: `sg.tl.evaluate(adata, basis="{m.key}")` does it.']


def _worst(m: Map, groups: Mapping[str, NDArray[np.intp]] | None) -> list[str]:
    """Return the regions in which the lengths of small steps are farthest from those of the whole map."""
    metric = torch.from_numpy(m.metric())
    scale = eigenvalues(metric.double()).clamp(min=np.finfo(np.float64).tiny).log().numpy() / 2
    scale -= np.median(scale)
    squares, area, shape = (scale**2).mean(1), scale.sum(1), anisotropy(metric).numpy()
    if groups is None:
        found = [(_place(m.positions[cells]), cells) for cells in map_regions(m.positions)]
    else:
        found = [(_text(name), cells) for name, cells in groups.items()]
    columns = {name: obs_numbers(m.adata, name) for name in _per_cell(m)}
    rows = []
    for name, cells in found:
        off = float(np.exp(np.sqrt(squares[cells].mean())))
        cell = [name, f"{len(cells):,}", f"{off:.2f}", f"{np.exp(np.median(area[cells])):.2f}"]
        cell.append(f"{shape[cells].mean():.2f}")
        if m.slots.reconstruction_error in columns:
            error = columns[m.slots.reconstruction_error]
            typical = float(np.nanmedian(error)) if np.isfinite(error).any() else np.nan
            cell.append(_number(float(np.mean(error[cells]) / typical) if typical > 0 else np.nan))
        if m.slots.torn in columns:
            cell.append(f"{100 * columns[m.slots.torn][cells].mean():.1f}")
        rows.append((off, cell))
    rows.sort(key=lambda row: -row[0])
    header = ["region", "cells", "lengths off by a factor of", "area in the data per area", "anisotropy"]
    header += ["error of the reconstruction"] if m.slots.reconstruction_error in columns else []
    header += ["torn edges, %"] if m.slots.torn in columns else []
    told = (
        "Lengths of small steps are compared with the scale of the whole map; the factor is their root mean square "
        "deviation, so 1 is perfect. The area is relative to the map, and above 1 where the map shows the data too "
        "small."
    )
    if m.slots.reconstruction_error in columns:
        told += " The error is relative to the median of all cells."
    if groups is None:
        told += " Regions were found by k-means, and are named by their middle on the map."
    return [told, _table(header, [row for _, row in rows[:N_WORST]])]


def _per_cell(m: Map) -> list[str]:
    names = list(m.adata.obs.columns)
    return [name for name in (m.slots.reconstruction_error, m.slots.torn) if names.count(name) == 1]


def _place(z: NDArray[Any]) -> str:
    return f"around ({', '.join(f'{x:.3g}' for x in np.median(z, axis=0))})".replace("-", "−")


def _settings(m: Map, entries: pd.DataFrame) -> list[str]:
    values = dict(entries[entries["kind"] == "argument"]["value"])
    if m.kind == "autoencoder" and "regularizer" not in m.params:
        values = {"regularizer": None} | values
    default = _defaults(m)
    # a mapping of regularizers has a row for each
    of = {name: default.get(name.partition(".")[0]) for name in values}
    other = [name for name in values if of[name] is not None and not _is_same(values[name], of[name])]
    rows = {name: [_code(name), _value(value)] for name, value in values.items()}
    parts = ["All settings, with the values that the run chose for those left to it:"]
    parts.append(_table(["setting", "value"], rows.values()))
    if other:
        table = _table(["setting", "value", "default"], [[*rows[name], _value(of[name])] for name in other])
        return ["Different from the defaults:", table, *parts]
    return [*(["Every setting that has a fixed default was left at it."] if default else []), *parts]


def _defaults(m: Map) -> dict[str, Any]:
    """Return the defaults of the settings; those that depend on the regularizer are for the one of the map."""
    if m.kind == "fitted":
        return OF_FITTED
    if m.kind != "autoencoder":
        return {}
    regularizer = m.params.get("regularizer")
    settings = Settings(regularizer=dict(regularizer) if isinstance(regularizer, Mapping) else regularizer)
    found = asdict(settings) | {"refine": settings.refines, "random_state": 0, "init_pos": "pca"}
    found["hidden"] = list(settings.hidden)
    return found | {"regularizer": Settings.regularizer}


def _is_same(value: Any, default: Any) -> bool:
    if isinstance(value, float) and isinstance(default, int | float):
        return bool(np.isclose(value, default, rtol=1e-6))
    return list(value) == list(default) if isinstance(value, list) else bool(value == default)


def _identity(m: Map, entries: pd.DataFrame) -> list[str]:
    values = entries["value"]
    data = [[_code(str(name)), _value(value)] for name, value in values[entries["kind"] == "data"].items()]
    data.append(["representation now", _now(m)])
    if m.sample is not None:
        data.append(["cells here", f"{m.adata.n_obs:,}, on the map of a sample of {m.n_cells:,}"])
    elif m.adata.n_obs != m.n_cells:
        data.append(["cells here", f"{m.adata.n_obs:,} of {m.n_cells:,}"])
    data.append(["digest of the embedding", _value(values["embedding"])])
    if m.has_model:
        weights = m.record("model")["weights"]
        total = np.concatenate([np.asarray(weights[name], dtype=np.float32).ravel() for name in sorted(weights)])
        data.append(["digest of the weights", _value(digest(total))])
    machine = values[entries["kind"] == "environment"]
    is_version = machine.index.str.startswith("versions.")
    data += [[_code(str(name)), _value(value)] for name, value in machine[~is_version].items()]
    now = environment("cpu")["versions"]
    then = {str(name).removeprefix("versions."): value for name, value in machine[is_version].items()}
    versions = [[_code(name), _value(value), _value(now.get(name))] for name, value in then.items()]
    return [_table(["entry", "value"], data), _table(["version of", "the map", "this card"], versions)]


def _now(m: Map) -> str:
    """Say whether the representation is still the one that the map was made from."""
    if m.kind == "laplacian":
        return "not compared, for there is no model"
    try:
        _ = m.representation
    except KeyError:
        return "no longer there"
    except (TypeError, ValueError):
        return "changed since the map was made"
    return "unchanged"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in the Markdown of GitHub."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float) -> str:
    return "–" if not np.isfinite(value) else f"{value:.3g}"


def _value(value: Any) -> str:
    return "none" if value is None else _code(f"{value:.6g}" if isinstance(value, float) else str(value))


def _text(value: str) -> str:
    """Return text that Markdown shows as it is, in one line of a table."""
    # an underscore between letters or digits is no emphasis
    return re.sub(r"([\\`*{}\[\]<>#|~$&]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", " ".join(value.split()))


def _code(value: str) -> str:
    """Return a code span. Markdown splits a table even at a vertical bar inside one."""
    value = " ".join(value.split()).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", value)), default=0))
    pad = " " if "`" in value else ""
    return f"{fence}{pad}{value}{pad}{fence}"
