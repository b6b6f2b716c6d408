from __future__ import annotations

import numpy as np
import torch

from scgeoae.training import Settings, fit
from scgeoae.training import finalize as of_finalize
from scgeoae.training.finalize import evaluate_model, on_map


def test_it_says_of_all_cells_what_the_model_says_of_each_on_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(of_finalize, "BATCH_SIZE", 64)
    x = np.random.default_rng(0).normal(size=(300, 7)) * [3, 2, 1, 1, 1, 1, 1] + 5
    model = fit(x, Settings(n_steps=20, refine=False, hidden=(16,))).model

    def evaluated(n_threads, cells=x, codes=None):
        before = torch.get_num_threads()
        torch.set_num_threads(n_threads)
        try:
            return evaluate_model(model, cells, lambda raw: model.standardize(raw).numpy(), codes=codes)
        finally:
            torch.set_num_threads(before)

    found = evaluated(1)
    for a, b in zip(found, evaluated(3), strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()
    with torch.no_grad():
        z = model.encode(x)
        expected = z, model.metric(z), model.encoder_metric(x)
        error = (model.decode(z) - torch.from_numpy(x)).square().sum(1) / (7 * model.scale**2)
    for a, b in zip(on_map(model, found.latent, found.metric, found.encoder_metric), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.error, error, rtol=1e-3, atol=1e-5)
    assert not len(found.principal)
    # the decoder starts at given codes
    codes = torch.from_numpy(np.random.default_rng(1).normal(size=(300, 2)).astype(np.float32))
    at = torch.from_numpy(on_map(model, codes)[0])
    with torch.no_grad():
        np.testing.assert_allclose(
            on_map(model, codes, evaluated(2, codes=codes).metric)[1], model.metric(at), rtol=1e-3, atol=1e-4
        )
