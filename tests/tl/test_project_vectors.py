from __future__ import annotations

import io
import logging
import warnings

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from anndata import AnnData, read_h5ad
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import scgeoae as sg
from scgeoae.geometry import Ambient
from scgeoae.geometry.projection import lengths, project
from scgeoae.nn import Autoencoder

from ..for_each import for_each
from ..planted import plant


def bent(n_features=12, d=2, seed=0):
    """A model whose decoder bends."""
    generator = torch.Generator().manual_seed(seed)
    model = Autoencoder(n_features, d, hidden=(16,), generator=generator)
    axes = torch.linalg.qr(torch.randn(n_features, d, generator=generator))[0].T
    model.start_at(center=torch.ones(n_features), scale=torch.tensor(2.0), axes=axes)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def on_a_bent_sheet():
    """50 cells at random places of a bent sheet in 12 dimensions, with its tangent and normal vectors."""
    rng = np.random.default_rng(0)
    model, z = bent(), rng.normal(size=(50, 2)).astype(np.float32)
    x = model.decode(z).detach().numpy()
    adata = plant(AnnData(x + rng.normal(size=x.shape).astype(np.float32)), model, z, "X")
    double, h = bent().double(), 1e-5
    at = z.astype(float)
    jacobian = np.stack(
        [(double.decode(at + h * e) - double.decode(at - h * e)).detach().numpy() / (2 * h) for e in np.eye(2)], axis=2
    )
    normal = rng.normal(size=(50, 12))
    normal -= np.stack([a @ np.linalg.lstsq(a, v, rcond=None)[0] for a, v in zip(jacobian, normal, strict=True)])
    return adata, jacobian, normal


def test_a_vector_is_the_step_on_the_map_and_what_leaves_the_surface(on_a_bent_sheet):
    adata, jacobian, normal = on_a_bent_sheet
    step = np.random.default_rng(1).normal(size=(50, 2))
    inside = np.einsum("nfa,na->nf", jacobian, step)
    adata.layers["drift"] = inside + normal
    sg.tl.project_vectors(adata, "drift")
    assert adata.obsm["drift_geoae"].dtype == np.float32
    np.testing.assert_allclose(adata.obsm["drift_geoae"], step, atol=1e-5)
    whole = np.square(inside).sum(1) + np.square(normal).sum(1)
    np.testing.assert_allclose(adata.obs["drift_geoae_off_surface"], np.square(normal).sum(1) / whole, atol=1e-5)
    np.testing.assert_allclose(adata.obs["drift_geoae_length"], np.linalg.norm(inside, axis=1), rtol=1e-5)
    # in the surface and perpendicular to it
    adata.layers["drift"] = inside
    sg.tl.project_vectors(adata, "drift")
    np.testing.assert_allclose(adata.obs["drift_geoae_off_surface"], 0, atol=1e-8)
    adata.layers["drift"] = normal
    sg.tl.project_vectors(adata, "drift")
    np.testing.assert_allclose(adata.obs["drift_geoae_off_surface"], 1, atol=1e-8)
    np.testing.assert_allclose(adata.obsm["drift_geoae"], 0, atol=1e-6)


@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_on_a_linear_map_under_rotations(seed, scale):
    rng = np.random.default_rng(seed)
    basis = scale * rng.normal(size=(9, 3))
    v = rng.normal(size=(4, 9))
    expected = np.linalg.lstsq(basis, v.T, rcond=None)[0].T
    for rotation in (np.eye(9), np.linalg.qr(rng.normal(size=(9, 9)))[0]):
        jacobian = torch.from_numpy(rotation @ basis).expand(4, 9, 3)
        found = project(torch.from_numpy(v @ rotation.T), jacobian)
        np.testing.assert_allclose(found.steps, expected, rtol=1e-5, atol=1e-9)
        left = np.square(v - expected @ basis.T).sum(1) / np.square(v).sum(1)
        np.testing.assert_allclose(found.off_surface, left, atol=1e-9)


def test_lengths_are_those_of_the_ambient_metric():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    a, v = rng.normal(size=(1, 6, 2)), rng.normal(size=(1, 6))
    found = project(
        torch.from_numpy(v), torch.from_numpy(a), Ambient(torch.from_numpy(root.T @ root)), torch.zeros(1, 6).double()
    )
    step, left, *_ = np.linalg.lstsq(root @ a[0], root @ v[0], rcond=None)
    np.testing.assert_allclose(found.steps[0], step, rtol=1e-9)
    np.testing.assert_allclose(found.off_surface[0], left[0] / np.square(root @ v[0]).sum(), rtol=1e-9)
    metric = torch.from_numpy(np.swapaxes(root @ a, 1, 2) @ (root @ a))
    np.testing.assert_allclose(lengths(found.steps, metric), np.linalg.norm(root @ a[0] @ step), rtol=1e-9)


