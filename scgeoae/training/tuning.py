"""What a device does best with steps of this size."""

from __future__ import annotations

from _thread import start_new_thread
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Measured on two cores with the default networks, milliseconds a step of 128 cells, medians: one
# thread 5.9, two threads 6.3 on an idle machine; 7.5 and 25.6 beside one other busy process,
# because each of some hundred small products then waits for the slower thread.
MAX_SINGLE_THREADED_BATCH = 512

_lock = Lock()
# The precision that the process had before the first of the trainings on CUDA that are under way, one entry for each.
_precisions: list[str] = []


@contextmanager
def tuned_for(batch_size: int, device: torch.device) -> Iterator[None]:
    """Compute small steps on one thread of a CPU, and products on CUDA in TF32; give both back afterwards.

    Also where several threads of a process train at a time.
    """
    if device.type == "cuda":
        with _tf32():
            yield
    elif device.type == "cpu" and batch_size <= MAX_SINGLE_THREADED_BATCH:
        with _one_thread():
            yield
    else:
        yield


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    try:
        _compute_on(1)
        yield
    finally:
        try:
            _compute_on(threads)
        except KeyboardInterrupt:
            # a Ctrl-C at this moment must not leave the caller with one thread
            _compute_on(threads)
            raise


def _compute_on(threads: int) -> None:
    """Set how many threads compute what the calling thread asks for, and no other.

    PyTorch gives the number that was set last to every thread that first uses it later. Such a thread would keep the
    one of a training that was under way, so that number is put back, from another thread.
    """
    with _lock:
        of_later_threads = _elsewhere(torch.get_num_threads)
        try:
            torch.set_num_threads(threads)
        finally:
            _elsewhere(torch.set_num_threads, of_later_threads)


def _elsewhere(function: Callable[..., Any], *args: Any) -> Any:
    """Return what a function returns in a thread of its own.

    Ctrl-C in the middle of what `threading` or `concurrent.futures` do can leave one of their locks taken, on which
    the next call then waits for ever. A bare lock is taken and given back in one instruction.
    """
    found, at_work = [], Lock()

    def run() -> None:
        try:
            found.append(function(*args))
        finally:
            at_work.release()

    at_work.acquire()
    start_new_thread(run, ())
    at_work.acquire()
    return found[0]


@contextmanager
def _tf32() -> Iterator[None]:
    # this one is of the process: the first training sets it, and the last gives it back
    with _lock:
        _precisions.append(_precisions[0] if _precisions else torch.get_float32_matmul_precision())
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        with _lock:
            precision = _precisions.pop()
            if not _precisions:
                torch.set_float32_matmul_precision(precision)
