"""The variational autoencoder of scvi-tools with a geometric penalty, and its training plan."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from scvi import REGISTRY_KEYS
from scvi.module import VAE
from scvi.module._constants import MODULE_KEYS
from scvi.train import TrainingPlan
from torch import distributed, nn

from ..geometry import Ambient, fisher_metric, pullback
from ..geometry.jet import forward_jacobian
from ..geometry.regularizers import REGULARIZERS
from ..nn import MapDecoder
from ..nn.count_decoder import LayerNorm
from ..training.sampling import SAMPLINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from scvi.module.base import LossOutput
    from scvi.train._metrics import ElboMetric
    from torch import Tensor


# In nats per gene (docs/counts.md).
STRENGTHS = {"isometric": 1.0, "volume": 1.0, "conformal": 1.0}

# The metric is taken at the first cells of each minibatch, which are in random order.
N_POINTS = 64


class Covariates(NamedTuple):
    """What the decoder gets for each cell in addition to its position."""

    batch_index: Tensor
    cont_covs: Tensor | None
    cat_covs: Tensor | None
    labels: Tensor

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Covariates:
        """Take the covariates from a minibatch."""
        return cls(
            batch_index=tensors[REGISTRY_KEYS.BATCH_KEY],
            cont_covs=tensors.get(REGISTRY_KEYS.CONT_COVS_KEY),
            cat_covs=tensors.get(REGISTRY_KEYS.CAT_COVS_KEY),
            labels=tensors[REGISTRY_KEYS.LABELS_KEY],
        )

    def apply(self, change: Callable[[Tensor], Tensor]) -> Covariates:
        """Return these with a change to each that is there."""
        return Covariates(
            change(self.batch_index),
            None if self.cont_covs is None else change(self.cont_covs),
            None if self.cat_covs is None else change(self.cat_covs),
            change(self.labels),
        )


class GeoVAE(VAE):
    """The module of `scgeoae.model.GeoSCVI`: `scvi.module.VAE` with a penalty on the geometry of its decoder.

    The decoder takes a position z to log1p of the normalized mean expression s·ρ(z, covariates), where s is the
    `library_size`. Its pullback metric is taken at the covariates of each cell.

    Parameters
    ----------
    penalties
        Weights by name (`scgeoae.geometry.regularizers.REGULARIZERS`), in nats per gene.
    sampling
        Where in latent space to evaluate them (`scgeoae.training.sampling.SAMPLINGS`).
    ambient
        ``"log1p"`` or ``"fisher"``.
    library_size
        Total counts of a cell to which expression is normalized.
    **kwargs
        Passed on to `scvi.module.VAE`.
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
        # batch normalization in the decoder trains with the statistics of minibatches, but its running averages do not
        # follow the penalty; activations with kinks put a floor under the distortion (docs/counts.md)
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
        # with size factors, the decoder ends in a softplus and gives expression at a size factor of 1
        self.library_size = 1.0 if self.use_size_factor_key else library_size
        # a unit of 0 means that the map has no scale yet
        self.map = MapDecoder(self.n_latent)
        self.map.unit.zero_()

    def expression(self, z: Tensor, covariates: Covariates) -> Tensor:
        """Return the normalized mean expression s·ρ, (n, G), at (n, d) latent positions."""
        inputs = [z] if covariates.cont_covs is None else [z, covariates.cont_covs]
        categories = [] if covariates.cat_covs is None else list(covariates.cat_covs.split(1, dim=1))
        if self.batch_representation == "embedding":
            inputs.append(self.compute_embedding(REGISTRY_KEYS.BATCH_KEY, covariates.batch_index))
        else:
            categories.insert(0, covariates.batch_index)
        hidden = self.decoder.px_decoder(torch.cat(inputs, dim=-1), *categories)
        return self.library_size * self.decoder.px_scale_decoder(hidden)

    def normalized(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return log1p of the normalized counts of the cells of a minibatch, (n, G)."""
        x = tensors[REGISTRY_KEYS.X_KEY]
        size = tensors[REGISTRY_KEYS.SIZE_FACTOR_KEY] if self.use_size_factor_key else x.sum(1, keepdim=True)
        return (self.library_size * x / size.clamp(min=torch.finfo(x.dtype).tiny)).log1p()

    def decode(self, z: Tensor, covariates: Covariates) -> Tensor:
        """Return log1p of `expression`, the points of the representation, (n, G)."""
        return self.expression(z, covariates).log1p()

    def metric(self, z: Tensor, covariates: Covariates) -> tuple[Tensor, Tensor]:
        """Return the decoded points, (n, G), and the pullback metric, (n, d, d), at (n, d) latent positions.

        Batch normalization uses its running averages, as in a trained model: with the statistics of the minibatch, the
        derivative at one cell would depend on all others.
        """
        with _evaluating(self.decoder):
            decoded, jacobian = forward_jacobian(lambda at: self.decode(at, covariates), z)
        if self.ambient == "log1p":
            return decoded, pullback(jacobian)
        dispersion = self.count_dispersion(covariates)
        return decoded, pullback(jacobian, Ambient(lambda x: fisher_metric(x, dispersion)), decoded)

    def count_dispersion(self, covariates: Covariates) -> Tensor | float:
        """Return the dispersion α of the counts of each gene, (G,) or (n, G). It is 0 for Poisson."""
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
        """Return the loss of the variational autoencoder plus `geometry_weight` times the penalties."""
        found = super().loss(tensors, inference_outputs, generative_outputs, kl_weight=kl_weight)
        if not self.penalties:
            return found
        z, covariates = inference_outputs[MODULE_KEYS.Z_KEY], Covariates.of(tensors)
        sample = SAMPLINGS[self.sampling]
        if sample is not None:
            z = sample(z, None)
        _, metric = self.metric(z[:N_POINTS], covariates.apply(lambda part: part[:N_POINTS]))
        if self.training:
            # some penalties are not averages over cells, so they need the tensors of all processes
            metric = gather(metric)
        losses = (
            weight * loss(metric)
            for name, weight in self.penalties.items()
            if (loss := REGULARIZERS[name].loss) is not None
        )
        # the likelihood is a sum over genes, so the penalty grows with their number too
        penalty = self.n_input * sum(losses, metric.new_zeros(()))
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


class GeoTrainingPlan(TrainingPlan):
    """The training plan of scvi-tools, with a weight of the geometric penalty that rises from 0 to 1.

    Parameters
    ----------
    module
        A `GeoVAE`.
    lr
        Learning rate. The default is higher than that of scvi-tools, 0.001, with which cell types are less separated
        after the same number of epochs (docs/counts.md).
    n_epochs_geometry_warmup
        Number of epochs over which the weight rises.
    **kwargs
        Passed on to `scvi.train.TrainingPlan`.
    """

    def __init__(self, module: GeoVAE, *, lr: float = 4e-3, n_epochs_geometry_warmup: int = 20, **kwargs: Any) -> None:
        super().__init__(module, lr=lr, **kwargs)
        self.n_epochs_geometry_warmup = n_epochs_geometry_warmup

    @property
    def geometry_weight(self) -> float:
        """Weight of the penalty in the current epoch."""
        if not self.n_epochs_geometry_warmup:
            return 1.0
        return min((self.current_epoch + 1) / self.n_epochs_geometry_warmup, 1.0)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Take a training step."""
        self.loss_kwargs["geometry_weight"] = self.geometry_weight
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Compute the loss of validation cells."""
        self.loss_kwargs["geometry_weight"] = self.geometry_weight
        super().validation_step(batch, batch_idx)

    def compute_and_log_metrics(self, loss_output: LossOutput, metrics: dict[str, ElboMetric], mode: str) -> None:
        """Log the penalty next to the parts of the ELBO."""
        penalty = loss_output.extra_metrics.pop("geometric_loss", None)
        super().compute_and_log_metrics(loss_output, metrics, mode)
        if penalty is not None:
            # logged on its own: the others are logged in inference mode, in which several processes cannot average it
            self.log(
                f"geometric_loss_{mode}",
                penalty,
                on_step=self.on_step,
                on_epoch=self.on_epoch,
                batch_size=loss_output.n_obs_minibatch,
                sync_dist=self.use_sync_dist,
            )


def gather(rows: Tensor) -> Tensor:
    """Return the rows of all processes of a distributed training; autograd can differentiate this.

    The gradients of all processes add up on the way back, and are averaged over processes afterwards. So a loss of all
    rows has the gradient that it would have in one process.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return rows
    from torch.distributed.nn.functional import all_gather

    # the last minibatch may be shorter in one of the processes
    sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
    longest = max(int(size) for size in sizes)
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
    return torch.cat([part[: int(size)] for part, size in zip(all_gather(padded), sizes, strict=True)])
