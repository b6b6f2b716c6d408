from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import binom

from .._anndata.columns import read_groups
from .._anndata.map import read_map
from .._arguments import as_list, checked_seed
from .._matrix import blocks
from .._runtime import default_torch_modes
from ..quality.gaps import between, judge
from ..quality.valley import LEVEL, N_BINS, POWER

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._anndata.columns import Groups
    from .._anndata.map import Map
    from ..quality.gaps import Bridge, Verdict

# With fewer, a part of a group has no center and no usual distance from the curve.
MIN_CELLS = 10
# Two bins of the test make one of the profile, which starts one distance between the centers before the first, and ends
# one beyond the second.
BINS = N_BINS // 2
WAYS = {"straight": "the straight line", "cells": "the way through the cells"}


@dataclass(frozen=True, repr=False)
class Gap:
    """What is between two groups of cells. `str` says it in words."""

    source: str
    target: str
    groups: tuple[list[str], list[str]]
    """The labels on both sides."""
    groupby: str
    key: str
    unit: str
    verdict: Verdict
    """``"gap"``, ``"bridge"``, ``"continuum"``, ``"torn"`` or ``"too few cells"``."""
    p_value: float
    """p-value of the hypothesis that the density of cells has no valley between the two centers."""
    depth: float
    """Density in the emptiest stretch relative to the highest of the sparser group; NaN if no cell is there."""
    depth_interval: tuple[float, float]
    """90% interval of `depth`, or NaN."""
    n_between: int
    """Cells in the emptiest stretch."""
    n_expected: int
    """Cells that the tails of the two groups would leave there."""
    stretch: tuple[float, float]
    """Where the emptiest stretch starts and ends along the bridge, in units of the representation."""
    length: float
    """Distance between the centers along the bridge, in units of the representation."""
    power: float
    """Chance that the test finds a valley if the middle third of the way has no cells."""
    detectable: float
    """Highest density in the middle third, relative to a continuum, that it finds with a chance of 80%; or NaN."""
    on_map: str
    """``"gap"``, ``"continuum"`` or ``"unclear"``: what the map shows along the same bridge."""
    p_on_map: float
    """p-value of the same test for the positions on the map."""
    depth_on_map: float
    """Depth on the map, or NaN."""
    torn_edges: int | None
    """Torn neighbors across the emptiest stretch on the map, if `scgeoae.tl.distortion` has stored them."""
    bridge: str
    """``"straight"`` or ``"cells"``: the bridge that the numbers above are about."""
    bridges: pd.DataFrame = field(compare=False)
    """p-value, depth, and length of each bridge."""
    curves: dict[str, NDArray[np.float64]] = field(compare=False)
    """(64, d) points on the map of each bridge."""
    profile: pd.DataFrame = field(compare=False)
    """Cells per unit of length along the bridge: of the two groups and others, and what a continuum would show."""

    @property
    def width(self) -> float:
        """Width of the emptiest stretch, in units of the representation."""
        return self.stretch[1] - self.stretch[0]

    def __repr__(self) -> str:
        return f"{self.verdict}: {self}"

    def __str__(self) -> str:
        names = f"{self.source} and {self.target}"
        chance = f"p = {self.p_value:.2g}"
        way = WAYS[self.bridge]
        if self.verdict in ("gap", "bridge"):
            falls = (
                f"Along {way}, the density of cells falls to {self.depth:.0%} ({_interval(self.depth_interval)}) of "
                f"that of the sparser group ({chance})."
            )
            falls += (
                f" The emptiest stretch is {self.width:.2g} {self.unit} wide and has {_cells(self.n_between)}; the "
                f"tails of the two groups would leave {self.n_expected}."
            )
            shown = {"gap": " The map shows it.", "continuum": " The map hides it.", "unclear": ""}[self.on_map]
            if self.verdict == "bridge":
                few = "and some cells bridge it: intermediate cells, another type, or doublets"
                return f"There is a gap between {names} in the data, {few}. {falls}{shown}"
            return f"There is a gap between {names} in the data. {falls}{shown}"
        if self.verdict == "too few cells" and self.power >= POWER:
            down = f", down to {_interval(self.depth_interval)} of that of the sparser group"
            return (
                f"The cells do not tell whether there is a gap between {names}. Along {way}, their density has a "
                f"valley of uncertain depth ({chance}){'' if np.isnan(self.depth) else down}."
            )
        if self.verdict == "too few cells":
            return (
                f"There are too few cells to tell whether there is a gap between {names}: even if the middle third of "
                f"the way were empty, this would be found with a chance of {self.power:.0%} only."
            )
        if self.p_value <= LEVEL:
            found = (
                f"Along {way}, the density of cells has a valley ({chance}), but a shallow one: {self.depth:.0%} "
                f"({_interval(self.depth_interval)}) of that of the sparser group."
            )
        else:
            found = (
                f"Cells fill {way} without a significant valley ({chance}). A valley of {self.detectable:.0%} of the "
                "density or less would be found with a chance of 80%."
            )
        if self.verdict == "continuum":
            return f"There is no gap between {names}. {found}"
        edges = "" if self.torn_edges is None else f" and tears {self.torn_edges} neighbors apart there"
        return (
            f"The map tears a continuum between {names} apart. {found} But the map lets their density fall to "
            f"{self.depth_on_map:.0%}{edges}."
        )


