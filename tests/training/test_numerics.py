"""What cannot be computed is said, with the cause: no number that is none comes out."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scgeoae.geometry import anisotropy, distortion, indicatrix_axes, inverse, log_det, relative_log_area
from scgeoae.geometry.regularizers import REGULARIZERS
from scgeoae.training import Settings, fit
from scgeoae.training.ambient import choose_ambient

from ..for_each import for_each

RNG = np.random.default_rng(0)
CLOUD = RNG.normal(size=(200, 10))
LINE = np.outer(RNG.normal(size=200), RNG.normal(size=10))


def values_of(fitted):
    return fitted.embedding, fitted.metric, fitted.encoder_metric, fitted.error


@for_each("regularizer", sorted(REGULARIZERS))
def test_a_decoder_of_rank_one(regularizer):
    for value in values_of(fit(LINE, Settings(regularizer=regularizer, n_steps=30), progress_bar=False)):
        assert np.isfinite(value).all()


@for_each("strength", [1e10, 1e30, 1e38])
def test_weights_beyond_reason(strength):
    for value in values_of(fit(CLOUD, Settings(strength=strength, n_steps=30), progress_bar=False)):
        assert np.isfinite(value).all()


@for_each("regularizer", ["isometric", "volume", "conformal", "neighborhood", None])
def test_an_exploding_decoder(regularizer):
    raw = CLOUD.copy()
    raw[17] *= 30
    settings = Settings(regularizer=regularizer, learning_rate=1e6, n_steps=60)
    with pytest.raises(RuntimeError, match=r"(?s)The loss became .*Lower `learning_rate` \(now 1e\+06\).* row 17"):
        fit(raw, settings, progress_bar=False)


@given(
    scales=st.lists(st.floats(-37, 37), min_size=2, max_size=2),
    turn=st.floats(0, math.pi),
)
def test_determinants_beyond_float32(scales, turn):
    # det G = 10^(a + b), up to 10^±74, where float32 ends at 10^±38; each entry is within it
    c, s = math.cos(turn), math.sin(turn)
    rotation = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    exact = rotation @ torch.diag(torch.tensor([10.0**a for a in scales], dtype=torch.float64)) @ rotation.T
    metric = exact.float()[None]
    assert log_det(metric).isfinite().all()
    if abs(scales[0] - scales[1]) < 2:
        assert float(log_det(metric)) == pytest.approx(sum(scales) * math.log(10), abs=1e-2)
    both = torch.cat([metric, torch.eye(2)[None]])
    assert relative_log_area(both).isfinite().all()
    assert anisotropy(both).isfinite().all()
    assert indicatrix_axes(both.double()).isfinite().all()
    assert all(map(math.isfinite, distortion(both)))


def test_a_metric_of_zero_has_a_finite_gradient():
    metric = torch.zeros(3, 2, 2, requires_grad=True)
    log_det(metric).sum().backward()
    assert metric.grad.isfinite().all()
    assert inverse(torch.zeros(3, 2, 2)).isfinite().all()


@for_each("scale", [1e-20, 1e20])
def test_units_that_float32_cannot_square(scale):
    with pytest.raises(ValueError, match=re.escape("divide them by one number")):
        fit(CLOUD * scale, Settings(n_steps=5), progress_bar=False)


def test_a_covariance_without_an_inverse():
    with pytest.raises(ValueError, match="inverts the covariance, and this one has no inverse"):
        choose_ambient("mahalanobis", np.full((20, 10), 3.1))
