"""The optimizer against torch's."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from scgeoae.nn import Mlp
from scgeoae.training.optimizer import AdamW, one_cycle

from ..for_each import for_each


def mlp():
    return Mlp(3, 2, hidden=(5,), generator=torch.Generator().manual_seed(0)).double()


def loss(model, x):
    return (model(x) - x[:, :2].sin()).square().mean()


@for_each("n_steps", [2, 4, 10, 200])
def test_same_as_torch(n_steps):
    theirs, ours = mlp(), mlp()
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.03, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.03, total_steps=max(n_steps, 4), pct_start=0.4)
    mine = AdamW(ours, peak=0.03, n_steps=n_steps, climb=0.4, weight_decay=0.1)
    x = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss(theirs, x).backward()
        optimizer.step()
        schedule.step()
        loss(ours, x).backward()
        mine.step()
    torch.testing.assert_close(list(ours.parameters()), list(theirs.parameters()), rtol=1e-9, atol=1e-12)


@for_each("n_steps", [1, 4, 9, 10, 11])
def test_a_cycle_too_short_to_climb_begins_at_its_peak(n_steps):
    rates = one_cycle(n_steps, 0.03, 0.1)[0].tolist()
    if n_steps < 11:
        assert rates[0] == pytest.approx(0.03)
    assert all(0 < rate <= 0.03 for rate in rates)
    assert rates[1:] == sorted(rates[1:], reverse=True)


def test_continued_on_a_copy():
    from copy import deepcopy

    x = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    model = mlp()
    first = AdamW(model, peak=0.03, n_steps=20)

    def step(model, optimizer):
        loss(model, x).backward()
        optimizer.step()

    for _ in range(7):
        step(model, first)
    copy = deepcopy(model)
    second = first.continued_on(copy)
    for _ in range(7):
        step(model, first)
    before = copy.weights[0].detach().clone()
    assert not torch.equal(before, model.weights[0])
    for _ in range(7):
        step(copy, second)
    torch.testing.assert_close(list(copy.parameters()), list(model.parameters()), rtol=0, atol=0)


def test_training_does_not_import_the_compiler():
    code = (
        "import sys, numpy as np; from scgeoae.training import Settings, fit;"
        "fit(np.random.default_rng(0).normal(size=(60, 5)), Settings(n_steps=3));"
        "print('torch._dynamo' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
