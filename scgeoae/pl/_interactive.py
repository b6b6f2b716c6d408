from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from scanpy import logging as logg

from .._arguments import check_adata, check_flag, check_found, check_name, checked_integer, checked_names
from .._runtime import default_torch_modes
from ._canvas import read_flat_map
from ._widget.colors import Measured
from ._widget.page import INSTALL, Page
from ._widget.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

# Pixels below which there is no room for the map beside its legend.
MIN_HEIGHT = 200


@default_torch_modes
def interactive(
    adata: AnnData,
    *,
    color: str | Sequence[str] | None = None,
    basis: str | Sequence[str] = "geoae",
    genes: str | Sequence[str] | None = None,
    use_raw: bool | None = None,
    layer: str | None = None,
    height: int = 480,
) -> Any:
    r"""Explore a map: hover for its metric, click for paths, select cells.

    The view works in Jupyter, VS Code and Marimo, and as one file for a browser. At the mouse, it draws what the map
    makes of a small circle in the data (the indicatrix), a ruler for this place, and the nearest cells in the data, and
    lists the genes that change fastest to each side. Two clicks draw the shortest path between two cells, with its
    length and the genes along it; a lasso selects cells. `adata` is not changed.

    In a notebook, it takes the package anywidget: ``pip install anywidget``. Without it, the result has only
    ``to_html``.

    Parameters
    ----------
    adata
        Annotated data with the map.
    color
        Columns of `obs`, in the colors that Scanpy gives them, or genes. The first is shown at the start. In a
        notebook, you can choose all other columns and genes in the view, also columns that you add later.
    basis
        Name of the map, of two dimensions. With a list, such as ``["geoae", "umap"]``, the others are shown beside the
        first, which is the one whose metric you see at the mouse. They may be any embeddings; those on which
        `scgeoae.tl.distortion` was run show the neighbors that they tear apart.
    genes
        Genes that the view can decode at the mouse and along paths, without Python. Default: those that the
        representation is computed from, such as the highly variable ones; of more than 5,000, the most variable. The
        measured expression of genes that you name is part of a page, too.
    use_raw, layer
        Where measured expression comes from, as in Scanpy: from ``adata.raw`` if there is one, unless ``use_raw=False``
        or a `layer` is given.
    height
        Height in a notebook, in pixels.

    Returns
    -------
    A widget. Return it at the end of a cell to show it. It has

    ``selection`` : (m,) int
        Row numbers of the selected cells, in ascending order. You can set it, also to one boolean for each cell. With
        ``view.observe(function, "selection")``, the function is called when it changes. If cells were removed from
        `adata` or reordered in the meantime, reading it logs a warning, because the rows no longer fit.
    ``to_html(path)``
        Write the view to one file, which opens in a browser without a server or a network. The page computes
        everything itself with the decoder. It has the expression of `color` and `genes` as measured, and that of other
        genes as decoded.

    Raises
    ------
    KeyError
        If there is no map under `basis`, or no such column, gene or layer.
    ValueError
        If a map does not have two dimensions, the first was not measured, or `adata.raw` is asked for and missing.

    See Also
    --------
    scgeoae.pl.indicatrices : The same circles on paper.
    scgeoae.tl.geodesic : The same paths as numbers.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> view = sg.pl.interactive(adata, color=["bulk_labels", "CST3"], basis=["geoae", "umap"])
    >>> view.selection = adata.obs["bulk_labels"] == "Dendritic"
    >>> adata[view.selection].n_obs
    240
    """
    check_adata(adata)
    names = checked_names(basis, "basis")
    if not names:
        msg = "Expected `basis` to be a name or a list of names, found an empty list."
        raise ValueError(msg)
    maps = [read_flat_map(adata, name, "sg.pl.interactive") for name in names]
    colors = [] if color is None else checked_names(color, "color")
    named = None if genes is None else checked_names(genes, "genes")
    check_name(layer, "layer")
    if layer is not None:
        check_found(layer, adata.layers, "adata.layers")
    check_flag(use_raw, "use_raw")
    if use_raw and (layer is not None or adata.raw is None):
        problem = "adata.raw is missing" if layer is None else f"layer={layer!r} is given, too"
        msg = f"`use_raw` asks for adata.raw, but {problem}; leave it out."
        raise ValueError(msg)
    height = checked_integer(height, "height", MIN_HEIGHT)
    scene = Scene(maps, colors, named, Measured(adata, use_raw, layer), height, adata.obs_names)
    scene.check_genes()
    if find_spec("anywidget") is None:
        scene.payload(kernel=False)
        logg.warning(f"anywidget is missing: to_html(path) works, and {INSTALL} shows the view in a notebook")
        return Page(scene)
    from ._widget.widget import Widget

    return Widget(scene)
