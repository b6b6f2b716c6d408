"""New cells in other units than the reference land on their places, or it is said that they cannot."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse

import scgeoae as sg
from scgeoae._anndata.units import scaling_of, signature, statistics_of
from scgeoae.nn.genes import Scaling

from ..for_each import for_each

TARGET = 1e3


@pytest.fixture(scope="module")
def counts() -> AnnData:
    """300 cells of three types, 80 genes. Do not change."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(0.5, 2.0, size=(3, 80))[rng.integers(3, size=300)] * rng.uniform(0.6, 1.6, size=(300, 1)) + 0.1
    adata = AnnData(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)))
    adata.var_names, adata.obs_names = [f"g{i}" for i in range(80)], [f"c{i}" for i in range(300)]
    return adata


def normalized(adata):
    return sc.pp.normalize_total(adata, target_sum=TARGET, copy=True)


def log1p(adata):
    return sc.pp.log1p(normalized(adata), copy=True)


def scaled(adata, max_value=4, **kwargs):
    adata = adata.copy()
    adata.X = adata.X.toarray() if sparse.issparse(adata.X) else adata.X
    sc.pp.scale(adata, max_value=max_value, **kwargs)
    return adata


def regressed(adata):
    found = log1p(adata)
    found.obs["n"] = np.asarray(adata.X.sum(1)).ravel()
    found.X = found.X.toarray()
    sc.pp.regress_out(found, ["n"])
    return found


def pearson(adata):
    found = adata.copy()
    found.X = found.X.toarray()
    sc.experimental.pp.normalize_pearson_residuals(found)
    return found


def with_raw(adata):
    found = log1p(adata)
    found.raw = found
    return scaled(found[:, :60].copy())


REFERENCES = {
    "counts": lambda adata: adata.copy(),
    "normalized": normalized,
    "log1p": log1p,
    "log1p of some genes": lambda adata: log1p(adata)[:, :60].copy(),
    "scaled": lambda adata: scaled(log1p(adata)),
    "scaled, genes in raw": with_raw,
    "scaled, some genes": lambda adata: scaled(log1p(adata)[:, :60]),
    "not centered": lambda adata: scaled(log1p(adata), zero_center=False),
    "regressed, scaled": lambda adata: scaled(regressed(adata)),
    "Pearson": pearson,
}
NEW = {
    "counts": lambda adata, _: adata[:60].copy(),
    "normalized": lambda adata, _: normalized(adata[:60].copy()),
    "log1p": lambda adata, _: log1p(adata[:60].copy()),
    "as the reference": lambda _, reference: reference[:60].copy(),
    "scaled on their own": lambda adata, _: scaled(log1p(adata[:60].copy())),
    "Pearson": lambda adata, _: pearson(adata[:60].copy()),
}
# on their places (=), said to be off or perhaps off (!), refused (x)
EXPECTED = {
    "counts": "= x x = x x",
    "normalized": "= = = = = x",
    "log1p": "= = = = = x",
    "log1p of some genes": "x = = = = x",
    "scaled": "= = = = = !",
    "scaled, genes in raw": "= = = = = !",
    "scaled, some genes": "x = = = = !",
    "not centered": "= = = = = x",
    "regressed, scaled": "x x x = x !",
    "Pearson": "x x x ! x !",
}


@pytest.fixture
def said():
    """Return the lines at warning level."""
    lines = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    sc.settings._root_logger.addHandler(handler)
    yield lines
    sc.settings._root_logger.removeHandler(handler)


@pytest.mark.slow
@for_each("made_of", REFERENCES)
def test_where_new_cells_land(counts, said, made_of):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = REFERENCES[made_of](counts)
        sc.pp.pca(reference, n_comps=8)
        brought = {given: bring(counts, reference) for given, bring in NEW.items()}
    sg.tl.geoae(reference, n_steps=40, progress_bar=False)
    width = np.ptp(reference.obsm["X_geoae"], axis=0).max()
    found = []
    for cells in brought.values():
        new = AnnData(cells.X, obs=cells.obs[[]], var=cells.var)
        said.clear()
        try:
            sg.tl.transform(new, reference)
        except ValueError as error:
            found.append("x" if "or say what they are with `units`" in str(error) else str(error))
            continue
        away = np.linalg.norm(new.obsm["X_geoae"] - reference.obsm["X_geoae"][:60], axis=1).max() / width
        is_said = any("other units" in line or "depend on the cells" in line for line in said)
        found.append("!" if is_said else "=" if away < 0.01 else f"silently {away:.0%} away")
    assert " ".join(found) == EXPECTED[made_of]


