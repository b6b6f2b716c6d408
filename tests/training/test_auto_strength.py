from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from scgeoae.geometry import distortion
from scgeoae.geometry.regularizers import REGULARIZERS
from scgeoae.training import Batch, Objective, Settings, fit
from scgeoae.training.dual_ascent import MAX_FACTOR

from ..for_each import for_each


def bent(n=500):
    """A Gaussian in 10 dimensions, bent along two of them: no flat map of it is an isometry."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 10)) * np.linspace(3, 0.5, 10)
    x[:, 2:4] += 0.3 * x[:, :2] ** 2
    return x


SHORT = {"n_steps": 300, "hidden": (32, 32)}


@pytest.fixture(scope="module")
def vanilla():
    return fit(bent(), Settings(regularizer=None, **SHORT))


@pytest.fixture(scope="module")
def found():
    return fit(bent(), Settings(strength="auto", tolerance=1.3, **SHORT))


def test_error_lands_on_the_tolerance(vanilla, found):
    assert found.error.mean() / vanilla.error.mean() == pytest.approx(1.3, abs=0.05)


def test_fixed_weight_found_gives_the_same_error():
    found = fit(bent(), Settings(strength="auto", tolerance=1.3, refine=False, **SHORT))
    strength = found.factor * REGULARIZERS["isometric"].strength
    again = fit(bent(), Settings(strength=strength, refine=False, **SHORT))
    assert again.error.mean() == pytest.approx(found.error.mean(), rel=0.05)
    assert again.factor == 1


def test_larger_tolerance_larger_weight_less_distortion(vanilla, found):
    wide = fit(bent(), Settings(strength="auto", tolerance=1.6, **SHORT))
    assert wide.factor > 1.5 * found.factor
    assert wide.error.mean() > found.error.mean()
    iso = [distortion(torch.from_numpy(each.metric)).iso for each in (vanilla, found, wide)]
    assert iso == sorted(iso, reverse=True)


def test_history_has_the_factor(found):
    factor = found.history["factor"]
    assert len(factor) == len(found.history["step"])
    assert factor[-1] == pytest.approx(found.factor)
    # it stays for the end of the run, whose state is the one that is kept
    assert factor[-1] == factor[-5]
    assert found.step == found.history["step"][-1] == SHORT["n_steps"]


def test_same_seed_same_bits():
    a, b = (fit(bent(100), Settings(strength="auto", n_steps=40, seed=3)) for _ in range(2))
    assert np.array_equal(a.embedding, b.embedding)
    assert a.factor == b.factor != 1


@pytest.mark.slow
@for_each("regularizer", ["isometric", "volume", "conformal"])
def test_what_costs_nothing_ends_at_the_large_weight(regularizer):
    # an isometry reconstructs a plane without error
    rng = np.random.default_rng(0)
    x = np.zeros((300, 6))
    x[:, :2] = rng.normal(size=(300, 2)) * [3, 2]
    fitted = fit(x, Settings(regularizer=regularizer, strength="auto", tolerance=2, n_steps=150))
    assert 1 <= fitted.factor <= MAX_FACTOR * 1.001
    assert np.isfinite(fitted.embedding).all()
    assert np.isfinite(fitted.metric).all()


def test_tolerance_that_nothing_meets_ends_at_a_small_weight():
    fitted = fit(bent(), Settings(strength="auto", tolerance=1 + 1e-6, **SHORT))
    assert 1 / MAX_FACTOR * 0.999 <= fitted.factor < 1
    assert np.isfinite(fitted.embedding).all()


def test_one_factor_for_all_of_a_mapping():
    base = {"isometric": 0.2, "volume": 0.05}
    fitted = fit(bent(100), Settings(regularizer=base, strength="auto", n_steps=40))
    assert fitted.factor != 1
    batch = Batch(torch.as_tensor(bent(100), dtype=torch.float32))
    terms = Settings(regularizer=base, strength="auto").terms
    multiplied = [term._replace(weight=term.weight * fitted.factor) for term in terms]
    torch.testing.assert_close(
        Objective(terms, factor=fitted.factor)(fitted.model, batch).total,
        Objective(multiplied)(fitted.model, batch).total,
    )


@for_each("n_steps", [1, 2, 3, 7])
def test_few_cells_and_steps(n_steps):
    x = np.random.default_rng(0).normal(size=(5, 4))
    fitted = fit(x, Settings(strength="auto", n_steps=n_steps))
    assert fitted.step == n_steps
    assert np.isfinite(fitted.embedding).all()
    assert math.exp(-1) < fitted.factor < math.exp(1)


@for_each("batch_size", [16, 128])
def test_sampling_and_neighbors(batch_size):
    for settings in (
        Settings(strength="auto", sampling="mixup", n_steps=30, batch_size=batch_size),
        Settings(regularizer="neighborhood", strength="auto", n_steps=30, batch_size=batch_size),
    ):
        assert np.isfinite(fit(bent(200), settings).factor)
