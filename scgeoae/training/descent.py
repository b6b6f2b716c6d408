"""The loss of a batch and its gradients: by hand where that is known, else by autograd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import mse_loss

from ..nn import Jet, Passes
from .loss import Loss, loss

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from ..nn import Autoencoder
    from .contrast import Contrast
    from .loss import Batch, Term


class Descent:
    """Sets the gradients of a model to those of the `loss` of a batch.

    The passes through the networks are written by hand (`scgeoae.nn.Passes`) for the neighbour term and regularisers
    that are functions of the decoder's metric at the codes, which is every map by default; autograd
    then sees only what is made of their results. Anything else goes through `loss` and autograd as a whole.

    Parameters
    ----------
    model
        Its parameters have gradients to write into (`scgeoae.nn.flatten`).
    terms, contrast, sample
        As in `loss`.
    """

    def __init__(
        self,
        model: Autoencoder,
        *,
        terms: Sequence[Term],
        contrast: Contrast | None = None,
        sample: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.model = model
        self.terms = terms
        self.contrast = contrast
        self.sample = sample
        at_codes = all(term.regularizer.of == "metric" and not term.is_of_rows for term in terms)
        self.is_by_hand = at_codes and (sample is None or not terms)
        if self.is_by_hand:
            self.encoder, self.decoder = Passes(model.encoder), Passes(model.decoder)

    def __call__(self, batch: Batch, factor: float | Tensor = 1.0) -> Loss:
        """Set the gradients and return the loss, detached."""
        if not self.is_by_hand:
            parts = self._by_autograd(batch, factor)
        elif batch.codes is not None:
            parts = self._of_given_codes(batch)
        else:
            parts = self._of_map(batch, factor)
        return Loss(*(part.detach() for part in parts))

    def _by_autograd(self, batch: Batch, factor: float | Tensor) -> Loss:
        for p in self.model.parameters():
            p.grad.zero_()
        parts = loss(self.model, batch, terms=self.terms, factor=factor, contrast=self.contrast, sample=self.sample)
        parts.total.backward()
        return parts

    def _of_given_codes(self, batch: Batch) -> Loss:
        encoded = _leaf(self.encoder.forward(batch.x)[0])
        values = _leaf(self.decoder.forward(batch.codes)[0])
        error, encoding = mse_loss(values, batch.x), mse_loss(encoded, batch.codes)
        total = error + encoding
        total.backward()
        self.decoder.backward(values.grad, to_input=False)
        self.encoder.backward(encoded.grad, to_input=False)
        return Loss(total, error, encoding, error.new_zeros(0), error.new_zeros(()))

    def _of_map(self, batch: Batch, factor: float | Tensor) -> Loss:
        x = batch.x
        cells = [x if batch.noise is None else x + batch.noise]
        n_at, n_apart = 0, 0
        if self.terms:
            n_at = len(x) if batch.n_at is None else min(batch.n_at, len(x))
            if batch.at is not None:
                # first, since the decoder has tangents at the first so many codes
                cells.insert(0, batch.at)
                n_at = n_apart = len(batch.at)
        if self.contrast is not None:
            cells.append(batch.partners)
        encoded = _leaf(self.encoder.forward(cells[0] if len(cells) == 1 else torch.cat(cells))[0])
        n_decoded = n_apart + len(x)
        values, tangents = (
            None if part is None else _leaf(part)
            for part in self.decoder.forward(encoded.detach()[:n_decoded], n_tangents=n_at)
        )

        total = error = mse_loss(values[n_apart:], x)
        contrasted = error.new_zeros(())
        if self.contrast is not None:
            contrasted = self.contrast.of(encoded[n_apart:n_decoded], encoded[n_decoded:])
            total = total + self.contrast.weight * contrasted
        penalties = error.new_zeros(0)
        if self.terms:
            metric = self.model.pullback(Jet(values[:n_at], tangents.permute(1, 2, 0)))
            penalties = torch.stack([term.regularizer.loss(metric) for term in self.terms])
            total = total + sum(factor * term.weight * p for term, p in zip(self.terms, penalties, strict=True))
        total.backward()

        gradient = self.decoder.backward(values.grad, tangents.grad if self.terms else None)
        if self.contrast is not None:
            encoded.grad[:n_decoded] += gradient
            gradient = encoded.grad
        self.encoder.backward(gradient, to_input=False)
        return Loss(total, error, error.new_zeros(()), penalties, contrasted)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()