def test_what_a_user_says_is_believed(counts):
    reference = log1p(counts)
    sc.pp.pca(reference, n_comps=8)
    sg.tl.geoae(reference, n_steps=20, progress_bar=False)
    new = log1p(counts[:60].copy())
    for units in ("log1p", "same"):
        given = AnnData(new.X, var=new.var, obs=new.obs[[]])
        sg.tl.transform(given, reference, units=units)
        np.testing.assert_allclose(given.obsm["X_pca"], reference.obsm["X_pca"][:60], atol=1e-4)
    # another total is taken to that of the reference, another base of the logarithm too
    other = sc.pp.log1p(sc.pp.normalize_total(counts[:60], target_sum=50, copy=True), base=2, copy=True)
    sg.tl.transform(other, reference)
    np.testing.assert_allclose(other.obsm["X_pca"], reference.obsm["X_pca"][:60], atol=1e-3)


@pytest.fixture(scope="module")
def mapped(counts):
    """A map of log1p values of all genes, and one of the variable genes. Do not change."""
    whole = log1p(counts)
    sc.pp.pca(whole, n_comps=8)
    some = log1p(counts)[:, :50].copy()
    sc.pp.pca(some, n_comps=8)
    for adata in (whole, some):
        sg.tl.geoae(adata, n_steps=20, progress_bar=False)
    return whole, some


@for_each("n", [2, 5, 40])
@for_each("total", [None, 1e6])
def test_cells_that_were_normalized_to_another_total(counts, mapped, n, total):
    new = sc.pp.normalize_total(counts[:n], target_sum=total, copy=True)
    sc.pp.log1p(new)
    sg.tl.transform(new, mapped[0])
    np.testing.assert_allclose(new.obsm["X_pca"], mapped[0].obsm["X_pca"][:n], atol=2e-3)


def test_counts_of_some_genes_have_no_total(counts, mapped, said):
    few = counts[:60, :50].copy()
    with pytest.raises(ValueError, match=r"adata_new\.X: counts, .* say what they are with `units`"):
        sg.tl.transform(few, with_total(counts, mapped[1]))
    few = log1p(few)
    sg.tl.transform(few, with_total(counts, mapped[1]))
    assert any("may have other units" in line for line in said)


def with_total(counts, mapped):
    """Return a map that knows what counts were normalized to, from `raw`."""
    adata = log1p(counts)
    adata.raw = adata
    adata = adata[:, :50].copy()
    adata.obsm["X_pca"], adata.varm["PCs"], adata.uns["pca"] = mapped.obsm["X_pca"], mapped.varm["PCs"], {}
    sg.tl.geoae(adata, n_steps=20, progress_bar=False)
    return adata


@for_each("lost", ["reference", "new"])
def test_a_logarithm_without_record_is_that_of_the_other(counts, lost):
    def log2(adata):
        return sc.pp.log1p(normalized(adata), base=2, copy=True)

    reference, new = log2(counts), log2(counts[:60].copy())
    del (reference if lost == "reference" else new).uns["log1p"]
    sc.pp.pca(reference, n_comps=8)
    sg.tl.geoae(reference, n_steps=20, progress_bar=False)
    sg.tl.transform(new, reference)
    np.testing.assert_allclose(new.obsm["X_pca"], reference.obsm["X_pca"][:60], atol=1e-3)


