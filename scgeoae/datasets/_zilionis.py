from __future__ import annotations

from typing import TYPE_CHECKING

from ._archive import read_archive
from ._components import checked_column, components_as_anndata, read_matrix, read_table

if TYPE_CHECKING:
    from anndata import AnnData


def zilionis(*, progress_bar: bool = True) -> AnnData:
    """Load the immune cells of human lung cancers of Zilionis et al. 2019, as 306 components with labels.

    The archive ``zilionis_cancer_data.tar.gz`` is downloaded on the first call to `scanpy.settings.datasetdir`, and
    its sha256 is recorded beside it; later calls read it from there and compare. Where there is no network, put it
    there by hand. The environment variable ``SCGEOAE_DATASETS_URL`` names the folder of a mirror.

    Parameters
    ----------
    progress_bar
        Whether to show the progress of the download.

    Returns
    -------
    AnnData with the components in `X`, where they are the variables PC1, PC2, …, and

    ``obsm["X_pca"]`` : (n, 306) float32
        The same components, in the units in which they are distributed.
    ``obs["cell_type"]`` : categorical
        ``obs["Major cell type"]``. The first letter of a label is that of the tissue: b for blood, t for tumor.
    ``uns["source"]`` : str
        Paper and address.

    All columns of the table of metadata are in `obs` too, under their own names.

    Raises
    ------
    OSError
        If the archive is not there and cannot be downloaded.
    ValueError
        If the archive is damaged, is not the one that was read before, or does not hold what is expected.

    Notes
    -----
    The code of Nazari, Damrich & Hamprecht 2023 standardises every cell over its components before training; here they
    are as distributed. A text matrix of this size takes some seconds to read: for frequent use, keep the AnnData with
    `adata.write_h5ad`.

    References
    ----------
    Zilionis et al. 2019, Single-cell transcriptomics of human and mouse lung cancers reveals conserved myeloid
    populations across individuals and species; one of the data sets of Nazari, Damrich & Hamprecht 2023, who use these
    components; distributed by Narayan, Berger & Cho 2021.

    Examples
    --------
    >>> import scgeoae as sg
    >>> adata = sg.datasets.zilionis()  # doctest: +SKIP
    >>> sg.tl.geoae(adata)  # doctest: +SKIP
    """
    matrix, metadata = "cancer_qc_final.txt", "cancer_qc_final_metadata.txt"
    archive = read_archive("zilionis_cancer_data.tar.gz", [matrix, metadata], progress_bar=progress_bar)
    obs = read_table(archive, metadata)
    return components_as_anndata(
        archive,
        read_matrix(archive, matrix),
        obs,
        labels=checked_column(archive, metadata, obs, "Major cell type"),
        paper="Zilionis et al. 2019 (doi:10.1016/j.immuni.2019.03.009)",
    )
