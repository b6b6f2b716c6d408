"""The objective that training minimizes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch.nn.functional import mse_loss

from ..geometry.jet import Jet
from ..geometry.metric import cometric, pullback
from ..geometry.regularizers import REGULARIZERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from ..geometry.regularizers import Regularizer
    from ..nn import Autoencoder
    from .contrastive import ContrastiveLoss


class Term(NamedTuple):
    """A regularizer of one of the two networks, and its weight."""

    name: str
    weight: float
    on_encoder: bool = False
    """Whether it regularizes the encoder, where it can regularize either network."""

    @property
    def regularizer(self) -> Regularizer:
        """The regularizer itself."""
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


@dataclass(frozen=True)
class Batch:
    """The cells of a step, and what the objective needs to know about them."""

    x: Tensor
    """(n, D) standardized cells to reconstruct."""
    noise: Tensor | None = None
    """(n, D), added to `x` before it is encoded."""
    n_metric: int | None = None
    """Number of cells at which metrics are evaluated: the first ones of `x`, all if None."""
    metric_x: Tensor | None = None
    """(m, D) other cells at which metrics are evaluated instead."""
    positives: Tensor | None = None
    """(n', D) one neighbor of each anchor of the contrastive loss. The anchors are the first n' cells of `x`."""
    neighbors: Tensor | None = None
    """(n, k, D) cells around each of `x`, for regularizers that are functions of these."""
    codes: Tensor | None = None
    """(n, d) where the cells lie in latent space, if that is given. The decoder starts there, and the encoder is fitted
    to it."""
    layout: Tensor | None = None
    """(n, d) codes to which both networks are drawn during the warm-up, besides the rest of the objective."""


class Loss(NamedTuple):
    """The loss and its parts."""

    total: Tensor
    """()"""
    reconstruction: Tensor
    """() mean squared error of the standardized representation."""
    encoding: Tensor
    """() mean squared distance between the encoder's codes and the given ones, 0 where none are given."""
    penalties: Tensor
    """(k,) each penalty before it is weighted, in the order of the terms."""
    contrast: Tensor
    """() the contrastive loss before it is weighted, 0 where there is none."""


@dataclass(frozen=True, eq=False)
class Objective:
    """The reconstruction error, the penalties of the regularizers, and the contrastive loss.

    Call it with a model and a `Batch` for the `Loss`.
    """

    terms: Sequence[Term] = ()
    """The regularizers."""
    contrastive: ContrastiveLoss | None = None
    sampler: Callable[[Tensor], Tensor] | None = None
    """Turns codes into the latent points at which the decoder's regularizers are evaluated instead."""
    factor: float | Tensor = 1.0
    """Multiplies the weights of all terms."""
    interval: int = 1
    """Number of steps for each one that sees the penalties; see `at_step`."""
    layout_variance: float | Tensor = 1.0
    """Unit of the squared distance to the layout of a batch, so that the unit of the layout does not matter."""

    def at_step(self, step: int) -> Objective:
        """Return the objective of a step, counted from 1.

        With an `interval` of k, the first of every k steps sees the penalties with k times their weight, and the others
        do not see them.
        """
        if self.interval == 1 or not self.terms:
            return self
        return self._penalized if step % self.interval == 1 else self._unpenalized

    @cached_property
    def _penalized(self) -> Objective:
        return replace(self, factor=self.interval * self.factor)

    @cached_property
    def _unpenalized(self) -> Objective:
        return replace(self, terms=())

    @cached_property
    def _has_rows(self) -> bool:
        return any(term.is_of_rows for term in self.terms)

    @cached_property
    def _order(self) -> int:
        """The order of the decoder's derivatives at single codes."""
        return max((term.regularizer.order for term in self.terms if term.is_of_decoder), default=0)

    @cached_property
    def _order_around(self) -> int:
        """The order of the decoder's derivatives for the cells around each cell."""
        return max((t.regularizer.order for t in self.terms if t.regularizer.of == "neighbors"), default=0)

    @property
    def has_metrics(self) -> bool:
        """Whether a term is a function of derivatives at single cells."""
        return self._has_rows or self._order > 0

    def needs_host(self, model: Autoencoder) -> bool:
        """Return whether the CPU has a part in its computation, so that a CUDA graph cannot replay it.

        Functions as ambient metric may do what they like, and the inverse of a full one is checked on the host.
        """
        if model.ambient is not None:
            tensor = model.ambient.tensor
            if not isinstance(tensor, torch.Tensor) or (tensor.ndim == 2 and self._has_rows):
                return True
        return any(model.n_components > term.regularizer.without_host for term in self.terms)

    @property
    def has_neighbors(self) -> bool:
        """Whether a term is a function of the cells around each cell."""
        return self._order_around > 0

    def __call__(self, model: Autoencoder, batch: Batch) -> Loss:
        """Return the loss of a batch."""
        x = batch.x
        inputs = self._inputs(batch)
        encoded = _split(model.encoder.fused(_joined(inputs.values()))[0], inputs)
        z = encoded["cells"] if batch.codes is None else batch.codes
        decoded, jet, around = self._decode(model, batch, encoded, z)

        error = mse_loss(decoded["cells"], x)
        total = error
        encoding = contrasted = x.new_zeros(())
        if batch.codes is not None:
            encoding = mse_loss(encoded["cells"], z)
            total = total + encoding
        if batch.layout is not None:
            total = total + mse_loss(encoded["layout"], batch.layout) / self.layout_variance
            total = total + mse_loss(decoded["layout"], x)
        if self.contrastive is not None:
            contrasted = self.contrastive(z, encoded["positives"])
            total = total + self.contrastive.weight * contrasted
        if not self.terms:
            return Loss(total, error, encoding, x.new_zeros(0), contrasted)

        metric = cell_metric = None
        if jet is not None:
            metric = pullback(jet.first, model.ambient, _in_units(model, jet.values))
        if self._has_rows:
            at = inputs["cells"][: batch.n_metric] if batch.metric_x is None else batch.metric_x
            cell_metric = cometric(model.encoder.rows(at).first, model.ambient, _in_units(model, at))

        def penalty(term: Term) -> Tensor:
            loss = cast("Callable[..., Tensor]", term.regularizer.loss)
            match term.regularizer.of:
                case "metric":
                    return loss(cell_metric if term.is_of_rows else metric)
                case "jet":
                    return loss(jet)
                case "codes":
                    return loss(x, z)
                case _:
                    near, neighbors = cast("Jet", around), cast("Tensor", batch.neighbors)
                    local = near if term.regularizer.order == 2 else near._replace(second=None)
                    return loss(local, z, encoded["neighbors"].view(*neighbors.shape[:2], -1), neighbors)

        penalties = [penalty(term) for term in self.terms]
        for term, value in zip(self.terms, penalties, strict=True):
            total = total + self.factor * term.weight * value
        return Loss(total, error, encoding, torch.stack(penalties), contrasted)

    def _inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return what is to be encoded, by name."""
        inputs = {"cells": batch.x if batch.noise is None else batch.x + batch.noise}
        if self.contrastive is not None:
            inputs["positives"] = cast("Tensor", batch.positives)
        if self._order and batch.metric_x is not None and batch.codes is None:
            inputs["metric"] = batch.metric_x
        if batch.layout is not None:
            inputs["layout"] = batch.x
        if self._order_around:
            inputs["neighbors"] = cast("Tensor", batch.neighbors).flatten(0, 1)
        return inputs

    def _decode(
        self, model: Autoencoder, batch: Batch, encoded: dict[str, Tensor], z: Tensor
    ) -> tuple[dict[str, Tensor], Jet | None, Jet | None]:
        """Return what is decoded, by name, and the decoder's jets at the metric points and at all codes, if needed.

        One pass gives all values and first derivatives. The metric points come first in it; often they are the first of
        the codes.
        """
        outputs = {"cells": z}
        points, n_points, n_tangents = z, 0, 0
        if self._order:
            points = encoded["metric"] if "metric" in encoded else z[: batch.n_metric]
            points = points if self.sampler is None else self.sampler(points)
        if self._order == 1:
            n_points = n_tangents = points.shape[0]
            if self.sampler is not None or "metric" in encoded:
                outputs = {"points": points, "cells": z}
        start = n_points if "points" in outputs else 0
        if self._order_around == 1:
            n_tangents = start + z.shape[0]
        if batch.layout is not None:
            outputs["layout"] = batch.layout
        values, first = model.decoder.fused(_joined(outputs.values()), n_tangents=n_tangents)
        decoded = _split(values, outputs)

        jet = around = None
        if self._order == 1:
            jet = Jet(values[:n_points], first if n_tangents == n_points else first[:n_points])
        elif self._order:
            jet = model.decoder.jet(points, order=self._order)
        if self._order_around == 1:
            around = Jet(decoded["cells"], first[start:])
        elif self._order_around:
            around = model.decoder.jet(z, order=self._order_around)
        return decoded, jet, around


def _joined(parts: Iterable[Tensor]) -> Tensor:
    first, *others = parts
    return torch.cat([first, *others]) if others else first


def _split(values: Tensor, parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Undo `_joined`: name the rows that belong to each part."""
    if len(parts) == 1:
        return dict.fromkeys(parts, values)
    return dict(zip(parts, values.split([part.shape[0] for part in parts.values()]), strict=True))


def _in_units(model: Autoencoder, x: Tensor) -> Tensor | None:
    """Return points in units of the representation, where the ambient metric needs them."""
    return None if model.ambient is None else model.restore(x)
