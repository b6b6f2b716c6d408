from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ._archive import read_archive
from ._components import assemble_components, read_matrix, read_npy, read_table
from ._download import URL, download

if TYPE_CHECKING:
    from anndata import AnnData

ARCHIVE = "zheng_pbmc_data.tar.gz"
COMPONENTS = {"pca50.npy": read_npy, "pbmc_qc_final.txt": read_matrix}
LABELS = {"zheng17-cell-labels.txt": read_table, "pbmc_qc_final_labels.txt": partial(read_table, header=None)}


def pbmc68k() -> AnnData:
    """Load 68,579 peripheral blood mononuclear cells of a healthy donor, as 50 principal components.

    As prepared by Narayan, Berger & Cho (2021) and used in the literature of geometric autoencoders. The archive is
    downloaded on first use into `scanpy.settings.datasetdir`, and its SHA-256 is kept beside it.

    Returns
    -------
    AnnData without genes, with

    ``obsm["X_pca"]`` : (n, 50) float32
        Principal components.
    ``obs["cell_type"]`` : categorical
        The purified type that each cell correlates with best, as assigned by the study.
    ``uns["source"]`` : str

    Raises
    ------
    ConnectionError
        If the archive cannot be downloaded; the message says where to put it by hand.
    ValueError
        If the archive is damaged or has changed since it was first seen.

    References
    ----------
    Zheng et al. 2017, *Massively parallel digital transcriptional profiling of single cells*, Nat. Commun. 8.

    Examples
    --------
    >>> import scgeoae as sg
    >>> adata = sg.datasets.pbmc68k()  # doctest: +SKIP
    >>> sg.tl.geoae(adata)  # doctest: +SKIP
    """
    components, obs = read_archive(download(ARCHIVE), [COMPONENTS, LABELS])
    obs.columns = ["barcode", "cell_type"][-obs.shape[1] :]
    return assemble_components(
        components, obs, cell_type="cell_type", source=f"Zheng et al. 2017, doi:10.1038/ncomms14049; {URL}{ARCHIVE}"
    )
