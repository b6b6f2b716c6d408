"""Measure maps and training steps on a GPU: ``python benchmarks/on_gpu.py [SECTION ...] [--write]``.

Sections, by default all:

- ``env``: the machine and the versions.
- ``smoke``: a simulated atlas (`at_scale.py`) on the device, twice, and on the CPU: whether both maps have the same
  bits, how the map of the CPU correlates with them, recall and types.
- ``scale``: the time of warm calls of `sg.tl.geoae` on cells drawn near those of PBMC 3k, without refinement and with
  it, with the peak memory of the device, and recall.
- ``step``: a training step, eager and replayed as a CUDA graph.
- ``use``: whether everything that trains runs, one call for each kind.

Recall is the share of the ten nearest among all cells that are nearest on the map, too, for some hundred cells.
``--device cpu`` and small ``--sizes`` try the script where there is no GPU. ``--write`` puts what is printed into
``benchmarks/results/on_gpu.md``.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from at_scale import atlas, told
from reference_data import read

import scgeoae as sg
from scgeoae._runtime import training_threads
from scgeoae.training import Objective, Settings, loop
from scgeoae.training.batches import Cells, batches
from scgeoae.training.device import environment
from scgeoae.training.optimizer import AdamW
from scgeoae.training.settings import PENALTY_INTERVAL

RESULTS = Path(__file__).parent / "results"
SIZES, N_SMOKE, BATCHES = (1_000_000, 10_000_000), 20_000, (256, 1024, 4096, 16384)
N_QUERIES, N_STEPS, BLOCK = 500, 50, 2**18
lines: list[str] = []


def say(*values: object) -> None:
    lines.append(" ".join(map(str, values)))
    print(lines[-1], flush=True)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def near_pbmc(n: int) -> np.ndarray:
    """Draw (n, 50) cells as `speed.draw` does, in a tenth of the time."""
    from sklearn.neighbors import NearestNeighbors

    x = torch.from_numpy(np.asarray(read("pbmc3k_pca").obsm["X_pca"], dtype=np.float32))
    near = torch.from_numpy(NearestNeighbors(n_neighbors=10).fit(x.numpy()).kneighbors(return_distance=False))
    spread = (x[near[:, 0]] - x).norm(dim=1) / 2 / x.shape[1] ** 0.5
    g = torch.Generator().manual_seed(0)
    cells = np.empty((n, x.shape[1]), dtype=np.float32)
    for part in np.array_split(cells, -(-n // BLOCK)):
        i = torch.randint(len(x), (len(part),), generator=g)
        j = near[i, torch.randint(10, (len(part),), generator=g)]
        way = torch.rand(len(part), 1, generator=g)
        part[:] = x[i].lerp(x[j], way) + spread[i, None] * torch.randn(len(part), x.shape[1], generator=g)
    return cells


def recall(x: np.ndarray, z: np.ndarray, device: torch.device, k: int = 10) -> float:
    rows = np.random.default_rng(0).choice(len(x), min(N_QUERIES, len(x)), replace=False)
    near = []
    for of in (x, z):
        cells = torch.as_tensor(of, dtype=torch.float32, device=device)
        cells = cells - cells.mean(0)
        found = []
        for part in torch.as_tensor(rows, device=device).split(20):
            distances = torch.cdist(cells[part], cells, compute_mode="donot_use_mm_for_euclid_dist")
            distances.scatter_(1, part[:, None], torch.inf)
            found.append(distances.topk(k, largest=False).indices)
        near.append(torch.cat(found))
    return float((near[0][:, :, None] == near[1][:, None]).any(2).float().mean())


def embed(x: np.ndarray, device: torch.device, **given: object) -> tuple[np.ndarray, float, float]:
    """Return the map of a call, its seconds, and the peak gigabytes of the device."""
    from anndata import AnnData

    adata = AnnData(np.zeros((len(x), 0), dtype=np.float32), obsm={"X_pca": x})
    wait(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    sg.tl.geoae(adata, use_rep="X_pca", device=device, progress_bar=False, **given)
    wait(device)
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else float("nan")
    return adata.obsm["X_geoae"], seconds, peak


def env(device: torch.device, _sizes: list[int]) -> None:
    for name, value in environment(device).items():
        say(f"- {name}: {value}")


def smoke(device: torch.device, sizes: list[int]) -> None:
    x, kind, share = atlas(min(N_SMOKE, *sizes))
    say(f"{len(x):,} cells of an atlas\n\n| stages | device | seconds | recall | type | rare type | note |")
    say("| " + " | ".join(["---"] * 7) + " |")
    for stages, refine in (("first", False), ("default", None)):
        first, again, on_cpu = (embed(x, where, refine=refine) for where in (device, device, torch.device("cpu")))
        same = bool(np.array_equal(first[0], again[0]))
        r = min(abs(np.corrcoef(again[0][:, axis], on_cpu[0][:, axis])[0, 1]) for axis in range(2))
        for where, (z, seconds, _), note in (
            (device, again, f"same bits twice: {same}"),
            ("cpu", on_cpu, f"least correlation of an axis with the device: {r:.5f}"),
        ):
            types = " | ".join(f"{value:.4f}" for value in told(z, kind, share))
            say(f"| {stages} | {where} | {seconds:.2f} | {recall(x, z, device):.4f} | {types} | {note} |")


def scale(device: torch.device, sizes: list[int]) -> None:
    embed(near_pbmc(5_000), device)  # what the first call loads and compiles
    say("| cells | stages | seconds | peak, GB of the device | recall |\n| " + " | ".join(["---"] * 5) + " |")
    for n in sizes:
        x = near_pbmc(n)
        for stages, refine in (("first", False), ("default", None)):
            z, seconds, peak = embed(x, device, refine=refine)
            say(f"| {n:,} | {stages} | {seconds:.2f} | {peak:.2f} | {recall(x, z, device):.4f} |")


def step(device: torch.device, sizes: list[int]) -> None:
    """Time the default step, with its penalties in every second one, its batch and its optimizer."""
    n, settings = min(100_000, *sizes), Settings()
    x = torch.randn(n, 50, generator=torch.Generator().manual_seed(0)).to(device)
    near = torch.randint(n, (n, 10), generator=torch.Generator().manual_seed(0)).to(device)
    objective = Objective(settings.terms, settings.contrastive, interval=PENALTY_INTERVAL)

    def milliseconds(batch_size: int) -> float:
        generator, on_device = torch.Generator().manual_seed(0), torch.Generator(device).manual_seed(0)
        model = sg.nn.Autoencoder(50, 2).to(device)
        optimizer = AdamW(model, peak=1e-4, n_steps=2 * N_STEPS)
        stream = batches(
            Cells(x, positives=near),
            torch.arange(n),
            objective,
            noise=0.1,
            batch_size=batch_size,
            n_steps=2 * N_STEPS,
            generator=generator,
            on_device=on_device,
        )
        steps = loop.descend(model, stream, objective, optimizer, generator=on_device)
        with training_threads(batch_size, device):
            for _ in range(N_STEPS):
                next(steps)
            wait(device)
            start = time.perf_counter()
            for _ in steps:
                pass
            wait(device)
            return (time.perf_counter() - start) / N_STEPS * 1e3

    say("| cells of a batch | eager, ms | replayed, ms | ratio |\n| " + " | ".join(["---"] * 4) + " |")
    capture_on = loop.capture_on
    for batch_size in [size for size in BATCHES if size <= n]:
        replayed = milliseconds(batch_size)
        loop.capture_on = lambda *_: None
        eager = milliseconds(batch_size)
        loop.capture_on = capture_on
        say(f"| {batch_size:,} | {eager:.3f} | {replayed:.3f} | {replayed / eager:.2f} |")


def use(device: torch.device, _sizes: list[int]) -> None:
    import scanpy as sc

    adata = sc.datasets.pbmc68k_reduced()
    given: list[dict[str, object]] = [
        {},
        {"refine": False},
        {"strength": "auto"},
        {"init_pos": "X_umap"},
        {"ambient": "mahalanobis"},
        {"sampling": "mixup"},
        {"regularizer": "volume", "side": "both"},
        {"regularizer": {"isometric": 0.2, "curvature": 0.01}},
        {"regularizer": "volume", "n_components": 3},
        *({"regularizer": name} for name in sg.geometry.regularizers.REGULARIZERS),
    ]
    calls = [("tl.geoae", arguments) for arguments in given] + [
        (name, {"basis": "X_umap"}) for name in ("tl.distortion", "tl.adopt")
    ]
    say("| call | seconds or error |\n| --- | --- |")
    for name, arguments in calls:
        start = time.perf_counter()
        try:
            getattr(sg.tl, name.removeprefix("tl."))(adata, device=device, progress_bar=False, **arguments)
            wait(device)
            found = f"{time.perf_counter() - start:.2f}"
        except Exception as error:  # noqa: BLE001 -- the next call is measured as well
            found = repr(error)[:300]
        say(f"| {name} {arguments} | {found} |")


SECTIONS = {section.__name__: section for section in (env, smoke, scale, step, use)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", default=list(SECTIONS))
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in args.sections:
        say(f"\n## {name}\n")
        SECTIONS[name](torch.device(args.device), list(args.sizes))
    if args.write:
        (RESULTS / "on_gpu.md").write_text("# On a GPU\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
