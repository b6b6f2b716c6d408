from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import scgeoae as sg

from ..for_each import for_each


def run(adata, **kwargs):
    return sg.tl.geoae(adata, **({"n_steps": 10, "progress_bar": False} | kwargs))


@for_each("side", ["decoder", "encoder"])
def test_at_the_cells_it_is_what_is_stored(fitted, side):
    field = sg.tl.metric(fitted, side=side)
    np.testing.assert_array_equal(field.coordinates, fitted.obsm["X_geoae"])
    np.testing.assert_allclose(field.tensors, sg.get.metric_tensors(fitted, side=side), rtol=1e-3, atol=1e-4)
    suffix = "" if side == "decoder" else "_encoder"
    scores = sg.get.scores(fitted)
    for name, value in field.scores.items():
        assert value == pytest.approx(scores[name + suffix], rel=1e-3)


def test_encoder_metric_is_the_image_of_the_unit_ball(fitted):
    """A step from a cell along the rows of B moves it on the map as P says."""
    model = sg.get.model(fitted).double()
    x = torch.from_numpy(np.asarray(fitted.obsm["X_pca"], dtype=np.float64))[:20]
    p = torch.from_numpy(sg.get.metric_tensors(fitted, side="encoder"))[:20].double()
    rows = model.encoder_jacobian(x)
    # of all steps to a neighboring position the shortest, of length √(vᵀPv)
    v = torch.tensor([1.0, 0.5], dtype=torch.float64)
    step = torch.einsum("ndx,nde,e->nx", rows, p, v)
    h = 1e-5
    moved = (model.encode(x + h * step) - model.encode(x - h * step)) / (2 * h)
    torch.testing.assert_close(moved, v.expand(20, 2), rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(step.square().sum(1), torch.einsum("a,nab,b->n", v, p, v), rtol=2e-3, atol=2e-3)


@for_each("side", ["decoder", "encoder"])
def test_at_positions(fitted, side):
    z = np.array([[0.0, 0.0], [1.0, -2.0]])
    field = sg.tl.metric(fitted, at=z, side=side)
    model = sg.get.model(fitted).double()
    # by central differences of decode, and of encode around the decoded point
    zt, h = torch.from_numpy(z), 1e-3
    if side == "decoder":
        a = torch.stack([(model.decode(zt + h * e) - model.decode(zt - h * e)) / (2 * h) for e in torch.eye(2)], dim=2)
        expected = a.mT @ a
    else:
        x = model.decode(zt)
        b = torch.stack(
            [(model.encode(x + h * e) - model.encode(x - h * e)) / (2 * h) for e in torch.eye(x.shape[1])], dim=2
        )
        expected = torch.linalg.inv(b @ b.mT)
    np.testing.assert_allclose(field.tensors, expected.numpy(), rtol=2e-3, atol=2e-3)


def test_on_a_grid(fitted):
    field = sg.tl.metric(fitted, at="grid", n_grid=16)
    z = fitted.obsm["X_geoae"]
    low, high = z.min(0), z.max(0)
    index = (field.coordinates - low) / (high - low) * 15
    np.testing.assert_allclose(index, np.rint(index), atol=1e-3)
    assert len(np.unique(np.rint(index), axis=0)) == len(index) < 256
    # every cell has its node, and no node is without cells
    distance = np.abs((z[:, None] - field.coordinates) / (high - low) * 15).max(2)
    assert distance.min(1).max() <= 0.501
    assert distance.min(0).max() <= 0.501
    np.testing.assert_allclose(field.tensors, sg.tl.metric(fitted, at=field.coordinates).tensors, rtol=1e-5, atol=1e-6)


def test_scores_on_a_grid_are_of_the_middle_nine_tenths(fitted):
    field = sg.tl.metric(fitted, at="grid")
    sigma = np.linalg.eigvalsh(field.tensors.astype(float))
    cn = np.sort(1 - sigma[:, 0] / sigma[:, 1])
    cut = int(len(cn) * 0.05)
    assert field.scores["CN"] == pytest.approx(cn[cut:-cut].mean(), rel=1e-4)
    assert sg.tl.metric(fitted, at=field.coordinates).scores["CN"] == pytest.approx(cn.mean(), rel=1e-4)


def test_some_cells(fitted):
    some = fitted[::7]
    np.testing.assert_allclose(
        sg.tl.metric(some, side="encoder").tensors,
        sg.get.metric_tensors(fitted, side="encoder")[::7],
        rtol=1e-3,
        atol=1e-4,
    )


def weights(adata):
    return np.linspace(1, 4, adata.n_vars)


def test_ambient_metric_is_stored_with_the_model(small, tmp_path):
    from anndata import read_h5ad

    for ambient in ("mahalanobis", weights(small), np.diag(weights(small))):
        run(small, ambient=ambient, n_steps=30)
        stored = sg.get.metric_tensors(small)
        small.write_h5ad(tmp_path / "a.h5ad")
        again = read_h5ad(tmp_path / "a.h5ad")
        np.testing.assert_allclose(sg.tl.metric(again).tensors, stored, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            sg.tl.metric(again, side="encoder").tensors,
            sg.get.metric_tensors(small, side="encoder"),
            rtol=1e-3,
            atol=1e-4,
        )
        recorded = again.uns["geoae"]["params"]["ambient"]
        if isinstance(ambient, str):
            assert recorded == ambient
        else:
            np.testing.assert_allclose(recorded, ambient, rtol=1e-6)
        # one unit of the map is one unit of H
        assert np.trace(stored, axis1=1, axis2=2).mean() == pytest.approx(2, rel=1e-4)


def test_ambient_metric_by_finite_differences(small):
    h = weights(small)
    run(small, ambient=h, n_steps=30)
    model = sg.get.model(small).double()
    z = torch.from_numpy(small.obsm["X_geoae"][:5]).double()
    e = 1e-4
    a = torch.stack([(model.decode(z + e * v) - model.decode(z - e * v)) / (2 * e) for v in torch.eye(2)], dim=2)
    expected = a.mT @ (torch.from_numpy(h)[:, None] * a)
    np.testing.assert_allclose(sg.get.metric_tensors(small)[:5], expected.numpy(), rtol=1e-3, atol=1e-4)
    # another ambient metric of the same map
    np.testing.assert_allclose(sg.tl.metric(small, ambient="euclidean").tensors[:5], (a.mT @ a).numpy(), rtol=1e-3)


def test_mahalanobis_is_the_shrunk_inverse_covariance(small):
    from sklearn.covariance import LedoitWolf

    run(small, n_steps=30)
    h = LedoitWolf().fit(np.asarray(small.X, dtype=np.float64)).precision_
    a = sg.get.model(small).jacobian(torch.from_numpy(small.obsm["X_geoae"])).numpy()
    found = sg.tl.metric(small, ambient="mahalanobis").tensors
    np.testing.assert_allclose(found, a.transpose(0, 2, 1) @ h @ a, rtol=1e-3, atol=1e-4 * found.max())


def halves(x: torch.Tensor) -> torch.Tensor:
    return 0.5 + x.square() / (1 + x.square())


def test_ambient_function(small):
    run(small, ambient=halves, n_steps=30)
    assert small.uns["geoae"]["params"]["ambient"] == "halves"
    stored = sg.get.metric_tensors(small)
    np.testing.assert_allclose(sg.tl.metric(small, ambient=halves).tensors, stored, rtol=1e-4, atol=1e-5)
    # no file can hold it
    with pytest.raises(
        ValueError, match=r"ambient metric halves, a function, .* sg\.tl\.metric\(adata, ambient=halves"
    ):
        sg.tl.metric(small)
    model = sg.get.model(small)
    model.ambient = sg.geometry.Ambient(halves)
    z = torch.from_numpy(small.obsm["X_geoae"])
    np.testing.assert_allclose(model.metric(z).numpy(), stored, rtol=1e-4, atol=1e-5)
    # what is stored can be drawn, and what is not says so
    sg.pl.indicatrices(small, show=False)
    sg.pl.jacobian_heatmap(small, show=False)
    with pytest.raises(ValueError, match="a function, which is not stored"):
        sg.pl.jacobian_heatmap(small, background=True, show=False)


def test_ambient_series_is_aligned_by_name(small):
    series = pd.Series(weights(small), index=small.var_names)
    run(small, ambient=series)
    first = small.obsm["geoae_metric"].copy()
    run(small, ambient=series.sample(frac=1, random_state=0))
    np.testing.assert_array_equal(small.obsm["geoae_metric"], first)
    with pytest.raises(ValueError, match="`ambient` has no weight for 1 of 8 variables, such as '3'"):
        run(small, ambient=series.drop("3"))


def test_what_the_ambient_metric_changes(small):
    """Weighting a feature up makes the map larger where that feature changes, by the root of the weight."""
    run(small, n_steps=1, regularizer=None)
    plain = small.obsm["X_geoae"].copy()
    run(small, n_steps=1, regularizer=None, ambient=np.full(8, 9.0))
    np.testing.assert_allclose(small.obsm["X_geoae"], 3 * plain, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        sg.tl.metric(small, ambient="euclidean").tensors * 9, sg.get.metric_tensors(small), rtol=1e-4, atol=1e-6
    )


@for_each(
    "given, message",
    [
        ({"at": "cell"}, r"`at` to be 'cells', 'grid' or finite positions of shape \(m, 2\), found 'cell'"),
        ({"at": [[0.0, 0.0, 0.0]]}, r"shape \(m, 2\), found an array of shape \(1, 3\)"),
        ({"at": [[np.nan, 0.0]]}, "finite positions"),
        ({"side": "both"}, "`side` to be 'decoder' or 'encoder', found 'both'"),
        ({"at": "grid", "n_grid": 1}, "`n_grid` to be an integer >= 2, found 1"),
        ({"ambient": "cosine"}, "`ambient` to be None, 'mahalanobis', an array or a function, found 'cosine'"),
    ],
)
def test_refused(fitted, given, message):
    with pytest.raises(ValueError, match=message):
        sg.tl.metric(fitted, **given)


@for_each(
    "ambient, message",
    [
        (np.ones(3), r"`ambient` to be of shape \(8,\), a diagonal, or \(8, 8\), found \(3,\)"),
        (-np.ones(8), "`ambient` to be a metric: finite, symmetric and positive definite"),
        (np.full(8, np.nan), "to be a metric"),
        (np.triu(np.ones((8, 8))), "to be a metric"),
        (np.ones((8, 8)), "to be a metric"),
        (
            lambda x: x[:, :2],
            r"`ambient\(x\)` for 3 points to be a dense .* shape \(3, 8\), a diagonal, or \(3, 8, 8\), found",
        ),
        (lambda x: -x.square(), r"`ambient\(x\)` for 3 points to be a metric"),
        (lambda x: x.square().numpy(), "found ndarray"),
        (lambda x: x.square().to_sparse(), "real numbers .*torch.sparse_coo"),
        (lambda x: x.square() + 0j, "real numbers .*torch.complex64"),
        (lambda x: x.square() + 1 if len(x) == 3 else None, "found NoneType"),
        (lambda x: x.square()[:3] + 1, r"for 60 points .* found \(3, 8\), torch.float32"),
        (lambda _: 1.0, "found float"),
        (len, "found int"),
    ],
)
def test_ambient_refused(small, ambient, message):
    before = set(small.obsm)
    with pytest.raises(ValueError, match=message):
        run(small, ambient=ambient)
    assert set(small.obsm) == before


@for_each("dtype", [torch.float64, torch.float16, torch.int64, torch.bool])
@for_each("side", ["decoder", "encoder"])
def test_ambient_function_of_any_type(small, side, dtype):
    run(small, n_steps=2)
    expected = sg.tl.metric(small, side=side, ambient=np.ones(8)).tensors
    for form in (torch.ones(8, dtype=dtype), torch.eye(8, dtype=dtype)):
        ambient = lambda x: form.expand(len(x), *form.shape)  # noqa: B023, E731
        found = sg.tl.metric(small, side=side, ambient=ambient).tensors
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        run(small, n_steps=2, ambient=ambient, key_added="mine")
        assert small.obsm["mine_metric"].dtype == np.float32


def test_grid_needs_two_dimensions(small):
    run(small, n_components=3)
    with pytest.raises(ValueError, match="A grid is laid over maps of 2 dimensions, and this one has 3"):
        sg.tl.metric(small, at="grid")
    assert sg.tl.metric(small, at=np.zeros((1, 3)), side="encoder").tensors.shape == (1, 3, 3)


def test_representation_in_any_memory_layout(fitted):
    expected = sg.tl.metric(fitted, side="encoder").tensors
    adata = fitted.copy()
    adata.obsm["X_pca"] = np.ascontiguousarray(adata.obsm["X_pca"][:, ::-1])[:, ::-1]
    np.testing.assert_array_equal(sg.tl.metric(adata, side="encoder").tensors, expected)
    run(adata, ambient=lambda x: 1 + x.square())


def test_an_ambient_metric_that_float32_cannot_invert_is_named(small):
    sg.tl.geoae(small, n_steps=5, progress_bar=False)
    with pytest.raises(ValueError, match="The `ambient` metric has no inverse at some point"):
        # positive where it is tried, and singular further on
        sg.tl.metric(
            small,
            side="encoder",
            ambient=lambda x: torch.eye(8) * (1.0 if len(x) == 3 else 0.0) + torch.zeros(len(x), 8, 8),
        )
    with pytest.raises(ValueError, match="60 of 60 tensors of the decoder are not positive: the `ambient` metric"):
        sg.tl.metric(small, ambient=lambda x: torch.full_like(x, 1.0 if len(x) == 3 else -1.0))
    small.X = small.X * np.float32(1e25)
    with pytest.raises(ValueError, match=r"adata\.X is no longer what the map in adata\.obsm\['X_geoae'\] was made of"):
        sg.tl.metric(small, ambient="mahalanobis")


def test_tensors_beyond_float32_are_named(small):
    sg.tl.geoae(small, n_steps=5, progress_bar=False)
    with pytest.raises(ValueError, match="60 of 60 tensors of the decoder are beyond float32"):
        sg.tl.metric(small, ambient=lambda x: torch.full_like(x, 1.0 if len(x) == 3 else np.inf))
