"""Scaled scores as in OpenProblems' table: ``python benchmarks/openproblems/run.py [DATA ...] --maps FOLDER``.

Runs the component in ``scgeoae/`` and the methods of OpenProblems' task "dimensionality reduction for visualization" on
local data, measures the maps with `scgeoae.quality.openproblems` against all genes, and scales the values by the
controls. Maps are kept in FOLDER, so that a run that was stopped goes on where it was. Written into
``benchmarks/results``:

- ``openproblems/{data}.csv``: value of each measure of each map
- ``openproblems.md``: the scaled scores, medians over the seeds, and where the map loses against another method

``--tables`` only writes ``openproblems.md`` from the CSV files.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from scipy import sparse
from scipy.linalg import eigh

sys.path.insert(0, str(Path(__file__).parents[1]))
from reference_data import EVERY, WITHOUT_GENES, read

from scgeoae.quality import openproblems
from scgeoae.quality.measures import OPENPROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RESULTS = Path(__file__).parents[1] / "results" / "openproblems"
COMPONENT = Path(__file__).parent / "scgeoae" / "script.py"
DATA = [name for name in EVERY if not name.endswith("_scaled")]
N_HVG, N_COMPONENTS = 1000, 50
OURS = "scgeoae"


@dataclass(frozen=True)
class Data:
    """Cells as OpenProblems has them."""

    name: str
    adata: ad.AnnData
    """the file that a method reads: ``layers["normalized"]``, ``var["hvg_score"]``, and two names in ``uns``"""
    labels: NDArray[np.str_]

    @property
    def normalized(self) -> NDArray | sparse.csr_matrix:
        """Expression of all genes."""
        return self.adata.layers["normalized"]

    @property
    def variable(self) -> NDArray | sparse.csr_matrix:
        """Expression of the most variable genes."""
        return self.normalized[:, np.argsort(-self.adata.var["hvg_score"].to_numpy(), kind="stable")[:N_HVG]]

    @cached_property
    def components(self) -> NDArray:
        """Principal components of the most variable genes, or the only components that there are."""
        if self.name in WITHOUT_GENES:
            return self.normalized
        return np.ascontiguousarray(sc.pp.pca(self.variable, n_comps=N_COMPONENTS, svd_solver="arpack"))


def load(name: str) -> Data:
    adata = read(name)
    labels = adata.obs[EVERY[name]].astype(str).to_numpy()
    if name in WITHOUT_GENES:
        x = np.asarray(adata.obsm["X_pca"], dtype=np.float64)
        scores = np.zeros(x.shape[1])
    else:
        x = sparse.csr_matrix(adata.X)
        scores = adata.var["dispersions_norm"].to_numpy()
    file = ad.AnnData(
        layers={"normalized": x},
        obs=adata.obs[[]],
        var=pd.DataFrame({"hvg_score": scores}, index=[str(i) for i in range(x.shape[1])]),
        uns={"dataset_id": name, "normalization_id": "log_cp10k"},
    )
    return Data(name, file, labels)


def random_features(data: Data, seed: int) -> NDArray:
    return np.random.default_rng(seed).normal(size=(data.adata.n_obs, 2))


def true_features(data: Data, seed: int) -> NDArray | sparse.csr_matrix:
    return data.normalized


def spectral_features(data: Data, seed: int) -> NDArray:
    """Return a diffusion map with up to 1000 columns."""
    from umap import UMAP

    graph = UMAP(transform_mode="graph", random_state=seed, n_jobs=1).fit_transform(data.normalized)
    n_comps = min(1000, min(data.normalized.shape) - 2)
    scale = 1 / np.sqrt(np.asarray(graph.sum(axis=0)).ravel())
    laplacian = np.eye(graph.shape[0]) - scale[:, None] * graph.toarray() * scale
    values, vectors = eigh(laplacian, subset_by_index=[0, n_comps - 1], overwrite_a=True)
    return values * vectors


def pca(data: Data, seed: int) -> NDArray:
    matrix = data.normalized if data.name in WITHOUT_GENES else data.variable
    return sc.pp.pca(matrix, n_comps=2, svd_solver="arpack")


def umap(data: Data, seed: int, *, densmap: bool = False) -> NDArray:
    from umap import UMAP

    return UMAP(densmap=densmap, random_state=seed, n_jobs=1).fit_transform(data.components)


def tsne(data: Data, seed: int) -> NDArray:
    cells = ad.AnnData(obsm={"X_pca": data.components}, shape=(data.adata.n_obs, 0))
    sc.tl.tsne(cells, use_rep="X_pca", random_state=seed, n_jobs=1)
    return cells.obsm["X_tsne"]


def phate(data: Data, seed: int) -> NDArray:
    from phate import PHATE

    matrix = data.normalized if data.name in WITHOUT_GENES else data.variable
    return PHATE(n_pca=N_COMPONENTS, gamma=1, random_state=seed, n_jobs=1, verbose=0).fit_transform(matrix)


def mde(data: Data, seed: int, *, kind: str) -> NDArray:
    import pymde

    pymde.seed(seed)
    preserve = {"neighbors": pymde.preserve_neighbors, "distances": pymde.preserve_distances}[kind]
    return preserve(data.components, embedding_dim=2).embed().detach().numpy()


def component(data: Data, seed: int, *options: str) -> NDArray:
    """Run the component, as OpenProblems does."""
    if data.name in WITHOUT_GENES:
        options = (*options, "--n_hvg", "0", "--n_pca_dims", "0")
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: str(Path(folder) / f"{kind}.h5ad") for kind in ("input", "output")}
        data.adata.write_h5ad(files["input"])
        paths = ["--input", files["input"], "--output", files["output"]]
        subprocess.run(
            [sys.executable, COMPONENT, *paths, "--random_state", str(seed), *options],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return ad.read_h5ad(files["output"]).obsm["X_emb"]


CONTROLS: dict[str, Callable[[Data, int], NDArray | sparse.csr_matrix]] = {
    "random features": random_features,
    "spectral features": spectral_features,
    "true features": true_features,
}
METHODS: dict[str, Callable[[Data, int], NDArray]] = {
    "PCA": pca,
    "UMAP": umap,
    "densMAP": partial(umap, densmap=True),
    "t-SNE": tsne,
    "PHATE": phate,
    "PyMDE, neighbors": partial(mde, kind="neighbors"),
    "PyMDE, distances": partial(mde, kind="distances"),
    OURS: component,
}
HEAD = (
    "# Scores of OpenProblems",
    "",
    "Made by `python benchmarks/openproblems/run.py`; its README says what is compared. All numbers are medians over",
    "the seeds. A score is 0 for random features and 1 for true features (all genes). Scores outside are set to 0 and",
    "1, and a dash says that true features are not better than random ones. `mean` is the mean of the 14 scores, where",
    "a dash counts as 0. In `mean, 3 controls`, 0 is the worst of the three controls and 1 the best.",
    "",
)
# they have no seed, or are too slow and hardly depend on it
ONCE = {"true features", "spectral features"}


def embed(data: Data, method: str, seed: int, folder: Path) -> NDArray | sparse.csr_matrix:
    """Return the map that is kept in the folder, or make it."""
    if method == "true features":
        return data.normalized
    path = folder / data.name / f"{method.replace(', ', '_').replace(' ', '_')}_{seed}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = (CONTROLS | METHODS)[method](data, seed)
        np.save(path, np.asarray(made, dtype=np.float64))
        print(f"{data.name}: {method}, seed {seed}", flush=True)
    return np.load(path)


def measure(name: str, methods: list[str], n_seeds: int, folder: Path) -> None:
    """Make and measure the maps that the CSV file lacks."""
    path = RESULTS / f"{name}.csv"
    known = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["method", "seed", "measure", "value"])
    have = set(zip(known["method"], known["seed"], strict=True))
    wanted = [(method, seed) for method in methods for seed in range(1 if method in ONCE else n_seeds)]
    wanted = [key for key in wanted if key not in have]
    if not wanted:
        return
    data = load(name)
    maps = {f"{method} {seed}": embed(data, method, seed, folder) for method, seed in wanted}
    found = openproblems(data.normalized, maps, labels=data.labels)
    rows = [
        (method, seed, which, estimate.value)
        for method, seed in wanted
        for which, estimate in found[f"{method} {seed}"].scores.items()
    ]
    new = pd.DataFrame(rows, columns=known.columns)
    RESULTS.mkdir(parents=True, exist_ok=True)
    merged = pd.concat([known, new]) if len(known) else new
    order = {method: at for at, method in enumerate((*CONTROLS, *METHODS))}
    merged = merged.sort_values(
        ["method", "seed"], key=lambda s: s.map(order) if s.name == "method" else s, kind="stable"
    )
    merged.to_csv(path, index=False, float_format="%.5f")


def wide(values: pd.DataFrame) -> pd.DataFrame:
    """Return one row per method and seed, and measures as columns."""
    table = values.pivot(index=["method", "seed"], columns="measure", values="value")
    return table.reindex(columns=list(OPENPROBLEMS))


def scaled(table: pd.DataFrame, lowest: pd.Series, highest: pd.Series) -> pd.DataFrame:
    """Return scores between 0 and 1, or NaN for measures on which the best control is not better than the worst."""
    spread = highest - lowest
    return ((table - lowest) / spread.where(spread > 0)).clip(0, 1)


def medians(table: pd.DataFrame) -> pd.DataFrame:
    """Return the medians over the seeds, with methods in the order of this file."""
    found = table.groupby("method").median()
    return found.loc[[method for method in (*CONTROLS, *METHODS) if method in found.index]]


def summary(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the medians of one data set, with means of scores first: of scaled scores, and of the values.

    In "mean", random features have a score of 0, and true features have 1. In "mean, 3 controls", the worst of the
    three controls has 0 and the best has 1, as in OpenProblems' reports. A missing score counts as 0 there and here.
    """
    raw = medians(table)
    controls = raw.loc[list(CONTROLS)]
    scores = scaled(table, controls.loc["random features"], controls.loc["true features"])
    means = {
        "mean": scores.fillna(0).mean(axis=1),
        "mean, 3 controls": scaled(table, controls.min(), controls.max()).fillna(0).mean(axis=1),
    }
    return medians(pd.DataFrame(means).join(scores)), raw


