"""Blocks of work on several threads: each once, errors told, and Ctrl-C at any moment."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from scgeoae._runtime import parallel_blocks

from ..for_each import for_each


@for_each("n_threads", [1, 2, 3, 20])
@for_each("n", [0, 1, 7, 50])
def test_every_row_is_worked_on_once(n, n_threads):
    seen = np.zeros(n, dtype=int)

    def work(start, stop):
        assert stop - start <= 7
        seen[start:stop] += 1

    parallel_blocks(work, n, block=7, n_threads=n_threads)
    assert (seen == 1).all()


@for_each("n_threads", [1, 3])
def test_an_error_is_raised(n_threads):
    def work(start, _stop):
        if start == 14:
            raise ValueError("of this block")  # noqa: EM101

    with pytest.raises(ValueError, match="of this block"):
        parallel_blocks(work, 50, block=7, n_threads=n_threads)


def test_interrupts_neither_hang_nor_leave_work_behind():
    """In a process of its own, since what is interrupted at a wrong moment waits for ever."""
    code = """
import random, signal, time
import numpy as np
from scgeoae._runtime import parallel_blocks

def interrupt(*_):
    raise KeyboardInterrupt

def work(start, stop):
    seen[start:stop] += 1
    time.sleep(1e-5)

signal.signal(signal.SIGALRM, interrupt)
rng, n_interrupted = random.Random(0), 0
for _ in range(400):
    seen = np.zeros(50)
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 1e-3))
        parallel_blocks(work, 50, block=7, n_threads=3)
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert (seen == 1).all()
    except KeyboardInterrupt:
        n_interrupted += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
assert n_interrupted > 20, n_interrupted
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)
