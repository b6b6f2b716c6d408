from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from scgeoae.geometry import indicatrix_axes, pullback


@given(st.integers(0, 1000), st.integers(1, 3))
def test_axes_are_conjugate_unit_vectors_of_the_metric(seed, d):
    g = pullback(torch.randn(20, d + 2, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    axes = indicatrix_axes(g)
    eye = torch.eye(d, dtype=torch.float64).expand_as(g)
    torch.testing.assert_close(axes.mT @ g @ axes, eye)
    lengths = axes.norm(dim=1)
    assert (lengths[:, :-1] >= lengths[:, 1:]).all()
    directions = axes / lengths[:, None]
    torch.testing.assert_close(directions.mT @ directions, eye)


def test_by_hand():
    axes = indicatrix_axes(torch.diag(torch.tensor([4.0, 0.25]))[None])[0].abs()
    torch.testing.assert_close(axes, torch.tensor([[0.0, 0.5], [2.0, 0.0]]))


def test_collapsed_direction_is_long_but_finite():
    axes = indicatrix_axes(torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))[None])[0]
    torch.testing.assert_close(axes.norm(dim=0), torch.tensor([1e6, 1.0], dtype=torch.float64))
