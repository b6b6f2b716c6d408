"""Replay a function as a CUDA graph.

A training step launches some hundred small kernels, one after the other from Python: on a GPU the launches take ten
times as long as the kernels. A graph launches all of them at once.
"""

from __future__ import annotations

from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import torch

from .._runtime import call_within

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

# Calls before the capture. They allocate what the graph then reuses, and let libraries choose their kernels.
N_EAGER = 3

# One capture at a time: each begins with a wait for the whole device, which a capture that is under way forbids.
_lock = Lock()


class Capture(Protocol):
    """How to record what a function does on a device."""

    def eager(self, call: Callable[[], Any]) -> Any:
        """Do the call, in preparation for recording it."""

    def record(self, call: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """Return a function that repeats the call, and the result, whose tensors each repetition overwrites."""

    def end(self) -> None:
        """Wait until all that was recorded has run."""


class Replayed:
    """A function that is called over and over, and replayed after its first few calls with the same arguments.

    All calls count: there is no extra one for the sake of the recording. Between them, only the contents of the tensors
    that the function uses may change. The tensors that it returns are overwritten by its next call.
    """

    def __init__(self, function: Callable[..., Any], capture: Capture) -> None:
        self.function, self.capture = function, capture
        self._n_calls: dict[tuple[Hashable, ...], int] = {}
        self._recorded: dict[tuple[Hashable, ...], tuple[Callable[[], None], Any]] = {}

    def __call__(self, *args: Hashable) -> Any:
        """Do what the function does with these arguments."""
        if args not in self._recorded:
            n_calls = self._n_calls[args] = self._n_calls.get(args, 0) + 1
            if n_calls <= N_EAGER:
                return self.capture.eager(lambda: self.function(*args))
            self._recorded[args] = self.capture.record(lambda: self.function(*args))
        replay, result = self._recorded[args]
        replay()
        return result

    def close(self) -> None:
        """Drop all recordings and their memory."""
        try:
            self.capture.end()
        finally:
            self._recorded.clear()


def capture_on(device: torch.device, generator: torch.Generator | None) -> Capture | None:
    """Return how to record on a device, or None where it gains nothing.

    Parameters
    ----------
    generator
        The random generator, on this device, that the recorded functions use.
    """
    return CudaGraphs(device, generator) if device.type == "cuda" else None


class CudaGraphs:
    """Recordings as CUDA graphs, which share their memory."""

    def __init__(self, device: torch.device, generator: torch.Generator | None) -> None:
        self.device, self.generator = device, generator
        self.stream, self.pool = _side_stream(device), torch.cuda.graph_pool_handle()

    def eager(self, call: Callable[[], Any]) -> Any:
        """Call on the stream of the recordings: libraries keep memory for each stream."""
        return call_within(_lock, self._call_on_stream, call)

    def _call_on_stream(self, call: Callable[[], Any]) -> Any:
        current = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self.stream):
            self.stream.wait_stream(current)
            result = call()
        current.wait_stream(self.stream)
        return result

    def record(self, call: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """Record a graph. The recording itself computes nothing."""
        return call_within(_lock, self._record_on_stream, call)

    def _record_on_stream(self, call: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        graph = torch.cuda.CUDAGraph()
        if self.generator is not None:
            graph.register_generator_state(self.generator)
        # the outer stream context also restores the stream where the end of a recording fails
        with (
            torch.cuda.stream(self.stream),
            torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"),
        ):
            result = call()
        return graph.replay, result

    def end(self) -> None:
        """Wait for the last replay: a graph that is deleted while it runs may read what others have overwritten."""
        torch.cuda.current_stream(self.device).synchronize()


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    # one for all runs, as cuBLAS keeps up to 32 MB for each stream
    return torch.cuda.Stream(device)
