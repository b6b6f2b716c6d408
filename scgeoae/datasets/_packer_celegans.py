from __future__ import annotations

from typing import TYPE_CHECKING

from ._archive import read_archive
from ._components import checked_column, components_as_anndata, read_matrix, read_table

if TYPE_CHECKING:
    from anndata import AnnData


def packer_celegans(*, progress_bar: bool = True) -> AnnData:
    """Load the cells of C. elegans embryos of Packer et al. 2019, as 100 components with labels.

    The archive ``packer_c-elegans_data.tar.gz`` is downloaded on the first call to `scanpy.settings.datasetdir`, and
    its sha256 is recorded beside it; later calls read it from there and compare. Where there is no network, put it
    there by hand. The environment variable ``SCGEOAE_DATASETS_URL`` names the folder of a mirror.

    Parameters
    ----------
    progress_bar
        Whether to show the progress of the download.

    Returns
    -------
    AnnData with the components in `X`, where they are the variables PC1, PC2, …, and

    ``obsm["X_pca"]`` : (n, 100) float32
        The same components, in the units in which they are distributed.
    ``obs["cell_type"]`` : categorical
        ``obs["cell.type"]``, and ``"unknown"`` for cells that have none there.
    ``uns["source"]`` : str
        Paper and address.

    All columns of the table of metadata are in `obs` too, under their own names.

    Raises
    ------
    OSError
        If the archive is not there and cannot be downloaded.
    ValueError
        If the archive is damaged, is not the one that was read before, or does not hold what is expected.

    References
    ----------
    Packer et al. 2019, A lineage-resolved molecular atlas of C. elegans embryogenesis at single-cell
    resolution; one of the data sets of Nazari, Damrich & Hamprecht 2023, who use these components; distributed by
    Narayan, Berger & Cho 2021.

    Examples
    --------
    >>> import scgeoae as sg
    >>> adata = sg.datasets.packer_celegans()  # doctest: +SKIP
    >>> sg.tl.geoae(adata)  # doctest: +SKIP
    """
    matrix, metadata = "c-elegans_qc_final.txt", "c-elegans_qc_final_metadata.txt"
    archive = read_archive("packer_c-elegans_data.tar.gz", [matrix, metadata], progress_bar=progress_bar)
    obs = read_table(archive, metadata)
    labels = checked_column(archive, metadata, obs, "cell.type").astype(object)
    return components_as_anndata(
        archive,
        read_matrix(archive, matrix),
        obs,
        labels=labels.where(labels.notna(), "unknown"),
        paper="Packer et al. 2019 (doi:10.1126/science.aax1971)",
    )
