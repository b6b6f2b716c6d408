"""The decoder of a model of counts by itself."""

from __future__ import annotations

import pytest
import torch

import scgeoae as sg
from scgeoae.geometry.chart import fit_chart
from scgeoae.nn import CountDecoder
from scgeoae.nn.arrays import from_arrays

from ..for_each import for_each

LAYERS = ("linear", "layer_norm", "silu", "linear", "softmax")


def made(*, fisher=False, d=2):
    torch.manual_seed(0)
    decoder = CountDecoder(LAYERS, [(d, 8), (8, 20)], library_size=1e4, fisher=fisher)
    decoder.dispersion += torch.rand(20)
    z = torch.randn(30, d)
    return decoder.set_chart(fit_chart(z, decoder.metric(z).detach(), z)).eval()


@for_each("fisher", [False, True])
@for_each("d", [1, 2, 3])
def test_derivatives_and_metric_are_those_of_autodiff(fisher, d):
    decoder = made(fisher=fisher, d=d).double()
    z = torch.randn(4, d, dtype=torch.float64)
    jet = decoder.jet(z, order=2)
    one = lambda row: decoder.decode(row[None])[0]  # noqa: E731
    torch.testing.assert_close(jet.values, decoder.decode(z))
    torch.testing.assert_close(jet.first, torch.stack([torch.func.jacrev(one)(row) for row in z]))
    torch.testing.assert_close(jet.second, torch.stack([torch.func.hessian(one)(row) for row in z]))
    mean = jet.values.expm1()
    h = (1 + mean) ** 2 / (mean + decoder.dispersion * mean**2) if fisher else torch.ones_like(mean)
    torch.testing.assert_close(decoder.metric(z), torch.einsum("nga,ng,ngb->nab", jet.first, h, jet.first))


def test_positions_are_taken_in_any_form():
    decoder = made()
    z = torch.randn(4, 2)
    for form in (z.numpy(), z.tolist(), z.double()):
        assert torch.equal(decoder.metric(form), decoder.metric(z))
    with pytest.raises(ValueError, match=r"`z` to be of shape \(n, 2\), found \(2,\)"):
        decoder.metric(z[0])


@for_each("fisher", [False, True])
def test_a_file_brings_it_back(tmp_path, fisher):
    decoder = made(fisher=fisher)
    decoder.save(tmp_path / "map.safetensors")
    loaded = sg.load(tmp_path / "map.safetensors")
    z = torch.randn(5, 2)
    assert torch.equal(loaded.decode(z), decoder.decode(z))
    assert torch.equal(loaded.metric(z), decoder.metric(z))


@for_each(
    "change, match",
    [
        ({"layers": "linear evil linear softmax"}, "is not a chain of the layers .*evil"),
        ({"layers": "linear softmax"}, "do not fit the sizes"),
        ({"sizes": [[2, 8], [9, 20]]}, "do not fit the sizes"),
        ({"sizes": [[2, 80000], [80000, 20]]}, "too few weights"),
        ({"library_size": float("nan")}, "'library_size' is not a finite number > 0: nan"),
        ({"format": 99}, "newer version"),
        ({"weights": {}}, "too few weights"),
    ],
)
def test_damaged_arrays_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        from_arrays(made().to_arrays() | change)


def test_it_says_that_it_has_no_encoder():
    with pytest.raises(ValueError, match="has the metric of its decoder only"):
        made().metric_of("encoder", torch.zeros(1, 2))
