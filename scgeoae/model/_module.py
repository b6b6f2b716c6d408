"""The variational autoencoder of scvi-tools, with a decoder held close to an isometry."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from scvi import REGISTRY_KEYS
from scvi.module import VAE
from scvi.module._constants import MODULE_KEYS
from torch import nn

from ..geometry import Ambient, fisher_metric, pullback
from ..geometry.jet import forward_jacobian
from ..geometry.regularizers import REGULARIZERS
from ..nn import MapDecoder
from ..nn.count_decoder import LayerNorm
from ..training.gather import gather
from ..training.sampling import SAMPLINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scvi.module.base import LossOutput
    from torch import Tensor

# In nats a gene (docs/counts.md).
STRENGTHS = {"isometric": 1.0, "volume": 1.0, "conformal": 1.0}

# Cells of a minibatch, which come in random order, at which the metric is taken.
N_POINTS = 64


class Covariates(NamedTuple):
    """What the decoder is told of each cell besides its place."""

    batch_index: Tensor
    cont_covs: Tensor | None
    cat_covs: Tensor | None
    labels: Tensor | None

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Covariates:
        """Take them from a minibatch."""
        keys = (
            REGISTRY_KEYS.BATCH_KEY,
            REGISTRY_KEYS.CONT_COVS_KEY,
            REGISTRY_KEYS.CAT_COVS_KEY,
            REGISTRY_KEYS.LABELS_KEY,
        )
        return cls(*(tensors.get(key) for key in keys))

    def first(self, n: int) -> Covariates:
        """Return those of the first n cells."""
        return Covariates(*(part if part is None else part[:n] for part in self))


class GeoVAE(VAE):
    r"""The module of `scgeoae.model.GeoSCVI`: `scvi.module.VAE` with a penalty on the geometry of its decoder.

    The map in question takes a position z to log1p of the normalised mean expression s·ρ(z, covariates), s being
    `library_size`; its pullback metric is taken at each cell's own covariates.

    Parameters
    ----------
    penalties
        Names in `scgeoae.geometry.regularizers.REGULARIZERS` with their weights, in nats a gene.
    sampling
        Where in latent space they are evaluated, `scgeoae.training.sampling.SAMPLINGS`.
    ambient
        ``"log1p"`` or ``"fisher"``.
    library_size
        Counts of a cell that expression is normalised to.
    **kwargs
        Of `scvi.module.VAE`.
    """

    def __init__(
        self,
        *args: Any,
        penalties: Mapping[str, float] | None = None,
        sampling: str = "data",
        ambient: str = "log1p",
        library_size: float = 1e4,
        **kwargs: Any,
    ) -> None:
        # batch normalisation in the decoder would be trained by the statistics of minibatches and measured by running
        # ones, which do not follow the penalty; kinks would put a floor under the distortion (docs/counts.md)
        kwargs.setdefault("use_batch_norm", "encoder")
        kwargs["extra_decoder_kwargs"] = {"activation_fn": nn.SiLU} | (kwargs.get("extra_decoder_kwargs") or {})
        super().__init__(*args, **kwargs)
        for network in list(self.decoder.modules()):
            for name, layer in network.named_children():
                if isinstance(layer, nn.LayerNorm):
                    setattr(network, name, LayerNorm(layer.eps))
        self.penalties = dict(penalties or {})
        self.sampling = sampling
        self.ambient = ambient
        # a softplus decoder, which goes with size factors, gives expression at the size factor 1
        self.library_size = 1.0 if self.use_size_factor_key else library_size
        # a unit of 0 says that nothing has laid it yet
        self.map = MapDecoder(self.n_latent)
        self.map.unit.zero_()

    def expression(self, z: Tensor, covariates: Covariates) -> Tensor:
        """Return the normalised mean expression s·ρ, (n, G), at (n, d) positions in latent space."""
        inputs = [z] if covariates.cont_covs is None else [z, covariates.cont_covs]
        categories = [] if covariates.cat_covs is None else list(covariates.cat_covs.split(1, dim=1))
        if self.batch_representation == "embedding":
            inputs.append(self.compute_embedding(REGISTRY_KEYS.BATCH_KEY, covariates.batch_index))
        else:
            categories.insert(0, covariates.batch_index)
        hidden = self.decoder.px_decoder(torch.cat(inputs, dim=-1), *categories)
        return self.library_size * self.decoder.px_scale_decoder(hidden)

    def normalized(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return log1p of the normalised counts of the cells of a minibatch, (n, G)."""
        x = tensors[REGISTRY_KEYS.X_KEY]
        size = tensors[REGISTRY_KEYS.SIZE_FACTOR_KEY] if self.use_size_factor_key else x.sum(1, keepdim=True)
        return (self.library_size * x / size.clamp(min=torch.finfo(x.dtype).tiny)).log1p()

    def decode(self, z: Tensor, covariates: Covariates) -> Tensor:
        """Return log1p of `expression`, the points of the representation, (n, G)."""
        return self.expression(z, covariates).log1p()

    def metric(self, z: Tensor, covariates: Covariates) -> tuple[Tensor, Tensor]:
        """Return what is decoded at (n, d) positions in latent space, (n, G), and the pullback metric, (n, d, d).

        Batch normalisation takes the running statistics, as when a trained model is used: those of the minibatch would
        tie the derivative at one cell to all others.
        """
        with _evaluating(self.decoder):
            decoded, jacobian = forward_jacobian(lambda at: self.decode(at, covariates), z)
        if self.ambient == "log1p":
            return decoded, pullback(jacobian)
        dispersion = self.count_dispersion(covariates)
        return decoded, pullback(jacobian, Ambient(lambda x: fisher_metric(x, dispersion)), decoded)

    def count_dispersion(self, covariates: Covariates) -> Tensor | float:
        """Return the dispersion α of the counts of each gene, (G,) or (n, G); 0 of Poisson."""
        if self.gene_likelihood == "poisson":
            return 0.0
        if self.dispersion == "gene":
            return (-self.px_r).exp()
        of = covariates.batch_index if self.dispersion == "gene-batch" else covariates.labels
        return (-self.px_r.T[of.long().squeeze(-1)]).exp()

    def loss(
        self,
        tensors: dict[str, Tensor],
        inference_outputs: dict[str, Any],
        generative_outputs: dict[str, Any],
        kl_weight: Tensor | float = 1.0,
        geometry_weight: Tensor | float = 1.0,
    ) -> LossOutput:
        """Return the loss of the variational autoencoder and the penalties, `geometry_weight` times theirs."""
        found = super().loss(tensors, inference_outputs, generative_outputs, kl_weight=kl_weight)
        if not self.penalties:
            return found
        z, covariates = inference_outputs[MODULE_KEYS.Z_KEY], Covariates.of(tensors)
        sample = SAMPLINGS[self.sampling]
        if sample is not None:
            z = sample(z, None)
        _, metric = self.metric(z[:N_POINTS], covariates.first(N_POINTS))
        if self.training:
            # of all processes, since some penalties are no means over cells
            metric = gather(metric)
        penalty = sum(weight * REGULARIZERS[name].loss(metric) for name, weight in self.penalties.items())
        # nats are summed over genes
        penalty = self.n_input * penalty
        metrics = found.extra_metrics | {"geometric_loss": penalty.detach()}
        return replace(found, loss=found.loss + geometry_weight * penalty, extra_metrics=metrics)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
