"""Run as a program, once for each process of a group: does one thing after the other, and saves what it finds.

``python group.py RANK N_PROCESSES FOLDER CASE...``
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import distributed

from scgeoae.nn import Autoencoder
from scgeoae.training import Batch, Objective, Settings, Term, fit, fit_decoder
from scgeoae.training.contrastive import ContrastiveLoss
from scgeoae.training.distributed import Processes, processes
from scgeoae.training.loop import descend
from scgeoae.training.optimizer import AdamW

TIMEOUT = 120
N_STEPS, N_CELLS = 6, 30
OBJECTIVE = Objective([Term("isometric", 0.1), Term("volume", 0.1, on_encoder=True)], ContrastiveLoss(0.2, 0.3))
SHORT = {"n_steps": 40, "hidden": (16, 16), "batch_size": 32}
KINDS = {
    "default": {},
    "auto": {"strength": "auto", "tolerance": 1.3},
    "one stage": {"refine": False},
    "volume": {"regularizer": "volume", "sampling": "mixup"},
    "few steps": {"n_steps": 1},
}


def sheet(n: int = 150) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 8)) * np.linspace(3, 0.3, 8)
    x[:, 2] += 0.3 * x[:, 0] ** 2
    return x


def network() -> Autoencoder:
    made = Autoencoder(9, 2, hidden=(16,), generator=torch.Generator().manual_seed(0)).double()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, dtype=torch.float64, generator=g) / p.shape[-1] ** 0.5)
    return made


def stream(rank: int) -> list[Batch]:
    """Return the batches of a process."""
    g = torch.Generator().manual_seed(10 + rank)
    draw = [torch.randn(2, N_CELLS, 9, dtype=torch.float64, generator=g) for _ in range(N_STEPS)]
    return [Batch(x, n_metric=12, positives=near) for x, near in draw]


def weights(model: torch.nn.Module) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).numpy()


def found_by(fitted) -> dict[str, np.ndarray]:
    history = np.array(list(fitted.history.values()))
    return {"z": fitted.embedding, "weights": weights(fitted.model), "metric": fitted.metric, "history": history}


def steps(rank: int) -> dict[str, np.ndarray]:
    """The weights after each of a few steps."""
    made = network()
    optimizer = AdamW(made, peak=0.03, n_steps=N_STEPS, processes=processes())
    draws = [lambda batch=batch: batch for batch in stream(rank)]
    return {"weights": np.stack([weights(made) for _ in descend(made, draws, OBJECTIVE, optimizer)])}


def averages(_rank: int) -> dict[str, np.ndarray]:
    """What is averaged in a training, before and after: the flat gradients, and the errors of both autoencoders."""
    own, used, average = {}, {}, Processes.average

    def watched(group: Processes, x: torch.Tensor) -> torch.Tensor:
        name = ("errors" if len(x) == 2 else "gradients") if x.ndim == 1 else None
        before = x.numpy().copy()
        found = average(group, x)
        if name:
            own.setdefault(name, []).append(before)
            used.setdefault(name, []).append(found.numpy().copy())
        return found

    with mock.patch.object(Processes, "average", watched):
        fit(sheet(), Settings(**SHORT, strength="auto", refine=False))
    return {f"{name}/{when}": np.stack(x[name]) for when, x in {"own": own, "used": used}.items() for name in x}


def maps(_rank: int) -> dict[str, np.ndarray]:
    found = {kind: found_by(fit(sheet(), Settings(**SHORT | given))) for kind, given in KINDS.items()}
    z = sheet()[:, :2] ** 3
    found["decoder"] = found_by(fit_decoder(sheet(), z, Settings(**SHORT)))
    return {f"{kind}/{name}": value for kind, parts in found.items() for name, value in parts.items()}


@contextmanager
def at_step(number: int, act):
    """Do something in the middle of this step."""
    step, done = AdamW.step, []

    def acting(optimizer: AdamW) -> None:
        done.append(1)
        if len(done) == number:
            act()
        step(optimizer)

    with mock.patch.object(AdamW, "step", acting):
        yield


def interrupted(rank: int) -> dict[str, np.ndarray]:
    """A Ctrl-C in the second process, whose result is kept, or which is raised."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def ctrl_c() -> None:
        if rank == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with at_step(11, ctrl_c), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept = fit(sheet(), Settings(**SHORT, on_interrupt="keep"))
    raised = ""
    with at_step(11, ctrl_c):
        try:
            fit(sheet(), Settings(**SHORT))
        except KeyboardInterrupt:
            raised = "KeyboardInterrupt"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)
    said = [str(each.message) for each in caught if "Interrupted" in str(each.message)]
    return found_by(kept) | {"said": np.array(said), "at": np.array(kept.interrupted_at), "raised": np.array(raised)}


def unlike(rank: int) -> dict[str, np.ndarray]:
    """What is said where the processes have different cells, seeds, or numbers of features."""
    said = []
    calls = [
        lambda: fit(sheet() + rank * (np.arange(150) == 7)[:, None], Settings(**SHORT)),
        lambda: fit(sheet(), Settings(**SHORT, seed=rank)),
        lambda: fit(sheet()[:, : 8 - rank], Settings(**SHORT)),
    ]
    for call in calls:
        try:
            call()
        except ValueError as error:
            said.append(str(error))
    return {"said": np.array(said)}


def lost(rank: int) -> dict[str, np.ndarray]:
    """What is raised where the other process dies. It is the last case, since the group is broken then."""
    said = ""
    with at_step(11, lambda: os._exit(0) if rank == 1 else None):
        try:
            fit(sheet(), Settings(**SHORT))
        except RuntimeError as error:
            said = str(error)
    return {"said": np.array(said)}


if __name__ == "__main__":
    rank, n, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=n,
        timeout=timedelta(seconds=TIMEOUT),
    )
    for case in sys.argv[4:]:
        np.savez(folder / f"{case}{rank}.npz", **globals()[case](rank))
