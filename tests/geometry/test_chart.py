from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from scgeoae.geometry import pullback, trace
from scgeoae.geometry.chart import fit_chart


def randn(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 1000), st.integers(1, 3))
def test_recovers_a_rigid_motion(seed, d):
    target = randn(seed, 40, d) * torch.arange(1, d + 1)
    rotation, _ = torch.linalg.qr(randn(seed + 1, d, d))
    z = target @ rotation.T + randn(seed + 2, d)
    frame = fit_chart(z, torch.eye(d).expand(40, d, d), target)
    torch.testing.assert_close(frame.unit * (z - frame.origin) @ frame.rotation, target - target.mean(0))


@given(st.integers(0, 1000))
def test_unit_makes_the_mean_metric_one(seed):
    metric = pullback(randn(seed, 40, 5, 2))
    frame = fit_chart(randn(seed, 40, 2), metric, randn(seed + 1, 40, 2))
    torch.testing.assert_close((trace(metric / frame.unit**2) / 2).mean(), torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(frame.rotation.T @ frame.rotation, torch.eye(2, dtype=torch.float64))
