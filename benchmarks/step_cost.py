"""Measure the cost of a training step with each regularizer, as a multiple of the step without one.

``python benchmarks/step_cost.py [--rounds 12]`` interleaves blocks of steps of all regularizers on one thread, so that
other work on the machine affects all alike, and prints medians of CPU time over the blocks. A block is long enough that
the model stays in the cache, as it does in training.
"""

from __future__ import annotations

import argparse
import time
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np
import torch

from scgeoae.geometry.regularizers import REGULARIZERS
from scgeoae.nn import Autoencoder
from scgeoae.training import Batch, Objective, Settings
from scgeoae.training.batches import MAX_ANCHORS, METRIC_CELLS, NEIGHBORS_PER_STEP
from scgeoae.training.loop import descend
from scgeoae.training.optimizer import AdamW
from scgeoae.training.sampling import SAMPLINGS

if TYPE_CHECKING:
    from collections.abc import Callable

N_CELLS, N_FEATURES = 128, 50
WARM_UP, BLOCK = 3, 20


def stepper(settings: Settings, n_cells: int = N_CELLS, *, interval: int = 1) -> Callable[[], object]:
    """Return a function that takes a step of `n_cells`; the penalties are evaluated every `interval` steps."""
    generator = torch.Generator().manual_seed(0)
    model = Autoencoder(N_FEATURES, 2, generator=generator)
    optimizer = AdamW(model, peak=1e-3, n_steps=10**5)
    x = torch.randn(n_cells, N_FEATURES, generator=generator)
    neighbors = x[:, None] + 0.1 * torch.randn(n_cells, NEIGHBORS_PER_STEP, N_FEATURES, generator=generator)
    noise = 0.1 * torch.randn(x.shape, generator=generator) if settings.regularizer == "denoising" else None
    positives = None if settings.contrastive is None else x[:MAX_ANCHORS]
    batch = Batch(x, noise=noise, n_metric=METRIC_CELLS, neighbors=neighbors, positives=positives)
    draw = SAMPLINGS[settings.sampling or "data"]
    sample = None if draw is None else lambda z: draw(z, generator)
    objective = Objective(settings.terms, settings.contrastive, sampler=sample, interval=interval)
    steps = descend(model, repeat(lambda: batch), objective, optimizer)
    return lambda: next(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    steps = {"none": stepper(Settings(regularizer=None))}
    for name, regularizer in REGULARIZERS.items():
        for side in regularizer.sides:
            label = f"{name}, {side}" if len(regularizer.sides) > 1 else name
            steps[label] = stepper(Settings(regularizer=name, side=side, neighbors_weight=0))
    seconds = {label: [] for label in steps}
    for _ in range(rounds):
        for label, step in steps.items():
            for _ in range(WARM_UP):
                step()
            start = time.process_time()
            for _ in range(BLOCK):
                step()
            seconds[label].append((time.process_time() - start) / BLOCK)
    vanilla = np.median(seconds["none"])
    print(f"one thread, torch {torch.__version__}, {N_CELLS} cells of {N_FEATURES} features, networks 128-128")
    print(f"vanilla step {1000 * vanilla:.2f} ms\n\n| regularizer | multiple of the vanilla step |\n| --- | --- |")
    for label, values in seconds.items():
        print(f"| {label} | {np.median(values) / vanilla:.2f} |")


if __name__ == "__main__":
    main()
