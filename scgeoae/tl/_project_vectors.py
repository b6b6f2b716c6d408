from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scanpy import logging as logg

from .._anndata.map import read_map
from .._anndata.slots import SIDES, VectorSlots
from .._anndata.vectors import read_vectors
from .._anndata.write import Changes, write
from .._arguments import check_option, checked_key, checked_names
from .._runtime import default_torch_modes
from ..geometry import pullback
from ..geometry.projection import lengths, project

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import ArrayLike

# Number of cells whose Jacobians are in memory at a time.
BLOCK = 1024


@default_torch_modes
def project_vectors(
    adata: AnnData,
    vectors: str | ArrayLike,
    *,
    of: str | None = None,
    genes: str | Sequence[str] | None = None,
    side: Literal["decoder", "encoder"] = "decoder",
    key: str = "geoae",
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Project a direction of each cell, such as its RNA velocity, onto the map, in units of the map.

    The decoder turns the map into a surface in the representation. Each vector v is projected orthogonally onto the
    plane that touches the surface at its cell. The step dz on the map is the one that the decoder turns into this
    projection:

    .. math:: dz = G^{-1} A^\top H v

    A is the decoder's Jacobian at the cell, H the metric of the representation (by default, the identity), and G =
    AᵀHA the metric tensor. Vectors of genes are brought into the representation first, by the loadings of its PCA and,
    if necessary, by the derivative of the logarithm. See docs/vectors.md.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae`, `scgeoae.tl.adopt` or `scgeoae.tl.distortion` was run.
    vectors
        A layer, with (n, number of genes) vectors such as those of scvelo; a key of `obsm`, with (n, D) vectors in the
        representation; or a matrix of either shape, dense or sparse.
    of
        What vectors of genes are derivatives of. ``"same"``: the expression that the map was made from, such as log1p
        of normalized counts. A layer: its values, which are in linear units, as are scvelo's ``"Ms"``; the vectors are
        then multiplied by the derivative of the logarithm at these values. Default: ``"Ms"`` for a layer of scvelo,
        which has parameters in ``uns["{vectors}_params"]``, and ``"same"`` for anything else.
    genes
        Genes whose vectors count: their names, or a boolean column of `var`. Default: ``var["{vectors}_genes"]`` for a
        layer of scvelo, as in its own projection, otherwise all. Genes with NaN in any cell do not count.
    side
        ``"decoder"``: as above. ``"encoder"``: dz = B v, with the encoder's Jacobian B at the decoded position of the
        cell. docs/vectors.md compares the two.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    key_added
        Name of the vectors. Default: the name of the layer, the key of `obsm` without ``X_``, or ``"vectors"`` for a
        matrix.
    copy
        Return a copy instead of writing into `adata`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. With the name of the vectors for ``velocity``, it sets

    ``adata.obsm["velocity_{key}"]`` : (n, d) float32
        Steps on the map, in its units (per unit of time, if the vectors are). This is where scvelo looks for the
        arrows of an embedding, so that ``scv.pl.velocity_embedding_stream(adata, basis="geoae")`` draws them.
    ``adata.obs["velocity_{key}_length"]`` : float32
        Lengths of these steps on the surface, in units of the representation.
    ``adata.obs["velocity_{key}_off_surface"]`` : float32
        Share of the squared length of the vector in the representation that leaves the surface: 0 if the vector lies
        in it, 1 if it is perpendicular. 0 for a vector of length zero.
    ``adata.uns["velocity_{key}"]`` : dict
        ``params`` of the call.

    Where scvelo's ``uns["velocity_params"]`` is, the map is added to its list of embeddings. Otherwise, the plots of
    scvelo would replace the steps by those of its own projection. They do so after ``scv.tl.velocity_graph``, which
    empties the list; call this function again then.

    Raises
    ------
    KeyError
        If there is no map under `key`, or no such layer, key, column or gene.
    TypeError
        If vectors are not real numbers.
    ValueError
        If vectors have another shape, cells have infinite values or nothing but NaN, the representation is not computed
        from genes in a known way and the vectors are of genes, or the tensors are a graph-Laplacian estimate.

    See Also
    --------
    scgeoae.pl.vectors : Draw the vectors.

    References
    ----------
    Bergen et al. 2020, *Nature Biotechnology* 38, 1408–1414, for the velocities of scvelo.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> b_cells = adata.obsm["X_pca"][adata.obs["bulk_labels"] == "CD19+ B"].mean(0)
    >>> adata.obsm["to_b"] = b_cells - adata.obsm["X_pca"]
    >>> sg.tl.project_vectors(adata, "to_b")
    >>> adata.obsm["to_b_geoae"].shape
    (700, 2)
    """
    m = read_map(adata, key)
    check_option(side, "side", SIDES)
    slots = VectorSlots(_name(vectors, key_added), m.key)
    z, model = m.positions, m.model
    names = genes if genes is None or isinstance(genes, str) else checked_names(genes, "genes")
    read, notes = read_vectors(m, vectors, of=of, genes=names)
    encoder = m.autoencoder if side == "encoder" else None
    start = logg.info(f"projecting {read.name} onto the map in adata.obsm[{m.slot!r}]")
    for note in notes:
        logg.info(f"    {note}")

    # float64: where vectors lie in the surface, the share that leaves it is a difference of almost equal numbers
    model = model.double()
    seen = None if read.seen is None else torch.from_numpy(read.seen)
    steps = np.empty(z.shape, dtype=np.float32)
    off_surface, length = (np.empty(len(z), dtype=np.float32) for _ in range(2))
    for first, block in read:
        for part in torch.arange(len(block)).split(BLOCK):
            rows, v = slice(first + int(part[0]), first + int(part[-1]) + 1), torch.from_numpy(block)[part]
            jet = model.jet(z[rows])
            b = None if encoder is None else encoder.encoder_jacobian(jet.values)
            dz, off_surface[rows] = project(v, jet.first, model.ambient, jet.values, encoder=b, seen=seen)
            steps[rows], length[rows] = dz, lengths(dz, pullback(jet.first, model.ambient, jet.values))
    params = {"method": "projection", "key": m.key, "vectors": read.name, "of": read.of, "side": side}
    changes = Changes(
        {
            ("obsm", slots.vectors): steps,
            ("obs", slots.length): length,
            ("obs", slots.off_surface): off_surface,
            ("uns", slots.vectors): {"params": params},
        },
        [
            f"obsm[{slots.vectors!r}], steps on the map",
            f"obs[{slots.length!r}], their lengths in units of the representation",
            f"obs[{slots.off_surface!r}], the share of the squared length that leaves the surface",
            f"uns[{slots.vectors!r}], params",
        ],
    )
    changes += _known_to_scvelo(adata, slots)
    done = f"{off_surface.mean():.0%} of the squared length leaves the surface, on average"
    return write(adata, changes, start=start, copy=copy, done=done)


def _known_to_scvelo(adata: AnnData, slots: VectorSlots) -> Changes:
    """Return the record of scvelo's vectors with this map among the embeddings; others, its plots compute anew."""
    record = f"{slots.name}_params"
    params = adata.uns.get(record)
    if not isinstance(params, Mapping):
        return Changes()
    embeddings = [*map(str, params.get("embeddings", [])), slots.key]
    changed = {**params, "embeddings": list(dict.fromkeys(embeddings))}
    return Changes({("uns", record): changed}, [f"uns[{record!r}]['embeddings'], for the plots of scvelo"])


def _name(vectors: Any, key_added: str | None) -> str:
    """Return the name of the vectors."""
    name = checked_key(key_added, vectors.removeprefix("X_") if isinstance(vectors, str) else "vectors")
    if name == "X":
        # "X_{key}" is the map
        msg = "Expected `key_added` to be a name other than 'X', which is that of the map; choose another."
        raise ValueError(msg)
    return name