@for_each("side", ["decoder", "encoder"])
def test_lengths_fit_the_genes_that_have_vectors(side):
    rng = np.random.default_rng(0)
    a, b, v = rng.normal(size=(9, 2)), rng.normal(size=(2, 9)), rng.normal(size=9)
    seen = np.arange(9) < 5
    v[~seen] = 0
    given = torch.from_numpy(b)[None] if side == "encoder" else None
    found = project(
        torch.from_numpy(v)[None], torch.from_numpy(a)[None], encoder=given, seen=torch.from_numpy(1.0 * seen)
    )
    direction = b @ v if side == "encoder" else np.linalg.lstsq(a, v, rcond=None)[0]
    length = np.linalg.lstsq((a @ direction)[seen, None], v[seen], rcond=None)[0]
    np.testing.assert_allclose(found.steps[0], length * direction, rtol=1e-9)
    # the share is that of the step of the decoder, whichever is drawn
    shown = (a @ np.linalg.lstsq(a, v, rcond=None)[0])[seen]
    cosine = shown @ v[seen] / (np.linalg.norm(shown) * np.linalg.norm(v[seen]))
    np.testing.assert_allclose(found.off_surface[0], 1 - cosine**2, rtol=1e-9)


def test_a_collapsed_direction_gets_no_step():
    flat = torch.tensor([[[2.0, 0.0], [0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0]] * 3])
    steps, off_surface = project(torch.tensor([[4.0, 3.0, 0.0]] * 3, dtype=torch.float64), flat.double())
    np.testing.assert_allclose(steps, [[2, 0], [1.75, 1.75], [0, 0]], atol=1e-9)
    np.testing.assert_allclose(off_surface, [9 / 25, 1 - 24.5 / 25, 1], atol=1e-9)


