"""Place cells on a map, block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from .._matrix import blocks
from ..geometry import anisotropy
from ..quality.outlier_detection import Detector, Moments, moments
from ..training import Settings
from ..training.finalize import evaluate_model, on_map
from ..training.neighbors import NeighborSearch
from ..training.placement import Field
from .labels import Vote
from .results import Tensors
from .slots import SIDES

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from ..nn.genes import Genes
    from .map import Map
    from .representation import Representation
    from .slots import Side

# Correlation that solvers leave between principal components on the cells that they were computed from.
MAX_CORRELATION = 0.01


class Placed(NamedTuple):
    """What is found for m cells, in units of the representation and of the map."""

    embedding: NDArray[np.float32]
    """(m, d)"""
    metrics: dict[Side, NDArray[np.float32]]
    """(m, d, d) metric tensors of the decoder there, and those that the encoder pushes forward from the cells."""
    error: NDArray[np.float32]
    """(m,) squared distance between each cell and its reconstruction."""
    score: NDArray[np.float32]
    """(m,) outlier score."""
    labels: dict[str, tuple[NDArray[Any], NDArray[np.float32]]]
    """Codes of labels and shares of the votes by column of `obs`."""


class Placer:
    """Places cells on a map. What it finds for a cell does not depend on the cells that come with it.

    Parameters
    ----------
    m
        The map, with the representation of its cells.
    labels
        Labels of the cells of the map that are transferred, by column of `obs`.
    """

    def __init__(self, m: Map, labels: dict[str, pd.Categorical] | None = None) -> None:
        self.map, self.labels = m, labels or {}
        self.model, params, positions = m.autoencoder, m.params, m.positions
        m.representation.check()
        reference = m.representation.matrix
        self.detector = Detector(reference, _made_of(self.model.genes, reference))
        self.log_area = {side: m.relative_log_area(side) for side in SIDES}
        self.field: Field | None = None
        self.vote: Vote | None = None
        is_refined = params.get("refine", False)
        if not (is_refined or self.labels):
            return
        x = np.empty((m.adata.n_obs, self.model.n_features), dtype=np.float32)
        for start, block in blocks(reference):
            x[start : start + len(block)] = self.model.standardize(block).numpy()
        search = NeighborSearch(x)
        if self.labels:
            self.vote = Vote(self.labels, x, search)
        if is_refined:
            self.field = Field(
                self.model,
                search,
                self.model.to_latent(positions).numpy(),
                perplexity=float(params.get("perplexity", Settings.perplexity)),
                divergence_weight=float(params.get("tsne_weight", Settings.tsne_weight)),
                equal_room=float(params.get("equal_room", Settings.equal_room)),
            )

    def place(self, cells: Representation) -> Placed:
        """Place m cells, read in `blocks`.

        Raises
        ------
        ValueError
            If values are not finite, or too large for float32.
        """
        cells.check(may_be_equal=True)
        parts = [self._place(block) for _, block in blocks(cells.matrix)]

        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(part, name) for part in parts])

        def joined_labels(name: str) -> tuple[NDArray[Any], NDArray[np.float32]]:
            winners, shares = map(np.concatenate, zip(*(part.labels[name] for part in parts), strict=True))
            return winners, shares

        error = joined("error")
        if bad := np.count_nonzero(~np.isfinite(error)):
            msg = (
                f"{bad} of {len(error)} cells in {cells.name} are too far from the cells of the map for float32; do "
                "they have other units? Preprocess them as the reference was."
            )
            raise ValueError(msg)
        metrics = {side: np.concatenate([part.metrics[side] for part in parts]) for side in SIDES}
        votes = {name: joined_labels(name) for name in self.labels}
        return Placed(joined("embedding"), metrics, error, joined("score"), votes)

    def tensors(self, placed: Placed) -> dict[Side, Tensors]:
        """Return the metric tensors with the distortion at each cell; areas are relative to the mean over the map."""
        found: dict[Side, Tensors] = {}
        for side, metric in placed.metrics.items():
            tensor = torch.from_numpy(metric)
            found[side] = Tensors(metric, self.log_area[side](tensor).numpy(), anisotropy(tensor).numpy())
        return found

    def _place(self, block: NDArray[Any]) -> Placed:
        model = self.model
        x = model.standardize(block).numpy()
        codes = None
        if self.field is not None:
            # what float32 does not hold has no place, and no error either
            fits = torch.from_numpy(x).square().sum(1).isfinite().numpy()
            codes = torch.full((len(x), model.n_components), torch.nan, dtype=torch.float32)
            if fits.any():
                codes[fits] = torch.from_numpy(self.field.place(x[fits]))
        found = evaluate_model(model, x, np.asarray, codes=codes)
        latent = found.latent if codes is None else codes
        embedding, *metrics = on_map(model, latent, found.metric, found.encoder_metric)
        error = (found.error * (x.shape[1] * float(model.scale) ** 2)).numpy()
        score = self.detector.find(block).score if np.isfinite(error).all() else np.full(len(x), np.nan)
        vote = {} if self.vote is None else self.vote(x)
        return Placed(embedding, dict(zip(SIDES, metrics, strict=True)), error, score, vote)


def _made_of(genes: Genes | None, reference: Any) -> tuple[Moments, float, int] | None:
    """Return the moments, total variance and number of genes of a PCA, or None if it was not computed from these cells.

    Its components are uncorrelated only on the cells that they were computed from.
    """
    n = reference.shape[0]
    if genes is None or genes.offset is None or genes.statistics is None or n < 3:
        return None
    found = moments(reference)
    variance = found.covariance.diagonal()
    size = np.sqrt(np.maximum(np.outer(variance, variance), np.finfo(np.float32).tiny))
    if (np.abs(found.covariance - np.diag(variance)) > MAX_CORRELATION * size).any():
        return None
    total = np.square(genes.statistics.std[: genes.n_projected], dtype=np.float64).sum()
    return found, float(total * n / (n - 1)), genes.n_projected
