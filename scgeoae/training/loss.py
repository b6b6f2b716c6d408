"""What training minimises."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from ..geometry.metric import cometric
from ..geometry.regularizers import REGULARIZERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from ..geometry.regularizers import Regularizer
    from ..nn import Autoencoder
    from .contrast import Contrast


class Term(NamedTuple):
    """A regulariser of one of the two networks, and its weight."""

    name: str
    weight: float
    on_encoder: bool = False
    """Where it can hold either, that it holds the encoder."""

    @property
    def regularizer(self) -> Regularizer:
        """What it stands for."""
        return REGULARIZERS[self.name]

    @property
    def label(self) -> str:
        """Its name in the history."""
        return f"{self.name}_encoder" if self.on_encoder else self.name

    @property
    def is_of_rows(self) -> bool:
        """Whether it is a function of the encoder's metric."""
        return self.regularizer.of == "metric" and (self.on_encoder or self.regularizer.sides == ("encoder",))

    @property
    def is_of_decoder(self) -> bool:
        """Whether it is a function of the decoder's derivatives at single codes."""
        return self.regularizer.of == "jet" or (self.regularizer.of == "metric" and not self.is_of_rows)


class Batch(NamedTuple):
    """The cells of a step, and what its terms need besides."""

    x: Tensor
    """(n, D) standardised cells."""
    rows: Tensor | None = None
    """(n,) their row numbers."""
    n_at: int | None = None
    """At how many of the cells, the first ones, metrics are evaluated; by default at all."""
    at: Tensor | None = None
    """(n', D) cells at which they are evaluated instead."""
    neighbors: Tensor | None = None
    """(n, k, D) cells around each of `x`."""
    partners: Tensor | None = None
    """(n', D) one neighbour of each of the first n' of `x`, to be contrasted with the other cells."""
    noise: Tensor | None = None
    """(n, D), added to `x` before it is encoded."""
    codes: Tensor | None = None
    """(n, d) where the cells lie in latent space, if that is given: the decoder starts there, and the encoder is
    held to it."""


class Loss(NamedTuple):
    """The loss and its parts."""

    total: Tensor
    """()"""
    reconstruction: Tensor
    """() mean squared error of the standardised representation."""
    encoding: Tensor
    """() mean squared distance of the encoder from the given codes, 0 where there are none."""
    penalties: Tensor
    """(k,) each before it is weighted, in the order of the terms."""
    contrast: Tensor
    """() the neighbour term before it is weighted, 0 without one."""


def loss(
    model: Autoencoder,
    batch: Batch,
    *,
    terms: Sequence[Term],
    factor: float | Tensor = 1.0,
    contrast: Contrast | None = None,
    sample: Callable[[Tensor], Tensor] | None = None,
) -> Loss:
    """Return the loss of a batch.

    Parameters
    ----------
    model, batch
        The model and its cells.
    terms
        The regularisers.
    factor
        Multiplies the weights of all of them.
    contrast
        The neighbour term, if there is one.
    sample
        Turns codes into the latent points at which the decoder's regularisers are evaluated
        instead.
    """
    kinds = {term.regularizer.of for term in terms}
    needs_rows = any(term.is_of_rows for term in terms)
    order_at_points = max((t.regularizer.order for t in terms if t.is_of_decoder), default=0)
    order_at_codes = max((t.regularizer.order for t in terms if t.regularizer.of == "neighbors"), default=0)

    x = batch.x
    seen = x if batch.noise is None else x + batch.noise
    at = seen[: batch.n_at] if batch.at is None else batch.at
    at_all = batch.at is None and len(at) == len(x)
    rows = model.encoder.rows(at) if needs_rows else None
    encoding, z_partners = x.new_zeros(()), None
    if batch.codes is not None:
        z = batch.codes
        encoding = (model.encoder(seen) - z).square().mean()
    elif contrast is not None:
        z, z_partners = model.encoder(torch.cat([seen, batch.partners])).split([len(x), len(batch.partners)])
    elif rows is not None and at_all:
        z = rows.values
    else:
        z = model.encoder(seen)

    jet = None
    if order_at_points:
        if batch.codes is not None or batch.at is None:
            points = z if at_all else z[: batch.n_at]
        else:
            points = model.encoder(at) if rows is None else rows.values
        points = points if sample is None else sample(points)
        if points is z:
            order_at_codes = max(order_at_codes, order_at_points)
        else:
            jet = model.decoder.jet(points, order=order_at_points)
    jet_of_codes = model.decoder.jet(z, order=order_at_codes) if order_at_codes else None
    jet = jet_of_codes if jet is None else jet
    values = model.decoder(z) if jet_of_codes is None else jet_of_codes.values
    error = (values - x).square().mean()

    pullback = model.pullback(jet) if order_at_points and "metric" in kinds else None
    cells_metric = cometric(rows.first, model.ambient, model.restore(at)) if needs_rows else None
    z_neighbors = model.encoder(batch.neighbors) if "neighbors" in kinds else None

    def penalty(term: Term) -> Tensor:
        regularizer = term.regularizer
        match regularizer.of:
            case "metric":
                return regularizer.loss(cells_metric if term.is_of_rows else pullback)
            case "jet":
                return regularizer.loss(jet)
            case "codes":
                return regularizer.loss(x, z)
            case _:
                near = jet_of_codes if regularizer.order == 2 else jet_of_codes._replace(second=None)
                return regularizer.loss(near, z, z_neighbors, batch.neighbors)

    total = error + encoding
    contrasted = error.new_zeros(())
    if contrast is not None:
        contrasted = contrast.of(z, z_partners)
        total = total + contrast.weight * contrasted
    penalties = [penalty(term) for term in terms]
    if penalties:
        total = total + sum(factor * term.weight * value for term, value in zip(terms, penalties, strict=True))
    stacked = torch.stack(penalties) if penalties else error.new_zeros(0)
    return Loss(total, error, encoding, stacked, contrasted)
