"""The loss of a batch and its gradients: by hand where that is known, else by autograd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..geometry import Jet
from ..nn import Passes
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
    then sees only the small tensors of the metric. Anything else goes through `loss` and autograd as a whole.

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

    def __call__(self, batch: Batch, factor: float | Tensor = 1.0, *, penalized: bool = True) -> Loss:
        """Set the gradients and return the loss, detached; without its penalties if it is not `penalized`."""
        terms = self.terms if penalized else ()
        if not self.is_by_hand:
            parts = self._by_autograd(batch, factor, terms)
        elif batch.codes is not None:
            parts = self._of_given_codes(batch, factor, terms)
        else:
            parts = self._of_map(batch, factor, terms)
        return Loss(*(part.detach() for part in parts))

    def _by_autograd(self, batch: Batch, factor: float | Tensor, terms: Sequence[Term]) -> Loss:
        for p in self.model.parameters():
            p.grad.zero_()
        parts = loss(self.model, batch, terms=terms, factor=factor, contrast=self.contrast, sample=self.sample)
        parts.total.backward()
        return parts

    @torch.no_grad()
    def _of_given_codes(self, batch: Batch, factor: float | Tensor, terms: Sequence[Term]) -> Loss:
        seen = batch.x if batch.noise is None else batch.x + batch.noise
        encoding, to_codes = _mean_square(self.encoder.forward(seen)[0], batch.codes)
        self.encoder.backward(to_codes, to_input=False)
        n_at = 0
        if terms:
            n_at = len(batch.x) if batch.n_at is None else min(batch.n_at, len(batch.x))
        values, tangents = self.decoder.forward(batch.codes, n_tangents=n_at)
        error, to_values = _mean_square(values, batch.x)
        total, penalties, to_tangents = error + encoding, error.new_zeros(0), None
        if terms:
            penalties, weighted, to_points, to_tangents = self._penalties(values[:n_at], tangents, factor)
            total = total + weighted
            if to_points is not None:
                to_values[:n_at] += to_points
        self.decoder.backward(to_values, to_tangents, to_input=False)
        return Loss(total, error, encoding, penalties, error.new_zeros(()))

    @torch.no_grad()
    def _of_map(self, batch: Batch, factor: float | Tensor, terms: Sequence[Term]) -> Loss:
        x = batch.x
        cells = [x if batch.noise is None else x + batch.noise]
        n_at, n_apart = 0, 0
        if terms:
            n_at = len(x) if batch.n_at is None else min(batch.n_at, len(x))
            if batch.at is not None:
                # first, since the decoder has tangents at the first so many codes
                cells.insert(0, batch.at)
                n_at = n_apart = len(batch.at)
        if self.contrast is not None:
            cells.append(batch.partners)
        n_decoded = n_apart + len(x)
        codes, _ = self.encoder.forward(cells[0] if len(cells) == 1 else torch.cat(cells))
        values, tangents = self.decoder.forward(codes[:n_decoded], n_tangents=n_at)

        error, to_values = _mean_square(values[n_apart:], x)
        total, to_tangents = error, None
        if n_apart:
            to_values = torch.cat([torch.zeros_like(values[:n_apart]), to_values])
        penalties, contrasted = error.new_zeros(0), error.new_zeros(())
        if terms:
            penalties, weighted, to_points, to_tangents = self._penalties(values[:n_at], tangents, factor)
            total = total + weighted
            if to_points is not None:
                to_values[:n_at] += to_points
        to_codes = self.decoder.backward(to_values, to_tangents)
        if self.contrast is not None:
            contrasted, gradient = self.contrast.value_and_gradient(codes[n_apart:n_decoded], codes[n_decoded:])
            total = total + self.contrast.weight * contrasted
            gradient *= self.contrast.weight
            gradient[: len(x)] += to_codes[n_apart:]
            to_codes = gradient if not n_apart else torch.cat([to_codes[:n_apart], gradient])
        self.encoder.backward(to_codes, to_input=False)
        return Loss(total, error, error.new_zeros(()), penalties, contrasted)

    def _penalties(
        self, values: Tensor, tangents: Tensor, factor: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Return the penalties, their weighted sum, and its gradients with respect to values and tangents."""
        if self.model.ambient is None:
            jacobian = tangents.transpose(0, 1)
            metric = jacobian @ jacobian.mT
            parts = [_and_gradient(term, metric) for term in self.terms]
            slope = sum(factor * term.weight * gradient for term, (_, gradient) in zip(self.terms, parts, strict=True))
            to_values, to_tangents = None, ((slope + slope.mT) @ jacobian).transpose(0, 1)
            penalties = torch.stack([value for value, _ in parts])
        else:
            values, tangents = _leaf(values), _leaf(tangents)
            with torch.enable_grad():
                metric = self.model.pullback(Jet(values, tangents.permute(1, 2, 0)))
                penalties = torch.stack([term.regularizer.loss(metric) for term in self.terms])
                sum(factor * term.weight * p for term, p in zip(self.terms, penalties, strict=True)).backward()
            penalties, to_values, to_tangents = penalties.detach(), values.grad, tangents.grad
        weighted = sum(factor * term.weight * p for term, p in zip(self.terms, penalties, strict=True))
        return penalties, weighted, to_values, to_tangents


def _and_gradient(term: Term, metric: Tensor) -> tuple[Tensor, Tensor]:
    """Return a penalty and its gradient with respect to the metric."""
    if term.regularizer.and_gradient is not None:
        return term.regularizer.and_gradient(metric)
    metric = _leaf(metric)
    with torch.enable_grad():
        value = term.regularizer.loss(metric)
        value.backward()
    return value.detach(), metric.grad


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


def _mean_square(found: Tensor, expected: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean squared difference, and its gradient with respect to the first."""
    difference = found - expected
    return difference.square().mean(), difference.mul_(2 / difference.numel())
