"""How PyTorch computes here: its modes, its number of threads, its precision, and what forks inherit."""

from __future__ import annotations

import functools
import os
import time
from _thread import start_new_thread
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from threading import Lock
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import torch
from threadpoolctl import ThreadpoolController

from ._files import explain_missing_filter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
R = TypeVar("R")


def default_torch_modes(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function compute as if PyTorch had just been imported, whatever modes the caller has set.

    New tensors are on the CPU even after ``torch.set_default_device("cuda")``, products have full precision within
    `torch.autocast`, and there are gradients within `torch.inference_mode`. These modes belong to the thread, and are
    restored afterwards. ``torch.set_default_dtype`` belongs to the process, and is left alone: all numbers are made
    with an explicit type.

    If the function reads a matrix from disk that h5py cannot decompress, the error explains this.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        has_gradients = torch.is_grad_enabled()
        # a thread that first uses PyTorch while another one is inside `_set_threads` would keep its number of threads
        with _lock:
            torch.get_num_threads()
        with ExitStack() as modes:
            # a Ctrl-C at the end of a `torch.no_grad` can leave gradients off
            modes.callback(torch.set_grad_enabled, has_gradients)
            # a mode costs some microseconds an operation, so none is entered that makes no difference
            if torch.get_default_device().type != "cpu":
                modes.enter_context(torch.device("cpu"))
            for device in ("cpu", "cuda", "mps"):
                if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
                    modes.enter_context(torch.autocast(device, enabled=False))
            if torch.is_inference_mode_enabled():
                modes.enter_context(torch.inference_mode(mode=False))
            if not torch.is_grad_enabled():
                modes.enter_context(torch.enable_grad())
            modes.enter_context(explain_missing_filter())
            return function(*args, **kwargs)

    return call


# Seconds between two checks whether the threads have ended, after a Ctrl-C.
PAUSE = 1e-3


def parallel_blocks(work: Callable[[int, int], None], n: int, *, block: int, n_threads: int | None = None) -> None:
    """Call ``work(start, stop)`` for each block of the rows 0 to n on several threads, and wait for all of them.

    By default these are as many as PyTorch uses.

    A Ctrl-C can leave a lock of a `concurrent.futures` pool taken, and its shutdown then waits forever. Here only the
    calling thread waits for locks, and after a Ctrl-C it waits for none.
    """
    starts = list(range(0, n, block))
    n_threads = min(torch.get_num_threads() if n_threads is None else n_threads, len(starts))
    if n_threads <= 1:
        for start in starts:
            work(start, min(start + block, n))
        return
    # `next` of a list's iterator is one instruction, so no two threads take the same block
    todo, busy, errors, ended = iter(starts), [], [], [Lock() for _ in range(n_threads)]

    def run(end: Lock) -> None:
        busy.append(end)
        try:
            for start in todo:
                work(start, min(start + block, n))
        except BaseException as error:  # noqa: BLE001 -- raised below
            errors.append(error)
        finally:
            busy.remove(end)
            end.release()

    try:
        for end in ended:
            end.acquire()
            start_new_thread(run, (end,))
        for end in ended:
            end.acquire()
    except BaseException:
        # a thread that has not begun finds nothing to do
        starts.clear()
        while busy:
            time.sleep(PAUSE)
        raise
    if errors:
        raise errors[0]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let each matrix product of NumPy use a single thread, for work that is itself spread over threads.

    The number of threads belongs to the process: the first of several calls at the same time sets it, and the last one
    restores it.
    """
    with _lock:
        _limits.append(_limits[0] if _limits else ThreadpoolController().limit(limits=1, user_api="blas"))
    try:
        yield
    finally:
        with _lock:
            limit = _limits.pop()
            if not _limits:
                limit.restore_original_limits()


# Measured on two cores with the default networks, in milliseconds per step of 128 cells (medians): one thread 5.9, two
# threads 6.3 on an idle machine; 7.5 and 25.6 beside one other busy process, because each of some hundred small
# products then waits for the slower thread.
MAX_SINGLE_THREADED_BATCH = 512

_lock = Lock()
# For each training on CUDA that is under way, the precision that the process had before the first of them.
_precisions: list[str] = []
# For each call that is under way, the limit that the first of them set.
_limits: list[Any] = []


@contextmanager
def training_threads(batch_size: int, device: torch.device) -> Iterator[None]:
    """Use one thread for small steps on a CPU, and TF32 for products on CUDA, and restore both afterwards.

    Several threads of a process may train at the same time.
    """
    if device.type == "cuda":
        with _tf32():
            yield
    elif device.type == "cpu" and batch_size <= MAX_SINGLE_THREADED_BATCH:
        with one_torch_thread():
            yield
    else:
        yield


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let PyTorch use a single thread in the calling one, for work that is itself spread over threads."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    try:
        _set_threads(1)
        yield
    finally:
        try:
            _set_threads(threads)
        except KeyboardInterrupt:
            # a Ctrl-C at this moment must not leave the caller on one thread
            _set_threads(threads)
            raise


def _set_threads(threads: int) -> None:
    """Set the number of threads for the calling thread, and for no other.

    Every thread that first uses PyTorch later gets the number that was set last, and would keep it after the training.
    So that number is restored, from another thread.
    """
    with _lock:
        of_later_threads = _elsewhere(torch.get_num_threads)
        try:
            torch.set_num_threads(threads)
        finally:
            _elsewhere(torch.set_num_threads, of_later_threads)


def _elsewhere(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a thread of its own, and return its result.

    A Ctrl-C inside `threading` or `concurrent.futures` can leave one of their locks taken, and the next call then waits
    forever. A bare lock is taken and released in one instruction.
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
    # the precision belongs to the process: the first training sets it, and the last one restores it
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


@cache
def compute_in_forks() -> None:
    """Let the children that this process forks from now on compute, each on one thread.

    GNU OpenMP, which PyTorch uses on Linux, keeps its threads for the next product. A forked child inherits the record
    of these threads but not the threads, and would wait for them forever.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))
