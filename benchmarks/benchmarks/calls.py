"""Whole calls, on cells drawn near those of PBMC 3k."""

from __future__ import annotations

from pathlib import Path

import anndata
import speed

import scgeoae as sg

SIZES = (2_500, 20_000)
REFINE = {"first stage": False, "default": None}


class _Call:
    """A call takes seconds, so it is timed a few times at most, the first time in a fresh process."""

    timeout = 600
    number, repeat, rounds, warmup_time = 1, (1, 5, 30.0), 1, 0.0

    def setup_cache(self) -> None:
        """Draw the cells and map them, into files that the calls read."""
        for n in SIZES:
            path = Path(f"{n}.h5ad")
            speed.draw(n, path)
            for stages, refine in REFINE.items():
                adata = anndata.read_h5ad(path)
                adata.obsm["X_plane"] = adata.obsm["X_pca"][:, :2]
                sg.tl.geoae(adata, use_rep="X_pca", refine=refine, progress_bar=False)
                adata.write_h5ad(f"{n}, {stages}.h5ad")

    setup_cache.timeout = 600

    def setup(self, n: int, stages: str = "default") -> None:
        self.cells = anndata.read_h5ad(f"{n}.h5ad")
        self.mapped = anndata.read_h5ad(f"{n}, {stages}.h5ad")

    def time_call(self, *params: object) -> None:
        self.call(*params)

    def peakmem_call(self, *params: object) -> None:
        self.call(*params)


class Geoae(_Call):
    param_names, params = ("cells", "stages"), (SIZES, tuple(REFINE))

    def call(self, _n: int, stages: str) -> None:
        sg.tl.geoae(self.cells, use_rep="X_pca", refine=REFINE[stages], progress_bar=False)


class Transform(_Call):
    """As many new cells as the map has."""

    param_names, params = ("cells", "stages"), (SIZES, tuple(REFINE))

    def call(self, *_: object) -> None:
        sg.tl.transform(self.cells, self.mapped, use_rep="X_pca")


class Evaluate(_Call):
    param_names, params = ("cells",), (SIZES,)

    def call(self, _n: int) -> None:
        sg.tl.evaluate(self.mapped, basis="geoae")


class Distortion(_Call):
    """The first two principal components as the embedding."""

    param_names, params = ("cells", "method"), (SIZES, ("decoder", "laplacian"))

    def setup(self, n: int, _method: str) -> None:
        super().setup(n)

    def call(self, _n: int, method: str) -> None:
        sg.tl.distortion(self.mapped, basis="plane", use_rep="X_pca", method=method, progress_bar=False)
