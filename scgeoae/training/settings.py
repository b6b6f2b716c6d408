"""The settings of a run of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from .._arguments import as_list, check_flag, checked_integer, checked_number
from ..geometry.regularizers import REGULARIZERS, canonical_name
from ..nn import ACTIVATIONS
from .contrastive import ContrastiveLoss
from .objective import Term
from .sampling import SAMPLINGS

SIDES = ("decoder", "encoder", "both")
ON_INTERRUPT = ("raise", "keep")
# Regularizers of a map, with which the contrastive loss is used unless it is left out, and its weight
# (docs/defaults.md).
GEOMETRIC = {"isometric", "volume", "conformal"}
NEIGHBORS_WEIGHT = 0.2
# Regularizers that keep lengths.
LENGTHS = {"isometric", "unit_isometric"}
# Steps for each one that sees the penalties of geometric regularizers, whose weight there is as many times as large
# (lazy regularization; Karras et al. 2020, arXiv 1912.04958, section 3.1), and number of steps from which on. A long
# run gets a tenth shorter and keeps its distortion; one of some hundred steps would reconstruct up to 4% less
# (docs/defaults.md).
PENALTY_INTERVAL, MIN_LAZY_STEPS = 2, 1000
# Regularizers that equal room for all cells would contradict.
AREAS = {"volume", "unit_isometric"}
# Weight of the conformal penalty where it takes the place of an isometric one of 1 (docs/defaults.md).
CONFORMAL_WEIGHT = 0.75
# Beyond it float32 does not hold the gradients.
LARGEST_TSNE_WEIGHT = 1e6


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of `fit`, checked and with their defaults filled in; `scgeoae.tl.geoae` describes each."""

    n_components: int = 2
    regularizer: str | Mapping[str, float] | None = "isometric"
    """After construction the canonical name, whatever alias was given."""
    strength: float | str | None = None
    """After construction a number or "auto": the default of the regularizer, 0 without one, and None for several."""
    tolerance: float = 1.1
    side: str | None = None
    sampling: str | None = None
    """After construction a name in `SAMPLINGS`."""
    neighbors_weight: float | None = None
    """After construction a number."""
    neighbors_scale: float = 0.3
    noise: float | None = None
    """After construction a number (with "denoising" its strength), or None for the noise that suits the contrastive
    loss."""
    refine: bool | None = None
    """None for the default of the regularizer (`refines`)."""
    tsne_weight: float = 0.25
    perplexity: float = 25.0
    equal_room: float = 0.0
    n_neighbors: int = 15
    hidden: Sequence[int] = (128, 128)
    activation: str = "silu"
    n_steps: int | None = None
    batch_size: int = 256
    learning_rate: float = 1e-2
    on_interrupt: str = "raise"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"n_components": 1, "batch_size": 2, "n_neighbors": 1}.items():
            self._set(name, checked_integer(getattr(self, name), name, least))
        if self.n_steps is not None:
            self._set("n_steps", checked_integer(self.n_steps, "n_steps", 1))
        self._set("hidden", tuple(checked_integer(width, "hidden", 1) for width in as_list(self.hidden)))
        if not isinstance(self.activation, str) or self.activation not in ACTIVATIONS:
            msg = f"Expected `activation` to be one of {sorted(ACTIVATIONS)}, found {self.activation!r}."
            raise ValueError(msg)
        for name in ("learning_rate", "neighbors_scale"):
            self._set(name, checked_number(getattr(self, name), name))
            if getattr(self, name) == 0:
                msg = f"Expected `{name}` to be a finite number > 0, found 0."
                raise ValueError(msg)
        if not isinstance(self.on_interrupt, str) or self.on_interrupt not in ON_INTERRUPT:
            msg = f"Expected `on_interrupt` to be one of {ON_INTERRUPT}, found {self.on_interrupt!r}."
            raise ValueError(msg)
        self._set_weights()
        self._set_neighbors_and_noise()
        self._check_side()
        self._set_refinement()
        if self.sampling is None:
            customary = {REGULARIZERS[name].sampling for name in self._given}
            self._set("sampling", customary.pop() if len(customary) == 1 else "data")
        if not isinstance(self.sampling, str) or self.sampling not in SAMPLINGS:
            msg = f"Expected `sampling` to be one of {sorted(SAMPLINGS)}, found {self.sampling!r}."
            raise ValueError(msg)
        self._check_room()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _set_weights(self) -> None:
        auto = isinstance(self.strength, str) and self.strength == "auto"
        tolerance = checked_number(self.tolerance, "tolerance")
        if tolerance <= 1:
            msg = f"Expected `tolerance` to be a finite number > 1, found {self.tolerance!r}."
            raise ValueError(msg)
        self._set("tolerance", tolerance)
        if isinstance(self.regularizer, Mapping):
            if self.strength is not None and not auto:
                msg = f"A mapping of regularizers contains their weights; leave out strength={self.strength!r}."
                raise ValueError(msg)
            weights = {canonical_name(k): checked_number(v, f"regularizer[{k!r}]") for k, v in self.regularizer.items()}
            if len(weights) < len(self.regularizer):
                msg = f"Two of the regularizers {list(self.regularizer)} are the same."
                raise ValueError(msg)
            self._set("regularizer", weights)
        else:
            if self.regularizer is not None:
                self._set("regularizer", canonical_name(self.regularizer))
            if self.strength is None:
                self._set("strength", 0.0 if self.regularizer is None else REGULARIZERS[self.regularizer].strength)
            if not auto:
                strength = checked_number(self.strength, "strength", or_="'auto'")
                self._set("strength", strength)
                if self.regularizer is None and strength > 0:
                    msg = f"strength={strength:g} without a regularizer has no effect; name one."
                    raise ValueError(msg)
        if auto and not any(REGULARIZERS[name].loss is not None for name, weight in self._given.items() if weight > 0):
            msg = (
                "strength='auto' balances a penalty against the reconstruction error, and "
                f"regularizer={self.regularizer!r} is not a penalty; give a number."
            )
            raise ValueError(msg)

    def _set_neighbors_and_noise(self) -> None:
        weight = self.neighbors_weight
        if weight is None:
            # the baselines stay as their papers describe them
            weight = NEIGHBORS_WEIGHT if GEOMETRIC & self._given.keys() else 0.0
        self._set("neighbors_weight", checked_number(weight, "neighbors_weight"))
        noise = self.noise
        if "denoising" in self._given:
            if noise is not None:
                msg = f"The strength of the regularizer 'denoising' is its noise; leave out noise={noise!r}."
                raise ValueError(msg)
            noise = self._given["denoising"]
        elif noise is None and self.neighbors_weight == 0:
            noise = 0.0
        if noise is not None:
            self._set("noise", checked_number(noise, "noise"))

    def _set_refinement(self) -> None:
        for name in ("tsne_weight", "perplexity"):
            self._set(name, checked_number(getattr(self, name), name))
        if self.tsne_weight > LARGEST_TSNE_WEIGHT:
            msg = f"Expected `tsne_weight` to be at most {LARGEST_TSNE_WEIGHT:g}, found {self.tsne_weight!r}."
            raise ValueError(msg)
        if self.perplexity <= 1:
            msg = f"Expected `perplexity` to be a finite number > 1, found {self.perplexity!r}."
            raise ValueError(msg)
        if self.refine is not None:
            check_flag(self.refine, "refine")
            self._set("refine", bool(self.refine))

    def _check_side(self) -> None:
        if self.side is None:
            return
        if not isinstance(self.side, str) or self.side not in SIDES:
            msg = f"Expected `side` to be None or one of {SIDES}, found {self.side!r}."
            raise ValueError(msg)
        for name in self._given:
            sides = REGULARIZERS[name].sides
            if self.side not in sides:
                of = {"decoder": "the decoder", "encoder": "the encoder", "both": "both networks together"}[sides[0]]
                msg = f"The regularizer {name!r} acts on {of}, so side={self.side!r} does not apply; leave it out."
                raise ValueError(msg)

    def _check_room(self) -> None:
        if not isinstance(self.equal_room, Real) or not 0 <= self.equal_room <= 1:
            msg = f"Expected `equal_room` to be a number from 0 to 1, found {self.equal_room!r}."
            raise ValueError(msg)
        self._set("equal_room", float(self.equal_room))
        if self.equal_room == 0:
            return
        if kept := AREAS & self.penalties.keys():
            msg = (
                f"The regularizer {min(kept)!r} keeps areas, and equal_room={self.equal_room:g} changes them; leave "
                "one of the two out."
            )
            raise ValueError(msg)
        if not self.refines:
            msg = (
                f"equal_room={self.equal_room:g} acts in the refinement, which these arguments leave out; give "
                "refine=True, or leave out `equal_room`."
            )
            raise ValueError(msg)
        if self.tsne_weight == 0:
            msg = (
                f"equal_room={self.equal_room:g} has no effect without t-SNE's divergence; give `tsne_weight` > 0, or "
                "leave out `equal_room`."
            )
            raise ValueError(msg)

    @property
    def _given(self) -> Mapping[str, float]:
        if isinstance(self.regularizer, Mapping):
            return self.regularizer
        if self.regularizer is None:
            return {}
        # with "auto" the customary weight is the one that a factor multiplies
        strength = self.strength if isinstance(self.strength, float) else REGULARIZERS[self.regularizer].strength
        return {self.regularizer: strength}

    @property
    def keeps_interrupted(self) -> bool:
        """Whether an interrupt ends training with what was reached, instead of being raised."""
        return self.on_interrupt == "keep"

    @property
    def is_auto(self) -> bool:
        """Whether training finds a factor for the weights."""
        return self.strength == "auto"

    @property
    def penalties(self) -> dict[str, float]:
        """Those of the given regularizers that are penalties with a weight above 0, and their weights."""
        return {name: w for name, w in self._given.items() if w > 0 and REGULARIZERS[name].loss is not None}

    @property
    def terms(self) -> list[Term]:
        """The terms of the objective, with weights above 0; a regularizer of both networks is two terms.

        A map on which all cells have equal room cannot keep lengths: `equal_room` is the share of the isometric penalty
        that a conformal one replaces.
        """
        weights = self.penalties
        if self.equal_room > 0 and (isometric := weights.pop("isometric", 0.0)) > 0:
            conformal = CONFORMAL_WEIGHT * self.equal_room * isometric
            weights["conformal"] = weights.get("conformal", 0.0) + conformal
            if self.equal_room < 1:
                weights["isometric"] = (1 - self.equal_room) * isometric
        terms = []
        for name, weight in weights.items():
            regularizer = REGULARIZERS[name]
            side = self.side or regularizer.sides[0]
            if len(regularizer.sides) == 1 or side != "encoder":
                terms.append(Term(name, weight))
            if len(regularizer.sides) > 1 and side != "decoder":
                terms.append(Term(name, weight, on_encoder=True))
        return terms

    @property
    def refines(self) -> bool:
        """Whether there is a second stage."""
        if self.refine is not None:
            return self.refine
        # the baselines stay as their papers describe them
        keeps_metric = bool(GEOMETRIC & self._given.keys()) and self.side in (None, "decoder")
        return keeps_metric and self.contrastive is not None

    @property
    def keeps_lengths(self) -> bool:
        """Whether the decoder is regularized toward true distances, and not only areas or angles."""
        return bool(LENGTHS & self._given.keys())

    @property
    def contrastive(self) -> ContrastiveLoss | None:
        """The contrastive loss, if it has a weight."""
        weight = self.neighbors_weight or 0.0
        return ContrastiveLoss(weight, self.neighbors_scale) if weight > 0 else None

    def penalty_interval(self, n_steps: int) -> int:
        """Return the number of steps for each one that sees the penalties.

        In a long run the penalties of geometric regularizers are seen every second step. Baselines stay as their papers
        describe them, and weights that are adapted would swing with the interval.
        """
        is_lazy = GEOMETRIC.issuperset(term.name for term in self.terms)
        return PENALTY_INTERVAL if is_lazy and not self.is_auto and n_steps >= MIN_LAZY_STEPS else 1
