"""Work on blocks of cells, on several threads."""

from __future__ import annotations

import time
from _thread import start_new_thread
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds between two looks at whether the threads have ended, after a Ctrl-C.
PAUSE = 1e-3


def in_blocks(work: Callable[[int, int], None], n: int, *, block: int, n_threads: int) -> None:
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
