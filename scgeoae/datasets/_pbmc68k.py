from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from ._archive import read_archive
from ._components import checked_column, components_as_anndata, read_array, read_lines, read_matrix, read_table

if TYPE_CHECKING:
    from anndata import AnnData


def pbmc68k(*, progress_bar: bool = True) -> AnnData:
    """Load the 68k peripheral blood mononuclear cells of Zheng et al. 2017, as 50 components with labels.

    The archive ``zheng_pbmc_data.tar.gz`` is downloaded on the first call to `scanpy.settings.datasetdir`, and
    its sha256 is recorded beside it; later calls read it from there and compare. Where there is no network, put it
    there by hand. The environment variable ``SCGEOAE_DATASETS_URL`` names the folder of a mirror.

    Parameters
    ----------
    progress_bar
        Whether to show the progress of the download.

    Returns
    -------
    AnnData with the components in `X`, where they are the variables PC1, PC2, …, and

    ``obsm["X_pca"]`` : (n, 50) float32
        The same components, in the units in which they are distributed.
    ``obs["cell_type"]`` : categorical
        The labels that come with the components.
    ``uns["source"]`` : str
        Paper and address.

    All columns of the table of labels are in `obs` too, under their own names.

    Raises
    ------
    OSError
        If the archive is not there and cannot be downloaded.
    ValueError
        If the archive is damaged, is not the one that was read before, or does not hold what is expected.

    References
    ----------
    Zheng et al. 2017, Massively parallel digital transcriptional profiling of single cells; one of the data sets of
    Nazari, Damrich & Hamprecht 2023, who use these components; distributed by Narayan, Berger & Cho 2021.

    Examples
    --------
    >>> import scgeoae as sg
    >>> adata = sg.datasets.pbmc68k()  # doctest: +SKIP
    >>> sg.tl.geoae(adata)  # doctest: +SKIP
    """
    arrays = "pca50.npy", "zheng17-cell-labels.txt"
    texts = "pbmc_qc_final.txt", "pbmc_qc_final_labels.txt"
    # published code reads the one pair or the other
    archive = read_archive("zheng_pbmc_data.tar.gz", arrays, texts, progress_bar=progress_bar)
    if arrays[0] in archive.files:
        components, obs = read_array(archive, arrays[0]), read_table(archive, arrays[1])
        labels = checked_column(archive, arrays[1], obs, 1)
    else:
        components, labels = read_matrix(archive, texts[0]), read_lines(archive, texts[1])
        obs = pd.DataFrame(index=labels.index)
    return components_as_anndata(
        archive, components, obs, labels=labels, paper="Zheng et al. 2017 (doi:10.1038/ncomms14049)"
    )
