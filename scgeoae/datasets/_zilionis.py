from __future__ import annotations

from typing import TYPE_CHECKING

from ._archive import read_archive
from ._components import assemble_components, read_matrix, read_table
from ._download import URL, download

if TYPE_CHECKING:
    from anndata import AnnData

ARCHIVE = "zilionis_cancer_data.tar.gz"


def zilionis() -> AnnData:
    """Load 48,969 cells of human lung tumors, as 306 principal components.

    As prepared by Narayan, Berger & Cho (2021) and used in the literature of geometric autoencoders. The archive is
    downloaded on first use into `scanpy.settings.datasetdir`, and its SHA-256 is kept beside it.

    Returns
    -------
    AnnData without genes, with

    ``obsm["X_pca"]`` : (n, 306) float32
        Principal components.
    ``obs["cell_type"]`` : categorical
        "Major cell type" of the study. Its other annotations are in `obs` too.
    ``uns["source"]`` : str

    Raises
    ------
    ConnectionError
        If the archive cannot be downloaded; the message says where to put it by hand.
    ValueError
        If the archive is damaged or has changed since it was first seen.

    References
    ----------
    Zilionis et al. 2019, *Single-cell transcriptomics of human and mouse lung cancers reveals conserved myeloid
    populations across individuals and species*, Immunity 50.

    Examples
    --------
    >>> import scgeoae as sg
    >>> adata = sg.datasets.zilionis()  # doctest: +SKIP
    >>> sg.tl.geoae(adata)  # doctest: +SKIP
    """
    components, obs = read_archive(
        download(ARCHIVE), [{"cancer_qc_final.txt": read_matrix}, {"cancer_qc_final_metadata.txt": read_table}]
    )
    return assemble_components(
        components,
        obs,
        cell_type="Major cell type",
        source=f"Zilionis et al. 2019, doi:10.1016/j.immuni.2019.03.009; {URL}{ARCHIVE}",
    )
