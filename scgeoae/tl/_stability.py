from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scanpy import logging as logg
from tqdm.auto import tqdm

from .._anndata.columns import read_groups
from .._anndata.map import read_map
from .._anndata.recipe import recipe_of
from .._anndata.thinning import thinning_of
from .._anndata.write import Changes, write
from .._arguments import check_flag, checked_integer, checked_seed
from .._runtime import default_torch_modes
from ..graphs import nearest_others
from ..quality.stability import aligned, as_graph, ellipses, order_of_groups, share_that_stays
from ..training.refit import refit

if TYPE_CHECKING:
    import torch
    from anndata import AnnData

    from .._anndata.columns import Groups

# Neighbors of a cell that are followed, and over which covariances are averaged, since ten refits alone leave the shape
# of an ellipse to chance; and the nearest on a refit among which they have to be.
N_NEIGHBORS, N_AMONG = 15, 30
# Most groups whose distances are compared, since there are g(g − 1)(g − 2)/2 statements about g groups.
MAX_GROUPS = 200
# Probability of an ellipse.
LEVEL = 0.9


@default_torch_modes
def stability(
    adata: AnnData,
    *,
    key: str = "geoae",
    n_fits: int = 10,
    groupby: str | None = None,
    counts: str | None = None,
    device: str | torch.device = "auto",
    progress_bar: bool = True,
    random_state: int | np.random.RandomState | None = 0,
    copy: bool = False,
) -> AnnData | None:
    r"""Ask how sure the positions on a map are: make it again from random halves of the cells.

    The cells are split into two halves `n_fits`/2 times, and each half makes a map with the settings of the map and
    another seed. The other half is placed on it as `scgeoae.tl.transform` does, and it is rotated and mirrored to lie
    as near to the map as possible. How far a cell moves from a map of which it is a part to another on which it is new
    says where it would lie if the experiment were done again. See docs/stability.md.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` was run, with all cells of the map and its representation.
    key
        The `key_added` of that run.
    n_fits
        Number k of refits, an even number of at least 4. Each takes about as long as the map, or less. With fewer than
        10, the ellipses are rough.
    groupby
        Column of `obs` with 3 to 200 groups, whose distances are compared. Cells without a group are left out.
    counts
        Layer with the counts behind the representation. In each refit, every molecule is then kept with a probability
        of one half, so that the noise of counting is included. The default resamples cells alone. The map has to know
        how its representation is computed from counts, as after `scanpy.pp.normalize_total`, `scanpy.pp.log1p` and
        `scanpy.pp.pca`.
    device
        Where to train, as in `scgeoae.tl.geoae`.
    progress_bar
        Show a progress bar if this takes longer than a second.
    random_state
        Seed of the halves and of the refits.
    copy
        Return a copy instead of writing into `adata`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. It sets

    ``adata.obsm["{key}_stability"]`` : (n, d(d+1)/2) float32
        Ellipse of each cell: the upper triangle, row by row, of the matrix S for which
        :math:`\{v : v^\top S^{-1} v \le 1\}` around the cell is made to hold its position on 9 of 10 maps of fresh
        cells.
    ``adata.obs["{key}_uncertainty"]`` : float32
        Longest semi-axis of this ellipse, in units of the map.
    ``adata.obsp["{key}_stability"]`` : (n, n) float32 csr, 15 entries per row
        For each of the 15 nearest neighbors of a cell on the map, the share of the refits on which it is among the 30
        nearest.
    ``adata.obs["{key}_stable_neighbors"]`` : float32
        Share of these 15 neighbors that are among the 30 nearest on all refits.
    ``adata.uns["{key}_stability"]`` : dict
        ``params``; ``factor``, which sets the size of the ellipses; ``coverage``, (k,), the share of steps
        from or to one refit that are in the ellipses which the other refits give; with `groupby`, ``order``, a data
        frame with columns ``group``, ``nearer``, ``farther``, ``distance``, ``distance_farther`` and ``share``: for
        each group and two others, which of the two is nearer to it on the map, and on which share of the refits.
        Distances are those between the means of the groups.

    Raises
    ------
    KeyError
        If there is no map under `key`, no such column or layer, or what the map was started from is gone.
    ValueError
        If an argument is out of range, the map was not made by `scgeoae.tl.geoae`, some of its cells are missing, its
        representation has changed, it cannot be made again from what is stored, or the layer does not hold the counts
        that it was made from.

    See Also
    --------
    scgeoae.pl.stability : Draw the ellipses.

    References
    ----------
    Shao & Wu 1989, Annals of Statistics 17, for the variance of estimates from random parts of a sample.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata, n_steps=20)
    >>> sg.tl.stability(adata, n_fits=4, groupby="bulk_labels")
    >>> order = adata.uns["geoae_stability"]["order"]
    >>> sure = order[order["share"] >= 0.95]
    """
    m = read_map(adata, key)
    n_fits = checked_integer(n_fits, "n_fits", 4)
    if n_fits % 2:
        msg = f"Expected `n_fits` to be even, found {n_fits}: each split of the cells makes two maps."
        raise ValueError(msg)
    check_flag(progress_bar, "progress_bar")
    seed = checked_seed(random_state)
    groups = None if groupby is None else _checked(read_groups(adata, groupby))
    recipe = recipe_of(m)
    thinning = None if counts is None else thinning_of(m, counts)
    m.representation.check()
    noise = "the noise of counting is not included (see `counts`)" if counts is None else f"and counts in {counts!r}"
    start = logg.info(f"repeating the map in adata.obsm[{m.slot!r}] {n_fits} times on half of the cells; {noise}")

    z, n = m.positions.astype(np.float64), adata.n_obs
    refits = np.empty((n_fits, *z.shape))
    own = np.zeros((n_fits, n), dtype=bool)
    rng = np.random.default_rng(seed)
    splits = [np.array_split(rng.permutation(n), 2) for _ in range(n_fits // 2)]
    bar = tqdm(range(n_fits), desc="refits", unit="map", delay=1, disable=not progress_bar, leave=False)
    for i in bar:
        rows = np.sort(splits[i // 2][i % 2])
        raw = m.representation.matrix if thinning is None else thinning.draw(rng)
        settings = recipe.settings(seed=int(rng.integers(2**31)))
        found = refit(
            raw,
            rows,
            settings,
            init_pos=recipe.start(rows, settings.seed),
            ambient=recipe.ambient,
            device=device,
            name=m.representation.name,
        )
        refits[i] = aligned(found, z)
        own[i, rows] = True

    near = nearest_others(z, min(N_NEIGHBORS, n - 1))
    spread = ellipses(refits, own, around=np.column_stack([np.arange(n), near]), level=LEVEL)
    stays = share_that_stays(near, refits, among=min(N_AMONG, n - 1))
    above, right = np.triu_indices(z.shape[1])
    record: dict[str, Any] = {
        "params": {"n_fits": n_fits, "random_state": seed}
        | {name: value for name, value in (("groupby", groupby), ("counts", counts)) if value is not None},
        "factor": spread.factor,
        "coverage": spread.coverage,
    }
    if groups is not None:
        order = order_of_groups(z, refits, list(groups.rows.values()))
        names = pd.Index(groups.rows)
        record["order"] = pd.DataFrame(
            {name: names[rows] if rows.dtype.kind == "i" else rows for name, rows in order._asdict().items()}
        )
    slots = m.slots
    changes = Changes(
        {
            ("obsm", slots.stability): spread.shape[:, above, right].astype(np.float32),
            ("obs", slots.uncertainty): np.sqrt(np.linalg.eigvalsh(spread.shape)[:, -1]).astype(np.float32),
            ("obsp", slots.stability): as_graph(near, stays),
            ("obs", slots.stable_neighbors): (stays == 1).mean(1).astype(np.float32),
            ("uns", slots.stability): record,
        },
        [
            f"obsm[{slots.stability!r}], ellipses for the positions on 9 of 10 maps of fresh cells (upper triangles)",
            f"obs[{slots.uncertainty!r}], their longest semi-axes, in units of the map",
            f"obsp[{slots.stability!r}], obs[{slots.stable_neighbors!r}], neighbors on the map that stay",
            f"uns[{slots.stability!r}], {', '.join(record)}",
        ],
    )
    return write(adata, changes, start=start, copy=copy)


def _checked(groups: Groups) -> Groups:
    if len(groups.rows) < 3:
        msg = (
            f"adata.obs[{groups.column!r}] has {len(groups.rows)} groups, and `groupby` compares the distances of two "
            "groups from a third; give a column with three or more, or leave `groupby` out."
        )
        raise ValueError(msg)
    if len(groups.rows) > MAX_GROUPS:
        msg = (
            f"adata.obs[{groups.column!r}] has {len(groups.rows)} groups, which make more statements than anyone can "
            f"read; give a column with {MAX_GROUPS} groups at most, or leave `groupby` out."
        )
        raise ValueError(msg)
    return groups
