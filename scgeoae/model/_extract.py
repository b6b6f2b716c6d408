"""Read a trained model of counts: what it says of all cells, and its decoder as a model of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from scvi import REGISTRY_KEYS
from scvi.module._constants import MODULE_KEYS
from sklearn.decomposition import PCA
from torch import nn

from ..nn import CountDecoder
from ..nn.count_decoder import LAYERS
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


@torch.no_grad()
def take_out(module: GeoVAE, covariates: Covariates) -> CountDecoder:
    """Return the decoder of a trained module at the covariates of a single cell.

    Constant covariates add a constant to the output of a linear layer, and batch normalization with running averages is
    an affine map, so the weights absorb both.

    Raises
    ------
    ValueError
        If the decoder has layers that `CountDecoder` does not know.
    """
    kinds, linear = _layers(module, covariates)
    decoder = CountDecoder(
        kinds,
        [(weight.shape[1], weight.shape[0]) for weight, _ in linear],
        library_size=module.library_size,
        fisher=module.ambient == "fisher",
    )
    targets = [layer for layer in decoder.network if isinstance(layer, nn.Linear)]
    for target, (weight, bias) in zip(targets, linear, strict=True):
        target.weight.copy_(weight)
        target.bias.copy_(bias)
    if decoder.fisher:
        decoder.dispersion.copy_(torch.as_tensor(module.count_dispersion(covariates)).flatten())
    for name, buffer in module.map.named_buffers():
        getattr(decoder, name).copy_(buffer)
    return decoder.eval().requires_grad_(requires_grad=False)


def _layers(module: GeoVAE, covariates: Covariates) -> tuple[list[str], list[tuple[torch.Tensor, torch.Tensor]]]:
    """Return the kinds of the layers in the order of execution, and the weights and biases of the linear ones."""
    known = {type(make()): kind for kind, make in LAYERS.items()}
    kinds: list[str] = []
    linear: list[tuple[torch.Tensor, torch.Tensor]] = []
    # all further inputs of a linear layer are covariates
    width = module.n_latent

    def take(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal width
        if isinstance(layer, nn.Linear):
            constant = layer.weight[:, width:] @ inputs[0][0, width:]
            bias = constant if layer.bias is None else layer.bias + constant
            kinds.append("linear")
            linear.append((layer.weight[:, :width].clone(), bias))
            width = layer.out_features
        elif isinstance(layer, nn.BatchNorm1d) and kinds[-1:] == ["linear"]:
            weight, bias = linear.pop()
            factor = layer.weight / (layer.get_buffer("running_var") + layer.eps).sqrt()
            linear.append((factor[:, None] * weight, (bias - layer.get_buffer("running_mean")) * factor + layer.bias))
        elif type(layer) in known:
            kinds.append(known[type(layer)])
        elif not isinstance(layer, nn.Dropout):
            msg = f"The decoder has a layer {layer}, which cannot be stored in an AnnData."
            raise ValueError(msg)

    parts = [
        part for network in (module.decoder.px_decoder, module.decoder.px_scale_decoder) for part in leaves(network)
    ]
    hooks = [part.register_forward_pre_hook(take) for part in parts]
    try:
        module.decode(torch.zeros(1, module.n_latent, device=covariates.batch_index.device), covariates)
    finally:
        for hook in hooks:
            hook.remove()
    return kinds, linear


def leaves(network: nn.Module) -> list[nn.Module]:
    """Return the modules without submodules."""
    return [part for part in network.modules() if not any(True for _ in part.children())]
