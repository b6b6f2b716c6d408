from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from anndata import AnnData
from scanpy import logging as logg
from scvi import REGISTRY_KEYS
from scvi.dataloaders import CollectionAdapter
from scvi.model import SCVI

from .._anndata.params import without_none
from .._anndata.representation import stored_representation
from .._anndata.results import changes_of_map, results_of_counts
from .._anndata.units import statistics_of
from .._anndata.write import write
from .._arguments import check_adata, check_name, check_option, checked_integer, checked_map_key, checked_number
from ..geometry import procrustes
from ..geometry.chart import fit_chart
from ..geometry.regularizers import REGULARIZERS, canonical_name
from ..nn.genes import Genes
from ..training import Settings
from ..training.device import environment
from ._extract import check_counts, survey, take_out
from ._module import STRENGTHS, GeoTrainingPlan, GeoVAE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    from torch import Tensor

    from .._anndata.params import Params
    from ..geometry.chart import Chart
    from ._extract import Survey


class GeoSCVI(SCVI):
    """Map raw counts, with batches: `scvi.model.SCVI` with a decoder that is regularized toward an isometry.

    Use it to map counts directly, with batches, or from disk (docs/counts.md). Whatever works with a trained
    `scvi.model.SCVI` works with it too: likelihoods, batches, data loaders, saving and training on several devices are
    those of scvi-tools (``pip install "scgeoae[scvi]"``). Two things are new. A penalty acts on the pullback
    metric, which measures steps in latent space by how much they change expression (at the covariates of each cell).
    With it, two latent dimensions form a map with the distances (areas, angles) of expression. And `to_anndata` writes
    this map as `scgeoae.tl.geoae` does.

    Parameters
    ----------
    adata
        AnnData that was set up with `GeoSCVI.setup_anndata`: raw counts, typically of a few thousand variable genes.
        `None` if `train` gets a data module, as in `scvi.model.SCVI`.
    registry
        As in `scvi.model.SCVI`.
    n_latent
        Number d of latent dimensions. Two for a map.
    n_layers
        Number of hidden layers of encoder and decoder. The default is two, not one as in `scvi.model.SCVI`: a surface
        that must not stretch has to bend more (docs/counts.md).
    regularizer
        What to preserve: ``"isometric"`` for distances, ``"volume"`` for areas, ``"conformal"`` for angles, as in
        `scgeoae.tl.geoae`. A mapping combines several, with their weights. `None` turns the penalty off; unlike that of
        `scvi.model.SCVI`, the decoder still has smooth activations and no batch normalization (docs/counts.md).
    strength
        Weight of the penalty relative to the negative log likelihood, in nats per gene: the loss is the negative ELBO
        plus strength × number of genes × penalty. Higher values reduce distortion and worsen the likelihood. The
        defaults were chosen on two data sets (docs/counts.md).
    sampling
        Where in latent space to evaluate the penalty: ``"data"``, at the latent positions of the cells; ``"mixup"``,
        also between them; ``"gaussian"`` or ``"uniform"``, as in `scgeoae.tl.geoae`.
    ambient
        How to measure steps in expression. ``"log1p"``: the Euclidean distance of log(1 + s ρ), where ρ is the mean
        expression normalized to 1 and s is the `library_size`, as in a Scanpy analysis. ``"fisher"``: the Fisher
        information metric of the likelihood at this library size, in which a step is long if counts can tell its ends
        apart (Palma et al. 2025, FlatVI); requires ``gene_likelihood="nb"`` or ``"poisson"``.
    library_size
        Total counts s to which expression is normalized. Has no effect if `setup_anndata` was given size factors;
        expression is then taken at a size factor of 1.
    **kwargs
        Passed on to `scvi.model.SCVI`: ``n_hidden``, ``gene_likelihood``, ``dispersion`` and others.

    Raises
    ------
    ValueError
        If an argument is out of range, or the likelihood or latent distribution does not have such a geometry.

    References
    ----------
    Lopez et al. 2018, *Deep generative modeling for single-cell transcriptomics*; Palma et al. 2025, arXiv 2507.11789.

    Examples
    --------
    >>> import numpy as np, anndata, scgeoae as sg
    >>> counts = np.random.default_rng(0).poisson(1.0, size=(200, 50)).astype("float32")
    >>> adata = anndata.AnnData(counts)
    >>> sg.model.GeoSCVI.setup_anndata(adata)
    >>> model = sg.model.GeoSCVI(adata)
    >>> model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    >>> model.to_anndata()
    >>> adata.obsm["X_geoscvi"].shape
    (200, 2)
    """

    _module_cls = GeoVAE
    _training_plan_cls = GeoTrainingPlan
    _model_summary_string: str

    def __init__(
        self,
        adata: AnnData | None = None,
        registry: dict[str, Any] | None = None,
        *,
        n_latent: int = 2,
        n_layers: int = 2,
        regularizer: str | Mapping[str, float] | None = "isometric",
        strength: float | None = None,
        sampling: Literal["data", "mixup", "gaussian", "uniform"] = "data",
        ambient: Literal["log1p", "fisher"] = "log1p",
        library_size: float = 1e4,
        **kwargs: Any,
    ) -> None:
        n_layers = checked_integer(n_layers, "n_layers", 1)
        penalties = _penalties(regularizer, strength, n_latent, sampling)
        _check_geometry(ambient, library_size, kwargs)
        if adata is not None and adata.n_vars < n_latent:
            msg = f"adata has {adata.n_vars} genes, too few for a map of n_latent={n_latent} dimensions."
            raise ValueError(msg)
        super().__init__(
            adata,
            registry,
            n_latent=n_latent,
            n_layers=n_layers,
            penalties=penalties,
            sampling=sampling,
            ambient=ambient,
            library_size=float(library_size),
            **kwargs,
        )
        described = ", ".join(f"{name} {weight:g}" for name, weight in penalties.items()) or "none"
        self._model_summary_string = self._model_summary_string.replace("SCVI model", "GeoSCVI model") + (
            f" geometry: {described}, sampling: {sampling}, ambient: {ambient}, library_size: {library_size:g}."
        )
        self.is_query_ = False
        # a saved file needs these to rebuild the model
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    @wraps(SCVI.setup_anndata.__func__)
    def setup_anndata(cls, adata: AnnData, *args: Any, **kwargs: Any) -> None:
        check_adata(adata)
        super().setup_anndata(adata, *args, **kwargs)

    @wraps(SCVI.train)
    def train(self, *args: Any, **kwargs: Any) -> Any:
        if self.module is not None and not self.is_query_:
            self.module.map.unit.zero_()
        try:
            trained = super().train(*args, **kwargs)
        except ValueError as error:
            # the distributions of torch refuse parameters that are not finite
            self._totals()  # if counts are the cause, this names the row
            self._check_weights(error)
            raise
        self._check_weights()
        return trained

    def _check_weights(self, error: Exception | None = None) -> None:
        """Raise if training has diverged."""
        if self.module is None or all(part.isfinite().all() for part in self.module.state_dict().values()):
            return
        self.is_trained_ = False
        if len(totals := self._totals()):
            most = int(totals.argmax())
            cell = f"the cell of most counts is {self.adata.obs_names[most]!r}, with {float(totals[most]):.4g}"
        else:
            cell = "look for cells of extreme counts"
        msg = (
            "Training diverged: weights are no longer finite. Lower the learning rate, "
            f"model.train(plan_kwargs={{'lr': ...}}), or `strength`; {cell}."
        )
        raise RuntimeError(msg) from error

    def _totals(self) -> Tensor:
        """Return the total counts of each cell (none without an AnnData), or raise if counts are not finite."""
        totals, rows = [torch.zeros(0)], 0
        for part in [] if self.adata is None else self._make_data_loader(self.adata):
            check_counts(part[REGISTRY_KEYS.X_KEY], rows)
            totals.append(part[REGISTRY_KEYS.X_KEY].sum(1))
            rows += len(totals[-1])
        return torch.cat(totals)

    @classmethod
    @wraps(SCVI.load_query_data.__func__)
    def load_query_data(cls, *args: Any, **kwargs: Any) -> GeoSCVI:
        model = super().load_query_data(*args, **kwargs)
        # a query model places its cells on the map of the reference
        model.is_query_ = bool(model.module.map.unit > 0)
        return model

    def to_anndata(
        self,
        adata: AnnData | None = None,
        *,
        dataloader: Iterable[dict[str, Tensor]] | None = None,
        n_neighbors: int = 15,
        batch_size: int | None = None,
        key_added: str | None = None,
        copy: bool = False,
    ) -> AnnData | None:
        """Write the map into an AnnData, in the slots of `scgeoae.tl.geoae`, for use with all plots and tools.

        Each cell is placed at its posterior mean. Its metric tensor is taken there, at its own covariates. The first
        call, on the cells that the model was trained on, orients the map toward the first principal components and
        scales it to the units of log1p of the normalized counts (or of the Fisher metric with ``ambient="fisher"``).
        Other cells, and those of a query model, are placed on the same map.

        Parameters
        ----------
        adata
            AnnData to place and to write into, set up like that of the model. Default: the model's own. An
            AnnCollection is read-only; with ``copy=True``, an AnnData of its cells is returned.
        dataloader
            Minibatches of the cells, in order, such as those of a data module (see `get_latent_representation`). If
            given, `adata` is only written into and needs no counts.
        n_neighbors
            Number k of neighbors on the map in the metric graph.
        batch_size
            Number of cells at a time. Default: ``scvi.settings.batch_size``.
        key_added
            Name of the results. Default: ``"geoscvi"``.
        copy
            Return a copy instead of writing into `adata`.

        Returns
        -------
        `None`, or the copy with ``copy=True``. With ``key = key_added or "geoscvi"``, it sets the slots of
        `scgeoae.tl.geoae`, except those of the encoder, which takes counts and stays with the model:

        ``obsm["X_{key}"]``, ``obsm["{key}_metric"]`` : (n, d) and (n, d(d+1)/2) float32
            Positions on the map, and metric tensors (upper triangles).
        ``obsp["{key}_metric"]``, ``obsp["{key}_distances"]``, ``obsp["{key}_connectivities"]`` : (n, n) sparse
            The metric graph.
        ``obs["{key}_log_area"]``, ``obs["{key}_anisotropy"]`` : float32
            Distortion of each cell, relative to these cells.
        ``obs["{key}_reconstruction_error"]`` : float32
            Negative log likelihood of the counts of the cell, in nats. Absent for minified data, which have no counts.
            Its means over all, training and validation cells are ``scores["NLL"]``, ``["NLL_train"]`` and
            ``["NLL_held_out"]``.
        ``uns["{key}"]`` : dict
            ``params``, ``history``, ``scores`` and ``model``. The model is the decoder alone, as plain arrays, at the
            most frequent batch and categories and the mean of continuous covariates. Plots and tools use it where there
            are no cells. `scgeoae.get.model` reads it without scvi-tools.

        The representation, log1p of the normalized counts, is computed when a tool needs it.

        Raises
        ------
        ValueError
            If other cells are placed before those of the model, or data were minified before that; if the number of
            cells in the minibatches differs from `adata`; or if neither the model nor the call has an AnnData.
        TypeError
            If an AnnCollection is to be written into.

        Examples
        --------
        >>> model.to_anndata()  # doctest: +SKIP
        >>> sg.pl.indicatrices(adata, basis="geoscvi", color="cell_type")  # doctest: +SKIP
        """
        self._check_if_trained(warn=False)
        key = checked_map_key(key_added, "geoscvi")
        n_neighbors = checked_integer(n_neighbors, "n_neighbors", 1)
        if adata is not None:
            check_adata(adata)
        own = dataloader is None and (adata is None or adata is self.adata)
        adata, minibatches = self._cells(adata, dataloader, batch_size)
        if isinstance(adata, CollectionAdapter) and not copy:
            msg = "An AnnCollection cannot be written into: call adata = model.to_anndata(copy=True)."
            raise TypeError(msg)
        is_laid = bool(self.module.map.unit > 0)
        if not own and self.adata is not None and not is_laid:
            msg = "The cells that the model was trained on define the map: call model.to_anndata() first."
            raise ValueError(msg)
        start = logg.info(f"placing {adata.n_obs} cells by {type(self).__name__}")
        found = survey(self.module, minibatches, adata.n_obs)
        if not is_laid:
            self.module.map.set_chart(_frame(found))
        decoder = take_out(self.module, found.most_common)
        is_in_memory = isinstance(self.adata, AnnData) and not self.adata.isbacked
        decoder.genes = self._genes(self.adata if own and is_in_memory and found.error is not None else None)
        k = min(n_neighbors, adata.n_obs - 1)
        results = results_of_counts(
            decoder.to_map(found.latent).numpy(),
            (decoder.step.T @ found.metric @ decoder.step).numpy(),
            model=decoder,
            error=None if found.error is None else found.error.numpy(),
            scores=self._scores(found, own=own),
            history=_history(self.history),
            params={**self._params(k), "n_cells": adata.n_obs},
            n_neighbors=k,
        )
        if isinstance(adata, CollectionAdapter):
            adata = adata.to_adata()
        return write(adata, changes_of_map(adata, key, results), start=start, copy=copy)

    def _cells(
        self, adata: AnnData | None, dataloader: Iterable[dict[str, Tensor]] | None, batch_size: int | None
    ) -> tuple[AnnData, Iterable[dict[str, Tensor]]]:
        """Return the data to write into and the minibatches of its cells."""
        of_datamodule = self.registry.get("setup_method_name") == "setup_datamodule"
        if self.adata is None and (adata is None or (of_datamodule and dataloader is None)):
            msg = (
                "The model has no AnnData: call model.to_anndata(adata, dataloader=...) with minibatches of the cells "
                "of adata, or GeoSCVI.load(..., adata=adata)."
            )
            raise ValueError(msg)
        if dataloader is not None:
            return self.adata if adata is None else adata, dataloader
        names = self._gene_names()
        if isinstance(adata, AnnData) and names is not None and not np.array_equal(names, adata.var_names):
            if not adata.var_names.is_unique or (missing := [name for name in names if name not in adata.var_names]):
                what = f"lacks {str(missing[0])!r}" if adata.var_names.is_unique else "has names more than once"
                msg = f"The model was trained on {len(names)} genes, and adata.var_names {what}; restore them."
                raise ValueError(msg)
            in_order = self._validate_anndata(adata[:, names].copy())
            return adata, self._make_data_loader(in_order, batch_size=batch_size)
        adata = self._validate_anndata(adata)
        return adata, self._make_data_loader(adata, batch_size=batch_size)

    def _gene_names(self) -> np.ndarray | None:
        """Return the names of the genes that the model was trained on, or None if they are unknown."""
        fields = self.registry.get("field_registries", {})
        names = fields.get(REGISTRY_KEYS.X_KEY, {}).get("state_registry", {}).get("column_names")
        return None if names is None else np.asarray(names, dtype=str)

    def _genes(self, adata: AnnData | None) -> Genes | None:
        """Return the names of the genes, with their statistics in `adata` if that is given."""
        names = self._gene_names()
        if names is None:
            return None
        layer = self.registry["setup_args"].get("layer")
        statistics = (
            None
            if adata is None
            else statistics_of(stored_representation(adata, self._params(1), None, len(names)).matrix)
        )
        return Genes(names, len(names), layer=layer, statistics=statistics)

    def _scores(self, found: Survey, *, own: bool) -> dict[str, float]:
        if found.error is None:
            return {}
        scores = {"NLL": float(found.error.mean())}
        for name, rows in {"train": self.train_indices, "held_out": self.validation_indices}.items():
            if own and rows is not None and len(rows):
                scores[f"NLL_{name}"] = float(found.error[np.asarray(rows)].mean())
        return scores

    def _params(self, n_neighbors: int) -> Params:
        setup = self.registry["setup_args"]
        return without_none(
            use_rep="X",
            layer=setup.get("layer"),
            size_factor_key=setup.get("size_factor_key"),
            batch_key=setup.get("batch_key"),
            library_size=self.module.library_size,
            regularizer=self.module.penalties or None,
            sampling=self.module.sampling,
            ambient=self.module.ambient,
            gene_likelihood=self.module.gene_likelihood,
            n_components=self.module.n_latent,
            n_neighbors=n_neighbors,
            method="gauss",
            made_by="GeoSCVI",
            environment=environment(self.device, "scvi-tools"),
        )


