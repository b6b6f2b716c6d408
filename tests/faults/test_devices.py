"""Devices that fail: the CPU computes instead, or the error says what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import scgeoae as sg

from ..for_each import for_each

CUDA_ERROR = "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might be late."
OF_DEVICE = [
    ("cuda", RuntimeError(CUDA_ERROR)),
    ("cuda", RuntimeError("Found no NVIDIA driver on your system.")),
    ("cuda", RuntimeError("CUDA error: operation failed due to a previous error during capture")),
    ("cuda", RuntimeError("cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR")),
    ("cuda", torch.cuda.DeferredCudaCallError("CUDA call failed lazily at initialization with error: 999")),
    ("mps", RuntimeError("MPS backend out of memory (MPS allocated: 9 GB).")),
    ("mps", NotImplementedError("The operator 'aten::x' is not currently implemented for the MPS device.")),
]
OF_PROGRAM = [
    RuntimeError("The loss became nan at step 5 of 5 ({})."),
    RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"),
    ValueError("CUDA is in this message by chance."),
    KeyboardInterrupt(),
]


@pytest.fixture
def run(monkeypatch):
    """Fit with a device that the CPU plays, and whose training fails with an error."""

    def call(function, where, error, *, device="auto"):
        raw = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
        settings = sg.training.Settings(n_steps=5, regularizer=None, neighbors_weight=0, refine=False)
        given = {"fit": (raw, settings), "fit_decoder": (raw, raw[:, :2], settings)}[function]
        fit = getattr(sg.training, function)
        set_up, train, failed = fit.__globals__["set_up"], fit.__globals__["train"], []

        def failing(*args, **kwargs):
            if not failed:
                failed.append(error)
                raise error
            return train(*args, **kwargs)

        def on_cpu(raw, settings, _device, **named):
            return set_up(raw, settings, torch.device("cpu"), **named)

        with monkeypatch.context() as patched:
            chosen = {"choose_device": lambda asked: torch.device("cpu" if asked == "cpu" else where)}
            for name, value in (chosen | {"set_up": on_cpu, "train": failing}).items():
                patched.setitem(fit.__globals__, name, value)
            return fit(*given, device=device)

    return call


@for_each("function", ["fit", "fit_decoder"])
@for_each("where, error", OF_DEVICE)
def test_the_cpu_computes_where_a_device_fails(function, where, error, run):
    with pytest.warns(UserWarning, match="computing on the CPU instead") as caught:
        fitted = run(function, where, error)
    assert np.isfinite(fitted.embedding).all()
    (said,) = [str(each.message) for each in caught]
    assert said == f"{where} failed ({str(error).splitlines()[0]}): computing on the CPU instead."
    assert caught[0].filename == __file__


@for_each("function", ["fit", "fit_decoder"])
@for_each("where, error", OF_DEVICE)
def test_a_device_that_was_asked_for_fails(function, where, error, run):
    with pytest.raises(RuntimeError, match=f"^The device '{where}' failed .*give device='cpu' or") as caught:
        run(function, where, error, device=where)
    assert caught.value.__cause__ is error
    assert str(error).splitlines()[0] in str(caught.value)


@for_each("function", ["fit", "fit_decoder"])
@for_each("error", OF_PROGRAM)
def test_other_errors_are_raised(function, error, run):
    with pytest.raises(type(error)) as caught:
        run(function, "cuda", error)
    assert caught.value is error


def test_a_cpu_has_no_errors_of_its_own(run):
    error = RuntimeError(CUDA_ERROR)
    with pytest.raises(RuntimeError) as caught:
        run("fit", "cpu", error)
    assert caught.value is error
