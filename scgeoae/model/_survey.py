"""One pass over all cells of a model of counts."""

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

# Cells whose principal components turn the map, spread over all.
N_POSED = 2000


class Survey(NamedTuple):
    """What a model says of n cells, in latent space, on the CPU."""

    latent: Tensor
    """(n, d) means of the posterior."""
    metric: Tensor
    """(n, d, d) metric tensors at them, at the covariates of each cell."""
    error: Tensor | None
    """(n,) negative log likelihood of the counts there, in nats; None of minified data, which have none."""
    rows: Tensor
    """Row numbers of some cells."""
    principal: Tensor | None
    """Their first principal components, (n_posed, d)."""
    most_common: Covariates
    """Of one cell: the most frequent batch and categories, and the mean of numbers."""


@torch.no_grad()
def survey(module: GeoVAE, minibatches: Iterable[dict[str, Tensor]], n: int) -> Survey:
    """Encode all n cells and take the metric there, a minibatch at a time."""
    module.eval()
    device = module.device
    parts: dict[str, list[Tensor]] = {"latent": [], "metric": [], "error": []}
    covariates, posed, rows = [], [], []
    every = -(-n // N_POSED)
    start = 0
    for tensors in minibatches:
        tensors = {name: part.to(device) for name, part in tensors.items() if part is not None}  # noqa: PLW2901
        inputs = module._get_inference_input(tensors)  # noqa: SLF001
        found = module.inference(**inputs)
        # a minified AnnData has the posterior in the place of counts
        z = inputs[MODULE_KEYS.QZM_KEY] if MODULE_KEYS.QZM_KEY in inputs else found[MODULE_KEYS.QZ_KEY].loc
        here = Covariates.of(tensors)
        _, metric = module.metric(z, here)
        parts["latent"].append(z.cpu())
        parts["metric"].append(metric.cpu())
        covariates.append([None if part is None else part.cpu() for part in here])
        if MODULE_KEYS.QZM_KEY not in inputs:
            expected = module.generative(**module._get_generative_input(tensors, found | {MODULE_KEYS.Z_KEY: z}))  # noqa: SLF001
            counts = tensors[REGISTRY_KEYS.X_KEY]
            parts["error"].append(-expected[MODULE_KEYS.PX_KEY].log_prob(counts).sum(-1).cpu())
            chosen = torch.arange(-start % every, len(z), every)
            posed.append(module.normalized(tensors)[chosen.to(device)].cpu())
            rows.append(start + chosen)
        start += len(z)
    has_counts = bool(parts["error"])
    return Survey(
        latent=torch.cat(parts["latent"]),
        metric=torch.cat(parts["metric"]),
        error=torch.cat(parts["error"]) if has_counts else None,
        rows=torch.cat(rows) if has_counts else torch.arange(0),
        principal=_principal(torch.cat(posed), module.n_latent) if has_counts else None,
        most_common=_most_common(covariates, device),
    )


def _principal(x: Tensor, d: int) -> Tensor:
    d = min(d, *x.shape)
    return torch.from_numpy(PCA(d, svd_solver="randomized", random_state=0).fit_transform(x.numpy()))


def _most_common(covariates: list[list[Tensor | None]], device: torch.device) -> Covariates:
    whole = Covariates(*(None if parts[0] is None else torch.cat(parts) for parts in zip(*covariates, strict=True)))
    number = whole.cont_covs
    return Covariates(
        *(None if part is None else part.mode(dim=0, keepdim=True).values.to(device) for part in whole)
    )._replace(cont_covs=None if number is None else number.mean(0, keepdim=True).to(device))
