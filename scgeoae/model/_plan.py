"""Training of a variational autoencoder with a geometric penalty that warms up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scvi.train import TrainingPlan

if TYPE_CHECKING:
    from scvi.module.base import LossOutput
    from scvi.train._metrics import ElboMetric
    from torch import Tensor

    from ._module import GeoVAE


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
