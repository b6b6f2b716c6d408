"""How PyTorch computes here: its modes, its number of threads, its precision, and what forks inherit."""

from __future__ import annotations

import functools
import os
import sys
import time
from _thread import get_ident, start_new_thread
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from threading import Lock, local
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import torch
from threadpoolctl import ThreadpoolController

from ._files import explain_missing_filter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

P = ParamSpec("P")
R = TypeVar("R")

# Guards the settings of the whole process. Only helper threads, which no Ctrl-C reaches, take it.
_lock = Lock()
_thread = local()


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
        if not hasattr(_thread, "uses_torch"):
            # a thread that first uses PyTorch while another one is inside `_set_threads` would keep that one's number
            call_within(_lock, torch.get_num_threads)
            _thread.uses_torch = True
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


class _Elsewhere:
    """A context, such as a lock, that a helper thread enters and leaves: a Ctrl-C interrupts the main thread alone.

    If it came while a setting is made, half of the setting could stay. In Python 3.14, even an interrupted
    ``with lock:`` can leave the lock taken. The locks of this class are made for each use, and are taken and released
    in one instruction.

    Call `enter` inside a ``try``. In its ``finally``, release `over`, which ends the context, and acquire `gone`, which
    waits until the helper has left it. Write both out: a Ctrl-C could come at the start of a function that did both.
    """

    def __init__(self, context: AbstractContextManager[Any]) -> None:
        self._context = context
        self._errors: list[BaseException] = []
        self._entered, self.over, self.gone = Lock(), Lock(), Lock()
        self._entered.acquire()
        self.over.acquire()

    def enter(self) -> None:
        start_new_thread(self._run, ())
        self._entered.acquire()
        if self._errors:
            raise self._errors[0]

    def _run(self) -> None:
        with ExitStack() as stack:
            if not self.gone.acquire(blocking=False):
                # a Ctrl-C came before this thread began, and nobody waits for it any more
                return
            stack.callback(self.gone.release)
            try:
                stack.enter_context(self._context)
            except BaseException as error:  # noqa: BLE001 -- raised by `enter`
                self._errors.append(error)
            finally:
                self._entered.release()
            self.over.acquire()


def call_within(context: AbstractContextManager[Any], function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function within a context that is left even if a Ctrl-C ends the call."""
    elsewhere = _Elsewhere(context)
    try:
        elsewhere.enter()
        return function(*args, **kwargs)
    finally:
        elsewhere.over.release()
        elsewhere.gone.acquire()


def _of_the_process(setting: Callable[[], AbstractContextManager[None]]) -> Callable[[], AbstractContextManager[None]]:
    """Share a setting of the process: the first of several users at a time makes it, and the last one restores it."""
    users: list[AbstractContextManager[None]] = []

    @contextmanager
    def shared() -> Iterator[None]:
        with _lock:
            made = users[0] if users else setting()
            if not users:
                made.__enter__()
            users.append(made)
        yield
        with _lock:
            users.pop()
            if not users:
                made.__exit__(None, None, None)

    @functools.wraps(setting)
    @contextmanager
    def use() -> Iterator[None]:
        elsewhere, is_late = _Elsewhere(shared()), False
        try:
            elsewhere.enter()
            yield
        except GeneratorExit:
            # a Ctrl-C came outside of this function, and its traceback was kept until now, perhaps until the
            # interpreter ends and no other thread runs
            is_late = True
            raise
        finally:
            elsewhere.over.release()
            if not is_late:
                elsewhere.gone.acquire()

    return use


@_of_the_process
@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let each matrix product of NumPy use a single thread, for work that is itself spread over threads."""
    controller = ThreadpoolController()
    _take_over(controller)
    limit = controller.limit(limits=1, user_api="blas")
    yield
    _take_over(controller)
    limit.restore_original_limits()
    _take_over(controller)


def _take_over(controller: ThreadpoolController) -> None:
    """Let the next thread set numbers of threads: threadpoolctl ignores all but the first that did, while it lives."""
    for library in controller.lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


# Measured on two cores with the default networks, in milliseconds per step of 128 cells (medians): one thread 5.9, two
# threads 6.3 on an idle machine; 7.5 and 25.6 beside one other busy process, because each of some hundred small
# products then waits for the slower thread.
MAX_SINGLE_THREADED_BATCH = 512


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
    caller = get_ident()

    def restore() -> None:
        # where a traceback was kept, as above, this may be another thread, or the end of the interpreter
        if get_ident() == caller and not sys.is_finalizing():
            _set_threads(threads)

    try:
        _set_threads(1)
        yield
    finally:
        try:
            restore()
        except KeyboardInterrupt:
            # a Ctrl-C at this moment must not leave the caller on one thread
            restore()
            raise


def _set_threads(threads: int) -> None:
    """Set the number of threads for the calling thread, and for no other."""
    call_within(_threads_of_later(), torch.set_num_threads, threads)


@contextmanager
def _threads_of_later() -> Iterator[None]:
    """Keep the number that threads which first use PyTorch later will get: it is the one set last."""
    with _lock:
        threads = torch.get_num_threads()
        yield
        torch.set_num_threads(threads)


@_of_the_process
@contextmanager
def _tf32() -> Iterator[None]:
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(precision)


@cache
def compute_in_forks() -> None:
    """Let the children that this process forks from now on compute, each on one thread.

    GNU OpenMP, which PyTorch uses on Linux, keeps its threads for the next product. A forked child inherits the record
    of these threads but not the threads, and would wait for them forever.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))
