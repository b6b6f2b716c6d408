"""How PyTorch computes here: its modes, its threads, its precision, and what children of a fork inherit."""

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

from ._files import explain_missing_filter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
R = TypeVar("R")


def default_torch_modes(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function compute as if PyTorch had just been imported, in whatever modes of its own the caller's code is.

    New tensors are on the CPU with ``torch.set_default_device("cuda")`` too, products have their precision within
    `torch.autocast`, and gradients are there within `torch.inference_mode`. These modes are those of a thread, and are
    what they were afterwards. ``torch.set_default_dtype`` is that of the process, and is left alone: wherever numbers
    are made, their type stands beside.

    Matrices of an AnnData on disk are read inside, and a file that h5py cannot decompress is said to be one.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with ExitStack() as modes:
            # a mode costs some microseconds an operation: none is entered that makes no difference
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


# Seconds between two looks at whether the threads have ended, after a Ctrl-C.
PAUSE = 1e-3


def parallel_blocks(work: Callable[[int, int], None], n: int, *, block: int, n_threads: int) -> None:
    """Call ``work(start, stop)`` for each block of the rows 0 to n, on at most so many threads, and wait for all.

    A pool of `concurrent.futures` can be left with a lock taken by a Ctrl-C, on which its end then waits for ever.
    Here no thread waits for a lock but this one, and after a Ctrl-C for none.
    """
    starts = list(range(0, n, block))
    n_threads = min(n_threads, len(starts))
    if n_threads <= 1:
        for start in starts:
            work(start, min(start + block, n))
        return
    # `next` of a list's iterator is one instruction, so that no two threads take the same block
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
        # one that has not begun finds nothing to do
        starts.clear()
        while busy:
            time.sleep(PAUSE)
        raise
    if errors:
        raise errors[0]


# Measured on two cores with the default networks, milliseconds a step of 128 cells, medians: one
# thread 5.9, two threads 6.3 on an idle machine; 7.5 and 25.6 beside one other busy process,
# because each of some hundred small products then waits for the slower thread.
MAX_SINGLE_THREADED_BATCH = 512

_lock = Lock()
# The precision that the process had before the first of the trainings on CUDA that are under way, one entry for each.
_precisions: list[str] = []


@contextmanager
def training_threads(batch_size: int, device: torch.device) -> Iterator[None]:
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


@cache
def compute_in_forks() -> None:
    """Let the children that this process forks from now on compute, each on one thread.

    GNU OpenMP, by which PyTorch computes on Linux, keeps its threads for the next product. A child of a fork has the
    record of them, but not the threads, and would wait for them forever.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))