def of_genes(*, scaled=False, base=None, factor=1.0, n_hvg=None):
    """Cells with smooth expression s, whose map is the first two components of log1p(factor s), and velocities of s."""
    rng = np.random.default_rng(0)
    s = rng.gamma(1.0, 2.0, size=(80, 30))
    s *= 100 / s.sum(1, keepdims=True)
    adata = AnnData((factor * s).astype(np.float32))
    adata.var_names = [f"g{i}" for i in range(30)]
    adata.layers["Ms"] = s.astype(np.float32)
    adata.layers["velocity"] = rng.normal(size=s.shape)
    sc.pp.log1p(adata, base=base)
    if scaled:
        sc.pp.scale(adata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if n_hvg is not None:
            adata.var["highly_variable"] = np.arange(30) < n_hvg
        sc.pp.pca(adata, n_comps=8)
    model = Autoencoder(8, 2, hidden=(4,)).start_at(
        center=torch.zeros(8), scale=torch.tensor(1.0), axes=torch.eye(8)[:2]
    )
    return plant(adata, model, adata.obsm["X_pca"][:, :2], "X_pca")


def derivative(adata, factor=1.0, base=np.e):
    """Move all cells a little along their velocities, and compute their components again."""
    moved = []
    for h in (1e-4, -1e-4):
        s = adata.layers["Ms"].astype(float) + h * adata.layers["velocity"]
        y = np.log1p(factor * s) / np.log(base)
        if "std" in adata.var:
            y = (y - adata.var["mean"].to_numpy()) / adata.var["std"].to_numpy()
        moved.append(y @ adata.varm["PCs"])
    return (moved[0] - moved[1])[:, :2] / 2e-4


@for_each(
    "options",
    [{}, {"scaled": True}, {"base": 2}, {"factor": 100.0}, {"n_hvg": 20}, {"scaled": True, "factor": 0.1}],
)
def test_velocities_of_linear_counts_follow_the_chain_rule(options):
    adata = of_genes(**options)
    constants = {name: options[name] for name in ("base", "factor") if name in options}
    sg.tl.project_vectors(adata, "velocity", of="Ms")
    expected = derivative(adata, **constants)
    np.testing.assert_allclose(adata.obsm["velocity_geoae"], expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


def test_vectors_in_the_units_of_the_map():
    adata = of_genes()
    sg.tl.project_vectors(adata, "velocity")
    expected = adata.layers["velocity"] @ adata.varm["PCs"][:, :2]
    np.testing.assert_allclose(adata.obsm["velocity_geoae"], expected, atol=1e-5)
    whole = np.square(adata.layers["velocity"] @ adata.varm["PCs"]).sum(1)
    share = 1 - np.square(expected).sum(1) / whole
    np.testing.assert_allclose(adata.obs["velocity_geoae_off_surface"], share, atol=1e-4)
    # a matrix, sparse, or in the representation
    forms = {
        "array": adata.layers["velocity"].astype(np.float32),
        "sparse": sparse.csc_matrix(adata.layers["velocity"]),
        "components": adata.layers["velocity"] @ adata.varm["PCs"],
    }
    for name, given_ in forms.items():
        sg.tl.project_vectors(adata, given_, key_added=name)
        np.testing.assert_allclose(adata.obsm[f"{name}_geoae"], expected, atol=1e-5)
    adata.obsm["X_drift"] = forms["components"]
    sg.tl.project_vectors(adata, "X_drift")
    np.testing.assert_allclose(adata.obsm["drift_geoae"], expected, atol=1e-5)
    assert adata.uns["drift_geoae"]["params"]["vectors"] == "adata.obsm['X_drift']"


def logged(adata, *args, **kwargs):
    """Call the function, and return what it logs."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    sc.settings._root_logger.addHandler(handler)
    with sc.settings.verbosity.override("info"):
        sg.tl.project_vectors(adata, *args, **kwargs)
    sc.settings._root_logger.removeHandler(handler)
    return log.getvalue()


def test_layers_of_scvelo_are_recognized():
    adata = of_genes()
    adata.uns["velocity_params"] = {"mode": "stochastic"}
    said = logged(adata, "velocity")
    assert "derivatives of adata.layers['Ms'], one unit of which is 1 of the normalized counts" in said
    np.testing.assert_allclose(adata.obsm["velocity_geoae"], derivative(adata), atol=1e-2)
    assert adata.uns["velocity_geoae"]["params"]["of"] == "Ms"
    # for its plots, arrows of embeddings that are not listed are out of date
    assert adata.uns["velocity_params"] == {"mode": "stochastic", "embeddings": ["geoae"]}
    adata.uns["velocity_params"]["embeddings"] = np.array(["umap", "geoae"], dtype=object)
    sg.tl.project_vectors(adata, "velocity")
    assert adata.uns["velocity_params"]["embeddings"] == ["umap", "geoae"]
    # the genes that scvelo found fit, and the same said by name
    adata.var["velocity_genes"] = np.arange(30) % 2 == 0
    sg.tl.project_vectors(adata, "velocity")
    found = adata.obsm["velocity_geoae"].copy()
    assert "15 of the 30 genes behind the map have vectors" in logged(
        adata, "velocity", genes=list(adata.var_names[::2])
    )
    np.testing.assert_array_equal(adata.obsm["velocity_geoae"], found)
    assert np.abs(found - derivative(adata)).max() > 0.1
    # and as NaN, which is how scvelo marks genes that it could not fit
    del adata.var["velocity_genes"]
    adata.layers["velocity"][:, 1::2] = np.nan
    sg.tl.project_vectors(adata, "velocity")
    np.testing.assert_array_equal(adata.obsm["velocity_geoae"], found)
    del adata.layers["Ms"]
    with pytest.raises(KeyError, match="give of='same'"):
        sg.tl.project_vectors(adata, "velocity")


def test_expression_that_was_replaced_says_nothing_of_the_units():
    adata = of_genes()
    for other in (np.expm1(adata.X), 0 * adata.X + 1, None):
        changed = adata.copy()
        changed.X = other
        assert "assuming the same normalization, since the expression" in logged(changed, "velocity", of="Ms")
        np.testing.assert_allclose(changed.obsm["velocity_geoae"], derivative(adata), atol=1e-2)
    # some of the cells and genes say enough
    part = adata[::2, :20].copy()
    assert "one unit of which is 1 of the normalized counts behind the map, and" in logged(part, "velocity", of="Ms")


def test_nullable_columns_name_genes():
    adata = of_genes()
    is_used = np.arange(30) < 20
    adata.var["used"] = pd.array(is_used, dtype="boolean")
    sg.tl.project_vectors(adata, "velocity", genes="used")
    found = adata.obsm["velocity_geoae"].copy()
    sg.tl.project_vectors(adata, "velocity", genes=list(adata.var_names[is_used]))
    np.testing.assert_array_equal(adata.obsm["velocity_geoae"], found)
    adata.var.loc["g0", "used"] = pd.NA
    with pytest.raises(ValueError, match=r"adata.var\['used'\] to be True or False for each gene, found boolean"):
        sg.tl.project_vectors(adata, "velocity", genes="used")


@for_each("use_rep", ["X_pca", "X"])
def test_the_length_without_some_genes_fits_the_others_best(use_rep):
    adata = of_genes()
    loadings = adata.varm["PCs"]
    if use_rep == "X":
        loadings = np.eye(30)
        model = Autoencoder(30, 2, hidden=(4,)).start_at(
            center=torch.zeros(30), scale=torch.tensor(1.0), axes=torch.from_numpy(adata.varm["PCs"][:, :2].T.copy())
        )
        plant(adata, model, adata.obsm["X_geoae"], "X")
    kept = np.arange(30) % 3 > 0
    sg.tl.project_vectors(adata, "velocity", genes=list(adata.var_names[kept]))
    axes, y = adata.varm["PCs"][kept, :2].astype(float), adata.layers["velocity"][:, kept]
    direction = y @ axes
    image = direction @ axes.T
    t = (image * y).sum(1) / np.square(image).sum(1)
    np.testing.assert_allclose(adata.obsm["velocity_geoae"], t[:, None] * direction, rtol=1e-4)
    shown = y @ np.linalg.pinv(loadings[kept]).T @ loadings[kept].T
    share = 1 - (image * y).sum(1) ** 2 / np.square(image).sum(1) / np.square(shown).sum(1)
    np.testing.assert_allclose(adata.obs["velocity_geoae_off_surface"], share, atol=1e-5)
    # a velocity along one direction keeps its length
    adata.layers["along"] = np.tile(adata.varm["PCs"][:, 0], (80, 1))
    sg.tl.project_vectors(adata, "along", genes=list(adata.var_names[kept]))
    assert np.abs(adata.obsm["along_geoae"][:, 0] - 1).max() < 0.2


def test_genes_are_matched_by_name():
    adata = of_genes()
    sg.tl.project_vectors(adata, "velocity", of="Ms")
    expected = adata.obsm["velocity_geoae"].copy()
    shuffled = adata[::-1, np.random.default_rng(0).permutation(30)].copy()
    sg.tl.project_vectors(shuffled, "velocity", of="Ms")
    np.testing.assert_allclose(shuffled.obsm["velocity_geoae"], expected[::-1], atol=1e-5)


def test_zero_vectors_make_no_arrows():
    adata = of_genes()
    adata.layers["velocity"][:40] = 0
    sg.tl.project_vectors(adata, "velocity", of="Ms")
    for slot in (adata.obsm["velocity_geoae"][:40], adata.obs["velocity_geoae_off_surface"][:40]):
        np.testing.assert_array_equal(slot, 0)
    assert (adata.obs["velocity_geoae_length"][40:] > 0).all()


def test_the_encoder_projects_where_it_is_the_pseudo_inverse():
    adata = of_genes()
    sg.tl.project_vectors(adata, "velocity")
    expected = adata.obsm["velocity_geoae"].copy()
    sg.tl.project_vectors(adata, "velocity", side="encoder")
    np.testing.assert_allclose(adata.obsm["velocity_geoae"], expected, atol=1e-5)
    # and where it is not, its steps are those of its Jacobian on the surface
    model = bent(8)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    z = adata.obsm["X_geoae"]
    plant(adata, model, z, "X_pca")
    sg.tl.project_vectors(adata, "velocity", side="encoder")
    double, h = model.double(), 1e-5
    x, v = double.decode(z).detach().numpy(), adata.layers["velocity"] @ adata.varm["PCs"]
    expected = (double.encode(x + h * v) - double.encode(x - h * v)).detach().numpy() / (2 * h)
    np.testing.assert_allclose(adata.obsm["velocity_geoae"], expected, rtol=1e-4, atol=1e-4)
    # the share that leaves the surface is the same
    share = adata.obs["velocity_geoae_off_surface"].copy()
    sg.tl.project_vectors(adata, "velocity")
    np.testing.assert_array_equal(adata.obs["velocity_geoae_off_surface"], share)


def state(adata):
    return {name: set(getattr(adata, name)) for name in ("obs", "obsm", "obsp", "uns", "layers")}


def with_value(value, rows=3, columns=slice(None)):
    def change(adata):
        adata.layers["velocity"] = adata.layers["velocity"].copy()
        adata.layers["velocity"][rows, columns] = value

    return change


BAD = [
    (with_value(np.nan), "velocity", {}, ValueError, "1 of 80 cells, the first of them in row 3, have no numbers"),
    (with_value(np.nan, slice(None)), "velocity", {}, ValueError, "80 of 80 cells"),
    (with_value(np.inf, 5, 2), "velocity", {}, ValueError, "in row 5, have infinite values"),
    (None, np.zeros((80, 7)), {}, ValueError, r"of shape \(80, 8\), one vector for each cell in the representation"),
    (None, np.zeros((79, 8)), {}, ValueError, r"found \(79, 8\)"),
    (None, np.zeros(80), {}, ValueError, "to be a matrix"),
    (None, np.full((80, 8), np.nan), {}, ValueError, "80 of 80 cells"),
    (None, np.zeros((80, 8), dtype=complex), {}, TypeError, "complex"),
    (None, np.full((80, 8), "a"), {}, TypeError, "real numbers"),
    (None, 3, {}, TypeError, "Expected `vectors` to be the name of a layer"),
    (None, "spam", {}, KeyError, "Did not find 'spam' in adata.layers"),
    (None, "velocity", {"of": "spam"}, KeyError, "Did not find 'spam' in adata.layers"),
    (None, "velocity", {"of": 3}, TypeError, "Expected `of` to be a name"),
    (None, "velocity", {"genes": "spam"}, KeyError, "Did not find 'spam' in adata.var"),
    (None, "velocity", {"genes": ["g1", "spam"]}, KeyError, "Did not find 'spam' in adata.var_names"),
    (None, "velocity", {"genes": []}, ValueError, "None of the 30 genes"),
    (None, "velocity", {"key_added": "X"}, ValueError, "other than 'X'"),
    (None, "velocity", {"key": "umap"}, KeyError, "Did not find"),
    (None, "X_pca", {"of": "Ms"}, ValueError, "`of` is for vectors of genes"),
    (lambda a: a.layers.update(minus=-a.layers["Ms"]), "velocity", {"of": "minus"}, ValueError, "numbers >= 0"),
    (lambda a: a.obsm.update(velocity=a.obsm["X_pca"]), "velocity", {}, ValueError, "and in adata.obsm"),
    (lambda a: a.uns["geoae"].pop("model"), "velocity", {}, ValueError, "'model' is missing"),
]


def test_bad_vectors_change_nothing():
    good = of_genes()
    for change, vectors, options, error, words in BAD:
        adata = good.copy()
        if change is not None:
            change(adata)
        before = state(adata)
        with pytest.raises(error, match=words):
            sg.tl.project_vectors(adata, vectors, **options)
        assert state(adata) == before


def test_genes_of_a_representation_that_is_not_computed_from_them():
    adata = of_genes()
    adata.obsm["X_scvi"] = np.tanh(adata.obsm["X_pca"])
    plant(adata, bent(8), adata.obsm["X_geoae"], "X_scvi")
    with pytest.raises(ValueError, match=r"vectors in the representation, of shape \(80, 8\)"):
        sg.tl.project_vectors(adata, "velocity")
    sg.tl.project_vectors(adata, np.ones((80, 8)))
    assert adata.obsm["vectors_geoae"].shape == (80, 2)


def test_a_new_map_removes_the_vectors_of_the_old_one(small):
    sg.tl.geoae(small, progress_bar=False, n_steps=2, refine=False)
    sg.tl.project_vectors(small, np.ones(small.shape), key_added="drift")
    sg.tl.geoae(small, progress_bar=False, n_steps=2, refine=False, key_added="other")
    sg.tl.project_vectors(small, np.ones(small.shape), key="other", key_added="drift")
    assert {"drift_geoae", "drift_other"} <= set(small.obsm)
    sg.tl.geoae(small, progress_bar=False, n_steps=3, refine=False)
    left = [name for slot in state(small).values() for name in slot if str(name).startswith("drift")]
    assert sorted(set(left)) == ["drift_other", "drift_other_length", "drift_other_off_surface"]


def test_files_and_subsets_keep_them(tmp_path):
    adata = of_genes()
    sg.tl.project_vectors(adata, "velocity")
    adata.write_h5ad(tmp_path / "a.h5ad")
    part = read_h5ad(tmp_path / "a.h5ad")[::2].copy()
    found = part.obsm["velocity_geoae"].copy()
    sg.tl.project_vectors(part, "velocity")
    np.testing.assert_array_equal(part.obsm["velocity_geoae"], found)
    assert sg.tl.project_vectors(part, "velocity", key_added="other", copy=True).obsm["other_geoae"].shape == (40, 2)
    assert "other_geoae" not in part.obsm
