"""What several processes bring together, against one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

from scgeoae.geometry import regularizers

pytest.importorskip("scvi")
from scgeoae.model._module import gather

SIZES = (5, 3)


def rows_of(weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return metric tensors that depend on a weight as those of a network do."""
    jacobian = torch.tanh(x @ weight).reshape(len(x), 3, 2)
    return jacobian.mT @ jacobian


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 6, generator=generator), torch.randn(sum(SIZES), 4, generator=generator)


def process(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=len(SIZES))
    weight, x = inputs()
    weight.requires_grad_()
    rows = gather(rows_of(weight, x.split(SIZES)[rank]))
    loss = regularizers.isometric(rows)
    loss.backward()
    # what distributed data-parallel training does with gradients
    distributed.all_reduce(weight.grad)
    np.savez(f"{folder}/{rank}.npz", rows=rows.detach(), loss=loss.detach(), gradient=weight.grad / len(SIZES))
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not distributed.is_gloo_available(), reason="torch without gloo")
def test_loss_and_gradient_of_several_processes_are_those_of_one(tmp_path):
    multiprocessing.spawn(process, args=(str(tmp_path),), nprocs=len(SIZES))
    weight, x = inputs()
    weight.requires_grad_()
    rows = rows_of(weight, x)
    loss = regularizers.isometric(rows)
    loss.backward()
    for rank in range(len(SIZES)):
        found = np.load(tmp_path / f"{rank}.npz")
        np.testing.assert_array_equal(found["rows"], rows.detach())
        np.testing.assert_allclose(found["loss"], loss.detach(), rtol=1e-6)
        np.testing.assert_allclose(found["gradient"], weight.grad, rtol=1e-5, atol=1e-7)


def test_alone_it_is_nothing():
    rows = torch.ones(2, 3)
    assert gather(rows) is rows