@default_torch_modes
def gap(
    adata: AnnData,
    source: Any,
    target: Any,
    groupby: str,
    *,
    key: str = "geoae",
    random_state: int | np.random.RandomState | None = 0,
) -> Gap:
    r"""Ask whether the empty space between two groups on a map is empty in the data.

    Four fifths of the cells choose a way from one group to the other, and the rest is counted along it, in the
    representation, not on the map; each fifth in turn. A valley in the density along the way is tested against the
    nearest density without one. `adata` is not changed.

    1. There are two ways, called bridges: the straight line between the centers of the groups, and a curve through the
       cells. The groups can be at the ends of a bow, which is filled although the straight line is not. There is a gap
       only if neither is filled, so the verdict is about the one with the larger p-value.
    2. The curve is :math:`c(s) = (1 - s)\,a + s\,b + \sum_j w_j \sin j \pi s`. It starts as a route through neighboring
       cells as the decoder sees them. Then the cells near it are placed on it, and it is fitted to them, in turn. All
       cells are counted, whatever their group, that are as near to a bridge, themselves and as the decoder sees them,
       as is usual for the two groups.
    3. The test finds the stretch that is lower than four fifths of all that is to its left and of all that is to its
       right. The p-value is the share of samples from the nearest density without a valley in which a stretch stands
       out as much, and 1 if there is no such stretch.
    4. If there is a valley, its cells are compared with those equally far from the centers on the outer sides of the
       groups, which tell how many cells the tails of the groups leave there.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae`, `scgeoae.tl.adopt` or `scgeoae.tl.distortion` was run.
    source, target
        The groups: a label of `groupby`, or a list of labels that are taken together.
    groupby
        Column of `obs` with the groups.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    random_state
        Seed of the fifths and of the samples.

    Returns
    -------
    A `Gap`, which says in words what it found (``print(found)``). Lengths are in units of the representation. Its
    ``verdict`` is

    - ``"gap"`` : the density falls to less than two thirds of that of the sparser group (p ≤ 0.05), and there are no
      more cells in the emptiest stretch than the tails of the groups leave there
    - ``"bridge"`` : the density falls as far, but there are more cells than the tails leave there: intermediate cells,
      another type, or doublets
    - ``"continuum"`` : a shallow valley, or none, and a missing middle third would have been found with a chance of at
      least 80%
    - ``"torn"`` : no valley in the data, but one on the map
    - ``"too few cells"`` : no valley, but the cells are too few to find one, or a deep one that may be chance

    Its other fields are

    - ``p_value``, ``depth``, ``depth_interval`` : of the valley; the depth is the density in the emptiest stretch
      relative to the highest of the sparser group, with a 90% interval; NaN if no cell is there
    - ``n_between``, ``n_expected`` : cells in the emptiest stretch, and cells that the tails of the groups leave there
    - ``stretch``, ``width``, ``length`` : where the emptiest stretch starts and ends, its width, and the distance
      between the centers along the bridge
    - ``power``, ``detectable`` : chance of finding an empty middle third, and the highest density there, relative to a
      continuum, that is found with a chance of 80%, or NaN if none is
    - ``on_map``, ``p_on_map``, ``depth_on_map``, ``torn_edges`` : what the map shows along the same bridge
    - ``bridge``, ``bridges``, ``curves`` : the bridge of the verdict, the test along each, and their (64, d) points
      on the map
    - ``profile`` : data frame of cells per unit of length along the bridge
    - ``source``, ``target``, ``groups``, ``groupby``, ``key``, ``unit`` : what was asked

    Raises
    ------
    KeyError
        If there is no map under `key`, no column `groupby`, or no such group.
    ValueError
        If a side has fewer than 10 cells, a group is on both sides, both have their center at the same place in the
        data, or the tensors are a graph-Laplacian estimate, which has no decoder.

    See Also
    --------
    scgeoae.pl.gap : Draw the bridges and the cells along them.
    scgeoae.tl.distortion : Find all neighbors that a map tears apart.

    References
    ----------
    Gao, Bien & Witten 2022, arXiv 2012.02936, for what happens if the same cells make the groups and test them;
    Groisman, Jonckheere & Sapienza 2022, arXiv 1810.02398, for routes that follow the cells; Hastie & Stuetzle 1989,
    *J. Am. Stat. Assoc.* 84:502, for curves through the middle of them; Berger 1982, *Technometrics* 24:295, for the
    larger p-value.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> found = sg.tl.gap(adata, "CD14+ Monocyte", "Dendritic", groupby="bulk_labels")
    >>> found.verdict
    'gap'
    """
    m = read_map(adata, key)
    z = m.positions
    model, representation = deepcopy(m.model).double(), m.representation
    sides, rows = _sides(read_groups(adata, groupby), source, target)
    representation.check()
    groups = np.full(len(z), 2)
    for side, cells in enumerate(rows):
        groups[cells] = side

    def decode(z: NDArray[Any]) -> NDArray[np.float64]:
        with torch.no_grad():
            return model.decode(torch.from_numpy(z)).numpy()

    rng = np.random.default_rng(checked_seed(random_state))
    found = between(lambda: blocks(representation.matrix), z.astype(np.float64), decode, groups, rng)
    chosen, depth = found.chosen, found.chosen.depth
    table = {name: (bridge.valley.p_value, bridge.depth.depth, bridge.length) for name, bridge in found.bridges.items()}
    return Gap(
        source=" + ".join(sides[0]),
        target=" + ".join(sides[1]),
        groups=(sides[0], sides[1]),
        groupby=groupby,
        key=m.key,
        unit=_unit(m),
        verdict=judge(found),
        p_value=chosen.valley.p_value,
        depth=depth.depth,
        depth_interval=depth.interval,
        n_between=depth.n_between,
        n_expected=depth.n_expected,
        stretch=(depth.stretch[0] * chosen.length, depth.stretch[1] * chosen.length),
        length=chosen.length,
        power=found.power.of_empty,
        detectable=found.power.detectable,
        on_map=found.shown,
        p_on_map=found.on_map.valley.p_value,
        depth_on_map=found.on_map.depth.depth,
        torn_edges=_torn_edges(m, found.on_map),
        bridge=found.fullest,
        bridges=pd.DataFrame.from_dict(table, orient="index", columns=["p_value", "depth", "length"]),
        curves={name: bridge.curve for name, bridge in found.bridges.items()},
        profile=_profile(chosen, groups),
    )


