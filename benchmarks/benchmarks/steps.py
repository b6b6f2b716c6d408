"""A step of training, alone and against its matrix products."""

from __future__ import annotations

import time
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from step_cost import N_FEATURES, stepper

from scgeoae._runtime import training_threads
from scgeoae.training import Settings
from scgeoae.training.batches import MAX_ANCHORS, METRIC_CELLS
from scgeoae.training.settings import PENALTY_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Callable

SETTINGS = {
    "default": Settings(),
    "pure": Settings(neighbors_weight=0),
    "unregularized": Settings(regularizer=None),
}
WIDTH = 128
ROUNDS, BLOCK = 15, 10


class Step:
    """A step with as many threads as in training."""

    param_names = ("settings", "cells")
    params = (tuple(SETTINGS), (256, 1024, 4096))

    def setup(self, kind: str, n_cells: int) -> None:
        self.threads = ExitStack()
        self.threads.enter_context(training_threads(n_cells, torch.device("cpu")))
        self.step = stepper(SETTINGS[kind], n_cells, interval=PENALTY_INTERVAL)

    def teardown(self, *_: object) -> None:
        self.threads.close()

    def time_step(self, *_: object) -> None:
        self.step()

    def track_per_products(self, kind: str, n_cells: int) -> float:
        a, b, out = torch.randn(n_cells, WIDTH), torch.randn(WIDTH, WIDTH), torch.empty(n_cells, WIDTH)
        step, product = medians(self.step, lambda: torch.mm(a, b, out=out))
        return step / (product * operations(SETTINGS[kind], n_cells) / (2 * n_cells * WIDTH**2))

    track_per_products.unit = "times its matrix products"


def medians(*functions: Callable[[], object]) -> list[float]:
    """Return the median seconds of each of some functions, whose blocks take turns."""
    found = np.empty((ROUNDS, len(functions)))
    for of_round in found:
        for i, function in enumerate(functions):
            function()
            start = time.perf_counter()
            for _ in range(BLOCK):
                function()
            of_round[i] = (time.perf_counter() - start) / BLOCK
    return np.median(found, axis=0).tolist()


def operations(settings: Settings, n_cells: int) -> float:
    """Count the operations of the matrix products of a step: each pass forward, and twice as many back."""
    d, pairs = settings.n_components, min(n_cells, MAX_ANCHORS) if settings.contrastive else 0
    # the mean over steps
    points = METRIC_CELLS / PENALTY_INTERVAL if settings.terms else 0

    def network(n: int, widths: tuple[int, ...], tangents: float, *, to_input: bool) -> float:
        inner = sum(a * b for a, b in pairwise(widths[1:]))
        first, linear = widths[0] * widths[1], widths[0] * widths[-1]
        values = n * (3 * inner + (2 + to_input) * (first + linear))
        return 2 * (values + 3 * tangents * inner)

    encoder = network(n_cells + pairs, (N_FEATURES, *settings.hidden, d), 0, to_input=False)
    decoder = network(n_cells, (d, *settings.hidden[::-1], N_FEATURES), d * points, to_input=True)
    kernels = 2 * pairs * (n_cells + pairs) * (3 * d + 5)
    return encoder + decoder + kernels