def _penalties(
    regularizer: str | Mapping[str, float] | None, strength: float | None, n_latent: int, sampling: str
) -> dict[str, float]:
    """Check the penalties and return their weights by name."""
    if isinstance(strength, str) and strength == "auto":
        msg = "strength='auto' is available in sg.tl.geoae only; give a number."
        raise ValueError(msg)
    check_name(sampling, "sampling", required=True)
    if strength is None and isinstance(regularizer, str):
        strength = STRENGTHS.get(canonical_name(regularizer))
    terms = Settings(
        n_components=n_latent, regularizer=regularizer, strength=strength, sampling=sampling, neighbors_weight=0
    ).terms
    for term in terms:
        if REGULARIZERS[term.name].of != "metric" or "decoder" not in REGULARIZERS[term.name].sides:
            known = [name for name, r in REGULARIZERS.items() if r.of == "metric" and "decoder" in r.sides]
            msg = f"The regularizer {term.name!r} is not a function of the decoder's metric; GeoSCVI has {known}."
            raise ValueError(msg)
    return {term.name: term.weight for term in terms if not term.on_encoder}


def _check_geometry(ambient: str, library_size: float, kwargs: Mapping[str, Any]) -> None:
    check_option(ambient, "ambient", ("log1p", "fisher"))
    if checked_number(library_size, "library_size") == 0:
        msg = f"Expected `library_size` to be a finite number > 0, found {library_size!r}."
        raise ValueError(msg)
    likelihood = kwargs.get("gene_likelihood", "zinb")
    if likelihood == "normal":
        msg = "gene_likelihood='normal' does not model counts; use sg.tl.geoae on such data."
        raise ValueError(msg)
    if ambient == "fisher" and likelihood not in ("nb", "poisson"):
        msg = (
            "ambient='fisher' needs counts whose variance follows from their mean, and "
            f"gene_likelihood={likelihood!r} adds zeros: give gene_likelihood='nb' or 'poisson'."
        )
        raise ValueError(msg)
    if ambient == "fisher" and kwargs.get("dispersion") == "gene-cell":
        msg = (
            "ambient='fisher' needs a dispersion that is constant over the map; give dispersion='gene' or 'gene-batch'."
        )
        raise ValueError(msg)
    if kwargs.get("latent_distribution", "normal") != "normal":
        msg = "latent_distribution='ln' makes latent space a simplex, which is not a map; use 'normal'."
        raise ValueError(msg)


def _frame(found: Survey) -> Chart:
    if found.principal is None:
        msg = (
            "Minified data have no counts to orient the map with: call model.to_anndata() before model.minify_adata()."
        )
        raise ValueError(msg)
    frame = fit_chart(found.latent, found.metric, found.latent)
    return frame._replace(rotation=procrustes(found.latent[found.rows], found.principal))


def _history(history: Mapping[str, pd.DataFrame] | None) -> dict[str, np.ndarray] | None:
    if not history:
        return None
    return {name: np.asarray(table, dtype=np.float64).ravel() for name, table in history.items()}
