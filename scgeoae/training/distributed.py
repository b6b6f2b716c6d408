"""Several processes that train one model together (data parallelism), as a group of `torch.distributed`."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from hashlib import sha256
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn


class Processes(NamedTuple):
    """The processes that train together. Each draws batches of its own, and all take the mean of their gradients.

    All have the same cells, the same settings and the same networks at each step. What they decide on along the way is
    the mean over all of them, or what the first one finds. A single process communicates with no one.
    """

    rank: int = 0
    """Number of this process, from 0."""
    n: int = 1
    """Number of processes."""

    def can_capture(self, device: torch.device) -> bool:
        """Return whether a CUDA graph on this device can replay what the processes tell each other: NCCL's can."""
        return self.n == 1 or f"{device.type}:nccl" in distributed.get_backend_config()

    def check_same(self, *calls: object, device: torch.device) -> None:
        """Raise an error in each process if not all were called with the same.

        Raises
        ------
        ValueError
            If the `calls` of some process read otherwise than those of the first one.
        """
        if self.n == 1:
            return
        own = torch.from_numpy(np.frombuffer(sha256(repr(calls).encode()).digest(), dtype=np.int64).copy()).to(device)
        differs = torch.zeros(self.n, dtype=torch.int64, device=device)
        differs[self.rank] = not own.equal(self.of_first(own.clone()))
        distributed.all_reduce(differs)
        others = differs.nonzero()[:, 0].tolist()
        if others:
            msg = (
                f"The {self.n} processes of the group of torch.distributed train one model together, but rank "
                f"{' and '.join(map(str, others))} has other cells or arguments than rank 0. Make the same call in "
                "each, with the same `random_state`; or call torch.distributed.destroy_process_group() first, and each "
                "process trains on its own."
            )
            raise ValueError(msg)

    def own_streams(self, seed: int, *generators: torch.Generator) -> None:
        """Give each process random numbers of its own. Those of the first stay as they are."""
        if self.rank:
            seeds = np.random.SeedSequence(seed, spawn_key=(self.rank,)).generate_state(len(generators), np.uint64)
            for generator, own in zip(generators, seeds.tolist(), strict=True):
                generator.manual_seed(own)

    def average(self, x: Tensor) -> Tensor:
        """Replace a tensor by its mean over the processes, which is the same to the bit in each, and return it."""
        if self.n > 1:
            # gloo has sums only
            distributed.all_reduce(x)
            x.div_(self.n)
        return x

    def of_first(self, x: Tensor) -> Tensor:
        """Replace a tensor by that of the first process, and return it."""
        if self.n > 1:
            distributed.broadcast(x, 0)
        return x

    @torch.no_grad()
    def share(self, module: nn.Module) -> None:
        """Give all processes the weights of the first one. On unlike processors, theirs may differ by rounding."""
        for p in module.parameters():
            self.of_first(p.data)

    @contextmanager
    def noted_interrupts(self) -> Iterator[list[int]]:
        """Note each Ctrl-C in the list, where there are several processes, instead of raising it.

        One that stopped at once would leave the others waiting for its gradient.
        """
        noted: list[int] = []
        before = signal.getsignal(signal.SIGINT)
        if self.n == 1 or current_thread() is not main_thread() or not callable(before):
            yield noted
            return
        signal.signal(signal.SIGINT, lambda number, _frame: noted.append(number))
        try:
            yield noted
        finally:
            signal.signal(signal.SIGINT, before)

    def any_noted(self, noted: list[int], device: torch.device) -> bool:
        """Return whether one of the processes has noted an interrupt."""
        if self.n == 1:
            return False
        return bool(self.average(torch.tensor(len(noted), dtype=torch.float32, device=device)))


ALONE = Processes()


def processes() -> Processes:
    """Return the processes of the group that the caller has started (``torch.distributed.init_process_group``)."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return ALONE
    return Processes(distributed.get_rank(), distributed.get_world_size())