def _sides(groups: Groups, source: Any, target: Any) -> tuple[list[list[str]], list[NDArray[np.intp]]]:
    """Return the labels and the rows of the two sides, each one group or several."""
    sides = [list(dict.fromkeys(groups.name(label) for label in as_list(side))) for side in (source, target)]
    for argument, side in zip(("source", "target"), sides, strict=True):
        if not side:
            msg = f"Expected `{argument}` to be a group of adata.obs[{groups.column!r}] or a list of them, found none."
            raise ValueError(msg)
    if shared := [name for name in sides[0] if name in sides[1]]:
        msg = f"{', '.join(map(repr, shared))} is on both sides; take two groups that share no cells."
        raise ValueError(msg)
    rows = [np.concatenate([groups.rows[name] for name in side]) for side in sides]
    for side, cells in zip(sides, rows, strict=True):
        if len(cells) < MIN_CELLS:
            msg = (
                f"{' + '.join(side)!r} of adata.obs[{groups.column!r}] has {_cells(len(cells))}, and sg.tl.gap needs "
                f"at least {MIN_CELLS}: four fifths of them choose the bridge, and the rest is counted, in turn."
            )
            raise ValueError(msg)
    return sides, rows


def _interval(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.0%} to {interval[1]:.0%}"


def _cells(n: int) -> str:
    return f"{n} cell" if n == 1 else f"{n} cells"


def _unit(m: Map) -> str:
    if m.kind == "counts":
        return "units of log1p expression"
    return f"units of {m.params.get('layer', m.params['use_rep'])}"


def _torn_edges(m: Map, on_map: Bridge) -> int | None:
    if m.slots.torn not in m.adata.obsp:
        return None
    start, end = on_map.depth.stretch
    return int(m.torn[on_map.u <= start][:, on_map.u >= end].nnz)


def _profile(bridge: Bridge, groups: NDArray[np.integer]) -> pd.DataFrame:
    """Return the cells per unit of length in the bins of a bridge, and the 95% band of a density without a valley."""
    edges = np.linspace(-1, 2, 3 * BINS + 1)
    per_unit = BINS / bridge.length
    counts = {
        name: np.histogram(bridge.u[groups == i], edges)[0] for i, name in enumerate(("source", "target", "other"))
    }
    n, shares = bridge.valley.n_cells, bridge.valley.shares.reshape(BINS, -1).sum(1)
    low, high = binom.ppf([[0.025], [0.975]], n, shares)
    band = {"expected": n * shares, "low": low, "high": high}
    inner = slice(BINS, 2 * BINS)
    table = pd.DataFrame(counts, dtype=np.float64)
    for name, values in band.items():
        table[name] = np.nan
        table.loc[table.index[inner], name] = values
    middle = (edges[1:] + edges[:-1]) / 2 * bridge.length
    return (table * per_unit).set_index(pd.Index(middle, name="distance"))
