"""A pass over all cells with a trained model of counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from scvi import REGISTRY_KEYS
from scvi.module._constants import MODULE_KEYS
from sklearn.decomposition import PCA

from ._module import Covariates

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from ._module import GeoVAE

# Number of evenly spaced cells whose principal components orient the map.
N_POSED = 2000


class Survey(NamedTuple):
    """What a model computes for n cells, in latent space, on the CPU."""

    latent: Tensor
    """(n, d) posterior means."""
    metric: Tensor
    """(n, d, d) metric tensors at the posterior means and the covariates of each cell."""
    error: Tensor | None
    """(n,) negative log likelihood of the counts, in nats. None for minified data, which have no counts."""
    rows: Tensor
    """Row numbers of evenly spaced cells."""
    principal: Tensor | None
    """First principal components of these cells, (n_posed, d). None for minified data."""
    most_common: Covariates
    """Covariates of a single cell: the most frequent batch and categories, and the mean of numeric ones."""


@torch.no_grad()
def survey(module: GeoVAE, minibatches: Iterable[dict[str, Tensor]], n: int) -> Survey:
    """Encode all n cells and compute the metric there, one minibatch at a time.

    Raises
    ------
    ValueError
        If the minibatches do not have n cells, or have counts that are not finite.
    """
    module.eval()
    device = module.device
    kept: dict[str, Tensor] = {}
    rows = torch.arange(0, n, -(-n // N_POSED))
    posed = torch.empty(len(rows), module.n_input, dtype=torch.float32)
    start = end = 0
    for tensors in minibatches:
        tensors = {name: part.to(device) for name, part in tensors.items() if part is not None}  # noqa: PLW2901
        check_counts(tensors[REGISTRY_KEYS.X_KEY], end)
        inputs = module._get_inference_input(tensors)  # noqa: SLF001
        found = module.inference(**inputs)
        # a minified AnnData has the posterior in place of the counts
        has_counts = MODULE_KEYS.QZM_KEY not in inputs
        z = found[MODULE_KEYS.QZ_KEY].loc if has_counts else inputs[MODULE_KEYS.QZM_KEY]
        start, end = end, end + len(z)
        if end > n:
            break
        here = Covariates.of(tensors)
        new = {"latent": z, "metric": module.metric(z, here)[1], **here._asdict()}
        if has_counts:
            expected = module.generative(**module._get_generative_input(tensors, found | {MODULE_KEYS.Z_KEY: z}))  # noqa: SLF001
            new["error"] = -expected[MODULE_KEYS.PX_KEY].log_prob(tensors[REGISTRY_KEYS.X_KEY]).sum(-1)
            among = (rows >= start) & (rows < end)
            posed[among] = module.normalized(tensors)[(rows[among] - start).to(device)].cpu()
        for name, part in new.items():
            if part is not None:
                # allocating a piece per minibatch between its large temporaries would fragment memory
                if name not in kept:
                    kept[name] = torch.empty(n, *part.shape[1:], dtype=part.dtype)
                kept[name][start:end] = part
    if end != n:
        msg = f"Expected minibatches of {n} cells in all, found {'more' if end > n else end}."
        raise ValueError(msg)
    covariates = Covariates(kept["batch_index"], kept.get("cont_covs"), kept.get("cat_covs"), kept["labels"])
    return Survey(
        latent=kept["latent"],
        metric=kept["metric"],
        error=kept.get("error"),
        rows=rows,
        principal=_principal(posed, module.n_latent) if "error" in kept else None,
        most_common=_most_common(covariates, device),
    )


def check_counts(x: Tensor, start: int) -> None:
    """Raise if counts are not finite. The first of these cells is row `start` of the data."""
    finite = x.isfinite().all(1)
    if not finite.all():
        msg = f"The counts in row {start + int(finite.int().argmin())} of adata are not finite (rows from 0)."
        raise ValueError(msg)


def _principal(x: Tensor, d: int) -> Tensor:
    d = min(d, *x.shape)
    return torch.from_numpy(PCA(d, svd_solver="randomized", random_state=0).fit_transform(x.numpy()))


def _most_common(covariates: Covariates, device: torch.device) -> Covariates:
    number = covariates.cont_covs
    modes = covariates.apply(lambda part: part.mode(dim=0, keepdim=True).values.to(device))
    return modes._replace(cont_covs=None if number is None else number.mean(0, keepdim=True).to(device))