def test_fine_cells_raise_no_alarm(counts, mapped, said):
    for rows in (slice(0, 1), slice(0, 7), slice(0, 60), np.asarray(counts.X.sum(1)).ravel().argsort()[:30]):
        new = log1p(counts[rows].copy())
        sg.tl.transform(new, mapped[0])
    # each cell by itself: nothing that depends on other cells
    ratio = AnnData(np.log1p(counts.X.toarray()), obs=counts.obs, var=counts.var)
    ratio.X = ratio.X - ratio.X.mean(1, keepdims=True)
    sg.tl.geoae(ratio, use_rep="X", n_steps=10, progress_bar=False)
    sg.tl.transform(AnnData(ratio.X[:40].copy(), var=ratio.var), ratio)
    assert not said


def test_components_of_their_own_are_not_taken(counts, mapped):
    reference = AnnData(mapped[0].X, obs=mapped[0].obs, var=mapped[0].var, obsm={"X_pca": mapped[0].obsm["X_pca"]})
    sg.tl.geoae(reference, n_steps=10, use_rep="X_pca", progress_bar=False)
    new = log1p(counts[:60].copy())
    sc.pp.pca(new, n_comps=8)
    with pytest.raises(ValueError, match=r"may be its own PCA.*give use_rep='X_pca' if it has the components"):
        sg.tl.transform(new, reference)
    with pytest.raises(ValueError, match="units='log1p' has no effect"):
        sg.tl.transform(new, reference, use_rep="X_pca", units="log1p")
    sg.tl.transform(new, reference, use_rep="X_pca")


def test_values_that_were_cut_off_are_lost(counts, said):
    reference = log1p(counts)
    sc.pp.pca(reference, n_comps=8)
    sg.tl.geoae(reference, n_steps=20, progress_bar=False)
    new = scaled(log1p(counts[:60].copy()), max_value=1.5)
    sg.tl.transform(new, reference)
    assert any("but for values that were cut off at 1.5" in line for line in said)


@for_each(
    "prepare, expected",
    [
        (lambda adata: adata, ("counts", np.nan)),
        (normalized, ("normalized", TARGET)),
        (log1p, ("log1p", TARGET)),
        (lambda adata: log1p(adata)[:, :60], ("log1p", np.nan)),
        (regressed, ("signed", np.nan)),
    ],
)
def test_signature(counts, prepare, expected):
    kind, total, base = signature(prepare(counts).X)
    assert kind == expected[0]
    assert base == pytest.approx(np.e) if kind == "log1p" else np.isnan(base)
    assert total == pytest.approx(expected[1], rel=1e-4, nan_ok=True)


def test_scaling_is_that_of_scanpy(counts):
    before = log1p(counts).X.toarray()
    for zero_center in (True, False):
        after = scaled(log1p(counts), max_value=2, zero_center=zero_center)
        found = scaling_of(after.var, after.X)
        assert isinstance(found, Scaling)
        assert (found.zero_center, found.max_value) == (zero_center, pytest.approx(2))
        np.testing.assert_allclose(found.scale(before), after.X, atol=1e-4)
        is_cut = np.abs(after.X) >= 2 - 1e-6
        np.testing.assert_allclose(found.undo(after.X)[~is_cut], before[~is_cut], atol=1e-4)
        # the record stands there too if a layer was scaled
        assert scaling_of(after.var, before) is None


@for_each("kind", [np.uint8, np.int16, np.float32])
def test_statistics_of_genes(counts, kind):
    y = counts.X.toarray() * (1 if kind == np.uint8 else 30)
    for form in (sparse.csr_matrix, sparse.csc_matrix, np.asarray):
        found = statistics_of(form(y.astype(kind)))
        for name, expected in (("mean", y.mean(0)), ("std", y.std(0)), ("low", y.min(0)), ("high", y.max(0))):
            np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-4, atol=1e-4)


@for_each("form", ["csc", "backed"])
def test_counts_wherever_they_are(counts, mapped, form, tmp_path):
    import anndata

    new = counts[:60].copy()
    if form == "csc":
        new.X = new.X.tocsc()
    else:
        new.write_h5ad(tmp_path / "new.h5ad")
        new = anndata.read_h5ad(tmp_path / "new.h5ad", backed="r")
    found = sg.tl.transform(new, mapped[0], copy=True)
    np.testing.assert_allclose(found.obsm["X_pca"], mapped[0].obsm["X_pca"][:60], atol=1e-3)
