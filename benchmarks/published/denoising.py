"""Denoising and geometry, after Lee, Kwon & Park 2021, *Neighborhood Reconstructing Autoencoders*."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from reference_data import LITERATURE
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist, squareform

from scgeoae import datasets
from scgeoae.training import Settings, fit

from . import surfaces

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scgeoae.training import Fit

SEEDS = range(3)
CURVES = {"50 points, noise 0.2": (50, 0.2)}
METHODS = {
    "AE": None,
    "NRAE-L": {"nrae_l": 0.5},
    "NRAE-Q": {"nrae_q": 2.0},
    "NRAE-Q + isometric": {"nrae_q": 1.0, "isometric": 0.2},
    "DAE": {"dae": 0.2},
}
SHARED = LITERATURE | {"n_steps": 1500, "n_neighbors": 10}
SHEET = {"n_obs": 300, "noise": 0.2}


def curve(n_obs: int, noise: float, seed: int, regularizer: object) -> tuple[NDArray, Fit]:
    x = np.asarray(datasets.sine_curve(n_obs=n_obs, noise=noise, random_state=seed).X)
    return x, fit(x, Settings(n_components=1, regularizer=regularizer, seed=seed, **SHARED))


def decoded_curve(fitted: Fit) -> NDArray:
    low, high = float(fitted.embedding.min()), float(fitted.embedding.max())
    return fitted.model.decode(torch.linspace(low, high, 2000)[:, None]).numpy()


def true_curve() -> NDArray:
    t = np.linspace(-np.pi, np.pi, 4001)
    return np.stack([t, np.sin(t)], axis=1)


def distance(points: NDArray, of: NDArray) -> float:
    """Return the root mean squared distance of `points` from the densely sampled set `of`."""
    return float(np.sqrt((cKDTree(of).query(points)[0] ** 2).mean()))


def sheet(seed: int, regularizer: object) -> tuple[float, float, float]:
    """Return the error of a noisy S shape's cells before and after decoding, and the distance correlation."""
    adata = datasets.s_shape(**SHEET, random_state=seed)
    x = np.asarray(adata.X)
    fitted = fit(x, Settings(regularizer=regularizer, seed=seed, **SHARED))
    truth = surfaces.s_shape(301).vertices
    decoded = fitted.model.decode(torch.from_numpy(fitted.embedding)).numpy()
    geodesic = squareform(adata.obsp["geodesic_distances"], checks=False)
    correlation = float(np.corrcoef(pdist(fitted.embedding), geodesic)[0, 1])
    return distance(x, truth), distance(decoded, truth), correlation


def table(results: Path) -> str:
    """Fit all methods, draw the curves of the first seed into the folder `results` and return the table."""
    torch.set_num_threads(1)
    truth = true_curve()
    lines = [
        "# Neighborhood Reconstructing Autoencoders (Lee, Kwon & Park 2021)",
        "",
        "A noisy sine curve: root mean squared distance of the decoded curve from the true curve, and of the true",
        "curve from the decoded.",
        f"Medians of {len(SEEDS)} draws, {SHARED['n_steps']} steps, k = {SHARED['n_neighbors']}.",
        "",
        "| curve | method | decoded to true | true to decoded |",
        "| --- | --- | --- | --- |",
    ]
    drawn = {}
    for name, (n_obs, noise) in CURVES.items():
        for method, regularizer in METHODS.items():
            errors = []
            for seed in SEEDS:
                x, fitted = curve(n_obs, noise, seed, regularizer)
                decoded = decoded_curve(fitted)
                errors.append([distance(decoded, truth), distance(truth, decoded)])
                if seed == SEEDS[0]:
                    drawn[name, method] = x, decoded
            there, back = np.median(errors, axis=0)
            lines.append(f"| {name} | {method} | {there:.3f} | {back:.3f} |")
            print(lines[-1], flush=True)
    lines += [
        "",
        f"A noisy surface, the S shape ({SHEET['n_obs']} points, noise {SHEET['noise']}): root mean squared distance",
        "of the original and of the decoded cells from the true surface, and correlation of distances on the map with",
        "true geodesic distances.",
        "",
        "| method | cells | decoded cells | distance correlation |",
        "| --- | --- | --- | --- |",
    ]
    for method, regularizer in METHODS.items():
        before, after, correlation = np.median([sheet(seed, regularizer) for seed in SEEDS], axis=0)
        lines.append(f"| {method} | {before:.3f} | {after:.3f} | {correlation:.4f} |")
        print(lines[-1], flush=True)
    draw(drawn, results / "published_c.png")
    return "\n".join([*lines, ""])


def draw(drawn: dict, path: Path) -> None:
    """Draw the curves that the methods decode from one draw of points."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    methods = list(METHODS)[:4]
    figure, axes = plt.subplots(
        len(CURVES), len(methods), figsize=(3.2 * len(methods), 2.4 * len(CURVES)), layout="constrained", squeeze=False
    )
    truth = true_curve()
    for row, name in zip(axes, CURVES, strict=True):
        for panel, method in zip(row, methods, strict=True):
            x, decoded = drawn[name, method]
            panel.plot(*truth.T, color="0.6", lw=3, label="true curve")
            panel.scatter(*x.T, s=9, color="C0", linewidths=0, label="data")
            panel.plot(*decoded.T, color="C3", lw=1.5, label="decoded")
            panel.set(title=f"{method}: {distance(decoded, truth):.3f}", xticks=[], yticks=[], aspect="equal")
        row[0].set_ylabel(name)
    axes[0, 0].legend(loc="upper left", fontsize="x-small", frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
