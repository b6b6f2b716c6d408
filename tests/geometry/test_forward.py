"""Jacobians of functions whose derivatives nobody wrote down, and the Fisher metric of counts."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributions import NegativeBinomial, Poisson, kl_divergence

from scgeoae.geometry import fisher_metric
from scgeoae.geometry.jet import forward_jacobian
from scgeoae.nn.count_decoder import LAYERS

from ..for_each import for_each


@given(n=st.integers(1, 5), d=st.integers(1, 4), width=st.integers(1, 7), seed=st.integers(0, 9))
def test_forward_jacobian_is_that_of_autodiff(n, d, width, seed):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(d, 5), nn.Tanh(), nn.Linear(5, width), nn.Softmax(-1)).double()
    z = torch.randn(n, d, dtype=torch.float64)
    values, jacobian = forward_jacobian(network, z)
    assert torch.equal(values, network(z))
    expected = torch.stack([torch.func.jacrev(network)(row[None])[0, :, 0] for row in z])
    torch.testing.assert_close(jacobian, expected, rtol=1e-10, atol=1e-12)


def test_inference_mode_changes_nothing():
    network, z = nn.Sequential(nn.Linear(2, 5), nn.Tanh()), torch.randn(4, 2)
    expected = forward_jacobian(network, z)
    with torch.inference_mode():
        found = forward_jacobian(network, z.clone())
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@for_each("layer", [*LAYERS, "batch_norm"])
def test_autograd_goes_back_through_it(layer):
    torch.manual_seed(0)
    middle = nn.BatchNorm1d(4) if layer == "batch_norm" else LAYERS[layer]()
    network = nn.Sequential(nn.Linear(2, 4), middle, nn.Linear(4, 3)).double().eval()
    z = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda at: forward_jacobian(network, at)[1], (z,))
    weight = network[0].weight.detach().clone().requires_grad_()

    def jacobian_of(weight):
        return forward_jacobian(lambda at: torch.func.functional_call(network, {"0.weight": weight}, (at,)), z.detach())

    assert torch.autograd.gradcheck(lambda weight: jacobian_of(weight)[1], (weight,))


@for_each("dispersion", [0.0, 0.5])
def test_fisher_metric_is_twice_the_divergence(dispersion):
    x = torch.tensor([[0.05, 0.7, 3.0, 7.0]], dtype=torch.float64)
    step = 1e-5

    def counts(at):
        mean = at.expm1()
        if dispersion == 0:
            return Poisson(mean)
        return NegativeBinomial(1 / dispersion, logits=(mean * dispersion).log())

    if dispersion == 0:
        divergence = kl_divergence(counts(x), counts(x + step))
    else:  # torch has no closed form of it, but the sum ends
        k = torch.arange(100_000, dtype=torch.float64)[:, None]
        log_p, log_q = counts(x).log_prob(k), counts(x + step).log_prob(k)
        divergence = (log_p.exp() * (log_p - log_q)).sum(0, keepdim=True)
    torch.testing.assert_close(fisher_metric(x, dispersion), 2 * divergence / step**2, rtol=1e-3, atol=0)


def test_fisher_metric_of_no_dispersion_is_that_of_poisson():
    x = torch.rand(4, 3) + 0.1
    torch.testing.assert_close(fisher_metric(x, torch.zeros(3)), (1 + x.expm1()) ** 2 / x.expm1())
    assert fisher_metric(torch.zeros(1, 2)).isfinite().all()
