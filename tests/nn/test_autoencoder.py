from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from torch.func import hessian, jacfwd, vmap

from scgeoae.geometry.chart import Chart
from scgeoae.nn import Autoencoder


def bent(d=2, seed=0):
    """A model with some chart, after something like training."""
    g = torch.Generator().manual_seed(seed)
    model = Autoencoder(9, d, hidden=(8, 7), generator=g)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=g))
    rotation, _ = torch.linalg.qr(torch.randn(d, d, generator=g))
    model.start_at(center=torch.randn(9, generator=g), scale=torch.tensor(2.5), axes=torch.randn(d, 9, generator=g))
    model.set_chart(Chart(torch.tensor(1.7), torch.randn(d, generator=g), rotation))
    return model.double()


def test_starts_at_pca():
    x = np.random.default_rng(0).normal(size=(50, 6)) * [5, 4, 3, 2, 1, 1]
    pca = PCA(2).fit(x)
    model = Autoencoder(6, 2).start_at(
        center=torch.as_tensor(pca.mean_), scale=torch.tensor(3.0), axes=torch.as_tensor(pca.components_)
    )
    z = model.encode(torch.as_tensor(x, dtype=torch.float32))
    np.testing.assert_allclose(z.detach(), pca.transform(x), atol=1e-5)
    np.testing.assert_allclose(model.decode(z).detach(), pca.inverse_transform(pca.transform(x)), atol=1e-5)
    np.testing.assert_allclose(model.metric(z).detach(), np.tile(np.eye(2), (50, 1, 1)), atol=1e-5)


def test_derivatives_are_those_of_decode_in_any_chart():
    for d in (1, 2, 3):
        model = bent(d)
        z = torch.randn(5, d, dtype=torch.float64)
        expected = vmap(jacfwd(model.decode))(z)
        torch.testing.assert_close(model.jacobian(z), expected)
        torch.testing.assert_close(model.metric(z), expected.mT @ expected)
        jet = model.jet(z, order=2)
        torch.testing.assert_close(jet.values, model.decode(z))
        torch.testing.assert_close(jet.second, vmap(hessian(model.decode))(z))


def test_positions_and_cells_are_taken_in_any_form():
    model = bent().float()
    for name, n in {"decode": 2, "metric": 2, "jacobian": 2, "encode": 9, "encoder_metric": 9}.items():
        call = getattr(model, name)
        rows = np.random.default_rng(0).normal(size=(4, n)).round(2)
        expected = call(torch.from_numpy(rows).float())
        read_only = rows.astype(np.float32)
        read_only.flags.writeable = False
        for form in (rows, rows.tolist(), rows[:, ::-1][:, ::-1], rows.astype(">f8"), pd.DataFrame(rows), read_only):
            assert torch.equal(call(form), expected), name
        assert torch.equal(call(torch.from_numpy(rows)), expected)
        with pytest.raises(ValueError, match=rf"`[xz]` to be of shape \(n, {n}\), found \(4, 5\)"):
            call(torch.zeros(4, 5))
        for wrong in (None, "text", np.array([["a"] * n]), rows * 1j):
            with pytest.raises(TypeError, match=r"`[xz]` to be a tensor or an array of real numbers, found a"):
                call(wrong)


def test_derivatives_are_those_of_several_points():
    model = bent()
    for name, n in {"jet": 2, "jacobian": 2, "metric": 2, "encoder_jacobian": 9, "encoder_metric": 9}.items():
        with pytest.raises(ValueError, match=rf"`[xz]` to be of shape \(n, {n}\), found \({n},\)"):
            getattr(model, name)(torch.zeros(n))


def test_frame_is_inverted():
    model = bent()
    z = torch.randn(5, 2, dtype=torch.float64)
    # the stored rotation is orthogonal to float32
    torch.testing.assert_close(model.to_map(model.to_latent(z)), z, rtol=1e-5, atol=1e-6)


def test_default_dtype_of_the_user_does_not_leak_in():
    torch.set_default_dtype(torch.float64)
    try:
        assert {p.dtype for p in Autoencoder(5, 2).parameters()} == {torch.float32}
    finally:
        torch.set_default_dtype(torch.float32)