def markdown(table: pd.DataFrame) -> str:
    def cell(value: float) -> str:
        return "–" if np.isnan(value) else f"{value:.3f}"

    header = f"| {table.index.name} | {' | '.join(table.columns)} |"
    rows = [
        f"| {name} | {' | '.join(map(cell, row))} |" for name, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    return "\n".join([header, "| --- " * (table.shape[1] + 1) + "|", *rows])


def losses(name: str, scores: pd.DataFrame, raw: pd.DataFrame) -> list[str]:
    """Return one line of a table for each measure on which another method is better."""
    others = [method for method in METHODS if method in raw.index and method != OURS]
    lines = []
    for which in OPENPROBLEMS:
        best = raw.loc[others, which].idxmax()
        theirs, ours = raw.loc[best, which], raw.loc[OURS, which]
        if theirs > ours:
            by = scores.loc[best, which] - scores.loc[OURS, which]
            lines.append(f"| {name} | {which} | {best} | {theirs:.3f} | {ours:.3f} | {by:.3f} |")
    return lines


def report() -> str:
    """Return the page with all tables, made from the CSV files."""
    means, parts, lost = {}, [], []
    for name in (name for name in DATA if (RESULTS / f"{name}.csv").exists()):
        values = pd.read_csv(RESULTS / f"{name}.csv")
        scores, raw = summary(wide(values))
        means[name] = scores["mean"]
        parts += [f"## {name}", "", "Scaled:", "", markdown(scores), "", "Values:", "", markdown(raw), ""]
        if OURS in raw.index:
            lost += losses(name, scores, raw)
    overview = pd.DataFrame(means).T.rename_axis("data")
    overview = overview[[method for method in METHODS if method in overview]]
    if lost:
        parts += [
            "## Where the map loses",
            "",
            "Each measure on which the best other method is better than scgeoae, and the difference of their scaled",
            "scores.",
            "",
            "| data | measure | best other method | its value | value of scgeoae | scaled difference |",
            "| --- | --- | --- | --- | --- | --- |",
            *lost,
            "",
        ]
    return "\n".join([*HEAD, markdown(overview), "", *parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", metavar="DATA", help=f"of {', '.join(DATA)}; by default all")
    parser.add_argument("--maps", type=Path, default=Path("openproblems_maps"), metavar="FOLDER")
    parser.add_argument("--methods", nargs="+", default=[*CONTROLS, *METHODS], metavar="METHOD")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", action="store_true", help="only write the tables")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in () if options.tables else options.data or DATA:
        measure(name, options.methods, options.seeds, options.maps)
    RESULTS.with_suffix(".md").write_text(report())
    print(report())


if __name__ == "__main__":
    main()
