"""The methods that are compared, each with its package's defaults.

The function of a rival takes the (n, d) representation and a seed, and returns the (n, 2) map; `scvi` takes the
(n, genes) counts instead. The packages are imported inside, so that a missing one leaves out its own method only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix


def pca(x: NDArray, seed: int) -> NDArray:
    from sklearn.decomposition import PCA

    return PCA(2, random_state=seed).fit_transform(x)


def umap(x: NDArray, seed: int) -> NDArray:
    import scanpy as sc

    adata = sc.AnnData(x)
    sc.pp.neighbors(adata, use_rep="X", random_state=seed)
    sc.tl.umap(adata, random_state=seed)
    return adata.obsm["X_umap"]


def densmap(x: NDArray, seed: int) -> NDArray:
    from umap import UMAP

    return UMAP(densmap=True, random_state=seed, n_jobs=1).fit_transform(x)


def parametric_umap(x: NDArray, seed: int) -> NDArray:
    # TensorFlow and PyTorch crash each other in one process: use an environment without PyTorch
    import keras
    from umap.parametric_umap import ParametricUMAP

    keras.utils.set_random_seed(seed)
    return ParametricUMAP(random_state=seed, n_jobs=1, keras_fit_kwargs={"verbose": 0}).fit_transform(x)


def tsne(x: NDArray, seed: int) -> NDArray:
    from openTSNE import TSNE

    return np.asarray(TSNE(random_state=seed, n_jobs=1).fit(x))


def pacmap(x: NDArray, seed: int) -> NDArray:
    from pacmap import PaCMAP

    return PaCMAP(random_state=seed).fit_transform(x)


def localmap(x: NDArray, seed: int) -> NDArray:
    from pacmap import LocalMAP

    return LocalMAP(random_state=seed).fit_transform(x)


def phate(x: NDArray, seed: int) -> NDArray:
    from phate import PHATE

    return PHATE(random_state=seed, n_jobs=1, verbose=0).fit_transform(x)


def pymde_neighbors(x: NDArray, seed: int) -> NDArray:
    import pymde

    # the eigenvectors that it starts from still differ from run to run
    pymde.seed(seed)
    return pymde.preserve_neighbors(x).embed().numpy()


def pymde_distances(x: NDArray, seed: int) -> NDArray:
    import pymde

    pymde.seed(seed)
    return pymde.preserve_distances(x).embed().numpy()


def trimap(x: NDArray, seed: int) -> NDArray:
    from numba import njit
    from trimap import TRIMAP

    # TriMap has no seed of its own, and compiled code has another generator than NumPy
    np.random.seed(seed)  # noqa: NPY002
    njit(lambda: np.random.seed(seed))()  # noqa: NPY002
    return TRIMAP(verbose=False).fit_transform(x)


def torchdr_umap(x: NDArray, seed: int) -> NDArray:
    from torchdr import UMAP

    return UMAP(random_state=seed, device="cpu").fit_transform(x)


def torchdr_infotsne(x: NDArray, seed: int) -> NDArray:
    from torchdr import InfoTSNE

    return InfoTSNE(random_state=seed, device="cpu").fit_transform(x)


def scvi(counts: csr_matrix, seed: int) -> NDArray:
    import anndata
    import scvi

    scvi.settings.seed = seed
    adata = anndata.AnnData(counts)
    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata, n_latent=2)
    model.train(accelerator="cpu", enable_progress_bar=False, logger=False)
    return model.get_latent_representation()


RIVALS: dict[str, Callable[[NDArray, int], NDArray]] = {
    "PCA": pca,
    "UMAP": umap,
    "densMAP": densmap,
    "t-SNE": tsne,
    "PaCMAP": pacmap,
    "LocalMAP": localmap,
    "PHATE": phate,
    "PyMDE, neighbors": pymde_neighbors,
    "PyMDE, distances": pymde_distances,
    "TriMap": trimap,
    "TorchDR UMAP": torchdr_umap,
    "TorchDR InfoTSNE": torchdr_infotsne,
    "parametric UMAP": parametric_umap,
    "scVI": scvi,
}
OF_COUNTS = {"scVI"}

LEFT_OUT = "scgeoae, left-out cells"
"""Trained on four fifths of the cells; the others are placed afterwards, and only these are measured."""
OURS = {
    "scgeoae": {},
    "scgeoae, refine=False": {"refine": False},
    "scgeoae, pure geometry": {"neighbors_weight": 0},
    "scgeoae, volume": {"regularizer": "volume"},
    "scgeoae, conformal": {"regularizer": "conformal"},
    "autoencoder": {"regularizer": None},
    LEFT_OUT: {},
}
"""Settings of `scgeoae.training.fit`"""
METHODS = (*RIVALS, *OURS)
