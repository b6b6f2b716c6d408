from __future__ import annotations

from typing import TYPE_CHECKING

from ._archive import read_archive
from ._components import assemble_components, read_matrix, read_table
from ._download import URL, download

if TYPE_CHECKING:
    from anndata import AnnData

ARCHIVE = "packer_c-elegans_data.tar.gz"


def packer_celegans() -> AnnData:
    """Load 86,024 cells of embryos of *C. elegans*, as 100 principal components.

    As prepared by Narayan, Berger & Cho (2021) and used in the literature of geometric autoencoders. The archive is
    downloaded on first use into `scanpy.settings.datasetdir`, and its SHA-256 is kept beside it.

    Returns
    -------
    AnnData without genes, with

    ``obsm["X_pca"]`` : (n, 100) float32
        Principal components.
    ``obs["cell_type"]`` : categorical
        "cell.type" of the study, ``"unknown"`` where it has none. Its other annotations, such as the embryo
        time, are in `obs` too.
    ``uns["source"]`` : str

    Raises
    ------
    ConnectionError
        If the archive cannot be downloaded; the message says where to put it by hand.
    ValueError
        If the archive is damaged or has changed since it was first seen.

    References
    ----------
    Packer et al. 2019, *A lineage-resolved molecular atlas of C. elegans embryogenesis at single-cell resolution*,
    Science 365.

    Examples
    --------
    >>> import scgeoae as sg
    >>> adata = sg.datasets.packer_celegans()  # doctest: +SKIP
    >>> sg.tl.geoae(adata)  # doctest: +SKIP
    """
    components, obs = read_archive(
        download(ARCHIVE), [{"c-elegans_qc_final.txt": read_matrix}, {"c-elegans_qc_final_metadata.txt": read_table}]
    )
    return assemble_components(
        components,
        obs,
        cell_type="cell.type",
        source=f"Packer et al. 2019, doi:10.1126/science.aax1971; {URL}{ARCHIVE}",
    )
