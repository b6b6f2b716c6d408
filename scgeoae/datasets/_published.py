"""Published cells with labels, as principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from ._archive import column, components_as_anndata, read_archive, read_array, read_csv, read_matrix, read_table

if TYPE_CHECKING:
    from anndata import AnnData


def pbmc68k(*, progress_bar: bool = True) -> AnnData:
    """Load the 68k peripheral blood mononuclear cells of Zheng et al. 2017, as 50 components with labels.

    The first call downloads the archive ``zheng_pbmc_data.tar.gz`` (see `scgeoae.datasets`).

    Parameters
    ----------
    progress_bar
        Whether to show the progress of the download.

    Returns
    -------
    AnnData with the components in `X`, as the variables PC1, PC2, …, and

    ``obsm["X_pca"]`` : (n, 50) float32
        The same components, in the units in which they are distributed.
    ``obs["cell_type"]`` : categorical
        The labels that come with the components.
    ``uns["source"]`` : str
        Paper and address.
    ``obs``
        All columns of the table of labels, under their own names.

    Raises
    ------
    OSError
        If the archive is not there and cannot be downloaded.
    ValueError
        If the archive is damaged, has changed since it was first read, or lacks the expected files.

    References
    ----------
    Zheng et al. 2017, Massively parallel digital transcriptional profiling of single cells; one of the data sets of
    Nazari, Damrich & Hamprecht 2023, who use these components; distributed by Narayan, Berger & Cho 2021.
    """
    arrays = "pca50.npy", "zheng17-cell-labels.txt"
    texts = "pbmc_qc_final.txt", "pbmc_qc_final_labels.txt"
    # published code reads one pair or the other
    archive = read_archive("zheng_pbmc_data.tar.gz", arrays, texts, progress_bar=progress_bar)
    if arrays[0] in archive.files:
        components, obs = read_array(archive, arrays[0]), read_table(archive, arrays[1])
        labels = column(archive, arrays[1], obs, 1)
    else:
        components = read_matrix(archive, texts[0])
        labels = read_csv(archive, texts[1], sep="\t", header=None).iloc[:, 0]
        obs = pd.DataFrame(index=labels.index)
    return components_as_anndata(
        archive, components, obs, labels=labels, paper="Zheng et al. 2017 (doi:10.1038/ncomms14049)"
    )


def packer_celegans(*, progress_bar: bool = True) -> AnnData:
    """Load the cells of C. elegans embryos of Packer et al. 2019, as 100 components with labels.

    The first call downloads the archive ``packer_c-elegans_data.tar.gz`` (see `scgeoae.datasets`).

    Parameters
    ----------
    progress_bar
        Whether to show the progress of the download.

    Returns
    -------
    AnnData with the components in `X`, as the variables PC1, PC2, …, and

    ``obsm["X_pca"]`` : (n, 100) float32
        The same components, in the units in which they are distributed.
    ``obs["cell_type"]`` : categorical
        ``obs["cell.type"]``, and ``"unknown"`` where that is missing.
    ``uns["source"]`` : str
        Paper and address.
    ``obs``
        All columns of the table of metadata, under their own names.

    Raises
    ------
    OSError
        If the archive is not there and cannot be downloaded.
    ValueError
        If the archive is damaged, has changed since it was first read, or lacks the expected files.

    References
    ----------
    Packer et al. 2019, A lineage-resolved molecular atlas of C. elegans embryogenesis at single-cell
    resolution; one of the data sets of Nazari, Damrich & Hamprecht 2023, who use these components; distributed by
    Narayan, Berger & Cho 2021.
    """
    matrix, metadata = "c-elegans_qc_final.txt", "c-elegans_qc_final_metadata.txt"
    archive = read_archive("packer_c-elegans_data.tar.gz", [matrix, metadata], progress_bar=progress_bar)
    obs = read_table(archive, metadata)
    labels = column(archive, metadata, obs, "cell.type").astype(object)
    return components_as_anndata(
        archive,
        read_matrix(archive, matrix),
        obs,
        labels=labels.where(labels.notna(), "unknown"),
        paper="Packer et al. 2019 (doi:10.1126/science.aax1971)",
    )


def zilionis(*, progress_bar: bool = True) -> AnnData:
    """Load the immune cells of human lung cancers of Zilionis et al. 2019, as 306 components with labels.

    The first call downloads the archive ``zilionis_cancer_data.tar.gz`` (see `scgeoae.datasets`).

    Parameters
    ----------
    progress_bar
        Whether to show the progress of the download.

    Returns
    -------
    AnnData with the components in `X`, as the variables PC1, PC2, …, and

    ``obsm["X_pca"]`` : (n, 306) float32
        The same components, in the units in which they are distributed.
    ``obs["cell_type"]`` : categorical
        ``obs["Major cell type"]``. The first letter of a label is the tissue: b for blood, t for tumor.
    ``uns["source"]`` : str
        Paper and address.
    ``obs``
        All columns of the table of metadata, under their own names.

    Raises
    ------
    OSError
        If the archive is not there and cannot be downloaded.
    ValueError
        If the archive is damaged, has changed since it was first read, or lacks the expected files.

    Notes
    -----
    The code of Nazari, Damrich & Hamprecht 2023 standardizes every cell over its components before training; here they
    are as distributed. A text matrix of this size takes some seconds to read: for frequent use, keep the AnnData with
    `adata.write_h5ad`.

    References
    ----------
    Zilionis et al. 2019, Single-cell transcriptomics of human and mouse lung cancers reveals conserved myeloid
    populations across individuals and species; one of the data sets of Nazari, Damrich & Hamprecht 2023, who use these
    components; distributed by Narayan, Berger & Cho 2021.
    """
    matrix, metadata = "cancer_qc_final.txt", "cancer_qc_final_metadata.txt"
    archive = read_archive("zilionis_cancer_data.tar.gz", [matrix, metadata], progress_bar=progress_bar)
    obs = read_table(archive, metadata)
    return components_as_anndata(
        archive,
        read_matrix(archive, matrix),
        obs,
        labels=column(archive, metadata, obs, "Major cell type"),
        paper="Zilionis et al. 2019 (doi:10.1016/j.immuni.2019.03.009)",
    )
