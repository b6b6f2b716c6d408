"""What the defaults reach on real cells; the bounds are those of the claim, not of the last run."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.manifold import trustworthiness

import scgeoae as sg
from scgeoae.quality import evaluate
from scgeoae.training import Settings, fit

from .for_each import for_each

NAMES = ("pbmc3k_pca", "packer2019_amphid_neurons", "zilionis2019_mouse_lung")


# medians of five seeds of UMAP of the same components (benchmarks/compare_embeddings.py): what the default has to beat
UMAP = {
    "pbmc3k_pca": {"kNN": 0.4536, "kNN_10": 0.2209, "Trust": 0.9125, "Spear": 0.7186, "Stress_scale_free": 0.4679},
    "packer2019_amphid_neurons": {
        "kNN": 0.6607,
        "kNN_10": 0.3832,
        "Trust": 0.9626,
        "Spear": 0.5919,
        "Stress_scale_free": 0.3704,
    },
    "zilionis2019_mouse_lung": {
        "kNN": 0.5912,
        "kNN_10": 0.2221,
        "Trust": 0.9389,
        "Spear": 0.6122,
        "Stress_scale_free": 0.4470,
    },
}


@pytest.mark.parametrize("name", [*(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[:2]), NAMES[2]])
def test_default_map(reference, name):
    adata = reference(name)
    sg.tl.geoae(adata, progress_bar=False)
    table = sg.tl.evaluate(adata, basis="geoae").set_index("measure")["value"]
    assert table["CN"] <= 0.1
    assert table["VPres"] <= 0.02
    assert table["ISO"] <= 0.01
    for measure, value in UMAP[name].items():
        # the margin of a single seed for the one measure that is close
        bound = 0.98 * value if measure == "kNN_10" else value
        assert table[measure] < bound if measure == "Stress_scale_free" else table[measure] > bound


@pytest.mark.slow
@for_each("name", NAMES)
def test_left_out_cells_find_their_place(reference, name):
    x = np.ascontiguousarray(reference(name).obsm["X_pca"])
    unseen = np.zeros(len(x), dtype=bool)
    unseen[np.random.default_rng(0).permutation(len(x))[: len(x) // 5]] = True
    model = fit(x[~unseen], Settings(refine=False)).model
    z = model.encode(torch.from_numpy(x)).numpy()
    trust = evaluate(x, {"map": z}, n_sample=len(x), local_scores=True)["map"].trust
    assert trust[unseen].mean() >= UMAP[name]["Trust"]


@pytest.mark.slow
@for_each("name", NAMES)
def test_pure_geometry(reference, name):
    adata = reference(name)
    sg.tl.geoae(adata, neighbors_weight=0, progress_bar=False)
    scores = sg.get.scores(adata)
    assert scores["CN"] <= 0.1
    assert scores["VPres"] <= 0.02
    assert scores["ISO"] <= 0.01
    z = adata.obsm["X_geoae"]
    assert trustworthiness(adata.obsm["X_pca"], z, n_neighbors=100) >= 0.92
    assert spearmanr(pdist(adata.obsm["X_pca"]), pdist(z)).statistic >= {NAMES[0]: 0.9}.get(name, 0.75)


@pytest.mark.slow
@for_each("name", NAMES)
def test_the_price_of_geometry(reference, name):
    x = reference(name).obsm["X_pca"]

    def error(regularizer, seed):
        return fit(x, Settings(regularizer=regularizer, seed=seed, neighbors_weight=0)).error.mean()

    regularizers = (None, "isometric", "volume", "conformal", "curvature")
    mse = {regularizer: np.median([error(regularizer, seed) for seed in range(3)]) for regularizer in regularizers}
    assert all(mse[regularizer] <= 1.09 * mse[None] for regularizer in mse)


@pytest.mark.slow
def test_maps_of_ten_seeds_agree_with_no_alignment(reference):
    x = reference("pbmc3k_pca").obsm["X_pca"]
    maps = [fit(x, Settings(seed=seed)).embedding for seed in range(10)]
    assert min(np.corrcoef(a[:, i], b[:, i])[0, 1] for a, b in combinations(maps, 2) for i in range(2)) >= 0.98


@pytest.mark.slow
@for_each("name", NAMES)
@for_each("regularizer", ["isometric", "volume", "conformal"])
def test_auto_strength_lands_within_two_percent_of_the_tolerance(reference, name, regularizer):
    x = reference(name).obsm["X_pca"]
    ratio = [
        fit(x, Settings(regularizer=regularizer, strength="auto", seed=s)).error.mean()
        / fit(x, Settings(regularizer=None, neighbors_weight=0.2, seed=s)).error.mean()
        for s in range(3)
    ]
    assert np.median(ratio) == pytest.approx(1.1, rel=0.02)
