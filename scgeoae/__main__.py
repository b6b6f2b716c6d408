"""Map the cells of a file and draw the distortion: ``python -m scgeoae [in.h5ad] [-o out.h5ad] [--figures DIR]``."""

from __future__ import annotations

import argparse
import gc
import sys
import warnings
from contextlib import closing
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ._files import atomic_write, check_target, explain_missing_filter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 2 for an error the user can fix, or 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        run(options)
    except KeyboardInterrupt:
        print("scgeoae: interrupted", file=sys.stderr)
        return 130
    except (ImportError, OSError, KeyError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        # str() of a KeyError puts the message in quotes
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print("scgeoae: error: " + " ".join(str(message).split()), file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    """Make the map, print its scores, and write the files that the options ask for."""
    # report wrong paths before the imports below, which take seconds
    if options.input is not None and not options.input.exists():
        msg = f"Did not find the file {options.input}."
        raise FileNotFoundError(msg)
    is_store = options.input is not None and options.input.is_dir()
    is_sampled = is_store or options.n_sample is not None
    if is_sampled and not is_store and options.output is None:
        msg = "--n-sample maps a sample and places all cells on it; give -o STORE.zarr for the results"
        raise ValueError(msg)
    if options.output is not None and not is_sampled:
        check_target(options.output)
    if options.figures is not None and options.figures.exists() and not options.figures.is_dir():
        msg = f"{options.figures} is not a folder to write figures into"
        raise NotADirectoryError(msg)

    from . import get, tl
    from ._anndata.source import Single, Stored

    if find_spec("hdf5plugin") is not None:
        # importing it registers more compression filters with h5py
        import_module("hdf5plugin")
    adata = options.input if is_sampled and options.input is not None else _read(options.input)
    with closing(Stored(adata) if isinstance(adata, Path) else Single(adata)) as cells:
        n_obs, columns, names = cells.n_obs, cells.columns, {*cells.var_names, *cells.columns}
    color = "bulk_labels" if options.color is None and options.input is None else options.color
    if color is not None and color not in names:
        found = ", ".join(map(repr, columns)) or "nothing"
        msg = f"did not find {color!r} in adata.obs, which has {found}, or among the genes"
        raise KeyError(msg)
    given = {
        "regularizer": None if options.regularizer == "none" else options.regularizer,
        "strength": options.strength,
        "side": options.side,
        "neighbors_weight": options.neighbors_weight,
        "refine": options.refine,
        "equal_room": options.equal_room,
        "use_rep": options.use_rep,
        "random_state": options.seed,
        "progress_bar": sys.stderr.isatty(),
    }
    if is_sampled:
        n_sample = {} if options.n_sample is None else {"n_sample": options.n_sample}
        adata = tl.atlas(adata, out=options.output, graph=options.graph, **n_sample, **given)
    else:
        tl.geoae(adata, **given)
    by = f" by a sample of {adata.n_obs}" if is_sampled else ""
    print(f"{n_obs} cells{by}, regularizer {options.regularizer}, seed {options.seed}")
    scores = get.scores(adata)
    width = max(map(len, scores))
    for name, value in scores.items():
        print(f"  {name:<{width}}{value:10.4f}")

    if is_sampled:
        print(f"wrote {options.output or options.input}")
    elif options.output is not None:
        _write(adata, options.output)
        print(f"wrote {options.output}")
    if options.figures is not None:
        import matplotlib as mpl
        import scanpy as sc

        mpl.use("Agg")
        from . import pl

        sc.settings.autoshow = False
        paths = {plot: options.figures / f"{plot}.png" for plot in ("indicatrices", "jacobian_heatmap")}
        pl.indicatrices(adata, color=color, save=paths["indicatrices"])
        pl.jacobian_heatmap(adata, save=paths["jacobian_heatmap"])
        print("\n".join(f"wrote {path}" for path in paths.values()))


def _read(path: Path | None) -> AnnData:
    import anndata
    import scanpy as sc

    if path is None:
        with warnings.catch_warnings():
            # an old version of anndata wrote this file, so reading it warns
            warnings.simplefilter("ignore")
            return sc.datasets.pbmc68k_reduced()
    try:
        with explain_missing_filter():
            return anndata.read_h5ad(path)
    except Exception as error:
        msg = f"{path} is not a readable h5ad file ({str(error).splitlines()[0]})"
        raise ValueError(msg) from error


def _write(adata: AnnData, path: Path) -> None:
    try:
        with atomic_write(path) as scratch:
            adata.write_h5ad(scratch)
    except (OSError, RuntimeError) as error:
        msg = f"could not write {path}, which is as it was ({str(error).splitlines()[0]})"
        raise OSError(msg) from error


def _strength(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        msg = f"expected a number or 'auto', found {text!r}"
        raise argparse.ArgumentTypeError(msg) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scgeoae",
        description="Embed single cells with a geometric autoencoder, print its scores, and draw its distortion.",
    )
    parser.add_argument(
        "input", nargs="?", type=Path, help="h5ad file or zarr store (default: the PBMCs inside scanpy)"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PATH",
        help="write the annotated data here, as h5ad; with a sample, write the map of all cells here, as a zarr store "
        "(default for a zarr store: into that store)",
    )
    parser.add_argument(
        "--n-sample",
        type=int,
        metavar="N",
        help="map a sample of N cells and place all others on it (default: no sample for h5ad, 100000 for zarr)",
    )
    parser.add_argument("--graph", action="store_true", help="with a sample, write the metric graph of all cells, too")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="write the figures into this folder")
    parser.add_argument("--use-rep", metavar="KEY", help="key of obsm, or X (default: chosen as Scanpy does)")
    parser.add_argument(
        "--regularizer", default="isometric", metavar="NAME", help="isometric, volume, conformal, … or none"
    )
    parser.add_argument("--strength", type=_strength, metavar="WEIGHT", help="weight of the regularizer, or auto")
    parser.add_argument(
        "--neighbors-weight", type=float, metavar="WEIGHT", help="weight of the contrastive loss; 0: pure geometry"
    )
    parser.add_argument(
        "--refine",
        action=argparse.BooleanOptionalAction,
        help="refine the position of each cell (default: with isometric, volume and conformal)",
    )
    parser.add_argument(
        "--equal-room",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="from 0, groups as dense as in the data (default), to 1, cells spaced evenly",
    )
    parser.add_argument("--side", choices=("decoder", "encoder", "both"), help="the network to regularize")
    parser.add_argument(
        "--color",
        metavar="NAME",
        help="column of obs, or gene, to color the cells by (default: none, or types of the PBMCs)",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    return parser


if __name__ == "__main__":
    status = main()
    # All files are closed. Python would still search the objects of all packages for garbage, four times in a second.
    gc.freeze()
    sys.exit(status)
