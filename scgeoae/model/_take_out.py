"""Extract the decoder from a model of counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ..nn import CountDecoder
from ..nn.count_decoder import LAYERS

if TYPE_CHECKING:
    from ._module import Covariates, GeoVAE


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
