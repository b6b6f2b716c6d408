"""Run as a program: trains here, then in children of each kind, and prints the digests as JSON."""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))

from digest import trained

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

TIMEOUT = 120


def put(queue: SimpleQueue) -> None:
    queue.put(trained())


def in_child(method: str) -> str:
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    child = context.Process(target=put, args=(queue,))
    child.start()
    child.join(TIMEOUT)
    if child.is_alive():
        child.kill()
        return f"hung for {TIMEOUT} s"
    return queue.get() if child.exitcode == 0 else f"exit code {child.exitcode}"


def in_loky() -> list[str]:
    from joblib import Parallel, delayed

    return Parallel(n_jobs=2, backend="loky", timeout=TIMEOUT)(delayed(trained)(seed) for seed in (0, 1))


if __name__ == "__main__":
    import torch

    found = {"alone": [trained(0), trained(1)], "n_threads": torch.get_num_threads()}
    for kind in sys.argv[1:]:
        found[kind] = in_loky() if kind == "loky" else [in_child(kind)]
    print(json.dumps(found))  # noqa: T201
